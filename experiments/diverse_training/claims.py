"""What the runs say of each claim of the paper: differences over seeds and patients, curves, correlations."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from plan import PlannedRun
from scipy.stats import pearsonr, spearmanr

from diagnose.reconstruction.quality_table import CLEAN, OUTPUT, QualityRow
from diagnose.reconstruction.seed_differences import seed_difference


@dataclass(frozen=True)
class Comparison:
    """Two ways to train on one distribution: mean SSIM of each over seeds, and the difference with its interval."""

    claim: str
    pair: str
    network: str
    reference: str
    other: str
    distribution: str
    n_seeds: int
    n_patients: int
    ssim_reference: float
    ssim_other: float
    difference: float
    low: float | None
    high: float | None

    @property
    def verdict(self) -> str:
        """What the interval says; there is none with one seed."""
        if self.low is None or self.high is None:
            return "one seed: no interval"
        return "better" if self.low > 0 else "worse" if self.high < 0 else "no difference seen"


class Measured:
    """Rows of an evaluation by run, distribution and shift."""

    def __init__(self, rows: Iterable[QualityRow], planned: Sequence[PlannedRun]):
        self.planned = planned
        self._rows: dict[tuple[str, str, str, int], list[QualityRow]] = defaultdict(list)
        for row in rows:
            if row.split == "test" and row.intensities == OUTPUT:
                self._rows[row.run, row.distribution, row.kind, row.level].append(row)
        self.distributions = list(dict.fromkeys(key[1] for key in self._rows))
        self.shifts = sorted({key[2:] for key in self._rows if key[3] > 0})

    def runs(self, where: Callable[[PlannedRun], bool]) -> list[PlannedRun]:
        """Return the planned runs that fit, by seed."""
        return sorted((run for run in self.planned if where(run)), key=lambda run: run.seed)

    def rows(self, run: PlannedRun, distribution: str, shift: tuple[str, int] = (CLEAN, 0)) -> list[QualityRow]:
        """Return the rows of one run."""
        return self._rows[(run.name, distribution, *shift)]

    def mean(self, runs: list[PlannedRun], distribution: str) -> float:
        """Return the mean SSIM of runs."""
        return float(np.mean([[row.ssim for row in self.rows(run, distribution)] for run in runs]))

    def compare(
        self, labels: tuple[str, str, str, str], reference: list[PlannedRun], other: list[PlannedRun],
        distribution: str, shift: tuple[str, int] = (CLEAN, 0),
    ) -> Comparison:  # fmt: skip
        """Compare two lists of runs with the same seeds; labels are claim, pair, reference and other."""
        parts = [[self.rows(run, distribution, shift) for run in runs] for runs in (reference, other)]
        return comparison(labels, reference[0].network, parts[0], parts[1], distribution)


def comparison(
    labels: tuple[str, str, str, str], network: str, reference: list[list[QualityRow]], other: list[list[QualityRow]],
    distribution: str,
) -> Comparison:  # fmt: skip
    """Return the difference of two lists of rows, one entry a seed."""
    claim, pair, first, second = labels
    found = seed_difference(reference, other, "ssim", names=(first, second))
    means = [float(np.mean([[row.ssim for row in rows] for rows in part])) for part in (reference, other)]
    n_patients = len({row.patient for row in reference[0]})
    return Comparison(
        claim, pair, network, first, second, distribution, found.n_seeds, n_patients, *means, found.difference,
        found.low, found.high,
    )  # fmt: skip


def trained_on(*names: str, arm: str = "main", **more: Any) -> Callable[[PlannedRun], bool]:
    """Return what chooses runs of an arm by what they were trained on."""
    wanted = {"arm": arm, "train_on": names, **more}
    return lambda run: all(getattr(run, name) == value for name, value in wanted.items())


def pair_comparisons(measured: Measured, pairs: dict[str, list[str]], arm: str = "main") -> list[Comparison]:
    """Compare P+Q with P and with Q alone: on P and Q, and on every other distribution."""
    found = []
    for name, (p, q) in pairs.items():
        joint = measured.runs(trained_on(p, q, arm=arm))
        alone = {one: measured.runs(trained_on(one, arm=arm)) for one in (p, q)}
        if not joint:
            continue
        for one in (p, q):
            labels = ("1 in distribution", name, f"{one} alone", "P+Q")
            found.append(measured.compare(labels, alone[one], joint, one))
        for other in measured.distributions:
            if other not in (p, q):
                better = max((p, q), key=lambda one: measured.mean(alone[one], other))
                labels = ("2 beyond the better one", name, f"{better} alone", "P+Q")
                found.append(measured.compare(labels, alone[better], joint, other))
            for one in (p, q):
                if other not in (p, q):
                    labels = ("2 out of distribution", name, f"{one} alone", "P+Q")
                    found.append(measured.compare(labels, alone[one], joint, other))
                elif other != one:
                    labels = ("0 shift", name, f"{other} alone", f"{one} alone")
                    found.append(measured.compare(labels, alone[other], alone[one], other))
    return found


def arm_comparisons(measured: Measured, settings: dict[str, Any]) -> list[Comparison]:
    """Compare the skewed arm and the long arm with what they stand beside."""
    found, pairs, arms = [], settings["pairs"], settings.get("arms", {})
    if "skewed" in arms:
        name = arms["skewed"]["pair"]
        p, q = pairs[name]
        skewed = measured.runs(trained_on(p, q, arm="skewed"))
        for one in (p, q):
            alone, joint = measured.runs(trained_on(one)), measured.runs(trained_on(p, q))
            for reference, label in ((alone, f"{one} alone"), (joint, "P+Q")):
                same = _same_seeds(reference, skewed)
                found.append(measured.compare(("1 skewed", name, label, "P + Q/16"), same, skewed, one))
        alone = _same_seeds(measured.runs(trained_on(p)), skewed)
        found.append(measured.compare(("1 skewed", name, f"{p} alone", "P + Q/16"), alone, skewed, q))
    long = measured.runs(lambda run: run.arm == "long")
    for name, (p, q) in pairs.items():
        joint = _same_seeds(measured.runs(trained_on(p, q)), long)
        if long and long[0].train_on == (p,) and len(joint) == len(long):
            labels = ("1 as many steps", name, f"{p} alone, {long[0].epochs} epochs", f"P+Q, {joint[0].epochs} epochs")
            found.append(measured.compare(labels, long, joint, p))
    return found


def _same_seeds(runs: list[PlannedRun], like: list[PlannedRun]) -> list[PlannedRun]:
    seeds = {run.seed for run in like}
    return [run for run in runs if run.seed in seeds]


def shift_comparisons(measured: Measured, pairs: dict[str, list[str]]) -> list[Comparison]:
    """Compare P+Q with P alone on P under artifacts."""
    found = []
    for name, (p, q) in pairs.items():
        alone, joint = measured.runs(trained_on(p)), measured.runs(trained_on(p, q))
        for kind, level in measured.shifts:
            labels = ("artifacts", name, f"{p} alone, {kind} {level}", f"P+Q, {kind} {level}")
            found.append(measured.compare(labels, alone, joint, p, (kind, level)))
    return found


def finding_comparisons(path: Path, measured: Measured, pairs: dict[str, list[str]]) -> list[Comparison]:
    """Compare P+Q with P alone inside the boxes of findings, small ones and large ones."""
    with gzip.open(path, "rt", newline="") as text:
        crops = list(csv.DictReader(text))
    by_run: dict[tuple[str, str, bool], list[QualityRow]] = defaultdict(list)
    for crop in crops:
        key = (crop["run"], crop["distribution"], crop["small"] == "True")
        row = QualityRow("", crop["patient"], "test", crop["run"], None, crop["distribution"], CLEAN, 0, OUTPUT,
                         float(crop["ssim"]), 0.0, 0.0)  # fmt: skip
        by_run[key].append(replace(row, item=f"{crop['item']} {len(by_run[key]):04d}"))
    found = []
    for name, (p, q) in pairs.items():
        alone, joint = measured.runs(trained_on(p)), measured.runs(trained_on(p, q))
        for small in (True, False):
            parts = [[by_run[run.name, p, small] for run in runs] for runs in (alone, joint)]
            size = "at most 1 % of the image" if small else "larger"
            if parts[0] and parts[0][0]:
                labels = (f"3 findings, {size}", name, f"{p} alone", "P+Q")
                found.append(comparison(labels, alone[0].network, parts[0], parts[1], p))
    return found


def overfitting(curves: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    """Return the best and the last epoch of each run on each distribution, and what was lost between the two."""
    by_key: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for point in curves:
        by_key[point["run"], point["distribution"]].append(point)
    found = []
    for (run, distribution), points in by_key.items():
        points = sorted(points, key=lambda point: int(point["epoch"]))
        ssim = [float(point["ssim"]) for point in points]
        best = int(np.argmax(ssim))
        found.append({
            "run": run, "distribution": distribution, "in_distribution": points[0]["in_distribution"],
            "n_epochs": len(ssim), "best_epoch": best + 1, "ssim_best": ssim[best], "ssim_last": ssim[-1],
            "lost_since_best": ssim[best] - ssim[-1],
        })  # fmt: skip
    return found


def similarity_correlations(
    similarity: Sequence[dict[str, str]], cells: Sequence[dict[str, str]], planned: Sequence[PlannedRun]
) -> list[dict[str, Any]]:
    """Return the correlation of similarity and SSIM over runs and distributions, for each seed of the main arm."""
    ssim = {
        (cell["run"], cell["distribution"]): float(cell["mean"])
        for cell in cells
        if (cell["kind"], cell["intensities"], cell["metric"]) == (CLEAN, OUTPUT, "ssim")
    }
    found = []
    for seed in sorted({run.seed for run in planned}):
        names = {run.name for run in planned if run.arm == "main" and run.seed == seed}
        points = [
            (float(row["similarity"]), ssim[row["run"], row["distribution"]])
            for row in similarity
            if row["run"] in names
        ]
        x, y = np.array(points).T
        found.append({
            "seed": seed, "n_points": len(points), "spearman": float(spearmanr(x, y)[0]),
            "pearson": float(pearsonr(x, y)[0]),
        })  # fmt: skip
    return found
