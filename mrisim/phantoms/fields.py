"""Smooth fields through a whole volume: off-resonance and image phase; and what off-resonance does along the readout.

A field is a sum of plane waves in scanner millimetres: all slices of a subject, at any raster, see the same one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]

N_WAVES = 5


@dataclass(frozen=True)
class SmoothField:
    """Sum of plane waves a cos(k r + p) plus a constant.

    Attributes
    ----------
    wave_vectors : (n_waves, 3) rad/mm along row, column and slice axis.
    phases : (n_waves,) rad.
    amplitude : of each wave, in the field's unit.
    constant : in the field's unit.
    """

    wave_vectors: NDArray[np.float64]
    phases: NDArray[np.float64]
    amplitude: float
    constant: float

    def on_slice(self, matrix: tuple[int, int], fov_mm: tuple[float, float], position_mm: float) -> FloatArray:
        """Return the field on a slice, (rows, columns); the centre pixel N//2 lies at the origin."""
        rows, columns = ((np.arange(n) - n // 2) * (fov / n) for n, fov in zip(matrix, fov_mm, strict=True))
        k = self.wave_vectors
        along_rows = np.exp(1j * np.outer(rows, k[:, 0]))
        along_columns = np.exp(1j * (np.outer(columns, k[:, 1]) + k[:, 2] * position_mm + self.phases))
        return self.constant + self.amplitude * (along_rows @ along_columns.T).real


def draw_field(
    *, std: float, constant: float = 0.0, wavelength_mm: tuple[float, float] = (120.0, 400.0), rng: np.random.Generator
) -> SmoothField:
    """Draw a field with standard deviation `std` over an extent of many wavelengths, and a constant on top.

    Parameters
    ----------
    std : float
        In the unit of the field; over one field of view, which is about one wavelength, it is less on average.
    wavelength_mm : shortest and longest wavelength.
    """
    directions = rng.normal(size=(N_WAVES, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = directions * (2 * np.pi / rng.uniform(*wavelength_mm, (N_WAVES, 1)))
    return SmoothField(vectors, rng.uniform(0, 2 * np.pi, N_WAVES), float(std * np.sqrt(2 / N_WAVES)), constant)


def displaced_along_rows(signal: FloatArray, shift_rows: FloatArray) -> FloatArray:
    """Move each sample along the rows axis by its own shift; signal piles up and thins out, none is lost.

    Cause: the readout gradient encodes frequency; an off-resonance of f Hz is read as a place f / (Hz per pixel) away.

    Parameters
    ----------
    signal : (..., rows, columns), real; leading axes share the shifts.
    shift_rows : (rows, columns), in samples of this raster; positive moves to higher rows.

    Returns
    -------
    array (..., rows, columns)
        Each column keeps its sum exactly, up to rounding; what leaves at one end enters at the other, as in k-space.

    Limits
    ------
    Catmull-Rom weights: the finest details of the raster lose contrast, so use a raster finer than the image. Where the
    field changes by more than a sample per sample the object folds, as it does on a scanner.

    References
    ----------
    Jezzard & Balaban 1995, 10.1002/mrm.1910340111 (displacement by off-resonance).
    """
    n_rows, n_columns = signal.shape[-2:]
    target = np.arange(n_rows)[:, None] + shift_rows
    low = np.floor(target).astype(np.intp)
    t = target - low
    weights = (
        ((2 - t) * t - 1) * t / 2,
        ((3 * t - 5) * t * t + 2) / 2,
        ((4 - 3 * t) * t + 1) * t / 2,
        (t - 1) * t * t / 2,
    )
    columns = np.arange(n_columns)
    planes = signal.reshape(-1, n_rows, n_columns)
    moved = np.zeros((len(planes), n_rows * n_columns))
    for tap, weight in enumerate(weights, start=-1):
        place = ((low + tap) % n_rows * n_columns + columns).ravel()
        for plane, total in zip(planes, moved, strict=True):
            total += np.bincount(place, (plane * weight).ravel(), minlength=total.size)
    return moved.reshape(signal.shape)
