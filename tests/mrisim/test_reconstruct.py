"""Reconstructions against dense matrices, against each other, and on inputs that cannot be reconstructed."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage as ndi
from scipy.special import expit

from mrisim.coils import simulated_csm
from mrisim.errors import ConfigError, DataError
from mrisim.fourier import centred_fft, centred_ifft
from mrisim.quality import nrmse, rss
from mrisim.reconstruct import DEFAULTS, RECONSTRUCTIONS, crop_to_recon, maps_norm, reconstruct, unit_maps
from mrisim.scan import Acquisition, Scan

WITH_MAPS = [name for name in RECONSTRUCTIONS if name != "rss"]


def small_scan(matrix=(7, 6), n_coils=3, n_slices=2, seed=0):
    """Random data and maps on a random mask; what was not acquired holds garbage that nobody may read."""
    rng = np.random.default_rng(seed)
    shape = (n_slices, n_coils, *matrix)
    kspace = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    csm = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    sampled = rng.random(matrix) < 0.7
    kspace = np.where(sampled, kspace, np.nan)
    return Scan(kspace.astype(np.complex64), Acquisition((70.0, 60.0)), sampled=sampled, csm=csm.astype(np.complex64))


def dense_encoding(maps, sampled):
    """Return E (coil * sample, pixel) by transforming every unit image with a DFT matrix."""
    transforms = []
    for n in sampled.shape:
        grid = np.arange(n) - n // 2
        transforms.append(np.exp(-2j * np.pi * np.outer(grid, grid) / n) / np.sqrt(n))
    fourier = np.kron(*transforms)
    return np.concatenate([sampled.ravel()[:, None] * fourier * part.ravel() for part in maps.astype(complex)])


def brain_scan(snr=30.0, acceleration=3, matrix=(75, 88), n_coils=8, seed=1):
    """Return an undersampled scan with its true maps, and the RSS image of the noise-free, full one."""
    rows, columns = np.meshgrid(*(2 * (np.arange(n) - n // 2) / n for n in matrix), indexing="ij")
    edge = expit(40 * (1 - (rows / 0.8) ** 2 - (columns / 0.65) ** 2))
    blobs = ndi.gaussian_filter(np.random.default_rng(9).normal(size=matrix), 3)
    image = edge * (1 + 0.6 * np.sign(blobs)) * np.exp(1j * (rows + columns**2))
    csm = simulated_csm(matrix, (150.0, 176.0), n_coils=n_coils)
    truth = rss(csm * image)
    rng = np.random.default_rng(seed)
    shape = csm.shape
    sigma = np.sqrt(np.mean(truth[edge > 0.5] ** 2)) / snr if snr else 0.0
    kspace = centred_fft(csm * image) + sigma * (rng.normal(size=shape) + 1j * rng.normal(size=shape))
    lines = np.arange(matrix[1]) % acceleration == 0
    lines |= abs(np.arange(matrix[1]) - matrix[1] // 2) < 6
    sampled = np.broadcast_to(lines, matrix).copy()
    kspace = np.where(sampled, kspace, 0).astype(np.complex64)
    return Scan(kspace[None], Acquisition((150.0, 176.0)), sampled=sampled, csm=csm[None]), truth


def test_rss_is_the_plain_one():
    scan = small_scan()
    zero_filled = np.where(scan.sampled, scan.kspace, 0)
    result = reconstruct(scan, "rss")
    np.testing.assert_allclose(result.image, np.sqrt(np.sum(abs(centred_ifft(zero_filled)) ** 2, axis=1)), rtol=1e-5)
    assert result.image.dtype == np.float32 and result.relative_error == () and result.parameters == {}


def test_adjoint_is_that_of_the_dense_matrix():
    scan = small_scan()
    result = reconstruct(scan, "adjoint")
    for index in range(scan.n_slices):
        maps = unit_maps(scan.csm[index])
        data = np.where(scan.sampled, scan.kspace[index], 0).reshape(-1)
        encode = dense_encoding(maps, scan.sampled)
        image = encode.conj().T @ data
        np.testing.assert_allclose(result.image[index].ravel(), image, atol=1e-5)
        error = np.linalg.norm(data - encode @ image) / np.linalg.norm(data)
        assert result.relative_error[index] == pytest.approx(error, rel=1e-5)


@pytest.mark.parametrize("regularisation", [0.3, 1e-2])
def test_sense_solves_the_normal_equations(regularisation):
    scan = small_scan()
    result = reconstruct(scan, "sense", regularisation=regularisation, n_iterations=120)
    for index in range(scan.n_slices):
        encode = dense_encoding(unit_maps(scan.csm[index]), scan.sampled)
        data = np.where(scan.sampled, scan.kspace[index], 0).reshape(-1)
        normal = encode.conj().T @ encode + regularisation * np.eye(encode.shape[1])
        expected = np.linalg.solve(normal, encode.conj().T @ data)
        np.testing.assert_allclose(result.image[index].ravel(), expected, atol=2e-5 * abs(expected).max())
        error = np.linalg.norm(data - encode @ expected) / np.linalg.norm(data)
        assert result.relative_error[index] == pytest.approx(error, rel=1e-4)


def objective(name, image, scan, regularisation):
    """Return 1/2 ||y - E x||^2 + regularisation ||W x||_1 with data scaled as `reconstruct` says."""
    import pywt

    maps = unit_maps(scan.csm[0]).astype(complex)
    kspace = np.where(scan.sampled, scan.kspace[0], 0)
    scale = np.percentile(np.abs(np.sum(maps.conj() * centred_ifft(kspace), axis=0)), 99)
    image = image / scale
    residual = np.where(scan.sampled, kspace / scale - centred_fft(maps * image), 0)
    if name == "tv":
        sparse = np.concatenate([(image - np.roll(image, 1, axis)).ravel() for axis in (0, 1)])
    else:
        even = np.pad(image, [(0, n % 2) for n in image.shape])
        sparse = pywt.coeffs_to_array(pywt.wavedecn(even, "db4", mode="zero"))[0]
    return np.sum(np.abs(residual) ** 2) / 2 + regularisation * np.sum(np.abs(sparse))


@pytest.mark.parametrize("name", ["l1-wavelet", "tv"])
def test_sparse_reconstructions_reach_the_minimum_of_their_objective(name):
    scan, _ = brain_scan(matrix=(48, 40))
    regularisation, n_iterations = DEFAULTS[name]
    images = [reconstruct(scan, name, n_iterations=n).image[0] for n in (n_iterations, 20 * n_iterations)]
    default, converged = (objective(name, image, scan, regularisation) for image in images)
    assert converged <= default * 1.0001
    assert np.linalg.norm(images[0] - images[1]) < 0.02 * np.linalg.norm(images[1]), "the default number is enough"
    for other in ("adjoint", "sense", "tv" if name == "l1-wavelet" else "l1-wavelet"):
        assert converged < objective(name, reconstruct(scan, other).image[0], scan, regularisation)


def test_sense_beats_zero_filling_and_sparsity_beats_sense():
    scan, truth = brain_scan()
    error = {name: nrmse(reconstruct(scan, name).magnitude[0], truth) for name in RECONSTRUCTIONS}
    assert error["sense"] < 0.6 * error["rss"]
    assert error["l1-wavelet"] < error["sense"] and error["tv"] < error["sense"]


def test_default_sense_does_not_overfit_as_that_of_sigpy_does():
    scan, truth = brain_scan(acceleration=5)
    default = reconstruct(scan, "sense")
    overfit = reconstruct(scan, "sense", regularisation=0.0, n_iterations=100)
    assert nrmse(default.magnitude[0], truth) < 0.8 * nrmse(overfit.magnitude[0], truth)


@pytest.mark.parametrize("name", WITH_MAPS)
def test_full_sampling_has_the_intensity_of_rss(name):
    scan, truth = brain_scan(snr=0, acceleration=1)
    assert nrmse(reconstruct(scan, name).magnitude[0], truth) < 0.03


@pytest.mark.parametrize("name", list(RECONSTRUCTIONS))
def test_scale_equivariance_dtype_and_untouched_input(name):
    scan, _ = brain_scan(matrix=(33, 40))
    kspace = scan.kspace.copy()
    image = reconstruct(scan, name).image
    np.testing.assert_array_equal(scan.kspace, kspace)
    assert image.shape == (1, 33, 40) and image.dtype == (np.float32 if name == "rss" else np.complex64)
    for factor, tolerance in ((2.0**12, 0.0), (1000.0, 1e-5), (1e-6, 1e-5)):
        scaled = replace(scan, kspace=(scan.kspace * np.float32(factor)).astype(np.complex64))
        change = reconstruct(scaled, name).image / np.float32(factor) - image
        assert np.abs(change).max() <= tolerance * np.abs(image).max()


@pytest.mark.parametrize("name", WITH_MAPS)
def test_the_scale_of_the_maps_does_not_matter(name):
    scan, _ = brain_scan(matrix=(33, 40))
    scaled = replace(scan, csm=scan.csm * np.float32(1e-4))
    np.testing.assert_allclose(reconstruct(scaled, name).image, reconstruct(scan, name).image, atol=1e-4)


def test_slices_do_not_know_each_other():
    scan = small_scan(n_slices=3)
    for name in RECONSTRUCTIONS:
        alone = reconstruct(scan.select([2]), name).image[0]
        np.testing.assert_array_equal(reconstruct(scan, name).image[2], alone)


def test_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - SigPy's own estimate of the step draws from it
    for name in ("sense", "l1-wavelet", "tv"):
        reconstruct(small_scan(), name)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_prewhitening_uses_the_noise_covariance():
    scan, truth = brain_scan(snr=0, acceleration=1)
    rng = np.random.default_rng(3)
    psi = np.diag([9.0, 1, 1, 1, 1, 1, 1, 1]) * 4e-3
    noise = rng.normal(size=(2, *scan.kspace.shape)) * np.sqrt(np.diag(psi) / 2)[:, None, None]
    noisy = replace(
        scan, kspace=(scan.kspace + noise[0] + 1j * noise[1]).astype(np.complex64), noise_covariance=psi + 0j
    )
    whitened, plain = reconstruct(noisy, "sense"), reconstruct(noisy, "sense", prewhitened=False)
    assert whitened.parameters["prewhitened"] and not plain.parameters["prewhitened"]
    # |S| of the two differ, so compare x itself: |W S| is the intensity of the whitened image
    power = np.mean(np.diag(psi))
    weighted_norm = rss(scan.csm[0] * np.sqrt(power / np.diag(psi))[:, None, None])
    image = truth / rss(scan.csm[0])
    assert nrmse(whitened.magnitude[0] / weighted_norm, image) < 0.9 * nrmse(
        plain.magnitude[0] / rss(scan.csm[0]), image
    )


def test_parameters_are_recorded_with_their_defaults():
    scan = small_scan()
    expected = {"csm": "scan", "prewhitened": False, "regularisation": 1e-2, "n_iterations": 30}
    assert reconstruct(scan, "sense").parameters == expected
    given = reconstruct(scan, "tv", csm=scan.csm, regularisation=0.1, n_iterations=7)
    assert given.parameters == {"csm": "given", "prewhitened": False, "regularisation": 0.1, "n_iterations": 7}
    one_coil = Scan(np.ones((1, 1, 6, 5), np.complex64), Acquisition((6.0, 5.0)))
    assert reconstruct(one_coil, "adjoint").parameters["csm"] == "uniform"


def test_maps_are_estimated_where_none_are_known():
    scan, truth = brain_scan(acceleration=2)
    result = reconstruct(replace(scan, csm=None), "sense")
    assert result.parameters["csm"] == "estimated"
    assert nrmse(result.magnitude[0], truth) < 1.1 * nrmse(reconstruct(scan, "sense").magnitude[0], truth)


def test_a_bad_fit_is_said():
    scan, _ = brain_scan(snr=0)
    assert reconstruct(scan, "sense").notes == ()
    wrong = reconstruct(scan, "sense", csm=scan.csm[:, ::-1].copy())
    assert len(wrong.notes) == 1 and "in slice 0 ||y - E x||" in wrong.notes[0]
    rng = np.random.default_rng(0)
    noise = (rng.normal(size=scan.kspace.shape) + 1j * rng.normal(size=scan.kspace.shape)).astype(np.complex64)
    only_noise = reconstruct(replace(scan, kspace=noise), "sense")
    assert np.isfinite(only_noise.image).all() and only_noise.relative_error[0] > 0.5 and only_noise.notes
    few = replace(scan, sampled=np.broadcast_to(np.arange(88) % 11 == 0, (75, 88)).copy())
    assert any("11.0-fold undersampling of 8 coils" in note for note in reconstruct(few, "sense").notes)


def test_an_empty_slice_stays_empty():
    scan = small_scan()
    kspace = np.where(scan.sampled, scan.kspace, 0)
    kspace[1] = 0
    for name in RECONSTRUCTIONS:
        result = reconstruct(replace(scan, kspace=kspace), name)
        assert not result.image[1].any() and result.image[0].any()


def test_failures_are_named():
    scan = small_scan()
    with pytest.raises(ConfigError, match="reconstruction is 'grappa'; expected one of rss, adjoint, sense"):
        reconstruct(scan, "grappa")
    with pytest.raises(ConfigError, match="because rss has none"):
        reconstruct(scan, "rss", n_iterations=3)
    with pytest.raises(ConfigError, match=r"regularisation is -1\.0; expected 0 or more, for tv"):
        reconstruct(scan, "tv", regularisation=-1)
    with pytest.raises(ConfigError, match="n_iterations is 0"):
        reconstruct(scan, "sense", n_iterations=0)
    with pytest.raises(DataError, match=r"csm has shape \(1, 3, 7, 6\); expected \(2, 3, 7, 6\)"):
        reconstruct(scan, "sense", csm=scan.csm[:1])
    with pytest.raises(DataError, match="sense of slice 0: the coil maps have a largest root sum of squares of 0"):
        reconstruct(scan, "sense", csm=np.zeros_like(scan.csm))
    with pytest.raises(DataError, match="mask is empty"):
        reconstruct(replace(scan, sampled=np.zeros((7, 6), bool)), "rss")
    broken = np.where(scan.sampled, scan.kspace, 0)
    broken[1, 0][scan.sampled] = np.inf
    for name in RECONSTRUCTIONS:
        with pytest.raises(DataError, match="kspace of slice 1 holds NaN or Inf"):
            reconstruct(replace(scan, kspace=broken), name)
    with pytest.raises(DataError, match="centre of k-space"):
        reconstruct(replace(scan, csm=None, sampled=np.eye(7, 6, dtype=bool)), "sense")


def test_unit_maps():
    csm = small_scan().csm[0].copy()
    csm[:, 2, 3] = 0
    maps = unit_maps(csm)
    expected = np.ones((7, 6))
    expected[2, 3] = 0
    np.testing.assert_allclose(maps_norm(maps), expected, rtol=1e-5)
    np.testing.assert_allclose(maps * maps_norm(csm), csm, atol=1e-5)


def test_crop_keeps_the_centre_pixel():
    image = np.zeros((1, 13, 10))
    image[0, 6, 5] = 1
    acquisition = Acquisition((26.0, 10.0), readout_oversampling=2.0)
    assert crop_to_recon(image, acquisition).shape == (1, 6, 10)
    assert crop_to_recon(image, acquisition)[0, 3, 5] == 1
    stated = crop_to_recon(image, replace(acquisition, recon_shape=(5, 12)))
    assert stated.shape == (1, 5, 12) and stated[0, 2, 6] == 1


def test_importing_it_does_not_import_sigpy():
    code = "import sys, mrisim.reconstruct, mrisim.object_model; sys.exit('sigpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
