"""Undersampling: folding in closed form, exact counts, nested masks, densities, and what a scanner cannot do."""

import numpy as np
import pytest
from scipy import stats

from mrisim.artifacts.undersampling import Undersampling, UndersamplingLatents
from mrisim.errors import ConfigError, DataError
from mrisim.scan import Acquisition, Scan
from mrisim.seeding import stream
from mrisim.testing import dft_matrix, relative_difference, tolerance

LEVELS = (2.0, 3.0, 4.0, 6.0, 8.0)


def scan_of(matrix=(5, 120), *, lines=None, n_coils=3, n_phase_encode_axes=1):
    rng = np.random.default_rng(0)
    shape = (1, n_coils, *matrix)
    sampled = np.zeros(matrix, bool)
    sampled[:, slice(None) if lines is None else lines] = True
    kspace = np.where(sampled, rng.normal(size=shape) + 1j * rng.normal(size=shape), 0)
    acquisition = Acquisition(fov_mm=(200.0, 200.0), n_phase_encode_axes=n_phase_encode_axes)
    return Scan(kspace.astype(np.complex64), acquisition, sampled=sampled)


def kept_lines(scan, seed=0, **parameters):
    spec = Undersampling(**parameters)
    kept = spec.sampled_after(scan, spec.draw(scan, rng=stream(seed)))
    assert (kept.any(axis=0) == kept.all(axis=0)).all()  # whole lines
    return np.flatnonzero(kept.any(axis=0))


