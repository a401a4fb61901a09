"""Train every network of a settings file, measure all on every distribution, write the tables and figures.

    python experiments/diverse_training/run.py [SETTINGS] [--workers N] [--runs DIR] [--out DIR] [--dry-run]

A finished run is skipped, an interrupted one goes on; so do the evaluations. With runs and evaluations in place, only
the tables are made again. Scores on the embedded cohorts are simulation results.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the modules beside this script; they are no part of a package

from plan import PlannedRun, evaluations, planned_runs, training_command  # noqa: E402


def evaluation_command(
    name: str, runs: list[PlannedRun], options: list[str], arguments: argparse.Namespace
) -> list[str]:
    """Return the command of one evaluation."""
    return [
        *(sys.executable, "-m", "diagnose.cli", "evaluate", *(str(arguments.runs / run.name) for run in runs)),
        *options,
        *("--out", str(evaluation_folder(arguments, name)), "--threads", str(arguments.workers)),
        *(() if arguments.data is None else ("--data", str(arguments.data))),
    ]


def evaluation_folder(arguments: argparse.Namespace, name: str) -> Path:
    """Return where an evaluation lies."""
    return Path(arguments.runs) / f"evaluation-{name}"


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="?", type=Path, default=HERE / "laptop.yaml")
    parser.add_argument("--data", type=Path, help="folder with fastMRI; none = the embedded knees and brains")
    parser.add_argument("--runs", type=Path, default=Path("runs") / "diverse-training")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--workers", type=int, default=1, help="trainings at a time, one thread each")
    parser.add_argument("--dry-run", action="store_true", help="print the commands that are still to be run")
    return parser.parse_args()


def main() -> int:
    """Train what is not trained, evaluate, write the tables."""
    arguments = parse()
    settings = yaml.safe_load(arguments.settings.read_text(encoding="utf-8"))
    runs = planned_runs(settings)
    trainings = [
        training_command(run, settings, arguments.runs, arguments.data)
        for run in runs
        if not (arguments.runs / run.name / "DONE").exists()
    ]
    measuring = [
        evaluation_command(name, chosen, options, arguments)
        for name, (chosen, options) in evaluations(settings, runs).items()
        if not (evaluation_folder(arguments, name) / "matrix.csv").exists()
    ]
    if arguments.dry_run:
        print("\n".join(shlex.join(command) for command in [*trainings, *measuring]))
        return 0
    with ThreadPoolExecutor(max_workers=arguments.workers) as pool:
        codes = list(pool.map(lambda command: subprocess.run(command, stdout=subprocess.DEVNULL).returncode, trainings))
    if not any(codes):
        codes = [subprocess.run(command, stdout=subprocess.DEVNULL).returncode for command in measuring]
    if any(codes):
        return max(codes)
    from tables import write_results

    folders = {name: evaluation_folder(arguments, name) for name in evaluations(settings, runs)}
    write_results(settings, runs, folders, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
