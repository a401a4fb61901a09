"""Bias field: the coil images times b, a field of stated range, and noise that is not shaded."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from mrisim.artifacts.bias_field import BiasField
from mrisim.scan import Scan
from mrisim.seeding import stream
from mrisim.testing import COMPLEX_TYPES, dft_matrix, encoded, modelled_scan, relative_difference, tolerance

N_SLICES, N_COILS, MATRIX = 4, 3, (25, 34)


def head(n_slices=N_SLICES, matrix=MATRIX):
    """A bright rectangle with texture and phase: the foreground, without air inside."""
    rng = np.random.default_rng(0)
    image = np.zeros((n_slices, *matrix), complex)
    image[:, 4:21, 5:28] = (1 + rng.random((n_slices, 17, 23))) * np.exp(1j * rng.normal(size=(n_slices, 17, 23)))
    csm = rng.normal(size=(n_slices, N_COILS, *matrix)) + 1j * rng.normal(size=(n_slices, N_COILS, *matrix))
    return image, csm / np.linalg.norm(csm, axis=1, keepdims=True)  # RSS = abs(image)


def shaded(scan, ratio=3.0, seed=0):
    spec = BiasField(range_ratio=ratio)
    latents = spec.draw(scan, rng=stream(seed, "bias"))
    return spec.apply(scan, latents)


def images_of(kspace):
    return dft_matrix(kspace.shape[-2]).conj().T @ kspace @ dft_matrix(kspace.shape[-1]).conj()


def field_of(scan, ratio=3.0, seed=0):
    """Read b off the images: (slice, readout, phase_encode), nan where there is no object."""
    clean, got = images_of(scan.kspace), images_of(shaded(scan, ratio, seed).kspace)
    weight = (np.abs(clean) ** 2).sum(1)
    inside = weight > 1e-3 * weight.max()
    return np.where(inside, (clean.conj() * got).sum(1) / np.where(inside, weight, 1), np.nan)


@pytest.mark.parametrize("dtype", COMPLEX_TYPES)
def test_every_coil_image_is_multiplied_by_one_real_positive_field(dtype):
    scan = modelled_scan(*head(), dtype=dtype)
    clean, got = images_of(scan.kspace), images_of(shaded(scan).kspace)
    field = field_of(scan)
    inside = np.isfinite(field.real)
    limit = tolerance(dtype)
    assert np.nanmax(np.abs(field.imag)) < 10 * limit and np.nanmin(field.real) > 0
    assert relative_difference(got, np.where(inside, field, 0)[:, None].real * clean) < 2 * limit
    # so the RSS image is multiplied by b, too
    ratio = np.linalg.norm(got, axis=1)[inside] / np.linalg.norm(clean, axis=1)[inside]
    np.testing.assert_allclose(ratio, field.real[inside], rtol=20 * limit)


def test_the_field_has_its_range_and_its_weighted_mean_over_the_volume():
    scan = modelled_scan(*head(), dtype=np.complex128)
    power = (np.abs(head()[0])) ** 2
    for seed in range(5):
        for ratio in (1.22, 4.27):
            logarithm = np.log(field_of(scan, ratio, seed).real)
            assert np.nanmax(logarithm) - np.nanmin(logarithm) == pytest.approx(np.log(ratio), rel=1e-9)
            assert abs(np.nansum(power * logarithm)) / power.sum() < 1e-6 * np.log(ratio)  # magnitude is float32


def test_the_logarithm_is_a_polynomial_of_order_three_over_the_volume():
    """Its fourth differences vanish along every axis, also from slice to slice, and the third do not."""
    scan = modelled_scan(*head(n_slices=5), dtype=np.complex128)
    logarithm = np.log(field_of(scan).real)[:, 4:21, 5:28]
    for axis in range(3):
        assert np.abs(np.diff(logarithm, n=4, axis=axis)).max() < 1e-12
        assert np.abs(np.diff(logarithm, n=3, axis=axis)).max() > 1e-7
    mixed = np.diff(np.diff(logarithm, n=2, axis=1), n=2, axis=2)
    assert np.abs(mixed).max() < 1e-12  # total order three
    assert np.abs(np.diff(np.diff(logarithm, n=2, axis=1), axis=2)).max() > 1e-7


def test_coordinates_run_from_edge_to_edge_whatever_the_matrix():
    """A matrix twice as fine samples the same field at every second pixel."""
    spec = BiasField(range_ratio=3.0)
    latents = spec.draw(modelled_scan(*head(1)), rng=stream(0))
    fine = spec.field((2 * MATRIX[0] + 2, 2 * MATRIX[1]), latents, 0)
    coarse = spec.field((MATRIX[0] + 1, MATRIX[1]), latents, 0)
    np.testing.assert_allclose(fine[::2, ::2], coarse, rtol=1e-12)


def test_the_shade_of_every_pixel_grows_with_the_severity():
    scan = modelled_scan(*head(), dtype=np.complex128)
    before = np.zeros(head()[0].shape)
    for ratio in (1.22, 1.5, 1.92, 2.7, 4.27):
        distance = np.abs(field_of(scan, ratio) - 1)
        inside = np.isfinite(distance)
        assert (distance[inside] >= before[inside] - 1e-9).all()
        before = distance


def test_outside_the_object_the_field_stays_between_its_extremes():
    spec = BiasField(range_ratio=3.0)
    latents = spec.draw(modelled_scan(*head()), rng=stream(0))
    field = np.stack([spec.field(MATRIX, latents, z) for z in range(N_SLICES)])
    inside = field[:, 4:21, 5:28]
    assert field.max() == pytest.approx(inside.max(), rel=1e-12) and field.min() == pytest.approx(
        inside.min(), rel=1e-12
    )


def test_measured_noise_is_not_shaded():
    """The delta form: y + F (b - 1) S x."""
    image, csm = head()
    noise = np.random.default_rng(1).normal(size=csm.shape) * 0.05j
    clean, noisy = (
        modelled_scan(image, csm, dtype=np.complex128),
        modelled_scan(image, csm, dtype=np.complex128, noise=noise),
    )
    spec = BiasField(range_ratio=3.0)
    latents = spec.draw(clean, rng=stream(0))
    difference = spec.apply(noisy, latents).kspace - spec.apply(clean, latents).kspace
    np.testing.assert_allclose(difference, noise, atol=1e-12)


def test_the_maps_of_the_object_model_carry_the_field_for_what_comes_after():
    image, csm = head()
    scan = modelled_scan(image, csm, dtype=np.complex128)
    result = shaded(scan)
    assert result.object_model.image is scan.object_model.image
    assert relative_difference(result.kspace, encoded(image, result.object_model.csm)) < tolerance(complex)


def test_unacquired_samples_keep_every_bit_and_the_others_do_not_notice():
    image, csm = head()
    full = modelled_scan(image, csm)
    sampled = np.random.default_rng(0).random(MATRIX) < 0.6
    kspace = np.where(sampled, full.kspace, np.complex64(complex(-0.0, -0.0)))
    spec = BiasField(range_ratio=3.0)
    latents = spec.draw(full, rng=stream(0))
    got = spec.apply(replace(full, kspace=kspace, sampled=sampled), latents).kspace
    assert got[..., ~sampled].tobytes() == kspace[..., ~sampled].tobytes()
    np.testing.assert_array_equal(got[..., sampled], spec.apply(full, latents).kspace[..., sampled])


@pytest.mark.parametrize("slice_ids", [(0, 1, 2, 3), (2, 3, 5, 8)])
def test_the_field_of_a_volume_with_missing_slices_has_its_range_too(slice_ids):
    """Slices keep their numbers; a file of which some are unreadable is still one volume."""
    image, csm = head()
    scan = modelled_scan(image, csm, dtype=np.complex128)
    scan = Scan(scan.kspace, scan.acquisition, slice_ids=slice_ids, object_model=scan.object_model)
    logarithm = np.log(field_of(scan).real)
    assert np.nanmax(logarithm) - np.nanmin(logarithm) == pytest.approx(np.log(3), rel=1e-9)
    power = np.abs(image) ** 2
    assert abs(np.nansum(power * logarithm)) / power.sum() < 1e-6


def test_a_slice_on_its_own_is_shaded_as_in_the_volume():
    scan = modelled_scan(*head())
    spec = BiasField(range_ratio=3.0)
    latents = spec.draw(scan, rng=stream(0))
    whole = spec.apply(scan, latents).kspace
    for index in range(N_SLICES):
        np.testing.assert_array_equal(spec.apply(scan.select([index]), latents).kspace[0], whole[index])


def test_no_direction_is_preferred():
    """The coefficients are independent standard normals."""
    scan = modelled_scan(*head(1))
    drawn = np.array([BiasField().draw(scan, rng=stream(seed)).coefficient for seed in range(300)])
    assert drawn.shape == (300, 19)  # monomials of order 1 to 3 in three variables
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(drawn.T) - np.eye(19)).max() < 5 / np.sqrt(300)


@pytest.mark.parametrize("ratio", [0.9, 0, 2000])
def test_impossible_parameters_are_refused(ratio):
    with pytest.raises(ValueError, match="range_ratio"):
        BiasField(range_ratio=ratio)
