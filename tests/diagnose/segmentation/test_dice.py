"""Dice in closed form: a known overlap, the empty class, and the loss's value and gradient."""

import numpy as np
import pytest
import torch

from diagnose.segmentation.dice import EPSILON, class_masks, dice_by_class, predicted_masks, soft_dice_loss


def boxes(*slices):
    masks = np.zeros((len(slices), 6, 5, 4), bool)
    for mask, box in zip(masks, slices, strict=True):
        if box is not None:
            mask[box] = True
    return masks


def test_score_of_each_class_is_twice_the_overlap_over_both_sizes():
    predicted = boxes(np.s_[:3], np.s_[:, :2], None, np.s_[0, 0, 0], None)
    reference = boxes(np.s_[1:5], np.s_[:, :2], np.s_[0], None, None)
    found = dice_by_class(predicted, reference)
    np.testing.assert_allclose(found, [2 * 2 / (3 + 4), 1, 0, 0, 1])  # last: empty in both


def test_masks_of_labels_leave_the_background_out():
    labels = np.zeros((2, 6, 5, 4), np.uint8)
    labels[1, 2:4] = 2
    labels[0, 5] = 3
    masks = class_masks(labels, 3)
    assert masks.shape == (2, 3, 6, 5, 4)
    assert masks.sum((2, 3, 4)).tolist() == [[0, 0, 20], [0, 40, 0]]
    assert masks[1, 1, 2:4].all()
    np.testing.assert_array_equal(class_masks(labels[1], 3), masks[1])


def test_half_a_probability_is_the_threshold():
    assert predicted_masks(np.array([-0.1, 0.0, 0.1])).tolist() == [False, False, True]


def test_loss_of_constant_probabilities_has_a_closed_form():
    probability = torch.tensor([0.8, 0.3])
    logits = torch.logit(probability)[None, :, None, None, None].expand(1, 2, 6, 5, 4)
    targets = torch.from_numpy(boxes(np.s_[:3], np.s_[:1])[None])
    n, sizes = 120, (60, 20)
    expected = [1 - 2 * p * t / (n * p**2 + t) for p, t in zip((0.8, 0.3), sizes, strict=True)]
    assert soft_dice_loss(logits, targets).item() == pytest.approx(np.mean(expected), abs=1e-5)


def test_loss_is_one_minus_the_score_for_certain_predictions():
    predicted, reference = boxes(np.s_[:3], np.s_[0], None), boxes(np.s_[1:5], np.s_[3], None)
    logits = torch.from_numpy(np.where(predicted, 40.0, -40.0))[None]
    loss = soft_dice_loss(logits, torch.from_numpy(reference)[None])
    assert loss.item() == pytest.approx(1 - dice_by_class(predicted, reference).mean(), abs=1e-5)


def test_volumes_are_averaged_and_not_pooled():
    small, large = boxes(np.s_[0, 0, 0]), boxes(np.s_[:])
    targets = torch.from_numpy(np.stack([small, large]))
    logits = torch.full((2, 1, 6, 5, 4), 40.0)  # everything predicted
    expected = 1 - (2 / 121 + 1) / 2
    assert soft_dice_loss(logits, targets).item() == pytest.approx(expected, abs=1e-5)


def test_an_empty_class_pulls_its_probability_down():
    logits = torch.zeros(1, 1, 2, 2, 2, requires_grad=True)
    soft_dice_loss(logits, torch.zeros(1, 1, 2, 2, 2)).backward()
    assert (logits.grad > 0).all()
    certain = torch.full((1, 1, 2, 2, 2), -40.0)
    assert soft_dice_loss(certain, torch.zeros(1, 1, 2, 2, 2)).item() < EPSILON


def test_shapes_and_types_are_checked():
    masks = boxes(np.s_[0], np.s_[1])
    with pytest.raises(ValueError, match=r"predicted is \(1, 6, 5, 4\), reference \(2, 6, 5, 4\)"):
        dice_by_class(masks[:1], masks)
    with pytest.raises(ValueError, match="predicted is float64 and reference bool"):
        dice_by_class(masks * 1.0, masks)
    with pytest.raises(ValueError, match=r"logits are \(2, 6, 5, 4\)"):
        soft_dice_loss(torch.zeros(2, 6, 5, 4), torch.zeros(2, 6, 5, 4))