@pytest.mark.parametrize(("n_lines", "step"), [(24, 4), (24, 3), (15, 5), (15, 3), (14, 2)])
@pytest.mark.parametrize("first", [0, 1])
def test_equispaced_lines_fold_the_object_onto_itself(n_lines, step, first):
    """R copies of 1/R at N/R pixels, with the phases that the first line gives them."""
    rng = np.random.default_rng(1)
    image = rng.normal(size=(2, 3, 7, n_lines)) + 1j * rng.normal(size=(2, 3, 7, n_lines))
    rows, columns = dft_matrix(7), dft_matrix(n_lines)
    scan = Scan(rows @ image @ columns.T, Acquisition(fov_mm=(200.0, 200.0)))
    spec = Undersampling(acceleration=step, pattern="equispaced", acs_fraction=0)
    latents = UndersamplingLatents(np.zeros(n_lines), (first + 0.5) / 840, 0)
    result = spec.apply(scan, latents)
    assert np.flatnonzero(result.sampled[0]).tolist() == list(range(first, n_lines, step))
    got = rows.conj().T @ result.kspace @ columns.conj()
    expected = sum(
        np.exp(2j * np.pi * copy * (n_lines // 2 - first) / step)
        * np.roll(image, -copy * n_lines // step, axis=-1)
        / step
        for copy in range(step)
    )
    assert relative_difference(got, expected) < tolerance(complex)
    assert spec.realised_acceleration(scan, latents) == step


@pytest.mark.parametrize("acquired_step", [2, 3, 4])
@pytest.mark.parametrize("more", [(), range(56, 65)])
@pytest.mark.parametrize("first_line", [0, 7])
def test_of_an_equispaced_scan_every_rth_acquired_line_is_kept(acquired_step, more, first_line):
    """Lines counted in the matrix would all be kept, or the calibration alone, where both R have a common factor."""
    grid = np.arange(first_line, 120, acquired_step)
    scan = scan_of(lines=np.union1d(grid, np.array(more, int)))
    for step in (2, 3, 4):
        offsets = set()
        for seed in range(12):
            kept = kept_lines(scan, seed, acceleration=step, pattern="equispaced", acs_fraction=0)
            assert set(np.diff(kept)) == {acquired_step * step} and set(kept) <= set(grid)
            assert abs(len(kept) - len(grid) / step) < 1
            offsets.add(int(kept[0]))
        assert offsets == set(grid[:step].tolist())


def test_a_scan_that_lacks_some_lines_is_thinned_as_a_whole_one():
    for gaps in ([49], [48], [49, 51, 80], [3, 4]):
        lines = np.setdiff1d(np.arange(120), gaps)
        kept = kept_lines(scan_of(lines=lines), acceleration=2, pattern="equispaced", acs_fraction=0)
        assert len(set(kept % 2)) == 1 and len(kept) >= 60 - len(gaps)


@pytest.mark.parametrize("pattern", ["random", "variable-density"])
@pytest.mark.parametrize("lines", [None, slice(7, 111), slice(0, 97)])
def test_random_lines_have_the_exact_count_and_are_nested(pattern, lines):
    scan = scan_of(lines=lines)
    acquired = scan.sampled_lines
    for seed in range(5):
        wider = set(acquired.tolist())
        for acceleration in LEVELS:
            kept = set(kept_lines(scan, seed, acceleration=acceleration, pattern=pattern).tolist())
            assert len(kept) == round(len(acquired) / acceleration)
            assert kept <= wider
            wider = kept
            # the calibration lines: 8 % of the acquired ones, the nearest to the centre of the matrix
            nearest = sorted(acquired.tolist(), key=lambda line: (abs(line - 60), line))
            assert set(nearest[: round(0.08 * len(acquired))]) <= kept


def test_realised_acceleration_counts_the_calibration_lines_and_not_the_padding():
    scan = scan_of(lines=slice(12, 108))  # 96 acquired
    for acceleration in LEVELS:
        spec = Undersampling(acceleration=acceleration)
        assert spec.realised_acceleration(scan, spec.draw(scan, rng=stream(0))) == acceleration


def test_other_lines_are_dropped_uniformly():
    scan, counts = scan_of((2, 40), n_coils=1), np.zeros(40)
    for seed in range(3000):
        counts[kept_lines(scan, seed, acceleration=4)] += 1
    centre = np.array([19, 20, 21])  # round(0.08 * 40) lines
    assert (counts[centre] == 3000).all()
    outer = np.delete(counts, centre)
    assert outer.sum() == 3000 * 7
    # drawing without replacement makes the counts vary less than Poisson
    chi2 = np.sum((outer - outer.mean()) ** 2 / (outer.mean() * (1 - 7 / 37))) * 36 / 37
    assert stats.chi2.sf(chi2, 36) > 1e-3 and stats.chi2.cdf(chi2, 36) > 1e-3


def test_variable_density_draws_lines_in_proportion_to_their_weight():
    """The first line drawn besides the ACS has exactly the probability (1 - |k| / k_max)^power."""
    n_lines, n_seeds = 20, 4000
    scan, counts = scan_of((2, n_lines), n_coils=1), np.zeros(n_lines)
    for seed in range(n_seeds):
        counts[
            kept_lines(scan, seed, acceleration=20, pattern="variable-density", acs_fraction=0, density_power=1.5)
        ] += 1
    distance = np.abs(np.arange(n_lines) - 10)
    weight = (1 - distance / 11) ** 1.5
    assert counts.sum() == n_seeds
    assert stats.chisquare(counts, n_seeds * weight / weight.sum()).pvalue > 1e-3


def test_the_calibration_block_of_the_equispaced_pattern_shrinks_as_the_field_does_it():
    scan = scan_of((3, 400), n_coils=1)
    for acceleration, n_acs in ((2, 64), (4, 32), (8, 16)):
        kept = kept_lines(scan, acceleration=acceleration, pattern="equispaced")
        block = set(range(200 - n_acs // 2, 200 + n_acs // 2 - 1))
        assert block <= set(kept.tolist())
        outside = np.array([line for line in kept if abs(line - 200) > n_acs // 2 + acceleration])
        assert len(set((outside % acceleration).tolist())) == 1
        assert len(kept) == pytest.approx(400 / acceleration + n_acs * (1 - 1 / acceleration), abs=2)


def test_equispaced_masks_of_2_4_8_are_nested():
    scan = scan_of((3, 400), n_coils=1)
    for seed in range(10):
        masks = [set(kept_lines(scan, seed, acceleration=r, pattern="equispaced").tolist()) for r in (2, 4, 8)]
        assert masks[2] < masks[1] < masks[0]


def test_every_equispaced_offset_comes_up():
    scan = scan_of((2, 12), n_coils=1)
    firsts = [kept_lines(scan, s, acceleration=3, pattern="equispaced", acs_fraction=0)[0] for s in range(600)]
    assert stats.chisquare(np.bincount(firsts)).pvalue > 1e-3


def test_kept_samples_keep_every_bit_and_the_others_are_plus_zero():
    scan = scan_of(lines=slice(7, 111))
    scan.kspace[0, 0, 1, 60:64] = complex(-0.0, 1.0)
    scan.kspace[0, 0, 2] *= -1
    spec = Undersampling(acceleration=4)
    result = spec.apply(scan, spec.draw(scan, rng=stream(0)))
    kept = result.sampled
    assert result.kspace[..., kept].tobytes() == scan.kspace[..., kept].tobytes()
    dropped = result.kspace[..., ~kept]
    assert dropped.tobytes() == np.zeros_like(dropped).tobytes()  # a product would leave minus zeros
    assert not (kept & ~scan.sampled).any()


def test_a_poisson_disc_is_refused_where_one_axis_is_the_readout():
    spec = Undersampling(acceleration=3, pattern="poisson")
    scan = scan_of((30, 40))
    with pytest.raises(DataError, match="one phase-encode axis; expected two"):
        spec.apply(scan, spec.draw(scan, rng=stream(0)))


def test_a_poisson_disc_keeps_its_distance_on_two_phase_encode_axes():
    spec = Undersampling(acceleration=4, pattern="poisson", acs_fraction=0.1)
    scan = scan_of((60, 73), n_phase_encode_axes=2)
    latents = spec.draw(scan, rng=stream(0))
    kept = spec.sampled_after(scan, latents)
    assert spec.realised_acceleration(scan, latents) == pytest.approx(4, rel=0.1)
    np.testing.assert_array_equal(kept, spec.sampled_after(scan, latents))
    assert kept[28:33, 34:40].all()  # calibration block
    # neighbours are rarer than in a random mask of the same density
    corner = kept[:15, :18]
    rate = corner.mean()
    assert (corner[1:] & corner[:-1]).mean() < 0.5 * rate**2


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"acceleration": 2.5, "pattern": "equispaced"}, "acceleration is 2.5; expected a whole number"),
        ({"acceleration": 16}, r"acs_fraction keeps 10 lines; expected at most 8 for acceleration 16"),
        ({"acceleration": 4, "acs_fraction": 0.5}, r"acs_fraction keeps 60 lines; expected at most 30"),
    ],
)
def test_patterns_that_cannot_be_are_refused(parameters, message):
    with pytest.raises(ConfigError, match=message):
        kept_lines(scan_of(), **parameters)


@pytest.mark.parametrize("parameters", [{"acceleration": 0.5}, {"acs_fraction": 1.5}, {"pattern": "spiral"}])
def test_impossible_parameters_are_refused(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        Undersampling(**parameters)
