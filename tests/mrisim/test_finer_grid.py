"""The finer grid against the sum over frequencies, by compiled tiles and in whole arrays."""

import numpy as np
import pytest

from mrisim.finer_grid import finer_grid
from mrisim.fourier import signed_frequency
from mrisim.gridding_kernels import BORDER
from mrisim.kaiser_bessel import kernel_transform
from mrisim.testing import relative_difference


def by_definition(image, axis):
    """Return sum_k X(k) exp(2 pi i k r / 2n) / (n kernel(k / 2n)), r = 0 ... 2n - 1."""
    n = image.shape[axis]
    frequency = signed_frequency(n)
    analysis = np.exp(-2j * np.pi * np.outer(frequency, np.arange(n)) / n)
    synthesis = np.exp(2j * np.pi * np.outer(np.arange(2 * n), frequency) / (2 * n))
    matrix = synthesis @ (analysis / (n * kernel_transform(frequency / (2 * n)))[:, None])
    return np.moveaxis(np.tensordot(matrix, image, axes=(1, axis)), 0, axis)


@pytest.mark.parametrize("dtype", [np.complex64, complex])
@pytest.mark.parametrize("shape", [(2, 3), (5, 8), (17, 16), (33, 40), (12, 77), (131, 20)])  # 131: in whole arrays
def test_it_is_the_sum_over_frequencies_with_a_periodic_border(shape, dtype):
    rng = np.random.default_rng(0)
    images = (rng.normal(size=(2, *shape)) + 1j * rng.normal(size=(2, *shape))).astype(dtype)
    before = images.copy()
    expected = by_definition(by_definition(images.astype(complex), -2), -1)
    for axis in (-2, -1):
        n = expected.shape[axis]
        expected = np.take(expected, np.arange(-BORDER[0], n + BORDER[1]) % n, axis)
    got = finer_grid(images)
    assert got.dtype == dtype and got.flags.c_contiguous
    assert relative_difference(got, expected) < (1e-6 if dtype == np.complex64 else 1e-12)
    np.testing.assert_array_equal(images, before)
