"""The torch pair is the project's pair."""

import numpy as np
import pytest
import torch

from diagnose.reconstruction.torch_fourier import (
    centred_fft,
    centred_ifft,
    crop_centred,
    root_sum_of_squares,
    rss_image,
)
from mrisim import fourier
from mrisim.quality import rss

SHAPES = [(2, 3, 8, 6), (1, 2, 7, 9), (2, 1, 5, 8)]


def draw(shape, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


@pytest.mark.parametrize("shape", SHAPES)
def test_both_ways_equal_the_simulator(shape):
    x = draw(shape)
    np.testing.assert_allclose(centred_fft(torch.from_numpy(x)).numpy(), fourier.centred_fft(x), atol=3e-6)
    np.testing.assert_allclose(centred_ifft(torch.from_numpy(x)).numpy(), fourier.centred_ifft(x), atol=3e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_inverse_is_the_adjoint(shape):
    x, k = torch.from_numpy(draw(shape, 1)), torch.from_numpy(draw(shape, 2))
    left, right = (centred_fft(x) * k.conj()).sum(), (x * centred_ifft(k).conj()).sum()
    assert abs((left - right).item()) < 1e-5 * x.norm().item() * k.norm().item()


def test_rss_equals_the_simulator_and_has_a_finite_gradient_where_nothing_is():
    x = draw((2, 3, 6, 5))
    np.testing.assert_allclose(root_sum_of_squares(torch.from_numpy(x)).numpy(), rss(x), rtol=1e-5)
    np.testing.assert_allclose(rss_image(torch.from_numpy(x)).numpy(), rss(fourier.centred_ifft(x)), rtol=1e-4)
    empty = torch.zeros(1, 2, 4, 4, dtype=torch.complex64, requires_grad=True)
    rss_image(empty).sum().backward()
    assert not empty.grad.any()


@pytest.mark.parametrize("shape", [(4, 3), (5, 4), (8, 7)])
def test_crop_keeps_the_centre_pixel(shape):
    x = draw((2, 8, 7)).real
    np.testing.assert_array_equal(crop_centred(torch.from_numpy(x), shape).numpy(), fourier.resize_centred(x, shape))


def test_a_crop_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match=r"the crop is \(9, 2\); expected at most the image, \(8, 7\)"):
        crop_centred(torch.zeros(8, 7), (9, 2))
