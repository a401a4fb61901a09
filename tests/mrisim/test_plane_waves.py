"""Plane waves against their closed form, value by value."""

import numpy as np
import pytest

from mrisim.plane_waves import add_plane_waves


@pytest.mark.parametrize("dtype", [np.complex64, complex])
@pytest.mark.parametrize("shape", [(1, 5, 9), (3, 6, 9), (2, 3, 5, 8)])
@pytest.mark.parametrize("n_waves", [0, 1, 4, 5, 9])
def test_samples_of_kspace_are_plane_waves_in_every_image(n_waves, shape, dtype):
    rng = np.random.default_rng(2)
    images = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)
    n_coils, n_rows, n_columns = shape[-3:]
    position = np.stack([rng.integers(0, n, n_waves) for n in (n_rows, n_columns)], axis=1)
    amplitude = rng.normal(size=(n_waves, n_coils)) + 1j * rng.normal(size=(n_waves, n_coils))
    rows, columns = (np.arange(n) - n // 2 for n in (n_rows, n_columns))
    expected = images.astype(complex)
    for (row, column), of_coils in zip(position, amplitude, strict=True):
        turns = np.add.outer((row - n_rows // 2) * rows / n_rows, (column - n_columns // 2) * columns / n_columns)
        expected += of_coils[:, None, None] * np.exp(2j * np.pi * turns) / np.sqrt(n_rows * n_columns)
    before = images.copy()
    got = add_plane_waves(images, position, amplitude)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(images, before)


def test_images_need_not_be_contiguous():
    rng = np.random.default_rng(3)
    images = (rng.normal(size=(2, 6, 7)) + 1j * rng.normal(size=(2, 6, 7))).astype(np.complex64)
    position, amplitude = np.array([[4, 1]]), np.array([[1 + 2j, -1j]])
    wave = add_plane_waves(0 * images, position, amplitude)
    np.testing.assert_allclose(add_plane_waves(images[:, ::-1], position, amplitude), images[:, ::-1] + wave, rtol=1e-5)
