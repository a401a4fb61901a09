"""The trivial segmentations that a network must beat: nothing anywhere, and one threshold of one contrast a class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mrisim.errors import DataError

EDGES = np.linspace(-5.0, 10.0, 301)
"""Thresholds that are tried, in standard deviations of the brain."""


@dataclass(frozen=True)
class ThresholdRule:
    """A class is where one contrast is above, or below, a threshold."""

    channel: int
    above: bool
    threshold: float
    training_dice: float
    """Over all voxels of the training cases together."""


def all_background(shape: tuple[int, int, int], n_classes: int) -> np.ndarray:
    """Return empty masks (class, x, y, z): Dice 0 for every class that is there."""
    return np.zeros((n_classes, *shape), bool)


def fit_thresholds(cases: Iterable[tuple[np.ndarray, np.ndarray]], n_classes: int) -> tuple[ThresholdRule, ...]:
    """Return, for each class, the contrast, side and threshold with the largest Dice over all training voxels.

    Parameters
    ----------
    cases : iterable of (images, labels)
        Images (channel, x, y, z), z-scored, zero outside the brain; labels (x, y, z) of 0 ... n_classes.
    n_classes : int

    Returns
    -------
    tuple of ThresholdRule, one a class

    Raises
    ------
    DataError
        If there is no case, or a class is in none of them.
    """
    everything, of_class = None, None
    for images, labels in cases:
        brain = images.any(axis=0)
        bins = np.digitize(images[:, brain], EDGES)
        inside = labels[brain]
        if everything is None or of_class is None:
            everything = np.zeros((len(images), len(EDGES) + 1), np.int64)
            of_class = np.zeros((n_classes, *everything.shape), np.int64)
        for channel, numbers in enumerate(bins):
            everything[channel] += np.bincount(numbers, minlength=len(EDGES) + 1)
            for index in range(n_classes):
                chosen = numbers[inside == index + 1]
                of_class[index, channel] += np.bincount(chosen, minlength=len(EDGES) + 1)
    if everything is None or of_class is None:
        raise DataError("there is no training case; expected at least one to fit thresholds on")
    return tuple(_best_rule(index, counts, everything) for index, counts in enumerate(of_class))


def _best_rule(index: int, counts: np.ndarray, everything: np.ndarray) -> ThresholdRule:
    """Compare all channels, both sides and all edges; counts (channel, bin) of the class and of all voxels."""
    total = int(counts[0].sum())
    if total == 0:
        raise DataError(f"class {index + 1} is in no training case; expected every class at least once")
    best: ThresholdRule | None = None
    for above in (True, False):
        # bin b holds EDGES[b - 1] <= value < EDGES[b]: what lies at or above edge e are the bins e + 1 and higher
        hits, chosen = (_beyond(part, above) for part in (counts, everything))
        dice = 2 * hits / (chosen + total)
        channel, edge = np.unravel_index(int(np.argmax(dice)), dice.shape)
        rule = ThresholdRule(int(channel), above, float(EDGES[edge]), float(dice[channel, edge]))
        if best is None or rule.training_dice > best.training_dice:
            best = rule
    assert best is not None
    return best


def _beyond(counts: np.ndarray, above: bool) -> np.ndarray:
    """Return (channel, edge): how many values lie at or above each edge, or below it."""
    below = counts.cumsum(axis=1)[:, :-1]
    return counts.sum(axis=1, keepdims=True) - below if above else below


def segment_by_thresholds(images: np.ndarray, rules: Iterable[ThresholdRule]) -> np.ndarray:
    """Return the masks (class, x, y, z) of images (channel, x, y, z); nothing is predicted outside the brain."""
    brain = images.any(axis=0)
    masks = []
    for rule in rules:
        values = images[rule.channel].astype(np.float64)  # as the edges, so that fit and use agree to the voxel
        masks.append(brain & (values >= rule.threshold if rule.above else values < rule.threshold))
    return np.stack(masks)
