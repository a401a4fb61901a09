"""The raster of one slice: knee coordinates of every sample, and front-to-back compositing of tissues onto it.

Front to back means that what is painted first covers what comes later, so a lesion or a bone is never drawn over, and
every sample's tissue fractions sum to at most one. Sub-slices are averaged, which is the partial volume through the
slice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mrisim.phantoms import texture

Plane = Literal["sagittal", "coronal"]
Box = tuple[float, float, float, float, float, float]
FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class Deformation:
    """Smooth map from scanner to knee coordinates: knee = matrix (scanner - shift) + sum of plane waves.

    Attributes
    ----------
    matrix : (3, 3) rotation and scale. shift_mm : (3,).
    wave_vectors : (n_waves, 3) rad/mm. wave_phases : (n_waves,). wave_amplitudes_mm : (n_waves, 3).
    """

    matrix: NDArray[np.float64]
    shift_mm: NDArray[np.float64]
    wave_vectors: NDArray[np.float64]
    wave_phases: NDArray[np.float64]
    wave_amplitudes_mm: NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """A rectangle of the raster with its knee coordinates, each (n_subslices, rows, columns)."""

    rows: slice
    columns: slice
    x: FloatArray
    y: FloatArray
    z: FloatArray


class Canvas:
    """Tissue fractions of one slice under construction.

    Attributes
    ----------
    fractions : (n_tissues, rows, columns) float32, averaged over sub-slices.
    remaining : (n_subslices, rows, columns) float32, the share of each sample not yet painted.
    pixel_mm : (row, column) spacing; edges are antialiased over its mean.
    """

    def __init__(
        self,
        tissues: tuple[str, ...],
        deformation: Deformation,
        *,
        plane: Plane,
        position_mm: float,
        thickness_mm: float,
        matrix: tuple[int, int],
        fov_mm: tuple[float, float],
        centre_mm: tuple[float, float, float],
        mirrored: bool,
        n_subslices: int,
    ) -> None:
        self.index = {name: i for i, name in enumerate(tissues)}
        self.deformation, self.plane = deformation, plane
        n_rows, n_columns = matrix
        self.pixel_mm = (fov_mm[0] / n_rows, fov_mm[1] / n_columns)
        self.edge_mm = float(np.mean(self.pixel_mm))
        rows = (np.arange(n_rows) - (n_rows - 1) / 2) * self.pixel_mm[0] + centre_mm[1]
        columns = (np.arange(n_columns) - (n_columns - 1) / 2) * self.pixel_mm[1]
        depth = position_mm + thickness_mm * ((np.arange(n_subslices) + 0.5) / n_subslices - 0.5)
        self.row_axis, self.depth_axis = rows, depth
        self.column_axis = (
            columns + centre_mm[0] if plane == "sagittal" else (-columns if mirrored else columns) + centre_mm[2]
        )
        self.x, self.y, self.z = self._knee_coordinates()
        self.remaining = np.ones((n_subslices, n_rows, n_columns), np.float32)
        self.fractions = np.zeros((len(tissues), n_rows, n_columns), np.float32)

    def _knee_coordinates(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Apply the deformation; its waves are long against a slice's thickness and taken at the slice centre."""
        warp = self.deformation
        column, depth = (0, 2) if self.plane == "sagittal" else (2, 0)
        columns, rows = self.column_axis - warp.shift_mm[column], self.row_axis - warp.shift_mm[1]
        depths = (self.depth_axis - warp.shift_mm[depth]).astype(np.float32)
        k = warp.wave_vectors
        along_rows = np.exp(1j * np.outer(rows, k[:, 1]))
        along_columns = np.exp(1j * (np.outer(columns, k[:, column]) + k[:, depth] * depths.mean() + warp.wave_phases))
        coordinates = []
        for weights, amplitudes in zip(warp.matrix, warp.wave_amplitudes_mm.T, strict=True):
            plane = ((along_rows * amplitudes) @ along_columns.T).imag
            plane += weights[1] * rows[:, None] + weights[column] * columns
            coordinates.append(plane.astype(np.float32) + np.float32(weights[depth]) * depths[:, None, None])
        return coordinates[0], coordinates[1], coordinates[2]

    def window(self, box_mm: Box) -> Window | None:
        """Return the part of the raster that a box in knee coordinates (x0, x1, y0, y1, z0, z1) can touch, or None."""
        corners = np.array([(x, y, z) for x in box_mm[:2] for y in box_mm[2:4] for z in box_mm[4:]])
        scanner = corners @ np.linalg.inv(self.deformation.matrix).T + self.deformation.shift_mm
        margin = 1.0 + float(np.abs(self.deformation.wave_amplitudes_mm).sum(0).max()) + self.edge_mm
        low, high = scanner.min(0) - margin, scanner.max(0) + margin
        depth, column = (2, 0) if self.plane == "sagittal" else (0, 2)
        if self.depth_axis.max() < low[depth] or self.depth_axis.min() > high[depth]:
            return None
        rows = np.flatnonzero((self.row_axis >= low[1]) & (self.row_axis <= high[1]))
        columns = np.flatnonzero((self.column_axis >= low[column]) & (self.column_axis <= high[column]))
        if not len(rows) or not len(columns):
            return None
        row, col = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        return Window(row, col, self.x[:, row, col], self.y[:, row, col], self.z[:, row, col])

    def everything(self) -> Window:
        """Return the whole raster as a window."""
        return Window(slice(0, self.x.shape[1]), slice(0, self.x.shape[2]), self.x, self.y, self.z)

    def texture(
        self, window: Window, scale_mm: tuple[float, float, float], offset: tuple[float, float, float]
    ) -> FloatArray:
        """Unit-variance texture on a window, (1, rows, columns), in scanner coordinates of the slice centre."""
        depth = np.array([self.depth_axis.mean()])
        axes = (
            (self.column_axis[window.columns], self.row_axis[window.rows], depth)
            if self.plane == "sagittal"
            else (depth, self.row_axis[window.rows], self.column_axis[window.columns])
        )
        values = texture.sample(axes, scale_mm, offset)
        return values.transpose(2, 1, 0) if self.plane == "sagittal" else values

    def cover(self, distance: FloatArray, softness_mm: float = 0.0) -> FloatArray:
        """Antialiased occupancy of a signed distance: 1 inside, 0 outside, linear over one pixel or `softness_mm`."""
        return np.clip(0.5 - distance * (1 / max(self.edge_mm, softness_mm)), 0, 1)

    def paint(self, window: Window, cover: FloatArray, mixture: str | Mapping[str, FloatArray | float]) -> FloatArray:
        """Give `cover` of what remains in a window to a tissue or a mixture of tissues (weights need not sum to one).

        Returns the painted share, (n_subslices, rows, columns). Weight missing from one is left without signal.
        """
        remaining = self.remaining[:, window.rows, window.columns]
        painted = remaining * cover
        remaining -= painted
        for tissue, weight in ({mixture: 1.0} if isinstance(mixture, str) else mixture).items():
            share = painted if isinstance(weight, float) and weight == 1.0 else painted * weight
            self.fractions[self.index[tissue], window.rows, window.columns] += share.mean(0)
        return painted
