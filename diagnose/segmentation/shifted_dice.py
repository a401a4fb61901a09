"""Dice under shifts, from the frozen table: means by kind and level with patient-bootstrap intervals, and the loss."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from diagnose.segmentation.clean_dice import MEAN
from diagnose.segmentation.dice_intervals import estimates_by_class, with_interval
from diagnose.segmentation.dice_table import DiceBlock
from diagnose.slice_images import CLEAN
from mrisim.files import write_text


@dataclass(frozen=True)
class DiceResult:
    """Mean Dice of one run, class and shift; ``difference`` is to the same run on clean images, paired by patient."""

    run: str
    kind: str
    level: int
    class_name: str
    dice: float
    low: float | None
    high: float | None
    difference: float
    difference_low: float | None
    difference_high: float | None
    n_cases: int
    n_patients: int

    @property
    def record(self) -> dict[str, Any]:
        """The result as JSON values."""
        return asdict(self)


def dice_results(blocks: Sequence[DiceBlock]) -> list[DiceResult]:
    """Return the results of the test blocks; each run has a clean one among them."""
    clean = {block.cell.run: block for block in blocks if block.cell.kind == CLEAN}
    results = []
    for block in blocks:
        means = estimates_by_class(block.dice, block.patients)
        losses = estimates_by_class(block.dice - clean[block.cell.run].dice, block.patients)
        for name, mean, loss in zip((*block.classes, MEAN), means, losses, strict=True):
            results.append(
                DiceResult(
                    block.cell.run, block.cell.kind, block.cell.level, name, mean.value, mean.low, mean.high,
                    loss.value, loss.low, loss.high, len(block.cases), len(set(block.patients)),
                )
            )  # fmt: skip
    return results


def write_dice_results(path: Path, results: Sequence[DiceResult]) -> None:
    """Write one row for each run, shift and class; numbers with six digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(DiceResult)])
    for result in results:
        writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in result.record.values()])
    write_text(path, text.getvalue())


def dice_lines(results: Sequence[DiceResult]) -> list[str]:
    """Return the results as text: for each run the classes on clean images, then the mean by kind and level."""
    lines: list[str] = []
    for run in dict.fromkeys(result.run for result in results):
        rows = [result for result in results if result.run == run]
        lines += ["", run, "  clean Dice"]
        lines += [
            f"    {row.class_name:14} {with_interval(row.dice, row.low, row.high)}" for row in rows if row.kind == CLEAN
        ]
        means = {(row.kind, row.level): row for row in rows if row.class_name == MEAN and row.kind != CLEAN}
        levels = sorted({level for _, level in means})
        if means:
            lines.append("  mean over classes, with interval; below it the difference to clean")
            lines.append(f"    {'kind':14}" + "".join(f"{'level ' + str(level):24}" for level in levels).rstrip())
        for kind in dict.fromkeys(kind for kind, _ in means):
            found = [means[kind, level] for level in levels]
            dice = "".join(f"{with_interval(row.dice, row.low, row.high):24}" for row in found)
            change = "".join(f"{row.difference:<+24.3f}" for row in found)
            lines += [f"    {kind:14}{dice.rstrip()}", f"    {'':14}{change.rstrip()}"]
    return [
        *lines,
        "",
        "95 % intervals: bootstrap over patients, of one trained model each. They hold no variance of seeds:",
        "no statement about norms. Scores on the embedded cohort are simulation results.",
    ]
