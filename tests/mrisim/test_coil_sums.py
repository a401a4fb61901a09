"""Compiled sums over coils against plain array formulas, and at the ends of single precision."""

import numpy as np
import pytest

from mrisim.coil_sums import (
    acquired_samples,
    add_to_lines,
    combine,
    energy_of_lines,
    energy_of_misfit,
    energy_of_slices,
    root_sum_of_squares,
    set_lines,
    weighted_sum,
)
from mrisim.testing import relative_difference


def random_complex(shape, seed=0, dtype=np.complex64):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("shape", [(3, 5, 8), (2, 3, 5, 7), (2, 4, 1, 6, 5)])
def test_root_sum_of_squares(shape, dtype):
    images = random_complex(shape, dtype=dtype)
    got = root_sum_of_squares(images)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, np.sqrt((np.abs(images.astype(complex)) ** 2).sum(axis=-3)), rtol=1e-6)
    np.testing.assert_array_equal(root_sum_of_squares(images.swapaxes(-1, -2)), got.swapaxes(-1, -2))


def test_root_sum_of_squares_of_reals_and_of_tiny_numbers():
    images = random_complex((3, 4, 5))
    np.testing.assert_allclose(root_sum_of_squares(images.real), np.sqrt((images.real**2).sum(axis=0)), rtol=1e-6)
    tiny = root_sum_of_squares(images * np.float32(1e-25))
    np.testing.assert_allclose(tiny, np.float32(1e-25) * root_sum_of_squares(images), rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 6, 7), (2, 3, 6, 7), (2, 2, 3, 6, 7)])
def test_energy_of_slices(shape):
    kspace = random_complex(shape)
    expected = (np.abs(kspace.astype(complex)) ** 2).sum((-3, -2, -1))
    for given in (kspace, np.asfortranarray(kspace)):
        np.testing.assert_allclose(energy_of_slices(given), expected, rtol=1e-6)


def test_lines_are_set_and_added_to_where_they_were_acquired():
    kspace, change = random_complex((2, 3, 6, 7)), random_complex((2, 3, 6, 2), seed=1)
    sampled = np.random.default_rng(2).random((6, 7)) < 0.6
    kspace[..., ~sampled] = -0.0
    expected, lines = kspace.copy(), np.array([5, 2])
    expected[..., lines] = np.where(sampled[:, lines], kspace[..., lines] + change, kspace[..., lines])
    add_to_lines(kspace, lines, change, sampled)
    np.testing.assert_array_equal(kspace, expected)
    assert np.signbit(kspace.real[..., ~sampled]).all(), "minus zero keeps its sign"
    before = kspace.copy()
    set_lines(kspace, lines, change, np.array([1, 0]))
    np.testing.assert_array_equal(kspace[..., [5, 2]], change[..., [1, 0]])
    np.testing.assert_array_equal(kspace[..., [0, 1, 3, 4, 6]], before[..., [0, 1, 3, 4, 6]])


def test_energy_of_lines():
    kspace = random_complex((3, 6, 7))
    np.testing.assert_allclose(energy_of_lines(kspace), (np.abs(kspace.astype(complex)) ** 2).sum((0, 1)), rtol=1e-6)


def test_combine_is_the_least_squares_fit_and_its_misfit():
    images, csm = random_complex((4, 6, 9)), random_complex((4, 6, 9), seed=1)
    seen = np.random.default_rng(2).random((6, 9)) < 0.7
    image, misfit = combine(images, csm, seen)
    power = (np.abs(csm) ** 2).sum(axis=0)
    expected = np.where(seen, (csm.conj() * images).sum(axis=0) / power, 0)
    assert relative_difference(image, expected) < 1e-6
    assert misfit == pytest.approx((np.abs(images - csm * expected) ** 2).sum(), rel=1e-5)
    exact, nothing = combine(csm * image, csm, seen)
    assert relative_difference(exact, image) < 1e-6 and nothing < 1e-10


def test_weighted_sum_is_the_adjoint_of_the_maps():
    images, csm = random_complex((4, 6, 9)), random_complex((4, 6, 9), seed=1)
    assert relative_difference(weighted_sum(images, csm), (csm.conj() * images).sum(axis=0)) < 1e-6


def test_energy_of_a_misfit_counts_what_was_not_acquired_as_zero():
    lines, kspace = random_complex((6, 9)), random_complex((6, 9), seed=1)
    sampled = np.random.default_rng(2).random((6, 9)) < 0.7
    expected = (np.abs(np.where(sampled, lines, 0) - kspace) ** 2).sum()
    assert energy_of_misfit(lines, kspace, sampled) == pytest.approx(expected, rel=1e-5)
    lines[0, 0] = np.nan
    assert np.isnan(energy_of_misfit(lines, kspace, sampled))


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_acquired_samples_are_copied_and_the_others_zero_whatever_they_hold(dtype):
    kspace = random_complex((3, 5, 7), dtype=dtype)
    sampled = np.random.default_rng(1).random((5, 7)) < 0.6
    expected = np.where(sampled, kspace, 0).astype(np.complex64)
    kspace[:, ~sampled] = np.nan
    copy, finite = acquired_samples(kspace, sampled)
    assert copy.dtype == np.complex64 and finite
    np.testing.assert_array_equal(copy, expected)
    copy[:] = 0
    assert np.abs(kspace[:, sampled]).min() > 0, "a copy, not the input"


@pytest.mark.parametrize("value", [np.nan, np.inf, complex(0, -np.inf), complex(0, np.nan)])
def test_one_acquired_sample_that_is_not_finite_is_seen(value):
    kspace, sampled = random_complex((3, 5, 7)), np.ones((5, 7), bool)
    kspace[2, 4, 6] = value
    assert not acquired_samples(kspace, sampled)[1]
    sampled[4, 6] = False
    assert acquired_samples(kspace, sampled)[1]
