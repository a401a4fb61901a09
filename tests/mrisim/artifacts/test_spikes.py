"""Spikes: exact plane waves of a stated modulus, uniform over the acquired samples off the centre."""

import numpy as np
import pytest
from scipy import stats

from mrisim.artifacts.spikes import Spikes, SpikesLatents
from mrisim.errors import DataError
from mrisim.scan import Acquisition, Scan
from mrisim.seeding import stream
from mrisim.testing import COMPLEX_TYPES, dft_matrix, relative_difference, tolerance


def rectangle_scan(n_coils=3, matrix=(20, 27), value=5.0, dtype=np.complex128, sampled=None):
    """A rectangle of RSS magnitude `value`: A_rms is known without measuring it."""
    image = np.zeros(matrix)
    image[4:16, 6:20] = value
    maps = np.exp(1j * np.arange(n_coils)) / np.sqrt(n_coils)
    kspace = maps[:, None, None] * (dft_matrix(matrix[0]) @ image @ dft_matrix(matrix[1]).T)
    return Scan(
        kspace[None].astype(dtype),
        Acquisition(fov_mm=(200.0, 200.0)),
        **({} if sampled is None else {"sampled": sampled}),
    )


def images_of(kspace):
    return dft_matrix(kspace.shape[-2]).conj().T @ kspace @ dft_matrix(kspace.shape[-1]).conj()


