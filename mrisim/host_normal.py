"""The normal operator of SENSE on the host: `mrisim.encoding_kernels` driven."""

from __future__ import annotations

import numpy as np

from mrisim import encoding_kernels
from mrisim.fft_kernels import RADICES
from mrisim.host_fft import Plan, aligned, plan
from mrisim.lane_vectors import LANES, ROW


class HostNormal:
    """S^H F^H P F S of one slice; not for several threads at once.

    Parameters
    ----------
    csm : (coil, readout, phase_encode), complex64
        As `possible` demands.
    sampled : (readout, phase_encode), bool
    lines : bool
        Whole lines are sampled: then the transform along the readout cancels.
    """

    def __init__(self, csm: np.ndarray, sampled: np.ndarray, lines: bool) -> None:
        n_coils, n_rows, n_columns = csm.shape
        self._lines, self._columns = lines, _plan(n_columns)
        n_row_tiles, n_column_tiles = (-(-n // LANES) for n in (n_rows, n_columns))
        weights: np.ndarray
        if lines:
            lay_out, size = encoding_kernels.lay_out_rows, n_row_tiles * n_columns * ROW
            weights = np.repeat(_in_order(sampled[0], self._columns) / n_columns, LANES)
            self._tile = aligned((3 * n_columns * ROW,))
        else:
            lay_out, size = encoding_kernels.lay_out_columns, n_column_tiles * n_rows * ROW
            self._rows = _plan(n_rows)
            weights = np.zeros((n_row_tiles * LANES, n_columns))
            weights[:n_rows] = _in_order(_in_order(sampled.T, self._columns).T, self._rows) / (n_rows * n_columns)
            weights = weights.reshape(n_row_tiles, LANES, n_columns).swapaxes(1, 2)
            self._tile = _zeros((n_column_tiles * LANES * ROW,))
            self._tiles = _zeros((5, n_column_tiles * n_row_tiles * LANES * ROW))
        self._maps = aligned((n_coils, size))
        for coil, tiles in zip(np.ascontiguousarray(csm), self._maps, strict=True):
            lay_out(coil.view(np.float32), tiles)
        self._mask = _zeros((weights.size,))
        self._mask[:] = weights.ravel()

    @staticmethod
    def possible(csm: np.ndarray, lines: bool) -> bool:
        """Tell whether it can be made: complex64, and axes whose last radix has a butterfly of its own."""
        plans = [plan(n) for n in csm.shape[-1 if lines else -2 :]]
        return csm.dtype == np.complex64 and all(one is not None and one.radices[-1] <= RADICES[-1] for one in plans)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Apply it to an image (readout, phase_encode), complex64."""
        out = np.empty(image.shape, np.complex64)
        given, result = np.ascontiguousarray(image).view(np.float32), out.view(np.float32)
        if self._lines:
            maps, mask, columns = self._maps.reshape(-1), self._mask, self._columns
            encoding_kernels.normal_of_lines(given, result, maps, mask, columns.radices, columns.twiddles, self._tile)
        else:
            encoding_kernels.normal_of_samples(given, result, *self._of_samples)
        return out

    def solved(self, right: np.ndarray, n_iterations: int, damping: float) -> np.ndarray:
        """Solve (N + damping) x = right (readout, phase_encode), complex64, by conjugate gradients; not for lines."""
        out = np.empty(right.shape, np.complex64)
        given, result = np.ascontiguousarray(right).view(np.float32), out.view(np.float32)
        power = np.array([np.vdot(right, right).real], np.float32)
        encoding_kernels.solve_samples(given, power, result, n_iterations, damping, *self._of_samples)
        return out

    @property
    def _of_samples(self) -> tuple[np.ndarray, ...]:
        rows, columns = self._rows, self._columns
        axes = rows.radices, rows.twiddles, columns.radices, columns.twiddles
        return self._maps.reshape(-1), self._mask, *axes, self._tiles, self._tile


def _plan(n: int) -> Plan:
    found = plan(n)
    assert found is not None
    return found


def _in_order(sampled: np.ndarray, axis: Plan) -> np.ndarray:
    """Put the first axis of a centred mask in the order in which a transform leaves the frequencies."""
    return np.fft.ifftshift(sampled, 0)[axis.order]


def _zeros(shape: tuple[int, ...]) -> np.ndarray:
    array = aligned(shape)
    array[:] = 0
    return array
