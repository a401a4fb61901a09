"""Noise: covariance, the Rician and chi laws, correlated coils, and what the noise must not depend on."""

from dataclasses import replace
from math import gamma, pi, sqrt

import numpy as np
import pytest
from scipy import stats

from mrisim.artifacts.noise import Noise
from mrisim.errors import ConfigError
from mrisim.fourier import centred_fft
from mrisim.quality import rss
from mrisim.reference import reference_of
from mrisim.scan import Acquisition, Scan
from mrisim.seeding import stream
from mrisim.testing import dft_matrix

ACQUISITION = Acquisition(fov_mm=(200.0, 200.0))


def rectangle_scan(n_coils, *, matrix=(64, 51), value=2.0, **parts):
    """A rectangle of RSS magnitude `value`: A is known without measuring it."""
    image = np.zeros(matrix)
    image[12:50, 10:40] = value
    maps = np.exp(1j * np.arange(n_coils)) / sqrt(n_coils)
    kspace = maps[:, None, None] * (dft_matrix(matrix[0]) @ image @ dft_matrix(matrix[1]).T)
    return Scan(kspace[None].astype(np.complex64), ACQUISITION, **parts)


def added_noise(scan, seed=0, **parameters):
    spec = Noise(**parameters)
    latents = spec.draw(scan, rng=stream(seed, "noise"))
    return spec.apply(scan, latents).kspace - scan.kspace


def images(kspace):
    rows, columns = (dft_matrix(n).conj() for n in kspace.shape[-2:])
    return rows.T @ kspace @ columns


def random_covariance(n_coils):
    rng = np.random.default_rng(5)
    factor = rng.normal(size=(n_coils, n_coils)) + 1j * rng.normal(size=(n_coils, n_coils))
    return factor @ factor.conj().T + np.eye(n_coils)


def test_noise_added_to_images_has_the_law_of_noise_in_their_kspace():
    n_coils = 3
    scan = rectangle_scan(n_coils, matrix=(128, 101), noise_covariance=random_covariance(n_coils))
    spec = Noise(snr=20.0)
    latents = spec.draw(scan, rng=stream(3, "noise"))
    clean = images(scan.kspace).astype(np.complex64)
    before = clean.copy()
    in_images = spec.add_to_images(clean, latents) - clean
    np.testing.assert_array_equal(clean, before)
    factor = latents.unit_factor * (2.0 / 20)  # A = 2
    covariance = factor @ factor.conj().T
    for noise in (in_images, images(spec.apply(scan, latents).kspace - scan.kspace)):
        flat = noise.transpose(1, 0, 2, 3).reshape(n_coils, -1)
        spread = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)).real / flat.shape[1])
        assert (abs(flat @ flat.conj().T / flat.shape[1] - covariance) < 5 * spread).all()
        assert (abs(flat @ flat.T / flat.shape[1]) < 5 * sqrt(2) * spread).all()  # circular
        for axis in (2, 3):  # white: neighbours know nothing of each other
            neighbours = np.mean(noise * np.roll(noise, 1, axis).conj(), axis=(0, 2, 3))
            assert (abs(neighbours) < 5 * np.diag(spread)).all()


@pytest.mark.parametrize("n_coils", [1, 3, 8])
def test_snr_is_signal_rms_over_the_deviation_of_one_component(n_coils):
    noise = added_noise(rectangle_scan(n_coils, matrix=(128, 101)), snr=20.0)
    sigma = 2.0 / 20  # A = 2
    for part in (noise.real, noise.imag):
        assert abs(part.std() / sigma - 1) < 5 / sqrt(2 * part.size)
        assert abs(part.mean()) < 5 * sigma / sqrt(part.size)


def test_the_noise_has_the_covariance_of_the_scan_conjugation_included():
    n_coils = 3
    psi = random_covariance(n_coils)
    scan = rectangle_scan(n_coils, matrix=(128, 101), noise_covariance=psi)
    noise = added_noise(scan, snr=10.0)[0].reshape(n_coils, -1).astype(complex)
    expected = psi * (2 * n_coils / np.trace(psi).real) * (2 / 10) ** 2  # tr Psi = 2 C s^2
    n_samples = noise.shape[1]
    got = noise @ noise.conj().T / n_samples
    deviation = np.sqrt(np.outer(np.diag(expected), np.diag(expected)).real / n_samples)
    assert (np.abs(got - expected) < 5 * deviation).all()
    assert np.abs(expected - expected.conj()).max() > 20 * deviation.max()  # the test can tell Psi from its conjugate
    assert np.abs(noise @ noise.T / n_samples).max() < 5 * deviation.max()  # circular


