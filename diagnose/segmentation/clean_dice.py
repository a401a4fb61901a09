"""What a finished run of segmentation says of itself: clean Dice of each class, beside the trivial baselines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from diagnose.segmentation.brats_releases import CHANNELS, CLASSES
from diagnose.segmentation.dice import class_masks, dice_by_class
from diagnose.segmentation.dice_intervals import estimates_by_class, record_of, with_interval
from diagnose.segmentation.dice_table import DiceBlock, DiceCell
from diagnose.segmentation.request import SegmentationModel
from diagnose.segmentation.scaled_volumes import LabelledVolume
from diagnose.segmentation.threshold import ThresholdRule, all_background, fit_thresholds, segment_by_thresholds

ALL_BACKGROUND, THRESHOLD = "all-background", "threshold"
MEAN = "mean"


def block_of(dice: np.ndarray, volumes: Sequence[LabelledVolume], cell: DiceCell) -> DiceBlock:
    """Return Dice overlaps (case, class) as a block of the table."""
    voxels = [class_masks(volume.labels, len(CLASSES)).sum(axis=(1, 2, 3)) for volume in volumes]
    return DiceBlock(
        cell, tuple(volume.case for volume in volumes), tuple(volume.patient for volume in volumes), CLASSES, dice,
        np.stack(voxels),
    )  # fmt: skip


def baseline_blocks(
    train: Sequence[LabelledVolume], test: Sequence[LabelledVolume]
) -> tuple[list[DiceBlock], tuple[ThresholdRule, ...]]:
    """Return what the two trivial segmentations score on test, and the thresholds, which training cases fix."""
    rules = fit_thresholds(((volume.images, volume.labels) for volume in train), len(CLASSES))
    nothing, above = [], []
    for volume in test:
        reference = class_masks(volume.labels, len(CLASSES))
        nothing.append(dice_by_class(all_background(volume.labels.shape, len(CLASSES)), reference))
        above.append(dice_by_class(segment_by_thresholds(volume.images, rules), reference))
    blocks = [
        block_of(np.stack(dice), test, DiceCell(name, "test"))
        for name, dice in ((ALL_BACKGROUND, nothing), (THRESHOLD, above))
    ]
    return blocks, rules


def summarise(
    block: DiceBlock, baselines: Sequence[DiceBlock], rules: Sequence[ThresholdRule], description: SegmentationModel
) -> dict[str, Any]:
    """Return the content of results.json from the blocks of the test split."""
    names = (*block.classes, MEAN)
    estimates = estimates_by_class(block.dice, block.patients)
    result: dict[str, Any] = {
        "norm": description.architecture.norm,
        "seed": description.seed,
        "best_epoch": description.epoch,
        "validation_dice": description.validation_dice,
        "n_test_patients": len(set(block.patients)),
        "n_test_cases": len(block.cases),
        "dice": {name: record_of(estimate) for name, estimate in zip(names, estimates, strict=True)},
        "baselines": {},
        "thresholds": {
            name: f"{CHANNELS[rule.channel]} {'>=' if rule.above else '<'} {rule.threshold:.2f}"
            for name, rule in zip(block.classes, rules, strict=True)
        },
    }
    for baseline in baselines:
        means = estimates_by_class(baseline.dice, baseline.patients)
        gains = estimates_by_class(block.dice - baseline.dice, block.patients)
        result["baselines"][baseline.cell.run] = {
            name: {"dice": mean.value, "gain": record_of(gain, "difference")}
            for name, mean, gain in zip(names, means, gains, strict=True)
        }
    return result


def lines_of(results: dict[str, Any]) -> list[str]:
    """Return results.json as text."""
    lines = [
        f"clean test Dice with 95 % patient-bootstrap intervals ({results['n_test_patients']} patients, "
        f"{results['n_test_cases']} cases; weights of epoch {results['best_epoch'] + 1}), and what the network gains:"
    ]
    for name, entry in results["dice"].items():
        text = f"  {name:14} {with_interval(entry['dice'], entry['low'], entry['high'])}"
        if entry["low"] is None:
            text += f" (no interval: {entry['reason']})"
        for baseline, of_class in results["baselines"].items():
            gain = of_class[name]["gain"]
            shown = with_interval(gain["difference"], gain["low"], gain["high"], signed=True)
            text += f"   over {baseline} ({of_class[name]['dice']:.3f}) {shown}"
        lines.append(text)
    lines.append("A class that is in neither labels nor prediction scores 1. Embedded cohort: simulation results.")
    return lines
