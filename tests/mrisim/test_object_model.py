"""The object of a scan: exact where the maps are, least squares where it can be, and never the folded image."""

from dataclasses import replace

import numpy as np
import pytest

from mrisim.coils import simulated_csm
from mrisim.errors import DataError
from mrisim.fourier import centred_fft, centred_ifft
from mrisim.object_model import estimate_object
from mrisim.quality import nrmse, rss
from mrisim.reconstruct import reconstruct
from mrisim.scan import Acquisition, Scan

MATRIX = (45, 38)
FOV_MM = (180.0, 152.0)


def object_and_scan(n_coils=5, n_slices=2, matrix=MATRIX):
    """Return x (slice, readout, phase_encode), complex and inside an ellipse, and its noise-free scan."""
    rng = np.random.default_rng(2)
    rows, columns = np.meshgrid(*(2 * (np.arange(n) - n // 2) / n for n in matrix), indexing="ij")
    inside = (rows / 0.8) ** 2 + (columns / 0.7) ** 2 < 1
    image = inside * (1 + 0.2 * rng.normal(size=(n_slices, *matrix))) * np.exp(1j * rows)
    csm = np.broadcast_to(simulated_csm(matrix, FOV_MM, n_coils=n_coils), (n_slices, n_coils, *matrix)).copy()
    kspace = centred_fft(csm * image[:, None]).astype(np.complex64)
    return image, Scan(kspace, Acquisition(FOV_MM), csm=csm)


def test_true_maps_give_the_object_back():
    image, scan = object_and_scan()
    model = estimate_object(scan)
    np.testing.assert_allclose(model.image, image, atol=1e-5)
    assert model.image.dtype == model.csm.dtype == np.complex64
    assert max(model.relative_error) < 1e-6
    assert (model.csm_origin, model.shading_moves_with_object, model.pose) == ("true", False, None)


def test_least_squares_on_data_that_no_object_explains():
    _, scan = object_and_scan(n_slices=1)
    rng = np.random.default_rng(0)
    shape = scan.kspace.shape
    kspace = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    model = estimate_object(replace(scan, kspace=kspace))
    csm, images = scan.csm[0].astype(complex), centred_ifft(kspace[0].astype(complex))
    expected = np.empty(MATRIX, complex)
    for row, column in np.ndindex(*MATRIX):
        solution = np.linalg.lstsq(csm[:, row, column, None], images[:, row, column], rcond=None)
        expected[row, column] = solution[0][0]
    np.testing.assert_allclose(model.image[0], expected, rtol=1e-4, atol=1e-5)
    residual = np.linalg.norm(kspace[0] - centred_fft(csm * expected)) / np.linalg.norm(kspace)
    assert model.relative_error[0] == pytest.approx(residual, rel=1e-5)
    assert 0.8 < residual < 1, "one image explains one of five coils' worth of noise"


def test_the_share_of_known_noise_is_taken_off_the_error_and_no_more():
    """Of what no object explains, one half is noise of a known covariance: the other half is left."""
    _, scan = object_and_scan(n_slices=1)
    rng, n_coils, sigma = np.random.default_rng(3), scan.n_coils, 0.05
    shape = (2, *scan.kspace.shape)
    error, noise = sigma / np.sqrt(2) * (rng.normal(size=shape) + 1j * rng.normal(size=shape))
    kspace = (scan.kspace + error + noise).astype(np.complex64)
    covariance = sigma**2 * np.eye(n_coils)
    plain = estimate_object(replace(scan, kspace=kspace)).relative_error[0]
    (left,) = estimate_object(replace(scan, kspace=kspace, noise_covariance=covariance)).relative_error
    expected = sigma * np.sqrt(kspace.size * (1 - 1 / n_coils)) / np.linalg.norm(kspace)
    assert left == pytest.approx(expected, rel=0.04)
    assert plain == pytest.approx(np.sqrt(2) * expected, rel=0.03)


def test_padding_counts_as_sampled_zeros():
    _, scan = object_and_scan(n_slices=1)
    sampled = np.zeros(MATRIX, bool)
    sampled[:, 4:-3] = True
    padded = replace(scan, kspace=np.where(sampled, scan.kspace, 0), sampled=sampled)
    model = estimate_object(padded)
    csm = scan.csm[0]
    images = centred_ifft(padded.kspace[0])
    expected = np.sum(csm.conj() * images, axis=0) / np.sum(np.abs(csm) ** 2, axis=0)
    np.testing.assert_allclose(model.image[0], expected, atol=1e-5)
    residual = np.where(sampled, padded.kspace[0] - centred_fft(csm * expected), 0)
    assert model.relative_error[0] == pytest.approx(np.linalg.norm(residual) / np.linalg.norm(padded.kspace), rel=1e-4)


def test_undersampled_data_are_unfolded():
    image, scan = object_and_scan(n_slices=1)
    sampled = np.broadcast_to(np.arange(MATRIX[1]) % 2 == 0, MATRIX).copy()
    folded = replace(scan, kspace=np.where(sampled, scan.kspace, 0), sampled=sampled)
    model = estimate_object(folded)
    adjoint = reconstruct(folded, "adjoint").image[0] / rss(scan.csm[0])
    error, of_adjoint = (np.linalg.norm(x - image[0]) / np.linalg.norm(image[0]) for x in (model.image[0], adjoint))
    assert error < 0.15 < 0.25 < of_adjoint
    assert model.relative_error[0] < 0.03


def test_maps_are_estimated_where_the_scan_has_none():
    _, scan = object_and_scan(matrix=(64, 60), n_coils=6)
    model = estimate_object(replace(scan, csm=None))
    assert (model.csm_origin, model.shading_moves_with_object) == ("estimated", False)
    assert max(model.relative_error) < 0.03
    clean = rss(centred_ifft(scan.kspace))
    assert nrmse(np.abs(model.image) * rss(model.csm), clean) < 0.01


def test_one_coil_is_uniform_and_keeps_its_shading():
    _, scan = object_and_scan()
    one = Scan(scan.kspace[:, :1], scan.acquisition)
    model = estimate_object(one)
    np.testing.assert_allclose(model.image, centred_ifft(one.kspace)[:, 0], atol=1e-6)
    assert (model.csm_origin, model.shading_moves_with_object) == ("uniform", True)
    assert max(model.relative_error) < 1e-6


@pytest.mark.parametrize("known", [False, True], ids=["no map", "a map"])
def test_one_coil_with_gaps_between_its_lines_is_explained_whole(known):
    """A regularised solution would be too small, and what moves with it."""
    _, scan = object_and_scan(n_coils=1)
    sampled = np.zeros(MATRIX, bool)
    sampled[:, [1, 4, 9, *range(15, 23), 30]] = True
    csm = scan.csm if known else None
    model = estimate_object(replace(scan, kspace=scan.kspace * sampled, sampled=sampled, csm=csm))
    assert max(model.relative_error) < 1e-5
    explained = centred_fft(model.csm * model.image[:, None])
    np.testing.assert_allclose(explained, scan.kspace * sampled, atol=1e-5 * np.abs(scan.kspace).max())


def test_a_known_map_of_one_coil_is_trusted():
    _, scan = object_and_scan(n_coils=1)
    model = estimate_object(scan)
    assert (model.csm_origin, model.shading_moves_with_object) == ("true", False)


def test_normalised_maps_of_a_file_are_seen_through():
    _, scan = object_and_scan()
    norm = np.sqrt(np.sum(np.abs(scan.csm) ** 2, axis=1, keepdims=True))
    masked = np.where(norm > 0.5, scan.csm / norm, 0).astype(np.complex64)
    model = estimate_object(replace(scan, csm=masked))
    assert model.shading_moves_with_object
    assert not model.image[np.sum(np.abs(masked) ** 2, axis=1) == 0].any()
    assert np.isfinite(model.image).all()


@pytest.mark.parametrize("factor", [1000.0, 1e-6])
def test_scale_equivariance(factor):
    _, scan = object_and_scan(n_slices=1)
    scaled = replace(scan, kspace=(scan.kspace * np.float32(factor)).astype(np.complex64))
    model, other = estimate_object(scan), estimate_object(scaled)
    np.testing.assert_allclose(other.image / np.float32(factor), model.image, atol=1e-5)


def test_slices_do_not_know_each_other():
    _, scan = object_and_scan(n_slices=3)
    scan = replace(scan, csm=None)
    whole, part = estimate_object(scan), estimate_object(scan.select([1]))
    np.testing.assert_array_equal(whole.image[1], part.image[0])
    assert whole.relative_error[1] == part.relative_error[0]


def test_failures_are_named():
    _, scan = object_and_scan()
    broken = scan.kspace.copy()
    broken[1, 2, 3, 4] = np.nan
    with pytest.raises(DataError, match="kspace of slice 1 holds NaN"):
        estimate_object(replace(scan, kspace=broken))
    maps = scan.csm.copy()
    maps[1] = 0
    with pytest.raises(DataError, match="object model of slice 1: the coil maps have"):
        estimate_object(replace(scan, csm=maps))
    with pytest.raises(DataError, match="expected 8 or more"):
        estimate_object(replace(scan, csm=None, sampled=np.broadcast_to(np.arange(38) % 2 == 0, MATRIX).copy()))
