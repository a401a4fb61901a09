"""Proximal maps of the sparse reconstructions: soft thresholds, also of wavelet coefficients.

They give what SigPy's own give, in single precision: compiled for the host, and several times faster; on a GPU without
a step by the host, where SigPy's wavelet would take every image there and back. Importing this module imports SigPy.
"""

from __future__ import annotations

from functools import cache

import numba
import numpy as np
import pywt
from sigpy.prox import Prox

from mrisim.fourier import Array, array_module, resize_centred

WAVELET = "db4"
_N_TAPS = 8
_ANALYSIS, _SYNTHESIS = (
    np.array(filters, np.float32)
    for filters in zip(*(pywt.Wavelet(WAVELET).filter_bank[i::2] for i in (0, 1)), strict=True)
)
"""(low pass and high pass, tap) of the decomposition and of the reconstruction."""


class WaveletThreshold(Prox):
    """Shrink the Daubechies-4 coefficients of images: `sigpy.prox.UnitaryTransform` of `L1Reg` and `Wavelet`.

    As many levels as the shorter axis allows; zeros beyond the edges; odd axes get a pixel more. The shape is
    (..., rows, columns).
    """

    def __init__(self, shape: tuple[int, ...], threshold: float) -> None:
        self.threshold = threshold
        self.even = shape[-2] + shape[-2] % 2, shape[-1] + shape[-1] % 2
        self.n_levels = pywt.dwtn_max_level(self.even, WAVELET)
        self._matrices: list[tuple[Array, Array]] = []
        super().__init__(shape)

    def _prox(self, alpha: float, input: Array) -> Array:
        threshold = self.threshold * float(alpha)
        if not isinstance(input, np.ndarray) or input.dtype != np.complex64 or input.ndim > 2:
            return self._by_matrices(input, threshold)
        rough, details = resize_centred(input, self.even), []
        for _ in range(self.n_levels):
            # along the rows, then (transposed) along the columns; the next level goes on from the transpose
            size = rough.shape
            low, high = (np.ascontiguousarray(half.T) for half in analysed(rough))
            rough, *bands = *analysed(low), *analysed(high)
            for band in bands:
                shrink(band, threshold)
            details.append((size, bands))
        shrink(rough, threshold)
        for (n_rows, n_columns), (low_high, high_low, high_high) in reversed(details):
            low = synthesised(rough, low_high, n_columns)
            high = synthesised(high_low, high_high, n_columns)
            rough = synthesised(np.ascontiguousarray(low.T), np.ascontiguousarray(high.T), n_rows)
        return resize_centred(rough, tuple(input.shape))

    def _by_matrices(self, input: Array, threshold: float) -> Array:
        """Shrink by products with the transform's orthogonal matrices, where the images lie."""
        rough, details = resize_centred(input, self.even), []
        for rows, columns in self._matrices_beside(input):
            bands = rows @ rough @ columns.T
            rough = bands[..., : len(rows) // 2, : len(columns) // 2]
            details.append((rows, columns, bands))
        rough = shrunk(rough, threshold)
        for rows, columns, bands in reversed(details):
            bands = shrunk(bands, threshold)
            bands[..., : len(rows) // 2, : len(columns) // 2] = rough
            rough = rows.T @ bands @ columns
        return resize_centred(rough, tuple(input.shape[-2:]))

    def _matrices_beside(self, input: Array) -> list[tuple[Array, Array]]:
        """Return the matrices of rows and columns of each level, sent to the device of the images once."""
        n_rows, n_columns = self.even
        while len(self._matrices) < self.n_levels:
            rows, columns = (array_module(input).asarray(_analysis_matrix(n)) for n in (n_rows, n_columns))
            self._matrices.append((rows, columns))
            n_rows, n_columns = len(rows) // 2, len(columns) // 2
        return self._matrices


@cache
def _analysis_matrix(n_rows: int) -> np.ndarray:
    """Return one level along an axis as a matrix: first the rows of the low pass, then those of the high pass."""
    return np.concatenate(analysed(np.eye(n_rows, dtype=np.complex64)))


def shrunk(samples: Array, threshold: float) -> Array:
    """Return samples whose modulus is less by a threshold, and at least 0: the proximal map of an L1 norm."""
    if isinstance(samples, np.ndarray) and samples.dtype == np.complex64:
        result = np.ascontiguousarray(samples).copy()
        shrink(result, threshold)
        return result
    xp = array_module(samples)
    modulus = xp.abs(samples)
    return samples * xp.where(modulus > threshold, 1 - threshold / xp.where(modulus > threshold, modulus, 1), 0)


def analysed(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split an image (row, column) along its rows into low-pass and high-pass halves, as `pywt.dwt` in mode "zero"."""
    shape = (image.shape[0] + _N_TAPS - 1) // 2, image.shape[1]
    low, high = np.empty(shape, np.complex64), np.empty(shape, np.complex64)
    _analyse(image.view(np.float32), _ANALYSIS, low.view(np.float32), high.view(np.float32))
    return low, high


def synthesised(low: np.ndarray, high: np.ndarray, n_rows: int) -> np.ndarray:
    """Return the image of which `analysed` made these halves."""
    image = np.empty((n_rows, low.shape[1]), np.complex64)
    _synthesise(low.view(np.float32), high.view(np.float32), _SYNTHESIS, image.view(np.float32))
    return image


def shrink(samples: np.ndarray, threshold: float) -> None:
    """Take the threshold off the modulus of complex64 samples, in place."""
    _shrink(samples.reshape(-1).view(np.float32), np.float32(threshold))


@numba.njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _shrink(pairs, threshold):
    for i in range(pairs.size // 2):
        modulus = np.sqrt(pairs[2 * i] ** 2 + pairs[2 * i + 1] ** 2)
        factor = max(np.float32(1) - threshold / modulus, np.float32(0)) if modulus > 0 else np.float32(0)
        pairs[2 * i] *= factor
        pairs[2 * i + 1] *= factor


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _analyse(image, filters, low, high):
    n_rows, width = image.shape
    for k in range(low.shape[0]):
        low[k] = 0
        high[k] = 0
        for tap in range(_N_TAPS):
            row = 2 * k + 1 - tap
            if 0 <= row < n_rows:
                a, b = filters[0, tap], filters[1, tap]
                for i in range(width):
                    low[k, i] += a * image[row, i]
                    high[k, i] += b * image[row, i]


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _synthesise(low, high, filters, image):
    n_rows, width = image.shape
    for row in range(n_rows):
        image[row] = 0
        for k in range((row + 1) // 2 - (row % 2), (row + _N_TAPS - 2) // 2 + 1):
            tap = row + _N_TAPS - 2 - 2 * k
            if 0 <= tap < _N_TAPS and 0 <= k < low.shape[0]:
                a, b = filters[0, tap], filters[1, tap]
                for i in range(width):
                    image[row, i] += a * low[k, i] + b * high[k, i]
