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


_SCALE, _HALF_STEP, _ONE, _HALF, _QUARTER, _FOUR = (
    np.float32(value) for value in (2.0**-32, 2.0**-33, 1, 0.5, 0.25, 4)
)
_EXPONENT_BIAS = np.int32(0x3F3504F3)  # the bits of sqrt(1/2): the fraction then lies between it and sqrt(2)
_FRACTION = np.int32(0x007FFFFF)
_LN_2 = np.float32(math.log(2))
# P of log(1 + f) = f - f**2 / 2 + f**3 P(f), as in the Cephes library (Moshier, logf.c); Taylor series of the sine and
# cosine of 2 pi t for abs(t) <= 1/8. Good to single precision.
_LOG = tuple(
    np.float32(value)
    for value in (
        7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
        2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
    )
)  # fmt: skip
_SINE = tuple(np.float32((2 * math.pi) ** (2 * n + 1) * (-1) ** n / math.factorial(2 * n + 1)) for n in range(5))
_COSINE = tuple(np.float32((2 * math.pi) ** (2 * n) * (-1) ** n / math.factorial(2 * n)) for n in range(6))


@numba.njit(inline="always")
def _box_muller(uniform, bits, turn, real, imaginary, n):
    """Fill two arrays with sqrt(-log(uniform)) times the cosine and the sine of `turn` turns.

    Polynomials, because calls of a mathematical library do not vectorise; `bits` are those of `uniform`.
    """
    for i in range(n):
        exponent = (bits[i] - _EXPONENT_BIAS) >> np.int32(23)
        real[i] = np.float32(exponent)
        bits[i] -= exponent << np.int32(23)
    for i in range(n):
        f = uniform[i] - _ONE
        series = _LOG[0]
        for term in range(1, 9):
            series = series * f + _LOG[term]
        logarithm = f + (f * f * (f * series - _HALF) + real[i] * _LN_2)
        radius = np.sqrt(max(-logarithm, np.float32(0)))
        quarter = np.floor(_FOUR * turn[i] + _HALF)
        t = turn[i] - quarter * _QUARTER
        square = t * t
        sine = t * (_SINE[0] + square * (_SINE[1] + square * (_SINE[2] + square * (_SINE[3] + square * _SINE[4]))))
        cosine = _COSINE[0] + square * (
            _COSINE[1] + square * (_COSINE[2] + square * (_COSINE[3] + square * (_COSINE[4] + square * _COSINE[5])))
        )
        place = np.int32(quarter) & np.int32(3)
        swapped = place & np.int32(1)
        first, second = (sine, cosine) if swapped else (cosine, sine)
        real[i] = radius * (-first if place == 1 or place == 2 else first)
        imaginary[i] = radius * (-second if place >= 2 else second)


@numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz"}, error_model="numpy")
def _add_noise(kspace, factor, key_0, key_1, sampled):
    n_coils, n_readout, n_phase_encode = kspace.shape
    n_pairs = (n_phase_encode + 1) // 2
    pairs = np.empty(n_pairs, np.uint32)
    uniform, turn = np.empty((2, n_pairs), np.float32), np.empty((2, n_pairs), np.float32)
    bits = uniform.view(np.int32)
    real, imaginary = np.empty((n_coils, 2, n_pairs), np.float32), np.empty((n_coils, 2, n_pairs), np.float32)
    mixed_real, mixed_imaginary = np.empty(n_pairs, np.float32), np.empty(n_pairs, np.float32)
    for readout in range(n_readout):
        n = 0
        for pair in range(n_pairs):
            last = min(2 * pair + 1, n_phase_encode - 1)
            if sampled[readout, 2 * pair] or sampled[readout, last]:
                pairs[n] = pair
                n += 1
        if n == 0:
            continue
        for coil in range(n_coils):
            for i in range(n):
                word_0, word_1, word_2, word_3 = _philox(coil, readout, pairs[i], key_0, key_1)
                uniform[0, i] = min(np.float32(word_0) * _SCALE + _HALF_STEP, _ONE)
                turn[0, i] = np.float32(word_1) * _SCALE + _HALF_STEP
                uniform[1, i] = min(np.float32(word_2) * _SCALE + _HALF_STEP, _ONE)
                turn[1, i] = np.float32(word_3) * _SCALE + _HALF_STEP
            for half in range(2):
                _box_muller(uniform[half], bits[half], turn[half], real[coil, half], imaginary[coil, half], n)
        for coil in range(n_coils):
            for half in range(2):
                mixed_real[:n] = 0
                mixed_imaginary[:n] = 0
                for other in range(coil + 1):
                    weight = factor[coil, other]
                    if weight == 0:
                        continue
                    for i in range(n):
                        mixed_real[i] += weight.real * real[other, half, i] - weight.imag * imaginary[other, half, i]
                        mixed_imaginary[i] += (
                            weight.real * imaginary[other, half, i] + weight.imag * real[other, half, i]
                        )
                for i in range(n):
                    line = 2 * pairs[i] + half
                    if line < n_phase_encode and sampled[readout, line]:
                        kspace[coil, readout, line] += complex(mixed_real[i], mixed_imaginary[i])
