"""Plane waves in images: what single samples of k-space are there."""

from functools import cache

import numba
import numpy as np

from mrisim.fourier import Array, array_module

TOGETHER = 4
"""Waves that are added up before memory is written."""


def add_plane_waves(images: Array, position: np.ndarray, amplitude: np.ndarray) -> Array:
    """Return images with what an addition to single samples of their centred orthonormal k-space makes of them.

    Parameters
    ----------
    images : (..., coil, readout, phase_encode), complex
    position : (wave, 2), int
        Readout and phase-encode index of the sample.
    amplitude : (wave, coil), complex
        What is added to it.
    """
    circles = [_circle(n) for n in images.shape[-2:]]
    if isinstance(images, np.ndarray) and images.dtype == np.complex64:
        given = np.ascontiguousarray(images)
        total = np.empty_like(given)
        before, after = (part.reshape(-1, *images.shape[-2:]).view(np.float32) for part in (given, total))
        _add_waves(before, after, np.asarray(position, np.int64), np.ascontiguousarray(amplitude, complex), *circles)
        return total
    rows, columns = (
        circle[np.outer(np.arange(circle.size) - circle.size // 2, index - circle.size // 2) % circle.size]
        for circle, index in zip(circles, np.transpose(position), strict=True)
    )
    xp, of_rows = array_module(images), amplitude.T[:, None] * rows
    return images + xp.asarray(of_rows.astype(images.dtype)) @ xp.asarray(columns.T.astype(images.dtype))


@cache
def _circle(n: int) -> np.ndarray:
    """Return one turn of the unit circle in n steps, over the root of n."""
    return np.exp(2j * np.pi * np.arange(n) / n) / np.sqrt(n)


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def _add_waves(before, after, position, amplitude, row_circle, column_circle):
    """Set images (image, row, column x 2) to others and the waves; the coils of image after image follow each other."""
    n_waves, n_coils = amplitude.shape
    n_rows, n_columns = row_circle.size, column_circle.size
    n_padded = max(1, (n_waves + TOGETHER - 1) // TOGETHER) * TOGETHER
    # (a + ib)(c + id) for pairs of reals: a times (c, d), and b times (-d, c)
    wave = np.zeros((n_padded, 2 * n_columns), np.float32)
    turned = np.zeros_like(wave)
    for k in range(n_waves):
        step = (position[k, 1] - n_columns // 2) % n_columns
        turn = -(n_columns // 2) * step % n_columns
        for i in range(n_columns):
            value = column_circle[turn]
            wave[k, 2 * i], wave[k, 2 * i + 1] = value.real, value.imag
            turned[k, 2 * i], turned[k, 2 * i + 1] = -value.imag, value.real
            turn += step
            if turn >= n_columns:
                turn -= n_columns
    factor = np.zeros(n_padded, np.complex64)
    for image in range(before.shape[0]):
        for row in range(n_rows):
            for k in range(n_waves):
                turn = (row - n_rows // 2) * (position[k, 0] - n_rows // 2) % n_rows
                factor[k] = amplitude[k, image % n_coils] * row_circle[turn]
            _add_four(before[image, row], after[image, row], factor, wave, turned, 0)
            for k in range(TOGETHER, n_padded, TOGETHER):
                _add_four(after[image, row], after[image, row], factor, wave, turned, k)


@numba.njit(inline="always")
def _add_four(before, after, factor, wave, turned, k):
    """Set a row to another and four waves, which are summed before memory is written."""
    a, b, c, d = factor[k], factor[k + 1], factor[k + 2], factor[k + 3]
    for i in range(before.size):
        after[i] = (
            before[i]
            + a.real * wave[k, i] + a.imag * turned[k, i]
            + b.real * wave[k + 1, i] + b.imag * turned[k + 1, i]
            + c.real * wave[k + 2, i] + c.imag * turned[k + 2, i]
            + d.real * wave[k + 3, i] + d.imag * turned[k + 3, i]
        )  # fmt: skip
