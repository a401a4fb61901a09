"""The third paper's masks: calibration table, truly equispaced lines, one mask a test volume."""

import numpy as np
import pytest
from scipy import stats

from diagnose.reconstruction.masks import draw_mask, training_mask_stream, volume_mask_stream
from mrisim.errors import ConfigError, DataError

TABLE = {2: 0.16, 3: 0.12, 4: 0.08, 8: 0.04, 16: 0.02}


def full(n):
    return np.ones(n, bool)


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("n", [96, 320, 368, 373])
@pytest.mark.parametrize(("acceleration", "fraction"), TABLE.items())
def test_equispaced_is_a_grid_and_the_table_s_calibration_lines(n, acceleration, fraction):
    n_acs = round(fraction * n)
    first = n // 2 - n_acs // 2
    block = np.zeros(n, bool)
    block[first : first + n_acs] = True
    for seed in range(8):
        mask = draw_mask(full(n), acceleration, rng=generator(seed))
        assert mask[block].all()
        outside = np.flatnonzero(mask & ~block)
        offsets = set((outside % acceleration).tolist())
        assert len(offsets) == 1
        # every line of that grid, not some of them
        grid = np.arange(n) % acceleration == offsets.pop()
        np.testing.assert_array_equal(mask, grid | block)


def test_offsets_are_uniform():
    offsets = [np.flatnonzero(draw_mask(full(96), 8, rng=generator(seed)))[0] for seed in range(800)]
    assert stats.chisquare(np.bincount(offsets, minlength=8)).pvalue > 1e-3


def test_kept_share_at_four_is_the_paper_s():
    shares = [draw_mask(full(400), 4, rng=generator(seed)).mean() for seed in range(20)]
    assert np.mean(shares) == pytest.approx(0.25 + 0.75 * 0.08, abs=0.003)


@pytest.mark.parametrize("acceleration", TABLE)
def test_random_keeps_one_in_r_with_calibration_lines_among_them(acceleration):
    n = 320
    mask = draw_mask(full(n), acceleration, "random", rng=generator(3))
    assert mask.sum() == round(n / acceleration)
    n_acs = round(TABLE[acceleration] * n)
    first = n // 2 - n_acs // 2
    assert mask[first : first + n_acs].all()
    gaps = np.diff(np.flatnonzero(np.delete(mask, slice(first, first + n_acs))))
    assert len(set(gaps.tolist())) > 1


def test_padding_is_neither_kept_nor_counted():
    sampled = np.zeros(120, bool)
    sampled[10:110] = True
    for pattern in ("equispaced", "random"):
        mask = draw_mask(sampled, 4, pattern, rng=generator(1))
        assert not (mask & ~sampled).any()
        assert mask[56:64].all()
        assert not mask[52:56].all()
    assert draw_mask(sampled, 4, "random", rng=generator(1)).sum() == 25


def test_a_test_volume_has_one_mask_by_its_name():
    masks = {
        name: draw_mask(full(320), 4, "random", rng=volume_mask_stream(name)).tobytes()
        for name in ("multicoil_val/file1.h5", "elsewhere/file1.h5", "file1", "file2")
    }
    assert masks["multicoil_val/file1.h5"] == masks["elsewhere/file1.h5"] == masks["file1"] != masks["file2"]
    assert masks["file1"] != draw_mask(full(320), 4, "random", rng=volume_mask_stream("file1", seed=1)).tobytes()


def test_a_training_slice_has_a_new_mask_each_epoch_and_again_the_same_one():
    def mask(file="a.h5", index=0, epoch=0):
        return draw_mask(full(320), 4, "random", rng=training_mask_stream(file, index, epoch)).tobytes()

    assert mask() == mask()
    assert len({mask(), mask(index=1), mask(epoch=1), mask(file="b.h5")}) == 4


@pytest.mark.parametrize(
    ("lines", "acceleration", "pattern", "error", "message"),
    [
        (full(64), 5, "equispaced", ConfigError, "acceleration is 5; expected one of 2, 3, 4, 8, 16"),
        (full(64), 4, "poisson", ConfigError, "pattern is 'poisson'; expected equispaced or random"),
        (np.ones((4, 64), bool), 4, "random", DataError, r"shape \(4, 64\); expected bool \(phase_encode,\)"),
        (np.ones(64), 4, "random", DataError, "sampled_lines is float64"),
        (np.arange(64) < 20, 4, "random", DataError, "line 32 of 64 was not acquired"),
    ],
)
def test_what_makes_no_mask_is_refused(lines, acceleration, pattern, error, message):
    with pytest.raises(error, match=message):
        draw_mask(lines, acceleration, pattern, rng=generator())
