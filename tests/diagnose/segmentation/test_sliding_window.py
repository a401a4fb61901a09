"""Sliding windows: a partition of unity that covers every voxel."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diagnose.segmentation.sliding_window import predict_volume, window_starts, window_weights
from mrisim.errors import ConfigError, DataError

WEIGHTINGS = ("gaussian", "uniform")


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 60), st.floats(0, 0.95))
def test_windows_cover_an_axis_overlap_as_asked_and_end_flush(patch, extra, overlap):
    n = patch + extra
    starts = window_starts(n, patch, overlap)
    assert starts[0] == 0
    assert starts[-1] == n - patch
    assert all(0 < b - a <= max(1, patch * (1 - overlap)) for a, b in pairwise(starts))


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
def test_a_pointwise_network_gives_the_same_through_any_windows(weighting, overlap):
    volume = np.random.default_rng(0).normal(size=(2, 13, 9, 7)).astype(np.float32)

    def pointwise(windows):
        return np.stack([windows[:, 0] * 2 + 1, windows[:, 1] ** 2, windows.sum(1)], axis=1)

    expected = pointwise(volume[None])[0]
    for batch_size in (1, 5):
        found = predict_volume(
            pointwise, volume, (6, 4, 5), overlap=overlap, weighting=weighting, batch_size=batch_size
        )
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_weights_of_a_voxel_add_up_to_one(weighting):
    shape, patch = (13, 9, 7), (6, 4, 5)
    n_windows = len(window_starts(13, 6, 0.5)) * len(window_starts(9, 4, 0.5)) * len(window_starts(7, 5, 0.5))
    total = np.zeros(shape)
    for chosen in range(n_windows):
        seen = iter(range(n_windows))

        def one_window(windows, seen=seen, chosen=chosen):
            return np.full((1, 1, *patch), float(next(seen) == chosen))

        share = predict_volume(one_window, np.zeros((1, *shape)), patch, weighting=weighting)
        assert share.min() >= 0
        total += share[0]
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_two_windows_are_averaged_by_their_weights():
    calls = iter((1.0, 3.0))
    found = predict_volume(
        lambda windows: np.full((1, 1, *windows.shape[2:]), next(calls)),
        np.zeros((1, 6, 2, 2)), (4, 2, 2), overlap=0.5, weighting="uniform",
    )  # fmt: skip
    assert found[0, :, 0, 0].tolist() == [1, 1, 2, 2, 3, 3]
    weights = window_weights((4, 2, 2), "gaussian")[:, 0, 0]
    calls = iter((1.0, 3.0))
    found = predict_volume(
        lambda windows: np.full((1, 1, *windows.shape[2:]), next(calls)), np.zeros((1, 6, 2, 2)), (4, 2, 2)
    )
    # voxel 2 is third of the first window and first of the second
    assert found[0, 2, 0, 0] == pytest.approx((weights[2] + 3 * weights[0]) / (weights[2] + weights[0]), rel=1e-5)


def test_gaussian_has_the_stated_width():
    weights = window_weights((33, 1, 1), "gaussian")[:, 0, 0]
    assert weights[16] == 1
    np.testing.assert_array_equal(weights, weights[::-1])
    assert weights[20] == pytest.approx(np.exp(-0.5 * (4 / (33 / 8)) ** 2), rel=1e-5)
    assert (window_weights((64, 64, 64), "gaussian") > 0).all()
    assert (window_weights((3, 4, 5), "uniform") == 1).all()


def test_what_cannot_be_meant_is_refused():
    volume = np.zeros((1, 6, 6, 6))
    with pytest.raises(DataError, match=r"the volume is \(6, 6, 6\); expected at least the patch, \(4, 8, 4\)"):
        predict_volume(lambda x: x, volume, (4, 8, 4))
    with pytest.raises(ConfigError, match=r"overlap is 1.0; expected 0 or more and less than 1"):
        predict_volume(lambda x: x, volume, (4, 4, 4), overlap=1.0)
    with pytest.raises(ConfigError, match="weighting is 'hann'"):
        predict_volume(lambda x: x, volume, (4, 4, 4), weighting="hann")
