"""Which trainings a settings file asks for, and the command of each."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SKEWED, SUBSET = "skewed", "subset"


@dataclass(frozen=True)
class PlannedRun:
    """One training."""

    network: str
    train_on: tuple[str, ...]
    seed: int
    epochs: int
    selection: str = "joint"
    fraction: float | None = None
    arm: str = "main"
    """What it is for: main, skewed, subset, long or varnet."""

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        reduced = (
            ""
            if self.selection == "joint"
            else f"__{self.selection}" + ("" if self.fraction is None else f"-{self.fraction:g}")
        )
        names = re.sub(r"[^\w.+=-]", "-", "+".join(self.train_on))
        return f"{self.network}__{names}{reduced}__{self.epochs}-epochs__seed{self.seed}"

    @property
    def is_joint(self) -> bool:
        """Whether it is P+Q, all of both."""
        return len(self.train_on) == 2 and self.selection == "joint"


def planned_runs(settings: dict[str, Any]) -> list[PlannedRun]:
    """Return all runs, each once, those of the pairs first and seed by seed: a run that is stopped leaves pairs."""
    network, epochs, arms = settings["train"]["network"], settings["train"]["epochs"], settings.get("arms", {})
    pairs = settings["pairs"]
    sets = dict.fromkeys(one for p, q in pairs.values() for one in ((p,), (q,), (p, q)))
    runs = [PlannedRun(network, names, seed, epochs) for seed in settings["seeds"] for names in sets]
    if entry := arms.get("long"):
        runs += [PlannedRun(network, tuple(entry["train_on"]), s, entry["epochs"], arm="long") for s in entry["seeds"]]
    if entry := arms.get(SKEWED):
        pair = tuple(pairs[entry["pair"]])
        runs += [PlannedRun(network, pair, seed, epochs, SKEWED, arm=SKEWED) for seed in entry["seeds"]]
    if entry := arms.get(SUBSET):
        pair = tuple(pairs[entry["pair"]])
        runs += [
            PlannedRun(network, pair, seed, epochs, SUBSET, fraction, arm=SUBSET)
            for seed in entry["seeds"]
            for fraction in entry["fractions"]
        ]
    if entry := arms.get("varnet"):
        p, q = pairs[entry["pair"]]
        runs += [
            PlannedRun(entry["network"], names, seed, entry["epochs"], arm="varnet")
            for seed in entry["seeds"]
            for names in ((p,), (q,), (p, q))
        ]
    return runs


def evaluations(settings: dict[str, Any], planned: list[PlannedRun]) -> dict[str, tuple[list[PlannedRun], list[str]]]:
    """Return name -> runs and options of each evaluation; the first run's U-Net measures similarity."""
    wanted = settings["evaluation"]
    pair = tuple(settings["pairs"][wanted["encoder"]])
    (encoder,) = [run for run in planned if run.arm == "main" and run.train_on == pair and run.seed == planned[0].seed]
    everybody = [encoder, *(run for run in planned if run is not encoder)]
    curves = [
        run
        for run in planned
        if run.arm == "long" or (run.is_joint and run.arm == "main" and run.seed in wanted["curve_seeds"])
    ]
    p = planned[0].train_on[0]
    shifted = [run for run in planned if run.arm == "main" and p in run.train_on]
    test_on = [word for name in wanted["test_on"] for word in ("--test-on", name)]
    shifts = [*(word for kind in wanted["shifts"]["kinds"] for word in ("--kind", kind)),
              "--levels", ",".join(map(str, wanted["shifts"]["levels"]))]  # fmt: skip
    return {
        "test": (everybody, [*test_on, "--recon", "rss,l1-wavelet"]),
        "curves": (curves, [*test_on, "--every-epoch"]),
        "shifts": (shifted, ["--test-on", p, *shifts]),
    }


def training_command(run: PlannedRun, settings: dict[str, Any], runs: Path, data: Path | None) -> list[str]:
    """Return the command of one training."""
    values = {**settings["train"], "network": run.network, "epochs": run.epochs, "selection": run.selection}
    if run.fraction is not None:
        values["fraction"] = run.fraction
    return [
        *(sys.executable, "-m", "diagnose.cli", "train", "--task", "reconstruction", "--seed", str(run.seed)),
        *(word for name in run.train_on for word in ("--train-on", name)),
        *("--threads", "1", "--out", str(runs / run.name)),
        *(() if data is None else ("--data", str(data))),
        *(f"--set={name}={value}" for name, value in values.items()),
    ]
