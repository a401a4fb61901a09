"""Estimated maps against the true ones of a simulated scan, against SigPy, and what they do to a moved object."""

import numpy as np
import pytest
import scipy.ndimage as ndi
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.interpolate import make_interp_spline
from scipy.special import expit

from mrisim.calibration import _blurred, _interpolate, calibration_width, estimate_csm, receive_shading
from mrisim.coils import simulated_csm
from mrisim.errors import DataError
from mrisim.fourier import centred_fft, centred_ifft, resize_centred
from mrisim.quality import foreground_mask, nrmse, rss
from mrisim.scan import Acquisition, Scan


def phantom(matrix):
    """A textured ellipse with a rim, a dark and a bright part, and a smooth phase: complex (readout, phase_encode)."""
    rows, columns = np.meshgrid(*(2 * (np.arange(n) - n // 2) / n for n in matrix), indexing="ij")

    def ellipse(row, column, height, width):
        return expit(30 * (1 - ((rows - row) / height) ** 2 - ((columns - column) / width) ** 2))

    texture = ndi.gaussian_filter(np.random.default_rng(5).normal(size=matrix), 2)
    body = 0.9 * ellipse(0, 0, 0.78, 0.7) - 0.4 * ellipse(0, 0, 0.7, 0.62) + 0.3 * ellipse(0.3, 0.2, 0.2, 0.15)
    body = body - 0.25 * ellipse(-0.2, -0.2, 0.15, 0.25)
    return (body * (1 + 0.3 * texture / texture.std()) * np.exp(1j * (0.8 * rows - 0.5 * columns**2))).clip(-2, 2)


def simulated_scan(matrix=(97, 84), n_coils=6, snr=30.0, n_acs_lines=None, seed=0):
    """Return a scan without its maps, the true maps, and the foreground."""
    fov_mm = (2.0 * matrix[0], 2.0 * matrix[1])
    csm = simulated_csm(matrix, fov_mm, n_coils=n_coils)
    images = csm * phantom(matrix)
    foreground = foreground_mask(rss(images)[None])[0]
    sigma = np.sqrt(np.mean(rss(images)[foreground] ** 2)) / snr if snr else 0.0
    rng = np.random.default_rng(seed)
    noise = sigma * (rng.normal(size=images.shape) + 1j * rng.normal(size=images.shape))
    kspace = (centred_fft(images) + noise).astype(np.complex64)
    sampled = np.ones(matrix, bool)
    if n_acs_lines is not None:
        first = matrix[1] // 2 - n_acs_lines // 2
        sampled[:] = np.arange(matrix[1]) % 3 == 0
        sampled[:, first : first + n_acs_lines] = True
        kspace = np.where(sampled, kspace, 0)
    return Scan(kspace[None], Acquisition(fov_mm), sampled=sampled), csm, foreground


def map_error(csm, estimate, where):
    """Return the RMS sine of the angle between two sets of maps: free of scale, phase and shading."""
    cosine = np.abs(np.sum(csm.conj() * estimate, axis=0)) / rss(csm) / rss(estimate)
    return float(np.sqrt(np.mean(np.clip(1 - cosine[where] ** 2, 0, None))))


@pytest.mark.parametrize(("n_acs_lines", "most"), [(None, 0.02), (24, 0.02), (12, 0.03), (8, 0.08)])
def test_maps_are_the_true_ones_up_to_a_common_factor(n_acs_lines, most):
    scan, csm, foreground = simulated_scan(n_acs_lines=n_acs_lines)
    estimate = estimate_csm(scan)
    assert estimate.shape == scan.kspace.shape and estimate.dtype == np.complex64
    assert map_error(csm, estimate[0], foreground) < most


def test_maps_agree_with_sigpy_on_the_full_matrix():
    from sigpy.mri.app import EspiritCalib

    scan, _, foreground = simulated_scan(matrix=(130, 101))
    theirs = EspiritCalib(scan.kspace[0], thresh=0.03, crop=0, max_iter=100, show_pbar=False).run()
    # 2e-3 is what the interpolation from the 64 x 64 grid and the continuation change.
    assert map_error(theirs, estimate_csm(scan)[0], foreground) < 4e-3


def test_maps_continue_beyond_the_object():
    scan, csm, foreground = simulated_scan()
    estimate = estimate_csm(scan)[0]
    norm = rss(estimate)
    assert np.isfinite(estimate).all() and norm.min() > 0.1 * norm.max()
    ring = ndi.binary_dilation(foreground, iterations=6) & ~foreground
    assert map_error(csm, estimate, ring) < 0.12


@pytest.mark.parametrize("n_acs_lines", [None, 16])
def test_shading_is_restored(n_acs_lines):
    scan, csm, foreground = simulated_scan(n_coils=8, n_acs_lines=n_acs_lines)
    left = np.log(rss(estimate_csm(scan)[0]) / rss(csm))[foreground].std()
    assert left < 0.4 * np.log(rss(csm))[foreground].std()


def test_shading_looks_at_the_maps_alone():
    csm = simulated_csm((64, 60), (256.0, 240.0), n_coils=8)
    inside = np.hypot(*np.meshgrid(np.arange(64) - 32, np.arange(60) - 30, indexing="ij")) < 22
    shading = receive_shading(csm / rss(csm), inside, (4.0, 4.0))
    assert np.log(shading / rss(csm))[inside].std() < 0.1
    np.testing.assert_array_equal(receive_shading(csm / rss(csm), np.zeros((64, 60), bool), (4.0, 4.0)), 1)


def test_an_object_moves_more_truly_with_its_shading_than_without():
    scan, csm, foreground = simulated_scan(n_coils=8, snr=0)
    kspace = scan.kspace[0]

    def moved(maps):
        """Shift the object along the readout for a third of the lines, in the model that the maps make."""
        power = np.sum(np.abs(maps) ** 2, axis=0)
        image = np.sum(maps.conj() * centred_ifft(kspace), axis=0) / power
        change = centred_fft(maps * np.roll(image, 3, axis=0)) - centred_fft(maps * image)
        return rss(centred_ifft(np.where(np.arange(kspace.shape[-1]) % 3 == 0, kspace + change, kspace)))

    clean, truth = rss(centred_ifft(kspace)), moved(csm)
    estimate = estimate_csm(scan)[0]
    artifact = nrmse(truth, clean, foreground)
    with_shading = nrmse(moved(estimate), truth, foreground)
    without = nrmse(moved(estimate / rss(estimate)), truth, foreground)
    assert artifact > 0.05
    assert with_shading < 0.5 * without
    assert with_shading < 0.1 * artifact


@pytest.mark.parametrize("factor", [1024.0, 1000.0, 1e-6])
def test_maps_do_not_depend_on_the_scale(factor):
    scan, _, _ = simulated_scan(matrix=(40, 33))
    scaled = Scan((scan.kspace * np.float32(factor)).astype(np.complex64), scan.acquisition)
    np.testing.assert_allclose(estimate_csm(scaled), estimate_csm(scan), atol=1e-4)


def test_each_slice_is_estimated_on_its_own():
    first, second = (simulated_scan(matrix=(40, 33), seed=seed)[0] for seed in (1, 2))
    both = Scan(np.concatenate([first.kspace, second.kspace]), first.acquisition)
    np.testing.assert_array_equal(estimate_csm(both)[1], estimate_csm(second)[0])


def test_one_coil_and_dead_coils():
    scan, csm, foreground = simulated_scan(matrix=(48, 51), n_coils=5)
    one = Scan(scan.kspace[:, :1], scan.acquisition)
    np.testing.assert_array_equal(estimate_csm(one), np.ones((1, 1, 48, 51)))
    # Coil 0 is the one that SigPy divides by.
    dead = scan.kspace.copy()
    dead[:, 0] = 0
    estimate = estimate_csm(Scan(dead, scan.acquisition))[0]
    assert not estimate[0].any()
    assert map_error(csm[1:], estimate[1:], foreground) < 0.03


def test_noise_alone_gives_finite_maps():
    rng = np.random.default_rng(0)
    kspace = rng.normal(size=(1, 4, 31, 36)) + 1j * rng.normal(size=(1, 4, 31, 36))
    assert np.isfinite(estimate_csm(Scan(kspace.astype(np.complex64), Acquisition((31.0, 36.0))))).all()


def test_calibration_width_is_the_largest_centred_square():
    sampled = np.zeros((31, 40), bool)
    assert calibration_width(sampled) == 0
    sampled[:, 20 - 5 : 20 + 4] = True  # 5 below the centre and 3 above it
    assert calibration_width(sampled) == 8
    sampled[:, :] = True
    assert calibration_width(sampled) == 31


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.sampled_from([True] * 9 + [False])))
def test_calibration_width_is_that_of_the_last_full_square(sampled: np.ndarray):
    squares = [resize_centred(sampled, (width, width)) for width in range(1, min(sampled.shape) + 1)]
    full = [square.all() for square in squares]
    for mask in (sampled, sampled.astype(int), sampled.astype(np.float32)):
        assert calibration_width(mask) == (full.index(False) if False in full else len(full))


@pytest.mark.parametrize("width", [0.0, 2.0, 16.0])
def test_blurred_images_are_those_of_a_gaussian_filter(width: float):
    rng = np.random.default_rng(3)
    images = (rng.normal(size=(3, 20, 33)) + 1j * rng.normal(size=(3, 20, 33))).astype(np.complex64)
    expected = ndi.gaussian_filter(images, (0, width, width), mode="nearest")
    np.testing.assert_allclose(_blurred(images, width), expected, atol=2e-6)
    np.testing.assert_allclose(_blurred(images.real[1], width), expected.real[1], atol=2e-6)


def test_interpolated_maps_are_those_of_cubic_splines_through_the_centre():
    rng = np.random.default_rng(4)
    maps = (rng.normal(size=(2, 10, 12)) + 1j * rng.normal(size=(2, 10, 12))).astype(np.complex64)
    rows, columns = ((np.arange(n) - n // 2) / n for n in (10, 12))
    expected = make_interp_spline(rows, maps, axis=1)((np.arange(25) - 12) / 25)
    np.testing.assert_allclose(_interpolate(maps, (25, 12)), expected, atol=2e-5)
    both = make_interp_spline(columns, expected, axis=2)((np.arange(48) - 24) / 48)
    np.testing.assert_allclose(_interpolate(maps, (25, 48)), both, atol=1e-4)  # the last ones lie beyond the grid
    np.testing.assert_allclose(_interpolate(maps, (25, 48))[:, 12, ::4], maps[:, 5], atol=1e-5)


def test_failures_are_named():
    scan, _, _ = simulated_scan(matrix=(40, 33))
    sampled = np.zeros((40, 33), bool)
    sampled[:, ::2] = True
    with pytest.raises(DataError, match="centre of k-space is 1 samples wide; expected 8"):
        estimate_csm(Scan(scan.kspace, scan.acquisition, sampled=sampled))
    zeros = np.concatenate([scan.kspace, np.zeros_like(scan.kspace)])
    with pytest.raises(DataError, match="calibration centre of slice 7 holds nothing but zeros"):
        estimate_csm(Scan(zeros, scan.acquisition, slice_ids=(3, 7)))
    broken = scan.kspace.copy()
    broken[0, 2, 20, 16] = np.nan
    with pytest.raises(DataError, match="slice 0 holds NaN"):
        estimate_csm(Scan(broken, scan.acquisition))
