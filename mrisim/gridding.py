"""Evaluate a trigonometric polynomial off its grid: an oversampled copy and a Kaiser-Bessel kernel of six samples.

The relative error is below 1e-5 (tests hold it to the dense sum).
"""

import numpy as np

from mrisim import gridding_kernels
from mrisim.fourier import Array, array_module
from mrisim.gridding_kernels import BORDER, OVERSAMPLING, STEPS
from mrisim.gridding_vectors import BUNDLE, WIDTH
from mrisim.kaiser_bessel import TABLE

ALIGNMENT = 64
"""Bytes: a load that crosses a line of the cache is two."""
FEW = 4
"""Slices from which a bundle costs less than each alone."""


def bundled(grid: np.ndarray) -> np.ndarray:
    """Lay grids (slice, rows, columns) side by side for `encode_changes`; a few stay as they are.

    Returns
    -------
    (bundle, rows, columns, `BUNDLE`), the last one filled up with zeros, or (slice, rows, columns) below `FEW` slices
    """
    n_slices, *shape = grid.shape
    if n_slices < FEW:
        return grid
    bundles = _aligned((-(-n_slices // BUNDLE), *shape, BUNDLE), grid.dtype)
    gridding_kernels.lay_side_by_side(grid, bundles)
    return bundles


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    room = np.empty(n_bytes + ALIGNMENT, np.uint8)
    begin = -room.ctypes.data % ALIGNMENT
    return room[begin : begin + n_bytes].view(dtype).reshape(shape)


def resample(grid: Array, matrix: np.ndarray, offset: np.ndarray, shape: tuple[int, int, int]) -> Array:
    """Interpolate grids at `matrix @ p - offset`, p the pixels from the centre pixel of `shape`.

    Parameters
    ----------
    grid : (slice, rows, columns), complex, C-contiguous
        From `mrisim.finer_grid`.
    matrix : (2, 2) float64
    offset : (2,) float64
        In pixels of `shape`, as the product with the matrix is.
    shape : (int, int, int)
        Slices, rows, columns.

    Returns
    -------
    complex array of the given shape and the grid's dtype
    """
    if not isinstance(grid, np.ndarray):
        return resample_array(grid, matrix, offset, shape)
    values = np.empty(shape, grid.dtype)
    gridding_kernels.resample(_reals(grid), TABLE, matrix, offset, _reals(values))
    return values


def encode_changes(
    grid: np.ndarray,
    matrices: np.ndarray,
    offsets: np.ndarray,
    still: np.ndarray,
    waves: np.ndarray,
    csm: np.ndarray,
    hybrid: np.ndarray,
    places: np.ndarray,
) -> None:
    """Interpolate under many maps, less the image, and sum the rows with a wave as each coil sees them; on the host.

    Parameters
    ----------
    grid : complex array
        As for `resample`, or `bundled`, which shares the weights.
    matrices, offsets : (map, 2, 2) and (map, 2), float64
        As for `resample`.
    still : (slice, rows, columns), complex, C-contiguous
    waves : (map, columns), complex, C-contiguous
    csm : (slice, coil, rows, columns), complex
    hybrid : (slice, coil, rows, any), complex
        hybrid[..., row, places] = sum over columns of csm[..., row, :] * (interpolated - still)[:, row] * waves
    places : (map,), int
    """
    gridding_kernels.encode_changes(
        *_flat(grid), TABLE, matrices, offsets, _reals(still), _reals(waves), csm, hybrid, places
    )


def _flat(grid: np.ndarray) -> tuple[np.ndarray, int]:
    """Return a grid as reals (bundle, rows, ...), and how many slices lie side by side in it."""
    n_together = BUNDLE if grid.ndim == 4 else 1
    return grid.reshape(*grid.shape[:2], -1).view(grid.real.dtype), n_together


def _reals(values: np.ndarray) -> np.ndarray:
    return values.view(values.real.dtype)


def resample_array(grid: Array, matrix: np.ndarray, offset: np.ndarray, shape: tuple[int, int, int]) -> Array:
    """Do what `resample` does in whole-array steps, for a GPU."""
    xp = array_module(grid)
    table = xp.asarray(TABLE)
    p, q = (xp.arange(n) - n // 2 for n in shape[1:])
    samples, weights = [], []
    for axis in range(2):
        n = grid.shape[1 + axis] - sum(BORDER)
        source = matrix[axis, 0] * p[:, None] + matrix[axis, 1] * q[None, :] - offset[axis]
        position = OVERSAMPLING * (source + shape[1 + axis] // 2) % n
        sample = position.astype(int)
        step = (position - sample) * STEPS
        entry = step.astype(int)
        samples.append(sample[..., None] + xp.arange(WIDTH))
        weights.append((table[entry, 0] + (step - entry)[..., None] * table[entry, 1])[..., :WIDTH])
    (rows, columns), (of_rows, of_columns) = samples, weights
    values = xp.zeros(shape, complex)
    for tap in range(WIDTH):  # a row of the kernel at a time: all of it at once is 36 times the images
        values += of_rows[..., tap] * xp.sum(of_columns * grid[:, rows[..., tap, None], columns], axis=-1)
    return values.astype(grid.dtype)