@pytest.mark.parametrize("dtype", COMPLEX_TYPES)
@pytest.mark.parametrize("shape", [(2, 3, 10, 15), (1, 2, 13, 8)])
def test_a_spike_is_a_plane_wave_over_object_and_air_alike(shape, dtype):
    rng = np.random.default_rng(0)
    kspace = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)
    scan = Scan(kspace, Acquisition(fov_mm=(200.0, 200.0)))
    amplitude = rng.normal(size=(2, shape[1])) + 1j * rng.normal(size=(2, shape[1]))
    position = np.array([[shape[2] - 2, 1], [0, shape[3] - 1]])
    got = images_of(Spikes(amplitude_ratio=3.0).apply(scan, SpikesLatents(position, amplitude)).kspace)
    expected = images_of(kspace.astype(complex))
    rows, columns = np.arange(shape[2]) - shape[2] // 2, np.arange(shape[3]) - shape[3] // 2
    for (row, line), values in zip(position, amplitude, strict=True):
        turns = np.add.outer((row - shape[2] // 2) * rows / shape[2], (line - shape[3] // 2) * columns / shape[3])
        wave = 3.0 * values[:, None, None] * np.exp(2j * np.pi * turns) / np.sqrt(shape[2] * shape[3])
        expected = expected + wave
    assert relative_difference(got, expected) < tolerance(dtype)


@pytest.mark.parametrize("dtype", COMPLEX_TYPES)
@pytest.mark.parametrize("matrix", [(20, 27), (11, 14)])
def test_images_get_the_plane_waves_of_the_spikes_in_their_kspace(matrix, dtype):
    scan = rectangle_scan(n_coils=4, matrix=matrix, dtype=dtype)
    spec = Spikes(amplitude_ratio=0.7, n_spikes=5)
    latents = spec.draw(scan, rng=stream(2))
    got = spec.add_to_images(images_of(scan.kspace).astype(dtype), latents)
    assert got.dtype == dtype
    assert relative_difference(got, images_of(spec.apply(scan, latents).kspace)) < tolerance(dtype)


@pytest.mark.parametrize("n_coils", [1, 3, 8])
def test_the_stripe_of_one_spike_has_p_times_the_signal_in_the_rss_image(n_coils):
    scan = rectangle_scan(n_coils)
    spec = Spikes(amplitude_ratio=0.3, n_spikes=1)
    added = spec.apply(scan, spec.draw(scan, rng=stream(0))).kspace - scan.kspace
    stripe = np.sqrt((np.abs(images_of(added)) ** 2).sum(axis=1))
    np.testing.assert_allclose(stripe, 0.3 * 5.0, rtol=1e-6)  # p A, at every pixel
    modulus = np.abs(added[added != 0])
    np.testing.assert_allclose(modulus, 0.3 * 5.0 * np.sqrt(20 * 27 / n_coils), rtol=1e-6)


def test_a_dead_coil_gets_no_spike_and_the_stripe_is_that_of_the_others():
    scan, alive = rectangle_scan(n_coils=4), [0, 2, 3]
    scan.kspace[:, 1] = 0
    spec = Spikes(amplitude_ratio=0.3, n_spikes=1)
    added = spec.apply(scan, spec.draw(scan, rng=stream(0))).kspace - scan.kspace
    stripe = np.sqrt((np.abs(images_of(added)) ** 2).sum(axis=1))
    signal = 5.0 * np.sqrt(3 / 4)  # what is left of the RSS image
    assert not added[:, 1].any()
    np.testing.assert_allclose(stripe, 0.3 * signal, rtol=1e-6)
    np.testing.assert_allclose(np.abs(added[:, alive][added[:, alive] != 0]), 0.3 * signal * np.sqrt(20 * 27 / 3))


def test_four_samples_are_hit_at_every_level():
    scan = rectangle_scan()
    positions = []
    for level in range(1, 6):
        spec = Spikes.at_level(level)
        latents = spec.draw(scan, rng=stream(1, "spikes"))
        changed = np.argwhere((spec.apply(scan, latents).kspace != scan.kspace).any(axis=(0, 1)))
        positions.append(changed.tolist())
        assert len(changed) == 4
    assert all(each == positions[0] for each in positions)


def test_spikes_never_share_a_sample():
    """Two on one sample would be three stripes, one of another height."""
    sampled = np.zeros((20, 27), bool)
    sampled[3:6, 2:4] = True
    scan = rectangle_scan(sampled=sampled)
    for seed in range(30):
        position = Spikes().draw(scan, rng=stream(seed)).position
        assert len(np.unique(position, axis=0)) == 4


def test_a_level_scales_one_and_the_same_spikes():
    scan = rectangle_scan()
    latents = Spikes().draw(scan, rng=stream(2))
    unit = Spikes(amplitude_ratio=1.0).apply(scan, latents).kspace - scan.kspace
    for p in (0.076, 0.33):
        added = Spikes(amplitude_ratio=p).apply(scan, latents).kspace - scan.kspace
        np.testing.assert_allclose(added, p * unit, atol=1e-12 * np.abs(unit).max())


def test_positions_are_uniform_over_the_acquired_samples_off_the_centre():
    sampled = np.zeros((9, 16), bool)
    sampled[:, 4:13] = True
    sampled[3, 5] = False
    scan = rectangle_scan(matrix=(20, 27))
    scan = Scan(np.ones((1, 1, 9, 16), complex), scan.acquisition, sampled=sampled)
    counts = np.zeros((9, 16))
    for seed in range(3000):
        for row, line in Spikes().draw(scan, rng=stream(seed)).position:
            counts[row, line] += 1
    # k_max is n // 2 steps on each axis: only the centre sample itself lies within 3 % of it here
    allowed = sampled.copy()
    allowed[4, 8] = False
    assert not counts[~allowed].any()
    assert stats.chisquare(counts[allowed]).pvalue > 1e-3


def test_the_centre_of_kspace_is_spared():
    scan = Scan(np.ones((1, 1, 101, 200), np.complex64), Acquisition(fov_mm=(200.0, 200.0)))
    spec = Spikes(n_spikes=1024)
    row, line = spec.draw(scan, rng=stream(0)).position.T
    radius = np.hypot((row - 50) / 50, (line - 100) / 100)
    assert radius.min() > 0.03
    assert radius.min() < 0.08  # and no more than that


def test_phases_are_uniform_and_those_of_the_coils_independent():
    scan = rectangle_scan(2)
    phase = np.angle(np.concatenate([Spikes().draw(scan, rng=stream(seed)).unit_amplitude for seed in range(500)]))
    assert stats.kstest(phase.ravel(), "uniform", (-np.pi, 2 * np.pi)).pvalue > 1e-3
    difference = np.exp(1j * (phase[:, 0] - phase[:, 1]))
    assert abs(difference.mean()) < 5 / np.sqrt(len(difference))


def test_a_scan_that_is_all_centre_is_refused():
    sampled = np.zeros((20, 27), bool)
    sampled[10, 13] = True
    with pytest.raises(DataError, match="off the centre"):
        Spikes().draw(rectangle_scan(sampled=sampled), rng=stream(0))


@pytest.mark.parametrize("parameters", [{"amplitude_ratio": -0.1}, {"n_spikes": 0}, {"n_spikes": 1.5}])
def test_impossible_parameters_are_refused(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        Spikes(**parameters)
