"""Counter-based noise: published Philox vectors, array formula against compiled kernel, normality, independence."""

from math import cos, log, pi, sin, sqrt

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats

from mrisim.counter_noise import add_correlated_noise, complex_normal

KEY = np.array([0x12345678, 0xFEDCBA98], np.uint32)


def philox4x32(counter, key):
    """Philox4x32-10 in Python integers, from the definition in Salmon et al. 2011."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 % 2**32, (p0 >> 32) ^ c[3] ^ k[1], p0 % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def expected_normal(key, coil, readout, line):
    """The complex normal of one sample, in double precision."""
    words = philox4x32([coil, readout, line // 2, 0], [int(k) for k in key])
    a, b = words[2 * (line % 2) : 2 * (line % 2) + 2]
    radius, angle = sqrt(-log((a + 0.5) / 2**32)), 2 * pi * (b + 0.5) / 2**32
    return complex(radius * cos(angle), radius * sin(angle))


def add_white(shape, key=KEY, sampled=None, dtype=np.complex64):
    kspace = np.zeros(shape, dtype)
    sampled = np.ones(shape[1:], bool) if sampled is None else sampled
    add_correlated_noise(kspace, np.eye(shape[0], dtype=complex), key, sampled)
    return kspace


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_the_reference_of_this_file_gives_the_known_answers_of_random123(counter, key, expected):
    assert philox4x32(counter, key) == expected


@pytest.mark.parametrize("make", [add_white, lambda shape, key: complex_normal(key, shape, np.zeros(1))])
def test_key_zero_gives_the_published_words(make):
    noise = make((1, 1, 2), np.zeros(2, np.uint32))
    for offset, (a, b) in enumerate([(0x6627E8D5, 0xE169C58D), (0xBC57AC4C, 0x9B00DBD8)]):
        radius, angle = sqrt(-log(a / 2**32)), 2 * pi * b / 2**32
        assert noise[0, 0, offset] == pytest.approx(radius * np.exp(1j * angle), abs=2e-6)


@pytest.mark.parametrize("make", [add_white, lambda shape: complex_normal(KEY, shape, np.zeros(1))])
@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 4, 6)])
def test_every_sample_is_the_box_muller_pair_of_its_own_counter(make, shape):
    noise = make(shape)
    assert noise.dtype == np.complex64 and noise.shape == shape
    for index in np.ndindex(shape):
        assert noise[index] == pytest.approx(expected_normal(KEY, *index), abs=4e-6)


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 12)),
    key=st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
)
@settings(max_examples=40)
def test_the_compiled_kernel_is_the_array_formula(shape, key):
    key = np.array(key, np.uint32)
    # 4.9 is the largest radius; single precision keeps the angle to 2 pi 2**-24
    np.testing.assert_allclose(add_white(shape, key), complex_normal(key, shape, np.zeros(1)), rtol=0, atol=4e-6)


def test_a_factor_mixes_the_coils_as_a_matrix():
    rng = np.random.default_rng(0)
    factor = np.tril(rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3)))
    shape = (3, 6, 9)
    kspace = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    expected = kspace + np.einsum("ij,jrp->irp", factor, complex_normal(KEY, shape, kspace))
    add_correlated_noise(kspace, factor, KEY, np.ones(shape[1:], bool))
    np.testing.assert_allclose(kspace, expected, atol=1e-5)


@pytest.mark.parametrize("n_lines", [8, 9])
def test_the_mask_does_not_change_the_noise_of_the_samples_that_it_keeps(n_lines):
    rng = np.random.default_rng(1)
    full = add_white((2, 6, n_lines))
    for _ in range(5):
        sampled = rng.random((6, n_lines)) < 0.4
        masked = add_white((2, 6, n_lines), sampled=sampled)
        np.testing.assert_array_equal(masked[:, sampled], full[:, sampled])
        assert not masked[:, ~sampled].any()


def test_unacquired_samples_keep_every_bit():
    kspace = np.full((2, 3, 5), complex(-0.0, -0.0), np.complex64)
    sampled = np.zeros((3, 5), bool)
    sampled[1, 2] = True
    add_correlated_noise(kspace, np.eye(2, dtype=complex), KEY, sampled)
    assert np.signbit(kspace[:, ~sampled].real).all() and np.signbit(kspace[:, ~sampled].imag).all()


def test_a_sample_has_the_same_noise_in_a_larger_matrix():
    large = add_white((4, 9, 14))
    np.testing.assert_array_equal(add_white((3, 5, 8)), large[:3, :5, :8])


def test_double_precision_kspace_gets_the_same_noise():
    np.testing.assert_array_equal(add_white((2, 5, 7), dtype=np.complex128), add_white((2, 5, 7)))


def test_real_and_imaginary_parts_are_standard_normal():
    noise = add_white((3, 101, 128))
    for part in (noise.real, noise.imag):
        # E|w|^2 = 1: each part has variance 1/2
        assert stats.kstest(part.ravel() * sqrt(2), "norm").pvalue > 1e-3
    assert abs(np.mean(np.abs(noise) ** 2) - 1) < 5 / sqrt(noise.size)
    assert stats.kstest(np.angle(noise).ravel(), "uniform", (-pi, 2 * pi)).pvalue > 1e-3
    assert abs(np.mean(noise**2)) < 5 / sqrt(noise.size)  # circular


def test_neighbours_on_every_axis_other_keys_and_parts_are_independent():
    noise = add_white((4, 101, 128)).astype(complex)
    pairs = {
        "coil": (noise[1:], noise[:-1]),
        "readout": (noise[:, 1:], noise[:, :-1]),
        "the pair of one counter": (noise[..., 0::2], noise[..., 1::2]),
        "neighbouring counters": (noise[..., 1:-1:2], noise[..., 2::2]),
        "key": (noise, add_white((4, 101, 128), KEY + np.uint32(1))),
        "parts": (noise.real, noise.imag),
    }
    for name, (a, b) in pairs.items():
        for left, right in (
            (a, b),
            (np.abs(a) ** 2 - np.mean(np.abs(a) ** 2), np.abs(b) ** 2 - np.mean(np.abs(b) ** 2)),
        ):
            correlation = np.vdot(left, right) / (np.linalg.norm(left) * np.linalg.norm(right))
            assert abs(correlation) < 5 / sqrt(a.size), name
