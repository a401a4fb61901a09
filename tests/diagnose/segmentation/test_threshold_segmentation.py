"""The trivial segmentations: what they find where a threshold is all it takes, and that the best one is found."""

import numpy as np
import pytest

from diagnose.segmentation.dice import class_masks, dice_by_class
from diagnose.segmentation.threshold import (
    EDGES,
    ThresholdRule,
    all_background,
    fit_thresholds,
    segment_by_thresholds,
)
from mrisim.errors import DataError

SHAPE = (10, 9, 8)


def case(seed=0):
    """Class 1 is bright in channel 1, class 2 dark in channel 0, class 3 is nowhere to be seen."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:5, 2:6, 2:6], labels[6:8, 3:6, 2:6], labels[8, 2:4, 2:6] = 1, 2, 3
    images = rng.normal(scale=0.3, size=(2, *SHAPE)).astype(np.float32)
    images[1, labels == 1] += 3
    images[0, labels == 2] -= 3
    outside = np.zeros(SHAPE, bool)
    outside[0], outside[-1] = True, True
    images[:, outside] = 0
    return images, labels


def test_the_right_contrast_and_side_are_found():
    rules = fit_thresholds([case(0), case(1)], 3)
    assert [(rule.channel, rule.above) for rule in rules[:2]] == [(1, True), (0, False)]
    images, labels = case(2)
    found = dice_by_class(segment_by_thresholds(images, rules), class_masks(labels, 3))
    assert found[0] > 0.95
    assert found[1] > 0.95
    assert found[2] < 0.3


def test_training_dice_is_that_of_the_segmentation_and_no_other_rule_is_better():
    images, labels = case(3)
    masks = class_masks(labels, 3)
    rules = fit_thresholds([(images, labels)], 3)
    found = dice_by_class(segment_by_thresholds(images, rules), masks)
    np.testing.assert_allclose(found, [rule.training_dice for rule in rules])
    brain = images.any(0)
    for index in range(3):
        best = max(
            dice_by_class((brain & side)[None], masks[index : index + 1])[0]
            for channel in images
            for edge in EDGES
            for side in (channel >= edge, channel < edge)
        )
        assert rules[index].training_dice == pytest.approx(best)


def test_nothing_is_predicted_outside_the_brain():
    images, _ = case(4)
    masks = segment_by_thresholds(images, [ThresholdRule(0, True, -9.0, 0.0), ThresholdRule(1, False, 9.0, 0.0)])
    assert not masks[:, [0, -1]].any()
    assert masks[:, 1:-1].all()


def test_all_background_scores_zero_where_something_is():
    _, labels = case()
    assert dice_by_class(all_background(SHAPE, 3), class_masks(labels, 3)).tolist() == [0, 0, 0]


def test_without_cases_or_without_a_class_there_is_nothing_to_fit():
    with pytest.raises(DataError, match="no training case"):
        fit_thresholds([], 3)
    images, labels = case()
    labels[labels == 2] = 0
    with pytest.raises(DataError, match="class 2 is in no training case"):
        fit_thresholds([(images, labels)], 3)
