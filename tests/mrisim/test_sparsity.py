"""Compiled proximal maps against those of SigPy, and the wavelet transform against PyWavelets."""

import numpy as np
import pytest
import pywt
from sigpy.linop import Wavelet
from sigpy.prox import L1Reg, UnitaryTransform

from mrisim.sparsity import WaveletThreshold, analysed, shrink, shrunk, synthesised
from mrisim.testing import relative_difference


def random_image(shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


@pytest.mark.parametrize("dtype", [np.complex64, complex])  # compiled, and in whole arrays
def test_the_soft_threshold_is_that_of_sigpy(dtype):
    samples = random_image((2, 9, 7)).astype(dtype)
    samples[0, 0] = 0
    before = samples.copy()
    got = shrunk(samples, 0.8)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, L1Reg(samples.shape, 0.8)(1, samples), atol=1e-6)
    np.testing.assert_array_equal(samples, before)


def test_shrinking_takes_the_threshold_off_the_modulus_and_keeps_the_phase():
    samples = np.array([3 + 4j, -0.6 + 0.8j, 0, 0.1j], np.complex64)
    shrink(samples, 1.0)
    np.testing.assert_allclose(samples, [4 * (0.6 + 0.8j), 0, 0, 0], atol=1e-6)


@pytest.mark.parametrize("shape", [(64, 40), (33, 40), (48, 57), (7, 6)])
def test_the_wavelet_threshold_is_that_of_sigpy(shape):
    image = random_image(shape)
    wavelet = Wavelet(shape, wave_name="db4")
    expected = UnitaryTransform(L1Reg(wavelet.oshape, np.float32(0.5)), wavelet)(1, image)
    got = WaveletThreshold(shape, 0.5)(1, image)
    assert got.shape == image.shape and got.dtype == np.complex64
    assert relative_difference(got, expected) < 1e-6


@pytest.mark.parametrize("shape", [(64, 40), (33, 40), (48, 57), (7, 6)])
def test_by_matrices_several_images_at_once_are_those_of_each_alone(shape):
    """What a GPU computes, with NumPy."""
    images = random_image((3, *shape))
    got = WaveletThreshold(images.shape, 0.5)(0.8, images)
    assert got.shape == images.shape and got.dtype == np.complex64
    for one, image in zip(got, images, strict=True):
        assert relative_difference(one, WaveletThreshold(shape, 0.5)(0.8, image)) < 1e-6


@pytest.mark.parametrize("n_rows", [8, 12, 15, 21])
def test_one_level_is_that_of_pywavelets_and_is_undone(n_rows):
    image = random_image((n_rows, 5))
    low, high = analysed(image)
    expected = pywt.dwt(image, "db4", mode="zero", axis=0)
    assert relative_difference(low, expected[0]) < 1e-6 and relative_difference(high, expected[1]) < 1e-6
    assert relative_difference(synthesised(low, high, n_rows), image) < 1e-6
