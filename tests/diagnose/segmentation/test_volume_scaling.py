"""Z-scores of volumes: over which voxels, and what happens to the others."""

import numpy as np
import pytest

from diagnose.segmentation.volume_scaling import brain_mask, z_scored
from mrisim.errors import ConfigError, DataError


def images(seed=0):
    volume = np.random.default_rng(seed).random((2, 6, 5, 4)).astype(np.float32) * 300 + 50
    volume[1] *= 1e-4
    volume[:, 0], volume[:, :, -1] = 0, 0
    volume[0, 3, 2, 1] = 0  # a hole of one contrast
    return volume


def test_each_contrast_is_scored_over_its_own_voxels_that_are_not_zero():
    x = images()
    scaled = z_scored(x)
    assert scaled.dtype == np.float32
    for before, after in zip(x, scaled, strict=True):
        inside = before != 0
        assert not after[~inside].any()
        expected = (before[inside] - before[inside].mean()) / before[inside].std()
        np.testing.assert_allclose(after[inside], expected, atol=1e-4)
    assert brain_mask(x).sum() == 5 * 4 * 4


def test_a_gain_is_undone_and_the_input_stays():
    x = images()
    kept = x.copy()
    np.testing.assert_allclose(z_scored(x * np.float32(7)), z_scored(x), atol=1e-4)
    np.testing.assert_array_equal(x, kept)


def test_a_given_brain_keeps_noise_in_the_air_out_of_the_statistics():
    clean = images()
    brain = brain_mask(clean)
    noisy = clean + 20 * (clean == 0)
    inside = noisy[0, brain]
    scaled = z_scored(noisy, brain=brain)
    np.testing.assert_allclose(scaled[0, brain], (inside - inside.mean()) / inside.std(), atol=1e-4)
    assert not scaled[:, ~brain].any()
    assert np.abs(z_scored(noisy)[0, brain] - scaled[0, brain]).max() > 0.3


def test_slices_are_scored_with_their_zeros_one_by_one():
    x = images()
    x[0, :, :, 3] = 0
    scaled = z_scored(x, "slice")
    for z in range(3):
        plane = x[0, :, :, z]
        np.testing.assert_allclose(scaled[0, :, :, z], (plane - plane.mean()) / plane.std(), atol=1e-4)
    assert not scaled[0, :, :, 3].any()
    np.testing.assert_allclose(scaled[1].std((0, 1)), 1, rtol=1e-4)


def test_what_has_no_spread_or_name_is_refused():
    x = images()
    x[1] = 5.0
    with pytest.raises(DataError, match="contrast 1 has no spread within the brain"):
        z_scored(x)
    with pytest.raises(DataError, match="contrast 0 has no spread"):
        z_scored(images(), brain=np.zeros((6, 5, 4), bool))
    with pytest.raises(ConfigError, match="scaling is 'volume'; expected one of brain, slice"):
        z_scored(x, "volume")
