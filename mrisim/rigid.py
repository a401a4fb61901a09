"""Move an image rigidly: the trigonometric interpolant of its pixels, evaluated at the moved positions.

An image of N pixels is a trigonometric polynomial x(r) = 1/sqrt(N) sum_k X(k) exp(2 pi i k r / N): that polynomial *is*
the object between the pixels. A translation multiplies X by a phase ramp, exactly. A rotation evaluates the polynomial
off the grid, here by gridding from a twofold oversampled copy with a Kaiser-Bessel kernel six samples wide (relative
error below 1e-5; a test holds it to the dense sum).
"""

import math
from functools import cached_property

import numba
import numpy as np

from mrisim.fourier import Array, array_module, centred_fft, centred_ifft, resize_centred

_OVERSAMPLING = 2
_WIDTH = 6
# Beatty et al. 2005, 10.1109/TMI.2004.842452, equation 5
_BETA = math.pi * math.sqrt((_WIDTH / _OVERSAMPLING * (_OVERSAMPLING - 0.5)) ** 2 - 0.8)
_STEPS = 1 << 16  # kernel table entries per sample: the nearest entry is then right to 1e-5 of a weight


class RigidObject:
    """An image that can be seen in any in-plane pose.

    Parameters
    ----------
    image : (readout, phase_encode), complex
    voxel_mm : (float, float)
    """

    def __init__(self, image: Array, voxel_mm: tuple[float, float]) -> None:
        self.image = image
        self.voxel_mm = voxel_mm

    def at(self, pose: np.ndarray) -> Array:
        """Return the image after a rotation about the centre pixel N//2 and then a translation.

        Parameters
        ----------
        pose : (3,)
            Translation along readout (mm, towards larger row index), along phase encode (mm, towards larger column
            index), rotation (degrees; positive turns the row axis towards the column axis, as `numpy.rot90` does).

        Returns
        -------
        complex array of the image's shape and dtype; what leaves one side enters at the other (periodic)
        """
        row_mm, column_mm, rotation_deg = (float(value) for value in pose)
        row, column = row_mm / self.voxel_mm[0], column_mm / self.voxel_mm[1]
        if rotation_deg == 0:
            return self._translated(row, column)
        cosine, sine = math.cos(math.radians(rotation_deg)), math.sin(math.radians(rotation_deg))
        # source = D^-1 R(-angle) D (target - shift), with D = voxel size
        ratio = self.voxel_mm[1] / self.voxel_mm[0]
        matrix = np.array([[cosine, sine * ratio], [-sine / ratio, cosine]])
        return self._resampled(matrix, matrix @ (row, column))

    def _translated(self, row: float, column: float) -> Array:
        if row == 0 and column == 0:
            return self.image
        xp = array_module(self.image)
        ramps = [
            xp.exp(-2j * np.pi * shift * (xp.arange(n) - n // 2) / n)
            for shift, n in zip((row, column), self.image.shape, strict=True)
        ]
        spectrum = self._spectrum * (ramps[0][:, None] * ramps[1]).astype(self.image.dtype)
        return centred_ifft(spectrum)

    @cached_property
    def _spectrum(self) -> Array:
        return centred_fft(self.image)

    @cached_property
    def _oversampled(self) -> Array:
        """The image on a twice finer grid, divided by the kernel's transform beforehand."""
        xp = array_module(self.image)
        spectrum = self._spectrum
        for axis, n in enumerate(self.image.shape):
            k = xp.arange(n) - n // 2
            transform = _kernel_transform(xp, k / (_OVERSAMPLING * n)).astype(spectrum.real.dtype)
            spectrum = spectrum / (transform[:, None] if axis == 0 else transform)
        n_rows, n_columns = self.image.shape
        padded = resize_centred(spectrum, (_OVERSAMPLING * n_rows, _OVERSAMPLING * n_columns))
        return xp.ascontiguousarray(centred_ifft(padded) * padded.real.dtype.type(_OVERSAMPLING))

    def _resampled(self, matrix: np.ndarray, offset: np.ndarray) -> Array:
        grid = self._oversampled
        if isinstance(grid, np.ndarray):
            moved = np.empty_like(self.image)
            _gather(grid, _KERNEL_TABLE, matrix, offset, moved)
            return moved
        return _gather_array(grid, matrix, offset, self.image.shape)


def _kernel_transform(xp, frequency):
    root = xp.sqrt(_BETA**2 - (np.pi * _WIDTH * frequency) ** 2)
    return _WIDTH * xp.sinh(root) / root / np.i0(_BETA)


def _kernel_table() -> np.ndarray:
    """Return the weights of the six taps for `_STEPS` + 1 positions between two grid points: (position, tap)."""
    fraction = np.linspace(0, 1, _STEPS + 1)[:, None]
    distance = fraction + _WIDTH // 2 - 1 - np.arange(_WIDTH)
    root = np.sqrt(np.maximum(0, 1 - (2 * distance / _WIDTH) ** 2))
    return (np.i0(_BETA * root) / np.i0(_BETA) * (np.abs(distance) <= _WIDTH / 2)).astype(np.float32)


_KERNEL_TABLE = _kernel_table()


@numba.njit(nogil=True, cache=True, fastmath=True)
def _gather(grid, table, matrix, offset, moved):
    n_rows, n_columns = moved.shape
    n_grid_rows, n_grid_columns = grid.shape
    rows, columns = np.empty(_WIDTH, np.int64), np.empty(_WIDTH, np.int64)
    for row in range(n_rows):
        for column in range(n_columns):
            p, q = row - n_rows // 2, column - n_columns // 2
            source_row = _OVERSAMPLING * (matrix[0, 0] * p + matrix[0, 1] * q - offset[0]) + n_grid_rows // 2
            source_column = _OVERSAMPLING * (matrix[1, 0] * p + matrix[1, 1] * q - offset[1]) + n_grid_columns // 2
            floor_row, floor_column = math.floor(source_row), math.floor(source_column)
            row_weights = table[int((source_row - floor_row) * _STEPS + 0.5)]
            column_weights = table[int((source_column - floor_column) * _STEPS + 0.5)]
            first_row = (int(floor_row) - 2) % n_grid_rows
            first_column = (int(floor_column) - 2) % n_grid_columns
            for tap in range(_WIDTH):
                rows[tap] = first_row + tap if first_row + tap < n_grid_rows else first_row + tap - n_grid_rows
                wrapped = first_column + tap - n_grid_columns
                columns[tap] = first_column + tap if wrapped < 0 else wrapped
            total = grid[0, 0] * 0
            for i in range(_WIDTH):
                line = grid[rows[i]]
                partial = column_weights[0] * line[columns[0]]
                for j in range(1, _WIDTH):
                    partial += column_weights[j] * line[columns[j]]
                total += row_weights[i] * partial
            moved[row, column] = total


def _gather_array(grid: Array, matrix: np.ndarray, offset: np.ndarray, shape: tuple[int, int]) -> Array:
    """Do what `_gather` does in whole-array steps, for a GPU."""
    xp = array_module(grid)
    table = xp.asarray(_KERNEL_TABLE)
    p, q = (xp.arange(n) - n // 2 for n in shape)
    taps = []
    for axis in range(2):
        source = matrix[axis, 0] * p[:, None] + matrix[axis, 1] * q[None, :] - offset[axis]
        position = _OVERSAMPLING * source + grid.shape[axis] // 2
        first = xp.floor(position).astype(int) - 2
        weights = table[((position - xp.floor(position)) * _STEPS + 0.5).astype(int)]
        taps.append([((first + tap) % grid.shape[axis], weights[..., tap]) for tap in range(_WIDTH)])
    moved = xp.zeros(shape, complex)
    for row, row_weight in taps[0]:
        for column, column_weight in taps[1]:
            moved += row_weight * column_weight * grid[row, column]
    return moved.astype(grid.dtype)
