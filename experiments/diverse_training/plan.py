"""Which trainings a settings file asks for, and the command of each."""

from __future__ import annotations

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
        return f"{self.network}__{'+'.join(self.train_on)}{reduced}__{self.epochs}-epochs__seed{self.seed}"

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
