"""Ghosting: the N/2 closed form on complex values, a dense sum for odd N, replicas of pulsation."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.special import jv

from mrisim.artifacts.ghosting import Ghosting
from mrisim.reference import measure_reference
from mrisim.scan import Acquisition, Scan
from mrisim.seeding import stream
from mrisim.testing import COMPLEX_TYPES, dft_matrix, relative_difference, tolerance


def random_images(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def scan_of(images, *, dtype=np.complex128, sampled=None, **acquisition):
    rows, columns = dft_matrix(images.shape[-2]), dft_matrix(images.shape[-1])
    kspace = rows @ images @ columns.T
    sampled = np.ones(images.shape[-2:], bool) if sampled is None else sampled
    values = {"fov_mm": (200.0, 180.0), "dwell_time_us": 8.0, **acquisition}
    return Scan(np.where(sampled, kspace, 0).astype(dtype), Acquisition(**values), sampled=sampled)


def images_of(kspace):
    rows, columns = dft_matrix(kspace.shape[-2]).conj(), dft_matrix(kspace.shape[-1]).conj()
    return rows.T @ kspace @ columns


def ghosted(scan, spec, seed=0):
    return spec.apply(scan, spec.draw(scan, rng=stream(seed, "ghosting"))).kspace


@pytest.mark.parametrize("dtype", COMPLEX_TYPES)
@pytest.mark.parametrize(("shape", "delay_us"), [((2, 3, 9, 16), 0.0), ((1, 3, 10, 14), 2.5), ((1, 4, 11, 18), -1.7)])
def test_an_even_matrix_gives_the_main_image_and_one_ghost_half_a_field_away(shape, delay_us, dtype):
    image, n_readout, n_lines = random_images(shape), shape[-2], shape[-1]
    got = images_of(ghosted(scan_of(image, dtype=dtype), Ghosting(phase_rad=0.7, delay_us=delay_us)))
    x = np.arange(n_readout) - n_readout // 2
    phase = (0.7 + 2 * np.pi * (delay_us / 8.0) / n_readout * x)[:, None]
    expected = np.cos(phase / 2) * image - 1j * np.sin(phase / 2) * np.roll(image, n_lines // 2, axis=-1)
    assert relative_difference(got, expected) < tolerance(dtype)


@pytest.mark.parametrize(("acceleration", "n_lines"), [(2, 24), (2, 28), (3, 24), (4, 32)])
def test_every_rth_line_alternates_and_puts_the_ghost_at_an_rth_of_half_the_field(acceleration, n_lines):
    image = random_images((1, 2, 9, n_lines))
    signed = np.arange(n_lines) - n_lines // 2
    sampled = np.broadcast_to(signed % acceleration == 0, (9, n_lines))
    scan = scan_of(image, sampled=sampled)
    folded = images_of(scan.kspace)
    x = np.arange(9) - 4
    phase = (0.7 + 2 * np.pi * (2.5 / 8.0) / 9 * x)[:, None]
    shift = n_lines // (2 * acceleration)
    expected = np.cos(phase / 2) * folded - 1j * np.sin(phase / 2) * np.roll(folded, shift, axis=-1)
    got = images_of(ghosted(scan, Ghosting(phase_rad=0.7, delay_us=2.5)))
    assert relative_difference(got, expected) < 1e-12


def test_polarity_alternates_over_acquired_lines_from_the_centre_on():
    n_lines = 17
    kept = np.zeros(n_lines, bool)
    kept[[1, 2, 5, 7, 8, 9, 10, 13, 16]] = True  # the centre is line 8
    sampled = np.broadcast_to(kept, (6, n_lines))
    full = scan_of(random_images((1, 2, 6, n_lines)))
    draw = Ghosting(phase_rad=1).draw
    got = draw(scan_of(random_images((1, 2, 6, n_lines)), sampled=sampled), rng=stream(0, "g")).line_sign[kept]
    np.testing.assert_array_equal(got, [-1, 1, -1, 1, -1, 1, -1, 1, -1])
    # lines that the simulation left out were acquired all the same
    measured = measure_reference(full)
    retrospective = draw(replace(full, sampled=sampled, reference=measured), rng=stream(0, "g"))
    np.testing.assert_array_equal(retrospective.line_sign, draw(full, rng=stream(0, "g")).line_sign)


@pytest.mark.parametrize("n_lines", [13, 15, 16])
@pytest.mark.parametrize("delay_us", [0.0, 3.0])
def test_any_matrix_against_the_dense_sum_over_its_lines(n_lines, delay_us):
    image = random_images((1, 2, 10, n_lines))
    got = images_of(ghosted(scan_of(image), Ghosting(phase_rad=1.1, delay_us=delay_us)))
    expected = np.zeros(image.shape, complex)
    y = np.arange(n_lines) - n_lines // 2
    for k in y:
        sign = 1 if k % 2 else -1
        hybrid = (image * np.exp(-2j * np.pi * k * y / n_lines)).sum(-1) / n_lines
        for row in range(10):
            phase = 1.1 + 2 * np.pi * (delay_us / 8.0) / 10 * (row - 5)
            line = hybrid[..., row] * np.exp(0.5j * sign * phase)
            expected[..., row, :] += line[..., None] * np.exp(2j * np.pi * k * y / n_lines)
    assert relative_difference(got, expected) < tolerance(complex)


@pytest.mark.parametrize("dtype", COMPLEX_TYPES)
@pytest.mark.parametrize(
    "spec", [Ghosting(phase_rad=0.8, delay_us=1.9), Ghosting(mode="pulsation", modulation=0.3, frequency_hz=0.4)]
)
@pytest.mark.parametrize("shape", [(2, 3, 9, 16), (1, 2, 10, 13)])
def test_images_get_the_ghosts_of_their_kspace(shape, spec, dtype):
    images = random_images(shape).astype(dtype)
    scan = scan_of(images, dtype=dtype)
    latents = spec.draw(scan, rng=stream(1))
    got = spec.apply_to_images(scan, latents, images)
    assert got.dtype == dtype
    assert relative_difference(got, images_of(spec.apply(scan, latents).kspace)) < tolerance(dtype)


def test_ghost_over_main_is_the_tangent_of_half_the_phase():
    image = np.zeros((1, 1, 21, 32), complex)
    image[..., 10] = 1  # one column, so that main and ghost do not overlap
    got = images_of(ghosted(scan_of(image), Ghosting(phase_rad=0.6, delay_us=1.0)))[0, 0]
    phase = 0.6 + 2 * np.pi * (1.0 / 8.0) / 21 * (np.arange(21) - 10)
    np.testing.assert_allclose(np.abs(got[:, 26] / got[:, 10]), np.tan(np.abs(phase) / 2), rtol=1e-10)
    assert np.abs(np.delete(got, [10, 26], axis=1)).max() < 1e-12


def test_nyquist_keeps_the_energy_and_every_modulus():
    scan = scan_of(random_images((1, 2, 9, 14)))
    np.testing.assert_allclose(np.abs(ghosted(scan, Ghosting(phase_rad=np.pi))), np.abs(scan.kspace), rtol=1e-12)
    delayed = ghosted(scan, Ghosting(delay_us=5.0))
    assert np.linalg.norm(delayed) == pytest.approx(np.linalg.norm(scan.kspace), rel=1e-12)


def pulsation_scan(n_lines, n_replica, image, **acquisition):
    """f TR N_pe = n_replica: the replicas then fall on whole pixels. TR is 500 ms."""
    frequency_hz = n_replica / (0.5 * n_lines)
    return scan_of(image, repetition_time_ms=500.0, **acquisition), frequency_hz


def wave_phase(latents, frequency_hz, n_lines):
    """Recover psi of cos(2 pi f t_j + psi), and see that the wave is exactly that."""
    time_s = 0.5 * np.arange(n_lines)
    design = np.stack([np.cos(2 * np.pi * frequency_hz * time_s), -np.sin(2 * np.pi * frequency_hz * time_s)], axis=1)
    cosine, sine = np.linalg.lstsq(design, latents.line_wave, rcond=None)[0]
    np.testing.assert_allclose(design @ (cosine, sine), latents.line_wave, atol=1e-12)
    assert np.hypot(cosine, sine) == pytest.approx(1, abs=1e-12)
    return np.arctan2(sine, cosine)


@pytest.mark.parametrize(("n_lines", "n_replica"), [(15, 4), (16, 5), (16, 3)])
def test_gain_pulsation_makes_two_replicas_of_half_the_depth(n_lines, n_replica):
    image = random_images((1, 3, 8, n_lines))
    scan, frequency_hz = pulsation_scan(n_lines, n_replica, image)
    spec = Ghosting(mode="pulsation", modulation=0.4, frequency_hz=frequency_hz)
    latents = spec.draw(scan, rng=stream(1))
    psi = wave_phase(latents, frequency_hz, n_lines) + 2 * np.pi * n_replica * (n_lines // 2) / n_lines
    got = images_of(spec.apply(scan, latents).kspace)
    expected = image + 0.2 * (
        np.exp(-1j * psi) * np.roll(image, n_replica, -1) + np.exp(1j * psi) * np.roll(image, -n_replica, -1)
    )
    assert relative_difference(got, expected) < tolerance(complex)


@pytest.mark.parametrize(("n_lines", "n_replica"), [(15, 4), (16, 5)])
def test_phase_pulsation_makes_bessel_replicas(n_lines, n_replica):
    image = random_images((1, 3, 8, n_lines))
    scan, frequency_hz = pulsation_scan(n_lines, n_replica, image)
    spec = Ghosting(mode="pulsation", modulation=0.8, modulated="phase", frequency_hz=frequency_hz)
    latents = spec.draw(scan, rng=stream(1))
    psi = wave_phase(latents, frequency_hz, n_lines) + 2 * np.pi * n_replica * (n_lines // 2) / n_lines
    # exp(i m cos a) = sum_n i^n J_n(m) exp(i n a); exp(i n a_j) moves the image by -n replicas
    expected = sum(
        1j**n * jv(n, 0.8) * np.exp(1j * n * psi) * np.roll(image, -n * n_replica, -1) for n in range(-20, 21)
    )
    assert relative_difference(images_of(spec.apply(scan, latents).kspace), expected) < tolerance(complex)


def test_pulsation_follows_the_time_of_the_lines_not_their_place():
    scan = scan_of(random_images((1, 2, 8, 11)), repetition_time_ms=400.0)
    latents = Ghosting(mode="pulsation", ordering="centric", modulation=0.5).draw(scan, rng=stream(0))
    order = [5, 6, 4, 7, 3, 8, 2, 9, 1, 10, 0]  # from the centre outwards
    wave = latents.line_wave[order]
    # samples of a cosine at equal steps obey w[j+1] + w[j-1] = 2 cos(2 pi f TR) w[j]
    np.testing.assert_allclose(wave[2:] + wave[:-2], 2 * np.cos(2 * np.pi * 1.1 * 0.4) * wave[1:-1], atol=1e-12)


def test_the_phase_of_the_pulsation_is_uniform():
    scan = scan_of(np.ones((1, 1, 4, 5)))
    first = [Ghosting().draw(scan, rng=stream(seed)).line_wave[0] for seed in range(400)]
    assert stats.kstest(first, "arcsine", (-1, 2)).pvalue > 1e-3


def test_the_mean_of_the_image_is_kept_by_a_pulsation_that_does_not_alias():
    """The line factor averages to 1 over whole periods: the replica at zero shift is the image itself."""
    scan, frequency_hz = pulsation_scan(16, 5, random_images((1, 1, 8, 16)))
    latents = Ghosting(mode="pulsation", frequency_hz=frequency_hz).draw(scan, rng=stream(0))
    assert abs(latents.line_wave.mean()) < 1e-12


@pytest.mark.parametrize(
    "spec", [Ghosting(phase_rad=1.0), Ghosting(delay_us=3.0), Ghosting(mode="pulsation", modulation=0.7)]
)
def test_unacquired_samples_keep_every_bit(spec):
    sampled = np.ones((9, 14), bool)
    sampled[:, :3] = False
    scan = scan_of(random_images((1, 2, 9, 14)))
    scan.kspace[..., :3] = complex(-0.0, 7.0)
    scan = Scan(scan.kspace, scan.acquisition, sampled=sampled)
    got = ghosted(scan, spec)
    assert got[..., :3].tobytes() == scan.kspace[..., :3].tobytes()
    assert not np.array_equal(got[..., 3:], scan.kspace[..., 3:])


def test_what_is_identity():
    assert Ghosting().is_identity
    assert not Ghosting(delay_us=1.0).is_identity
    assert Ghosting(mode="pulsation", phase_rad=1.0).is_identity  # the phase belongs to the other mode
    assert not Ghosting(mode="pulsation", modulation=0.1).is_identity


@pytest.mark.parametrize(
    "parameters", [{"phase_rad": 3.2}, {"phase_rad": -0.1}, {"modulation": 1.1}, {"frequency_hz": 0}]
)
def test_impossible_parameters_are_refused(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        Ghosting(**parameters)
