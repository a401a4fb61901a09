"""ESPIRiT: coil sensitivity maps as the eigenvectors of what the calibration square says of neighbouring samples.

The maps of `sigpy.mri.app.EspiritCalib` with one set, computed without its detours: the kernels come from the Gram
matrix of the calibration square; their products are summed on the few lags that they span and brought to the image by
two thin Fourier matrices; and the power iteration of a pixel starts from where the eigenvectors of the two pixels to
its left point to.

References
----------
Uecker et al. 2014, 10.1002/mrm.24751.
"""

from __future__ import annotations

import numba
import numpy as np
import scipy.fft

from mrisim.eigenvectors import eigenvectors_above

TOLERANCE = 1e-5
"""Change of a unit eigenvector in one iteration below which it stands."""
N_POWER_ITERATIONS = 4
"""For a rough largest eigenvalue of the calibration's Gram matrix."""
ROUNDING = 1e-4
"""Of that estimate: so much lower it is safely not above the eigenvalue."""
_LANES = 32
"""Rows that are iterated side by side, until the slowest of them stands."""


def espirit_maps(
    calibration: np.ndarray,
    shape: tuple[int, int],
    *,
    kernel_width: int = 6,
    threshold: float = 0.03,
    max_iterations: int = 100,
) -> np.ndarray:
    """Return one set of maps, of unit root sum of squares everywhere, also where there is no signal.

    Parameters
    ----------
    calibration : complex array (coil, width, width)
        Fully sampled centre of k-space.
    shape : (rows, columns)
        Of the maps.
    kernel_width : int
    threshold : float
        Of the calibration matrix' singular values, relative to the largest: what lies below is taken for noise.
    max_iterations : int
        Of a pixel; reached only where two eigenvalues are nearly equal.

    Returns
    -------
    complex64 array (coil, rows, columns)
        The phase common to all coils of a pixel is arbitrary. NaN where the calibration holds nothing.

    References
    ----------
    Uecker et al. 2014, 10.1002/mrm.24751.
    """
    kernels = _signal_kernels(calibration.astype(np.complex64), kernel_width, threshold)
    products = _products_of_kernels(kernels)
    n_coils, n_lags = products.shape[0], products.shape[-1]
    rows, columns = (_waves(n, n_lags) for n in shape)
    lower = np.tril_indices(n_coils)
    # (pair of coils, row lag, column lag) -> (column lag, pair, row)
    along_rows = np.einsum("pab,ra->bpr", products[lower], rows, optimize=True).astype(np.complex64)
    maps = np.empty((n_coils, *shape), np.complex64)
    for first in range(0, shape[0], _LANES):
        lanes = along_rows[..., first : first + _LANES]
        matrices = (columns @ lanes.reshape(n_lags, -1)).reshape(shape[1], *lanes.shape[1:])
        start = np.zeros((2, n_coils, lanes.shape[-1]), np.float32)
        start[0] = 1
        parts = np.ascontiguousarray(matrices.real), np.ascontiguousarray(matrices.imag)
        _eigenvectors(*parts, start, max_iterations, np.float32(TOLERANCE), maps[:, first : first + _LANES])
    return maps


def _signal_kernels(calibration: np.ndarray, width: int, threshold: float) -> np.ndarray:
    """Return the right singular vectors of the calibration matrix that carry signal: (kernel, coil, width, width)."""
    windows = np.lib.stride_tricks.sliding_window_view(calibration, (width, width), axis=(1, 2))
    n_coils = len(calibration)
    matrix = windows.transpose(1, 2, 0, 3, 4).reshape(-1, n_coils * width**2)
    matrix = matrix / np.abs(calibration).max()
    if len(matrix) < matrix.shape[1]:
        power, left = _dominant(matrix @ matrix.conj().T, threshold**2)
        kernels = left.conj().T @ matrix / np.sqrt(power)[:, None]
    else:
        kernels = _dominant(matrix.conj().T @ matrix, threshold**2)[1].conj().T
    return kernels.reshape(-1, n_coils, width, width)


