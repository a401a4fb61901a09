"""Images on the twice finer grid on which `mrisim.gridding` interpolates: trigonometric, with a periodic border."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mrisim import finer_grid_kernels, host_fft
from mrisim.fourier import Array, array_module, plain_fft, plain_ifft, signed_frequency
from mrisim.gridding_kernels import BORDER, OVERSAMPLING
from mrisim.kaiser_bessel import kernel_transform
from mrisim.lane_vectors import ROW


def finer_grid(images: Array) -> Array:
    """Evaluate images between their pixels, their spectra divided by the transform of the gridding kernel.

    Parameters
    ----------
    images : (slice, rows, columns), complex

    Returns
    -------
    (slice, `OVERSAMPLING` x rows + border, `OVERSAMPLING` x columns + border), of the images' dtype
        Pixel 0 lies `BORDER[0]` samples from the edges.
    """
    if host_fft.possible(images, (-2, -1)):
        return _on_the_host(images)
    grid = plain_fft(images, ortho=False)
    for axis in (-2, -1):  # the columns, while there are only half as many: rows lie better in memory
        grid = _finer(grid, axis)
    return _with_border(grid)


def _on_the_host(images: np.ndarray) -> np.ndarray:
    """Do it tile by tile: zeros are neither written nor transformed, and the border is written with the rest."""
    n_slices, n_rows, n_columns = images.shape
    (before, after), rows, columns = BORDER, _axis(n_rows), _axis(n_columns)
    fine = np.empty((n_slices, len(rows.places_out) + before + after, len(columns.with_border)), images.dtype)
    between = np.empty((len(rows.places_out), n_columns), images.dtype)
    tile = host_fft.aligned((OVERSAMPLING * max(n_rows, n_columns) * ROW,))
    for image, grid in zip(np.ascontiguousarray(images), fine, strict=True):
        inner = grid[before:-after]
        finer_grid_kernels.finer_columns(
            _reals(image), _reals(between), tile, rows.radices, rows.twiddles, rows.factors, rows.places_out
        )
        finer_grid_kernels.finer_rows(
            _reals(between),
            _reals(inner),
            tile,
            columns.radices,
            columns.twiddles,
            columns.factors,
            columns.with_border,
        )
        periodic = np.arange(-before, len(inner) + after) % len(inner)
        grid[:before], grid[-after:] = inner[periodic[:before]], inner[periodic[-after:]]
    return fine


def _reals(image: np.ndarray) -> np.ndarray:
    return image.view(np.float32)


@dataclass(frozen=True, eq=False)
class _Axis:
    """How one axis is refined: the plan of its transform, and what its spectrum is multiplied with."""

    radices: np.ndarray
    twiddles: np.ndarray
    factors: np.ndarray
    """Of each frequency in the plan's order: one real number, and real and imaginary part of another."""
    places_out: np.ndarray
    """Where in the tile each sample of the finer grid lies: given ones and those between them by turns."""
    with_border: np.ndarray


@lru_cache(maxsize=32)
def _axis(n: int) -> _Axis:
    plan = host_fft.plan(n)
    assert plan is not None
    frequency = signed_frequency(n)
    factor = _inverse_kernel(n) / (OVERSAMPLING * n)
    turned = factor * np.exp(1j * np.pi * frequency / n)
    factors = np.stack([factor, turned.real, turned.imag], axis=1)[plan.order].astype(np.float32)
    places_out = np.arange(2 * n).reshape(2, n).T.ravel()
    periodic = np.arange(-BORDER[0], 2 * n + BORDER[1]) % (2 * n)
    return _Axis(plan.radices, plan.twiddles, factors.ravel(), places_out, places_out[periodic])


def _finer(spectrum: Array, axis: int) -> Array:
    """Transform one axis to positions on a finer grid, divided by the kernel's transform."""
    xp, n = array_module(spectrum), spectrum.shape[axis]
    shape = list(spectrum.shape)
    shape[axis] *= OVERSAMPLING
    padded = xp.empty(shape, spectrum.dtype)
    factor = _inverse_kernel(n).astype(spectrum.real.dtype)
    given, placed = xp.moveaxis(spectrum, axis, -1), xp.moveaxis(padded, axis, -1)
    below, above = (n + 1) // 2, n // 2
    placed[..., :below] = given[..., :below] * xp.asarray(factor[:below])
    placed[..., below : shape[axis] - above] = 0
    placed[..., shape[axis] - above :] = given[..., below:] * xp.asarray(factor[below:])
    return plain_ifft(padded, (axis,), ortho=False, overwrite=True)


@lru_cache(maxsize=32)
def _inverse_kernel(n: int) -> np.ndarray:
    """Return what the spectrum of n pixels is multiplied with for the finer grid."""
    return OVERSAMPLING / kernel_transform(signed_frequency(n) / (OVERSAMPLING * n))


def _with_border(grid: Array) -> Array:
    """Continue periodic grids (..., rows, columns) by `BORDER` on both axes."""
    xp, (before, after) = array_module(grid), BORDER
    n_rows, n_columns = grid.shape[-2:]
    wide = xp.empty((*grid.shape[:-2], n_rows + before + after, n_columns + before + after), grid.dtype)
    inner = wide[..., before:-after]
    inner[..., before:-after, :] = grid
    inner[..., :before, :] = grid[..., xp.arange(-before, 0) % n_rows, :]
    inner[..., -after:, :] = grid[..., xp.arange(after) % n_rows, :]
    wide[..., :before] = inner[..., xp.arange(-before, 0) % n_columns]
    wide[..., -after:] = inner[..., xp.arange(after) % n_columns]
    return wide