def test_coil_correlation_overrides_the_scans_covariance():
    scan = rectangle_scan(4, matrix=(128, 101), noise_covariance=random_covariance(4))
    noise = added_noise(scan, snr=10.0, coil_correlation=0.6)[0].reshape(4, -1).astype(complex)
    got = noise @ noise.conj().T / noise.shape[1] / (2 * 0.2**2)
    expected = 0.6 ** np.abs(np.subtract.outer(range(4), range(4)))
    assert np.abs(got - expected).max() < 5 / sqrt(noise.shape[1])


def test_one_coil_is_rician():
    scan, sigma = rectangle_scan(1, matrix=(128, 101)), 0.4
    magnitude = np.abs(images(scan.kspace + added_noise(scan, snr=2 / sigma)))[0, 0]
    inside, air = magnitude[12:50, 10:40].ravel(), magnitude[60:].ravel()
    assert stats.kstest(air, "rayleigh", (0, sigma)).pvalue > 1e-3
    assert abs(air.mean() - sigma * sqrt(pi / 2)) < 5 * sigma * sqrt((2 - pi / 2) / air.size)
    assert stats.kstest(inside, "rice", (2 / sigma, 0, sigma)).pvalue > 1e-3
    variance = 4 * sigma**4 + 4 * sigma**2 * 4
    assert abs(np.mean(inside**2) - (4 + 2 * sigma**2)) < 5 * sqrt(variance / inside.size)


@pytest.mark.parametrize("n_coils", [2, 5])
def test_the_rss_of_coils_is_non_central_chi(n_coils):
    scan, sigma = rectangle_scan(n_coils, matrix=(128, 101)), 0.4
    magnitude = rss(images(scan.kspace + added_noise(scan, snr=2 / sigma)))[0]
    inside, air = magnitude[12:50, 10:40].ravel(), magnitude[60:].ravel()
    expected = sigma * sqrt(2) * gamma(n_coils + 0.5) / gamma(n_coils)
    assert abs(air.mean() - expected) < 5 * sqrt((2 * n_coils * sigma**2 - expected**2) / air.size)
    assert stats.kstest(air / sigma, "chi", (2 * n_coils,)).pvalue > 1e-3
    assert stats.kstest((inside / sigma) ** 2, "ncx2", (2 * n_coils, 4 / sigma**2)).pvalue > 1e-3


@pytest.mark.parametrize("signal", [0.0, 2.0])
def test_correlated_coils_act_like_fewer_coils_of_a_larger_deviation(signal):
    n_coils, sigma = 4, 0.5
    scan = rectangle_scan(n_coils, matrix=(200, 161), value=2.0)
    noisy = images(added_noise(scan, snr=2 / sigma, coil_correlation=0.7))
    coils = signal * np.exp(1j * np.arange(n_coils)) / sqrt(n_coils)
    power = (np.abs(noisy[0] + coils[:, None, None]) ** 2).sum(0).ravel()
    covariance = sigma**2 * 0.7 ** np.abs(np.subtract.outer(range(n_coils), range(n_coils)))  # Sigma = Psi / 2
    trace, frobenius = np.trace(covariance), np.sum(covariance**2)
    seen = (coils.conj() @ covariance @ coils).real
    # Aja-Fernandez & Tristan-Vega 2012
    effective_coils = (signal**2 * trace + trace**2) / (seen + frobenius)
    effective_variance = trace / effective_coils
    mean = signal**2 + 2 * effective_coils * effective_variance
    variance = 4 * effective_coils * effective_variance**2 + 4 * signal**2 * effective_variance
    assert effective_coils < 0.75 * n_coils
    assert abs(power.mean() - mean) < 5 * sqrt(variance / power.size)
    # the deviation of a sample variance, from the sample's own fourth moment
    fourth = np.mean((power - power.mean()) ** 4)
    assert abs(power.var() - variance) < 5 * sqrt((fourth - power.var() ** 2) / power.size)
    if signal == 0:
        chi_mean = sqrt(2 * effective_variance) * gamma(effective_coils + 0.5) / gamma(effective_coils)
        assert np.sqrt(power).mean() == pytest.approx(chi_mean, rel=0.01)


def test_the_signal_unit_is_measured_on_the_foreground_only():
    small = rectangle_scan(2, matrix=(128, 151))  # the same rectangle, far more air
    assert Noise(snr=1.0).draw(small, rng=stream(0)).signal_rms == pytest.approx(2.0, rel=1e-6)


