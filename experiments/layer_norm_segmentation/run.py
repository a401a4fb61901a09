"""Train a 3-D U-Net with every norm and seed of a settings file, evaluate it under artifacts, write the tables.

    python experiments/layer_norm_segmentation/run.py [SETTINGS] [--workers N] [--runs DIR] [--out DIR] [--dry-run]

A finished run is skipped, an interrupted one goes on; so does the evaluation. With the runs and the evaluation in place
only the tables are made again. Scores on the embedded cohort are simulation results.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent


@dataclass(frozen=True)
class PlannedRun:
    """One training."""

    arm: str
    norm: str
    seed: int
    lr: float

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return f"{self.arm}-{self.norm}-seed{self.seed}"


def planned_runs(settings: dict[str, Any]) -> list[PlannedRun]:
    """Return all runs, seed by seed, so that those that are there when it is stopped are paired."""
    return [
        PlannedRun(arm, norm, seed, entry["lr"])
        for arm, entry in settings["arms"].items()
        for seed in settings["seeds"]
        for norm in entry["norms"]
    ]


def training_command(run: PlannedRun, settings: dict[str, Any], arguments: argparse.Namespace) -> list[str]:
    """Return the command of one training."""
    values = {**settings["train"], "lr": run.lr}
    return [
        *(sys.executable, "-m", "diagnose.cli", "train", "--task", "segmentation"),
        *("--norm", run.norm, "--seed", str(run.seed), "--threads", "1"),
        *("--out", str(arguments.runs / run.name)),
        *(() if arguments.data is None else ("--data", str(arguments.data))),
        *(f"--set={name}={value}" for name, value in values.items()),
    ]


def evaluation_command(runs: list[PlannedRun], settings: dict[str, Any], arguments: argparse.Namespace) -> list[str]:
    """Return the command of the shifted evaluation of the runs of some arms."""
    wanted = settings["evaluation"]
    chosen = [run for run in runs if run.arm in wanted["arms"]]
    return [
        *(sys.executable, "-m", "diagnose.cli", "evaluate", *(str(arguments.runs / run.name) for run in chosen)),
        *(f"--kind={kind}" for kind in wanted["kinds"]),
        *("--levels", ",".join(map(str, wanted["levels"])), "--seed", str(wanted["seed"])),
        *("--out", str(evaluation_folder(arguments)), "--threads", str(arguments.workers)),
        *(() if arguments.data is None else ("--data", str(arguments.data))),
    ]


def evaluation_folder(arguments: argparse.Namespace) -> Path:
    """Return where the frozen table lies."""
    return Path(arguments.runs) / "evaluation"


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="?", type=Path, default=HERE / "laptop.yaml")
    parser.add_argument("--data", type=Path, help="folder with BraTS; none = the embedded brain cohort")
    parser.add_argument("--runs", type=Path, default=Path("runs") / "layer-norm-segmentation")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--workers", type=int, default=1, help="trainings at a time, one thread each")
    parser.add_argument("--dry-run", action="store_true", help="print the commands that are still to be run")
    return parser.parse_args()


def main() -> int:
    """Train what is not trained, evaluate, write the tables."""
    arguments = parse()
    settings = yaml.safe_load(arguments.settings.read_text(encoding="utf-8"))
    runs = planned_runs(settings)
    commands = [
        training_command(run, settings, arguments) for run in runs if not (arguments.runs / run.name / "DONE").exists()
    ]
    evaluated = (evaluation_folder(arguments) / "results.csv").exists()
    last = [] if evaluated else [evaluation_command(runs, settings, arguments)]
    if arguments.dry_run:
        print("\n".join(shlex.join(command) for command in [*commands, *last]))
        return 0
    with ThreadPoolExecutor(max_workers=arguments.workers) as pool:
        codes = list(pool.map(lambda command: subprocess.run(command, stdout=subprocess.DEVNULL).returncode, commands))
    codes += [subprocess.run(command, stdout=subprocess.DEVNULL).returncode for command in last if not any(codes)]
    if any(codes):
        return max(codes)
    from tables import write_tables

    write_tables(settings, runs, arguments.runs, evaluation_folder(arguments), arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
