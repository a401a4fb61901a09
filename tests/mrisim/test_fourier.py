"""The Fourier pair against its definition, written out as a sum; centring, crops, devices."""

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings

from mrisim.errors import ConfigError
from mrisim.fourier import array_module, centred_fft, centred_ifft, resize_centred, resolve_device, to_device
from mrisim.testing import (
    COMPLEX_TYPES,
    assert_adjoint,
    assert_isometric,
    assert_linear,
    complex_arrays,
    dft_matrix,
    image_shapes,
    relative_difference,
    tolerance,
)

SHAPES = [(14, 9), (9, 14), (8, 12), (7, 11), (1, 6), (5, 1)]


def random_image(shape, dtype=np.complex128, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", COMPLEX_TYPES)
def test_the_transform_is_the_centred_orthonormal_sum(shape, dtype):
    image = random_image((2, 3, *shape), dtype)
    expected = np.empty(image.shape, complex)
    for k in range(shape[0]):
        for q in range(shape[1]):
            # S(k) = 1/sqrt(N) sum_r x(r) exp(-2 pi i k r / N), every index counted from the centre n // 2
            turns = np.add.outer(
                (k - shape[0] // 2) * (np.arange(shape[0]) - shape[0] // 2) / shape[0],
                (q - shape[1] // 2) * (np.arange(shape[1]) - shape[1] // 2) / shape[1],
            )
            expected[..., k, q] = (image * np.exp(-2j * np.pi * turns)).sum((-2, -1)) / np.sqrt(np.prod(shape))
    got = centred_fft(image)
    assert got.dtype == dtype
    assert relative_difference(got, expected) < tolerance(dtype)
    back = centred_ifft(got)
    assert back.dtype == dtype
    assert relative_difference(back, image) < tolerance(dtype)


@pytest.mark.parametrize("shape", SHAPES)
def test_dc_is_at_the_centre_and_a_plane_wave_is_one_sample(shape):
    kspace = centred_fft(np.ones(shape, complex))
    expected = np.zeros(shape, complex)
    expected[shape[0] // 2, shape[1] // 2] = np.sqrt(np.prod(shape))
    np.testing.assert_allclose(kspace, expected, atol=1e-13)
    # a wave of +1 turn over the rows: one sample, on the positive side
    rows = np.arange(shape[0]) - shape[0] // 2
    wave = np.exp(2j * np.pi * rows / shape[0])[:, None] * np.ones(shape[1])
    peak = np.unravel_index(np.argmax(np.abs(centred_fft(wave))), shape)
    assert peak == ((shape[0] // 2 + 1) % shape[0], shape[1] // 2)


@pytest.mark.parametrize("axes", [(-2,), (-1,), (0,)])
def test_other_axes(axes):
    image = random_image((3, 6, 5))
    matrix = dft_matrix(image.shape[axes[0]])
    expected = np.moveaxis(np.tensordot(matrix, image, axes=(1, axes[0])), 0, axes[0])
    assert relative_difference(centred_fft(image, axes), expected) < tolerance(complex)
    inverse = np.moveaxis(np.tensordot(matrix.conj().T, image, axes=(1, axes[0])), 0, axes[0])
    assert relative_difference(centred_ifft(image, axes), inverse) < tolerance(complex)


def test_scipys_shift_free_transform_agrees_up_to_its_phase_ramp():
    image = random_image((10, 7))
    plain = np.fft.fft2(image, norm="ortho")
    k, q = np.fft.fftfreq(10)[:, None], np.fft.fftfreq(7)[None]
    ramp = np.exp(2j * np.pi * (k * 5 + q * 3))
    assert relative_difference(np.fft.ifftshift(centred_fft(image)), plain * ramp) < tolerance(complex)


def test_white_noise_keeps_its_deviation_in_the_image_odd_and_even():
    for shape in ((128, 101), (101, 128)):
        image = centred_ifft(random_image(shape))
        # E|n|^2 = 2 here; its mean over n samples has the deviation 2 / sqrt(n)
        assert abs(np.mean(np.abs(image) ** 2) - 2) < 5 * 2 / np.sqrt(image.size)


@given(x=complex_arrays(image_shapes()))
def test_the_transform_is_an_isometry(x):
    assert_isometric(centred_fft, x)
    assert_isometric(centred_ifft, x)


@given(x=complex_arrays((2, 6, 9)), y=complex_arrays((2, 6, 9)))
def test_the_transform_is_linear_and_its_inverse_is_its_adjoint(x, y):
    y = y.astype(x.dtype)
    assert_linear(centred_fft, x, y)
    assert_adjoint(centred_fft, centred_ifft, x, y)


@given(x=complex_arrays(image_shapes()))
@settings(max_examples=40)
def test_a_shift_of_the_image_is_a_phase_ramp_of_its_kspace(x):
    n_rows, n_columns = x.shape
    k, q = np.arange(n_rows) - n_rows // 2, np.arange(n_columns) - n_columns // 2
    ramp = np.exp(-2j * np.pi * (2 * k[:, None] / n_rows - 3 * q / n_columns))
    shifted = centred_fft(np.roll(x, (2, -3), (0, 1)))
    expected = centred_fft(x) * ramp
    assert np.linalg.norm(shifted - expected) <= tolerance(x.dtype) * np.linalg.norm(x)


def test_a_product_in_kspace_is_a_circular_convolution_in_the_image():
    a, b = random_image((6, 9), seed=1), random_image((6, 9), seed=2)
    product = centred_ifft(centred_fft(a) * centred_fft(b)) * np.sqrt(54)
    expected = scipy.signal.convolve2d(np.tile(a, (3, 3)), b)[6 + 3 : 12 + 3, 9 + 4 : 18 + 4]
    assert relative_difference(product, expected) < tolerance(complex)


def test_the_input_is_not_changed():
    image = random_image((4, 5), np.complex64)
    copy = image.copy()
    centred_fft(image), centred_ifft(image), resize_centred(image, (3, 9))
    assert image.tobytes() == copy.tobytes()


@pytest.mark.parametrize("source", [(4, 5), (5, 4), (8, 3)])
@pytest.mark.parametrize("target", [(4, 5), (7, 2), (2, 8), (9, 9)])
def test_crop_and_padding_keep_the_centre_pixel(source, target):
    array = np.arange(1, 1 + source[0] * source[1]).reshape(source)
    resized = resize_centred(array[None], target)[0]
    assert resized.shape == target
    for row in range(target[0]):
        for column in range(target[1]):
            p, q = row - target[0] // 2 + source[0] // 2, column - target[1] // 2 + source[1] // 2
            inside = 0 <= p < source[0] and 0 <= q < source[1]
            assert resized[row, column] == (array[p, q] if inside else 0)


def test_zero_padding_of_kspace_interpolates():
    image = random_image((5, 7))
    fine = centred_ifft(resize_centred(centred_fft(image), (15, 21))) * 3
    assert relative_difference(fine[1::3, 1::3], image) < tolerance(complex)


def test_devices():
    array = np.ones(3, np.complex64)
    assert to_device(array, "cpu") is array
    assert array_module(array) is np
    assert resolve_device("auto") in ("cpu", "cuda")
    assert resolve_device("cpu") == "cpu"


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:-1", ""])
def test_an_unknown_device_is_one_clear_line(device):
    with pytest.raises(ConfigError, match=r"device is .*; expected 'auto', 'cpu', 'cuda' or 'cuda:N'"):
        resolve_device(device)


def test_a_device_that_is_not_there_is_one_clear_line():
    with pytest.raises(ConfigError, match=r"^device is 'cuda:99'; expected"):
        to_device(np.ones(3, np.complex64), "cuda:99")