def test_a_level_scales_one_and_the_same_noise():
    scan = rectangle_scan(3)
    unit = added_noise(scan, snr=1.0)
    for snr in (3.3, 27.5):
        np.testing.assert_allclose(added_noise(scan, snr=snr) * snr, unit, atol=2e-5 * np.abs(scan.kspace).max())


def test_unacquired_samples_stay_empty_and_the_others_do_not_notice():
    full = rectangle_scan(3)
    sampled = np.zeros(full.matrix, bool)
    sampled[:, 5:40:3] = True
    latents = Noise(snr=9.0).draw(full, rng=stream(0, "noise"))
    masked = Scan(np.where(sampled, full.kspace, 0), ACQUISITION, sampled=sampled)
    got = Noise(snr=9.0).apply(masked, latents).kspace
    assert not got[..., ~sampled].any()
    np.testing.assert_array_equal(got[..., sampled], Noise(snr=9.0).apply(full, latents).kspace[..., sampled])


def test_seeds_and_slices_have_noise_of_their_own():
    scan = rectangle_scan(2)
    a, b = (added_noise(scan, seed, snr=5.0).ravel() for seed in (0, 1))
    assert abs(np.vdot(a, b)) / (np.linalg.norm(a) * np.linalg.norm(b)) < 5 / sqrt(a.size)


def test_noise_in_the_image_is_white():
    scan = rectangle_scan(1, matrix=(128, 101))
    image = images(added_noise(scan, snr=5.0))[0, 0]
    for shifted in (np.roll(image, 1, 0), np.roll(image, 1, 1), np.roll(image, (64, 50), (0, 1))):
        assert abs(np.vdot(image, shifted)) / np.linalg.norm(image) ** 2 < 5 / sqrt(image.size)


def test_a_covariance_that_is_none_is_refused():
    scan = rectangle_scan(2, noise_covariance=np.array([[1, 2], [2, 1]], complex))
    with pytest.raises(ConfigError, match=r"\(origin: scan\) is not positive definite; .* noise\.coil_correlation"):
        Noise(snr=5.0).draw(scan, rng=stream(0))
    assert Noise(snr=5.0, coil_correlation=0.0).draw(scan, rng=stream(0)).covariance_origin == "parameter"
    nothing = rectangle_scan(2, noise_covariance=np.zeros((2, 2), complex))
    with pytest.raises(
        ConfigError, match=r"noise covariance \(origin: scan\) has the trace 0; expected a positive one"
    ):
        Noise(snr=5.0).draw(nothing, rng=stream(0))


def with_dead_coil(scan, dead):
    kspace = scan.kspace.copy()
    kspace[:, dead] = 0
    return replace(scan, kspace=kspace)


def air_scan(n_coils, matrix=(128, 101)):
    """A rectangle in an image that is oversampled along the readout, and correlated noise all over."""
    scan = rectangle_scan(n_coils, matrix=matrix)
    rng = np.random.default_rng(8)
    white = rng.normal(size=(2, n_coils, *matrix))
    mixing = np.linalg.cholesky(random_covariance(n_coils))
    noise = 0.02 * np.tensordot(mixing, white[0] + 1j * white[1], axes=1)
    acquisition = Acquisition(fov_mm=(200, 100), readout_oversampling=2.0)
    return replace(scan, kspace=(scan.kspace + noise).astype(np.complex64), acquisition=acquisition)


@pytest.mark.parametrize("origin", ["white", "parameter", "scan", "scan, zero for the dead coil", "air"])
def test_a_dead_coil_gets_no_noise_and_the_others_that_of_a_scan_without_it(origin):
    n_coils, dead = 4, 1
    alive = [0, 2, 3]
    full = with_dead_coil(air_scan(n_coils) if origin == "air" else rectangle_scan(n_coils, matrix=(128, 101)), dead)
    psi = np.eye(n_coils, dtype=complex)
    if origin.startswith("scan"):
        psi = random_covariance(n_coils)
        if "zero" in origin:
            psi[dead] = psi[:, dead] = 0
        full = replace(full, noise_covariance=psi)
    parameters = {"coil_correlation": 0.0} if origin == "parameter" else {}
    latents = Noise(snr=10.0, **parameters).draw(full, rng=stream(0, "noise"))
    known = None if full.noise_covariance is None else psi[np.ix_(alive, alive)]
    without = Noise(snr=10.0, **parameters).draw(
        replace(full, kspace=full.kspace[:, alive], noise_covariance=known), rng=stream(0, "noise")
    )
    assert latents.covariance_origin == without.covariance_origin == origin.split(",")[0]
    np.testing.assert_allclose(latents.unit_factor[np.ix_(alive, alive)], without.unit_factor, rtol=1e-12)
    assert latents.signal_rms == pytest.approx(without.signal_rms, rel=1e-6)
    assert not latents.unit_factor[dead].any() and not latents.unit_factor[:, dead].any()

    corrupted = Noise(snr=10.0).apply(full, latents)
    noise = (corrupted.kspace - full.kspace)[0].reshape(n_coils, -1).astype(complex)
    assert not corrupted.kspace[:, dead].any()
    if origin == "air":
        psi = reference_of(full).air_covariance
    psi = psi[np.ix_(alive, alive)]
    expected = psi * (2 * 3 / np.trace(psi).real) * (latents.signal_rms / 10) ** 2  # tr Psi = 2 C s^2, C = 3
    got = noise[alive] @ noise[alive].conj().T / noise.shape[1]
    deviation = np.sqrt(np.outer(np.diag(expected), np.diag(expected)).real / noise.shape[1])
    assert (np.abs(got - expected) < 5 * deviation).all()
    if known is not None:
        grown = corrupted.noise_covariance
        np.testing.assert_allclose(grown[np.ix_(alive, alive)], known + expected, rtol=1e-12)
        np.testing.assert_array_equal(grown[dead], full.noise_covariance[dead])


