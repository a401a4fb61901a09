"""Patches of an epoch: images and masks of one place, turned together; a function of seed and epoch; whole volumes."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from diagnose.segmentation.dice import class_masks, soft_dice_loss
from diagnose.segmentation.epoch_patches import Patch, batch_of, draw_epoch
from diagnose.segmentation.patch_sampling import patch_sampler
from diagnose.segmentation.scaled_volumes import LabelledVolume, labelled_volumes
from diagnose.segmentation.testing import write_heads
from diagnose.segmentation.whole_volumes import Windows, dice_of, measure, predict_logits

SHAPE = (7, 6, 5)


def volume_of(number):
    """Channel k holds the index along axis k, the last one the volume's number; labels follow from the indices."""
    indices = np.indices(SHAPE).astype(np.float32)
    images = np.concatenate([indices, np.full((1, *SHAPE), number, np.float32)])
    x, y, z = np.indices(SHAPE)
    return LabelledVolume(f"case{number}", f"patient{number}", images, ((x + 2 * y + 3 * z) % 4).astype(np.uint8))


@pytest.mark.parametrize("mirrored", [False, True])
def test_images_and_masks_are_of_one_place_and_turn_together(mirrored):
    place = (slice(2, 6), slice(1, 4), slice(3, 5))
    patches = [Patch(1, place, mirrored), Patch(0, place, False)]
    images, masks = batch_of([volume_of(0), volume_of(1)], patches, 3)
    assert images.shape == (2, 4, 4, 3, 2) and masks.shape == (2, 3, 4, 3, 2)
    x, y, z, number = images[0].numpy()
    expected = np.arange(2, 6)[::-1] if mirrored else np.arange(2, 6)
    np.testing.assert_array_equal(x[:, 0, 0], expected)
    np.testing.assert_array_equal(y[0, :, 0], [1, 2, 3])  # turned along x alone
    assert (number == 1).all() and (images[1, 3] == 0).all()
    labels = (x + 2 * y + 3 * z) % 4
    np.testing.assert_array_equal(masks[0].numpy(), class_masks(labels, 3))


def samplers(n_volumes):
    return [patch_sampler(volume_of(n).labels, (4, 4, 2), 0, name=f"{n}") for n in range(n_volumes)]


def test_an_epoch_is_a_function_of_seed_and_epoch_and_every_volume_comes_equally_often():
    drawn = draw_epoch(samplers(5), 13, seed=3, epoch=2, mirror=True)
    assert drawn == draw_epoch(samplers(5), 13, seed=3, epoch=2, mirror=True)
    assert drawn != draw_epoch(samplers(5), 13, seed=3, epoch=1, mirror=True)
    assert drawn != draw_epoch(samplers(5), 13, seed=2, epoch=2, mirror=True)
    counts = np.bincount([patch.volume for patch in drawn], minlength=5)
    assert sorted(counts.tolist()) == [2, 2, 3, 3, 3]
    orders = [
        tuple(patch.volume for patch in draw_epoch(samplers(5), 5, seed=0, epoch=e, mirror=True)) for e in range(9)
    ]
    assert len(set(orders)) > 5 and all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)


def test_half_of_the_patches_are_turned_where_asked_and_the_places_do_not_depend_on_it():
    turned = draw_epoch(samplers(2), 2000, seed=0, epoch=0, mirror=True)
    plain = draw_epoch(samplers(2), 2000, seed=0, epoch=0, mirror=False)
    assert binomtest(sum(patch.mirrored for patch in turned), 2000).pvalue > 1e-3
    assert not any(patch.mirrored for patch in plain)
    assert [patch.place for patch in plain] == [patch.place for patch in turned]


class Thresholds(torch.nn.Module):
    """Logit of a class: its channel minus a half. It answers voxel by voxel, so windows do not matter."""

    def forward(self, volumes):
        assert not self.training and not torch.is_grad_enabled()
        return volumes[:, :3] - 0.5


def test_measured_are_dice_and_loss_of_whole_volumes():
    labels = volume_of(0).labels
    perfect = np.concatenate([class_masks(labels, 3), labels[None]]).astype(np.float32)
    shifted = perfect.copy()
    shifted[0] = 0  # the first class is never found
    volumes = [LabelledVolume("a", "a", perfect, labels), LabelledVolume("b", "b", shifted, labels)]
    network, windows = Thresholds().train(), Windows((4, 4, 4), 0.5)
    dice, loss = measure(network, volumes, windows)
    np.testing.assert_allclose(dice, [[1, 1, 1], [0, 1, 1]])
    logits = np.stack([perfect[:3], shifted[:3]]) - 0.5
    masks = np.stack([class_masks(labels, 3)] * 2)
    assert loss == pytest.approx(float(soft_dice_loss(torch.from_numpy(logits), torch.from_numpy(masks))), abs=1e-6)
    assert network.training  # left as it came
    np.testing.assert_allclose(predict_logits(network, shifted, windows), shifted[:3] - 0.5, atol=1e-6)
    np.testing.assert_allclose(dice_of(perfect[:3] - 0.5, labels), 1)


def test_scaled_volumes_are_kept_and_found_again(tmp_path, monkeypatch):
    from diagnose.segmentation import scaled_volumes
    from diagnose.segmentation.brats import find_cases, load_images, load_labels
    from diagnose.segmentation.volume_scaling import z_scored

    monkeypatch.setenv("MRISIM_CACHE", str(tmp_path / "cache"))
    cases = find_cases(write_heads(tmp_path / "heads", n_patients={"all": 2}, with_kspace=False))
    first = labelled_volumes(cases, "brain")
    np.testing.assert_allclose(first[1].images, z_scored(load_images(cases[1])), atol=1e-6)
    np.testing.assert_array_equal(first[1].labels, load_labels(cases[1]))
    monkeypatch.setattr(scaled_volumes, "load_images", lambda case: pytest.fail("a kept volume was read again"))
    told = []
    again = labelled_volumes(cases, "brain", progress=lambda *said: told.append(said))
    np.testing.assert_array_equal(again[0].images, first[0].images)
    assert told == [("cases", 1, 2), ("cases", 2, 2)]
    assert not again[0].images.flags.writeable
    monkeypatch.undo()
    monkeypatch.setenv("MRISIM_CACHE", str(tmp_path / "cache"))
    of_slices = labelled_volumes(cases, "slice")
    assert not np.array_equal(of_slices[0].images, first[0].images)
