"""Scan: what it refuses, what it fills in, and that parts of a volume keep the indices of the whole."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given, settings

from mrisim.errors import DataError
from mrisim.reference import measure_reference
from mrisim.scan import Acquisition, Scan, coil_images
from mrisim.testing import dft_matrix, encoded, relative_difference, scans, tolerance

ACQUISITION = Acquisition(fov_mm=(210.0, 180.0))


def kspace(shape=(2, 3, 6, 9), dtype=np.complex64):
    rng = np.random.default_rng(0)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((3, 64, 64), np.complex64),
            r"kspace has shape \(3, 64, 64\).*\(slice, coil, readout, phase_encode\)",
        ),
        (np.zeros((1, 3, 8, 8), np.float32), r"dtype float32; expected a complex array"),
        (np.zeros((1, 0, 8, 8), np.complex64), r"expected at least one sample on every axis"),
    ],
)
def test_kspace_of_another_shape_or_type_is_refused(array, message):
    with pytest.raises(DataError, match=message):
        Scan(array, ACQUISITION)


@pytest.mark.parametrize(
    "parts",
    [
        {"sampled": np.ones((9, 6), bool)},
        {"noise_covariance": np.eye(2)},
        {"csm": np.ones((3, 6, 9), np.complex64)},
        {"csm": np.ones((1, 3, 6, 9), np.complex64)},
    ],
)
def test_parts_that_do_not_fit_are_refused_by_name(parts):
    with pytest.raises(DataError, match=rf"^{next(iter(parts))} has shape .*; expected .* for kspace of shape"):
        Scan(kspace(), ACQUISITION, **parts)


def test_slice_ids_must_name_every_slice():
    with pytest.raises(DataError, match="slice_ids names 1 slices; expected 2"):
        Scan(kspace(), ACQUISITION, slice_ids=(4,))


def test_what_is_left_out_is_filled_in():
    scan = Scan(kspace(), ACQUISITION)
    assert scan.sampled.shape == (6, 9) and scan.sampled.all()
    assert scan.slice_ids == (0, 1)
    assert (scan.n_slices, scan.n_coils, scan.matrix) == (2, 3, (6, 9))
    assert scan.voxel_mm == (35.0, 20.0)
    with pytest.raises(FrozenInstanceError):
        scan.kspace = None


def test_sampled_lines_and_full_sampling():
    sampled = np.zeros((6, 9), bool)
    assert Scan(kspace(), ACQUISITION, sampled=sampled).sampled_lines.tolist() == []
    assert not Scan(kspace(), ACQUISITION, sampled=sampled).fully_sampled
    sampled[:, 2:7] = True  # padding on either side is not undersampling
    scan = Scan(kspace(), ACQUISITION, sampled=sampled)
    assert scan.sampled_lines.tolist() == [2, 3, 4, 5, 6]
    assert scan.fully_sampled
    sampled = sampled.copy()
    sampled[:, 4] = False
    assert not Scan(kspace(), ACQUISITION, sampled=sampled).fully_sampled
    sampled[2, 4] = True  # one sample of a line makes it an acquired line
    assert Scan(kspace(), ACQUISITION, sampled=sampled).sampled_lines.tolist() == [2, 3, 4, 5, 6]


@given(scan=scans())
@settings(max_examples=25)
def test_a_part_keeps_the_indices_of_the_whole(scan):
    scan = replace(scan, slice_ids=tuple(10 + i for i in range(scan.n_slices)), reference=measure_reference(scan))
    order = list(reversed(range(scan.n_slices)))
    part = scan.select(order)
    assert part.slice_ids == tuple(10 + i for i in order)
    assert part.reference is scan.reference
    np.testing.assert_array_equal(part.kspace, scan.kspace[::-1])
    np.testing.assert_array_equal(part.csm, scan.csm[::-1])
    np.testing.assert_array_equal(part.object_model.image, scan.object_model.image[::-1])
    assert scan.select([-1]).slice_ids == (9 + scan.n_slices,)


@given(scan=scans())
@settings(max_examples=25)
def test_coil_images_are_the_inverse_transform(scan):
    rows, columns = dft_matrix(scan.matrix[0]).conj(), dft_matrix(scan.matrix[1]).conj()
    expected = rows.T @ scan.kspace @ columns
    assert relative_difference(coil_images(scan), expected) < tolerance(scan.kspace.dtype)


@given(scan=scans(scales=(1.0, 1e-6)))
@settings(max_examples=25)
def test_the_strategy_keeps_its_promises(scan):
    """The public strategy is a promise too: exact model where nothing is noisy, empty padding, axes that differ."""
    n_slices, n_coils, n_readout, n_lines = scan.kspace.shape
    assert n_readout != n_lines and n_coils not in (n_readout, n_lines)
    assert n_coils == 1 or n_coils != n_slices
    assert not scan.kspace[..., ~scan.sampled].any()
    model = scan.object_model
    expected = encoded(model.image, model.csm) * scan.sampled
    assert relative_difference(scan.kspace, expected) < 0.1


def test_the_reference_is_measured_on_the_whole_volume():
    # a rectangle of 2 in two coils with maps 0.6 and 0.8: RSS 2 inside, 0 outside
    image = np.zeros((2, 20, 31))
    image[0, 5:15, 8:25] = 2
    image[1, 5:15, 8:20] = 2
    maps = np.array([0.6, 0.8j])[:, None, None]
    coils = maps * image[:, None]
    data = dft_matrix(20) @ coils @ dft_matrix(31).T
    reference = measure_reference(Scan(data.astype(np.complex64), ACQUISITION))
    assert reference.signal_rms == pytest.approx(2, rel=1e-6)
    np.testing.assert_array_equal(reference.foreground, image > 0)
    np.testing.assert_allclose(reference.magnitude, image, atol=1e-6)
    expected = (np.abs(data) ** 2).sum((0, 1, 2))
    np.testing.assert_allclose(reference.line_energy, expected, rtol=1e-5)
    assert reference.sampled.all()
    part = Scan(data.astype(np.complex64), ACQUISITION, reference=reference).select([1])
    assert part.reference.signal_rms == reference.signal_rms


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "slice 1 holds NaN or Inf"), (np.inf, "slice 1 holds NaN or Inf")]
)
def test_kspace_that_is_not_finite_is_refused(value, message):
    data = kspace()
    data[1, 0, 2, 3] = value
    with pytest.raises(DataError, match=message):
        measure_reference(Scan(data, ACQUISITION))


def test_kspace_of_zeros_is_refused():
    with pytest.raises(DataError, match="nothing but zeros"):
        measure_reference(Scan(np.zeros((1, 2, 5, 6), np.complex64), ACQUISITION))
