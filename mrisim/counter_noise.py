"""Complex white noise whose value at a sample depends on the key and on the sample's index, and on nothing else.

Philox4x32-10 is a counter-based generator: counter (coil, readout, phase_encode // 2) and a 64-bit key give four random
words, two for each of the two neighbouring samples, and Box and Muller make a complex normal of every pair. The noise
of a sample is therefore the same with or without a mask, on one thread or many, on a CPU or a GPU.

References
----------
Salmon et al. 2011, 10.1145/2063384.2063405 (Philox); Box & Muller 1958, 10.1214/aoms/1177706645.
"""

import math

import numba
import numpy as np

from mrisim.fourier import Array, array_module

_MULTIPLIER_0, _MULTIPLIER_1 = 0xD2511F53, 0xCD9E8D57
_WEYL_0, _WEYL_1 = 0x9E3779B9, 0xBB67AE85
_N_ROUNDS = 10
_WORD = 0xFFFFFFFF


def complex_normal(key: np.ndarray, shape: tuple[int, int, int], like: Array) -> Array:
    """Return w ~ CN(0, 1), E abs(w)**2 = 1, for every sample of a slice: the plain array formula.

    Parameters
    ----------
    key : (2,) uint32
    shape : (coil, readout, phase_encode)
    like : array
        Decides between numpy and CuPy.

    Returns
    -------
    complex64 array of the given shape
    """
    xp = array_module(like)
    n_coils, n_readout, n_phase_encode = shape
    n_pairs = -(-n_phase_encode // 2)
    coil, readout, pair = xp.meshgrid(
        *(xp.arange(n, dtype=xp.uint64) for n in (n_coils, n_readout, n_pairs)), indexing="ij"
    )
    words = [coil, readout, pair, xp.zeros_like(coil)]
    key_0, key_1 = int(key[0]), int(key[1])
    for _ in range(_N_ROUNDS):
        product_0, product_1 = words[0] * xp.uint64(_MULTIPLIER_0), words[2] * xp.uint64(_MULTIPLIER_1)
        low, half = xp.uint64(_WORD), xp.uint64(32)
        words = [
            (product_1 >> half) ^ words[1] ^ xp.uint64(key_0),
            product_1 & low,
            (product_0 >> half) ^ words[3] ^ xp.uint64(key_1),
            product_0 & low,
        ]
        key_0, key_1 = (key_0 + _WEYL_0) & _WORD, (key_1 + _WEYL_1) & _WORD
    uniform = [word.astype(xp.float32) * xp.float32(2.0**-32) + xp.float32(2.0**-33) for word in words]
    noise = xp.empty((n_coils, n_readout, 2 * n_pairs), xp.complex64)
    for offset, (first, second) in enumerate((uniform[:2], uniform[2:])):
        radius = xp.sqrt(-xp.log(xp.minimum(first, xp.float32(1))))
        angle = xp.float32(2 * math.pi) * second
        noise[..., offset::2].real = radius * xp.cos(angle)
        noise[..., offset::2].imag = radius * xp.sin(angle)
    return noise[..., :n_phase_encode]


def add_correlated_noise(kspace: Array, factor: np.ndarray, key: np.ndarray, sampled: np.ndarray) -> None:
    """Add n = L w to the acquired samples of one slice, in place.

    Parameters
    ----------
    kspace : (coil, readout, phase_encode), complex
    factor : (coil, coil), complex
        L, lower triangular: the covariance of the noise is L L^H.
    key : (2,) uint32
    sampled : (readout, phase_encode), bool
    """
    if isinstance(kspace, np.ndarray):
        _add_noise(kspace, factor.astype(np.complex64), np.uint32(key[0]), np.uint32(key[1]), sampled)
        return
    xp = array_module(kspace)
    white = complex_normal(key, kspace.shape, kspace)
    noise = xp.tensordot(xp.asarray(factor, xp.complex64), white, axes=1)
    kspace += xp.where(xp.asarray(sampled), noise, 0)


@numba.njit(inline="always")
def _philox(counter_0, counter_1, counter_2, key_0, key_1):
    word_0, word_1, word_2, word_3 = np.uint32(counter_0), np.uint32(counter_1), np.uint32(counter_2), np.uint32(0)
    for _ in range(_N_ROUNDS):
        product_0 = np.uint64(word_0) * np.uint64(_MULTIPLIER_0)
        product_1 = np.uint64(word_2) * np.uint64(_MULTIPLIER_1)
        word_0 = np.uint32(product_1 >> np.uint64(32)) ^ word_1 ^ key_0
        word_2 = np.uint32(product_0 >> np.uint64(32)) ^ word_3 ^ key_1
        word_1, word_3 = np.uint32(product_1 & np.uint64(_WORD)), np.uint32(product_0 & np.uint64(_WORD))
        key_0 = np.uint32((np.uint64(key_0) + np.uint64(_WEYL_0)) & np.uint64(_WORD))
        key_1 = np.uint32((np.uint64(key_1) + np.uint64(_WEYL_1)) & np.uint64(_WORD))
    return word_0, word_1, word_2, word_3


@numba.njit(inline="always")
def _box_muller(word_a, word_b):
    scale, half_step = np.float32(2.0**-32), np.float32(2.0**-33)
    first = min(np.float32(word_a) * scale + half_step, np.float32(1))
    angle = np.float32(2 * math.pi) * (np.float32(word_b) * scale + half_step)
    radius = math.sqrt(-math.log(first))
    return np.float32(radius * math.cos(angle)), np.float32(radius * math.sin(angle))


@numba.njit(nogil=True, cache=True)
def _add_noise(kspace, factor, key_0, key_1, sampled):
    n_coils, n_readout, n_phase_encode = kspace.shape
    white = np.empty((n_coils, 2), np.complex64)
    for readout in range(n_readout):
        for pair in range((n_phase_encode + 1) // 2):
            first = 2 * pair
            n_here = min(2, n_phase_encode - first)
            wanted = sampled[readout, first] or (n_here == 2 and sampled[readout, first + 1])
            if not wanted:
                continue
            for coil in range(n_coils):
                word_0, word_1, word_2, word_3 = _philox(coil, readout, pair, key_0, key_1)
                real, imaginary = _box_muller(word_0, word_1)
                white[coil, 0] = complex(real, imaginary)
                real, imaginary = _box_muller(word_2, word_3)
                white[coil, 1] = complex(real, imaginary)
            for offset in range(n_here):
                if sampled[readout, first + offset]:
                    for coil in range(n_coils):
                        noise = np.complex64(0)
                        for other in range(coil + 1):
                            noise += factor[coil, other] * white[other, offset]
                        kspace[coil, readout, first + offset] += noise