def test_a_coil_without_signal_in_some_slices_alone_is_not_dead():
    scan = rectangle_scan(3)
    kspace = np.concatenate([scan.kspace, scan.kspace])
    kspace[0, 1] = 0
    volume = Scan(kspace, ACQUISITION)
    volume = replace(volume, reference=reference_of(volume))
    assert volume.dead_coils == () and volume.select([0]).dead_coils == (1,)
    noise = added_noise(volume.select([0]), snr=10.0)
    assert noise[0, 1].std() == pytest.approx(sqrt(2) * 2 / 10, rel=0.1)


@pytest.mark.parametrize("parameters", [{"snr": 0}, {"snr": -1}, {"coil_correlation": 1.0}, {"sigma": 1}])
def test_impossible_parameters_are_refused(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        Noise(**parameters)


def test_without_a_noise_scan_the_coils_are_correlated_as_the_air_of_the_oversampled_image():
    """fastMRI brings no noise scan, but its readout reaches beyond the object: the corners hold noise alone."""
    rng = np.random.default_rng(8)
    n_coils, shape = 3, (96, 40)
    mixing = np.array([[1, 0, 0], [0.6j, 0.8, 0], [-0.3, 0.2, 0.9]])
    white = (rng.normal(size=(n_coils, *shape)) + 1j * rng.normal(size=(n_coils, *shape))) / np.sqrt(2)
    image = np.zeros((n_coils, *shape), complex)
    image[:, 30:66, 8:32] = 50 * np.array([1, 1j, -1])[:, None, None]
    noisy = centred_fft(image + 0.5 * np.tensordot(mixing, white, axes=1)).astype(np.complex64)
    sampled = np.ones(shape, bool)
    sampled[:, :8] = sampled[:, 32:] = False  # an image sample then carries 0.6 of the noise
    kspace = np.where(sampled, noisy, 0)[None]
    measured = Scan(kspace, Acquisition(fov_mm=(200, 100), readout_oversampling=2.0), sampled=sampled)
    latents = Noise(snr=10).draw(measured, rng=rng)
    expected = mixing @ mixing.conj().T
    got = latents.unit_factor @ latents.unit_factor.conj().T
    assert latents.covariance_origin == "air"
    np.testing.assert_allclose(got, expected * 2 * n_coils / np.trace(expected).real, atol=0.35)
    assert reference_of(measured).air_covariance.trace().real == pytest.approx(0.25 * expected.trace().real, rel=0.25)
    plain = replace(measured, acquisition=Acquisition(fov_mm=(200, 100)))
    assert Noise(snr=10).draw(plain, rng=rng).covariance_origin == "white"


def test_a_known_covariance_grows_by_that_of_the_added_noise():
    before = np.array([[2.0, 0.5j], [-0.5j, 1.0]])
    scan = rectangle_scan(2, noise_covariance=before)
    spec = Noise(snr=5)
    latents = spec.draw(scan, rng=stream(0, "noise"))
    after = spec.apply(scan, latents).noise_covariance
    total = 2 * (latents.signal_rms / 5) ** 2  # tr(L L^H) / C, in the shape of the scan's own covariance
    np.testing.assert_allclose(after, before * (1 + 2 * total / 3.0), rtol=1e-12)
    assert spec.apply(replace(scan, noise_covariance=None), latents).noise_covariance is None
