"""Patches: the share of tumour is counted right, every allowed place comes equally often, and no other."""

import numpy as np
import pytest
from scipy import stats

from diagnose.segmentation.patch_sampling import patch_sampler, tumour_fractions
from mrisim.errors import ConfigError, DataError

PATCH = (4, 3, 2)


def labels(seed=0, shape=(9, 7, 5)):
    return (np.random.default_rng(seed).random(shape) < 0.3) * np.random.default_rng(1).integers(1, 4, shape)


def test_fractions_are_those_of_each_patch():
    volume = labels()
    found = tumour_fractions(volume, PATCH)
    windows = np.lib.stride_tricks.sliding_window_view(volume > 0, PATCH)
    np.testing.assert_allclose(found, windows.mean((3, 4, 5)), atol=1e-12)
    assert tumour_fractions(volume, volume.shape).shape == (1, 1, 1)


@pytest.mark.parametrize("least", [0.0, 0.25, 1 / 3, 0.45])
def test_every_patch_has_its_share_and_all_such_places_are_equally_likely(least):
    volume = labels()
    sampler = patch_sampler(volume, PATCH, least, name="case")
    windows = np.lib.stride_tricks.sliding_window_view(volume > 0, PATCH).mean((3, 4, 5))
    allowed = windows >= least - 1e-9
    counts = np.zeros(windows.shape, int)
    rng = np.random.default_rng(2)
    for _ in range(30 * allowed.sum()):
        place = sampler.draw(rng=rng)
        assert tuple(part.stop - part.start for part in place) == PATCH
        counts[tuple(part.start for part in place)] += 1
    assert not counts[~allowed].any()
    assert stats.chisquare(counts[allowed]).pvalue > 1e-3


def test_the_same_stream_gives_the_same_places():
    sampler = patch_sampler(labels(), PATCH, 0.2, name="case")
    first, again, other = (np.random.default_rng(seed) for seed in (3, 3, 4))
    places = [[sampler.draw(rng=rng) for _ in range(20)] for rng in (first, again, other)]
    assert places[0] == places[1] != places[2]


def test_a_share_that_no_patch_has_is_refused_with_the_best_there_is():
    volume = np.zeros((9, 7, 5), int)
    volume[4, 3, 2] = 1
    with pytest.raises(DataError, match=r"case-7: no patch of \(4, 3, 2\) has more than 4.17% tumour; expected 5.00%"):
        patch_sampler(volume, PATCH, 0.05, name="case-7")
    assert len(patch_sampler(volume, PATCH, 1 / 24, name="case-7").starts) == 4 * 3 * 2


def test_shapes_and_shares_are_checked():
    with pytest.raises(DataError, match=r"the volume is \(9, 7, 5\); expected at least the patch, \(4, 8, 2\)"):
        patch_sampler(labels(), (4, 8, 2), 0.1, name="case")
    with pytest.raises(ConfigError, match=r"min_tumour_fraction is 5; expected 0 to 1"):
        patch_sampler(labels(), PATCH, 5, name="case")