def _dominant(gram: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues of a Gram matrix above a share of the largest, ascending, and their vectors as columns.

    To find only these few takes two thirds of the time. In double precision: kernels near the threshold would change
    with the last bit of the k-space.
    """
    if not np.isfinite(gram).all():
        return np.full(1, np.nan, np.float32), np.full((len(gram), 1), np.nan, gram.dtype)
    vector = gram[:, np.argmax(np.diag(gram).real)]
    for _ in range(N_POWER_ITERATIONS):
        vector = gram @ (vector / np.linalg.norm(vector))
    # What a power iteration says of the largest eigenvalue is not above it: none is missed.
    above = share * float(np.linalg.norm(vector)) * (1 - ROUNDING)
    power, vectors = eigenvectors_above(gram, above)
    kept = power > share * power[-1]
    return power[kept].astype(np.float32), vectors[:, kept].astype(np.complex64)


def _products_of_kernels(kernels: np.ndarray) -> np.ndarray:
    """Return sum_n sum_v k_nc(v + w) conj(k_nd(v)) / width^2: (c, d, lag w, lag w), lags in the order of the FFT."""
    width = kernels.shape[-1]
    spectrum = scipy.fft.fft2(kernels, s=(2 * width, 2 * width)).transpose(2, 3, 1, 0)
    power = spectrum @ spectrum.conj().swapaxes(-1, -2)
    return scipy.fft.ifft2(power.transpose(2, 3, 0, 1)) / width**2


def _waves(n: int, n_lags: int) -> np.ndarray:
    """Return exp(2 pi i w r / n): (r from the centre pixel, w in the order of the FFT)."""
    lag = (np.arange(n_lags) + n_lags // 2) % n_lags - n_lags // 2
    return np.exp(2j * np.pi * np.outer(np.arange(n) - n // 2, lag) / n).astype(np.complex64)


@numba.njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def _eigenvectors(real, imaginary, vector, max_iterations, tolerance, maps):
    """Iterate along the columns, all rows side by side; real, imaginary: (column, pair of coils, row)."""
    n_columns, _, n = real.shape
    n_coils = vector.shape[1]
    x, y = vector[0], vector[1]
    x_before, y_before = x.copy(), y.copy()
    u, v = np.empty_like(x), np.empty_like(y)
    power, change = np.empty(n, np.float32), np.empty(n, np.float32)
    for column in range(n_columns):
        for coil in range(n_coils):
            for i in range(n):
                a, b = x[coil, i], y[coil, i]
                if column > 1:  # the first pixel has come a long way from an arbitrary start
                    x[coil, i] += a - x_before[coil, i]
                    y[coil, i] += b - y_before[coil, i]
                x_before[coil, i], y_before[coil, i] = a, b
        for _ in range(max_iterations):
            u[:] = 0
            v[:] = 0
            pair = 0
            for coil in range(n_coils):
                for other in range(coil + 1):
                    p, q = real[column, pair], imaginary[column, pair]
                    for i in range(n):
                        u[coil, i] += p[i] * x[other, i] - q[i] * y[other, i]
                        v[coil, i] += p[i] * y[other, i] + q[i] * x[other, i]
                    if other < coil:
                        for i in range(n):
                            u[other, i] += p[i] * x[coil, i] + q[i] * y[coil, i]
                            v[other, i] += p[i] * y[coil, i] - q[i] * x[coil, i]
                    pair += 1
            power[:] = 0
            change[:] = 0
            for coil in range(n_coils):
                for i in range(n):
                    power[i] += u[coil, i] ** 2 + v[coil, i] ** 2
            for i in range(n):
                power[i] = np.float32(1) / np.sqrt(power[i])
            for coil in range(n_coils):
                for i in range(n):
                    left, right = u[coil, i] * power[i], v[coil, i] * power[i]
                    change[i] += (left - x[coil, i]) ** 2 + (right - y[coil, i]) ** 2
                    x[coil, i], y[coil, i] = left, right
            largest = np.float32(0)
            for i in range(n):
                largest = max(largest, change[i])
            if largest < tolerance**2:
                break
        for coil in range(n_coils):
            for i in range(n):
                maps[coil, i, column] = complex(x[coil, i], y[coil, i])
