"""The report of an evaluation of segmentation: Dice of each class by norm, clean and under each artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diagnose.report.run_groups import group_runs
from diagnose.report.tables import Table
from diagnose.report.task_results import TaskResults, dose_results, estimate_cell, listed_seeds
from diagnose.segmentation.dice_intervals import estimates_by_class
from diagnose.segmentation.dice_table import DiceBlock, read_dice_table
from diagnose.segmentation.evaluate import PREDICTIONS, RESULTS
from diagnose.slice_images import CLEAN
from diagnose.statistics.clustered_auc import Estimate


def results_of(folder: Path, configs: Mapping[str, Mapping[str, Any]]) -> TaskResults:
    """Read an evaluation's folder; the seeds of a norm are pooled, their Dice averaged case by case.

    Parameters
    ----------
    folder : Path
    configs : mapping
        Request of each run by its name.

    Raises
    ------
    DataError
        If the table is damaged.
    """
    blocks = read_dice_table(folder / PREDICTIONS)
    members = group_runs(configs, lambda config: str(config["norm"]))
    estimates = {
        (norm, kind, level): estimates_by_class(dice, first.patients)
        for norm, names in members.items()
        for (kind, level), (dice, first) in _pooled(blocks, names).items()
    }
    classes = blocks[0].classes
    clean = Table(
        "Dice on the clean test volumes, by norm",
        "class",
        tuple(members),
        tuple(
            (name, tuple(estimate_cell(estimates[norm, CLEAN, 0][column]) for norm in members))
            for column, name in enumerate((*classes, "mean of classes"))
        ),
    )
    means: dict[tuple[str, str, int], Estimate] = {place: found[-1] for place, found in estimates.items()}
    legend, panels, numbers = dose_results(means, list(members), "Dice, mean of classes")
    first = blocks[0]
    seeds = tuple(
        (f"Seeds of {norm}", listed_seeds([configs[name] for name in names])) for norm, names in members.items()
    )
    return TaskResults(
        "How well do brain tumour segmentations hold under MR artifacts?",
        (("Test split", f"{len(set(first.patients))} patients, {len(first.cases)} cases"), *seeds),
        (clean,), legend, panels, numbers, files=(PREDICTIONS, RESULTS)
    )  # fmt: skip


def _pooled(blocks: Sequence[DiceBlock], names: Sequence[str]) -> dict[tuple[str, int], tuple[np.ndarray, DiceBlock]]:
    """Return, by kind and level, Dice (case, class) averaged over some runs, and one of their blocks."""
    groups: dict[tuple[str, int], list[DiceBlock]] = {}
    for block in blocks:
        if block.cell.run in names:
            groups.setdefault((block.cell.kind, block.cell.level), []).append(block)
    return {place: (np.mean([block.dice for block in part], axis=0), part[0]) for place, part in groups.items()}
