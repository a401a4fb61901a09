"""Coil sensitivity maps estimated from the k-space itself: ESPIRiT, continued beyond the object, with their shading."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import scipy.linalg
import scipy.ndimage as ndi

from mrisim.errors import DataError
from mrisim.espirit import espirit_maps
from mrisim.fourier import Array, centred_ifft, resize_centred, to_device
from mrisim.quality import foreground_mask, rss
from mrisim.scan import Scan

MAX_CALIBRATION_WIDTH = 24
MIN_CALIBRATION_WIDTH = 8
SINGULAR_VALUE_THRESHOLD = 0.03
"""Of the calibration matrix, relative to the largest. SigPy's 0.02 lets noise in below SNR 7 (experiments/LOG.md)."""
GRID = 64
"""Maps are smooth (their kernels span 6 samples): computed on 64 x 64, then interpolated, they are as accurate as on
the full matrix, at a twentieth of the time."""
SHADING_ORDER = 2
LOWEST_SHADING = 0.05
"""Of the median. A field that falls below it has changed sign nearby, and is not one."""
WEIGHT_FLOOR = 1e-3
"""Signal energy, over the foreground's, below which a pixel's map comes from its neighbours."""


def estimate_csm(scan: Scan, *, device: str = "cpu") -> Array:
    """Estimate the coil sensitivity maps from the fully sampled centre of k-space, slice by slice.

    ESPIRiT gives maps whose root sum of squares is 1, and that mean nothing where there is no signal. They are then
    continued beyond the object by normalised convolution weighted with the signal's energy, and multiplied by a smooth
    estimate of the B1- shading: left out, it would stick to the object and move with it.

    The phase that all coils share is unknown. Here the sum of the coils, in phase at the object's centre, has
    phase zero (a virtual reference coil). SigPy's choice, coil 0, is singular where coil 0 sees nothing, and moves an
    object two to five times less truly.

    Parameters
    ----------
    scan : Scan
    device : str
        Where the maps come to lie: "cpu", "cuda", "cuda:N". They are made on the host, from a few thousand samples.

    Returns
    -------
    complex64 array (slice, coil, readout, phase_encode)
        Ones for a single coil; zero for a coil that carries nothing.

    Raises
    ------
    DataError
        If the fully sampled centre is narrower than 8 samples, holds NaN or nothing but zeros, or ESPIRiT fails.

    Limits
    ------
    One set of maps: an object wider than the field of view is not described. For the shading, see `receive_shading`.

    References
    ----------
    Uecker et al. 2014, 10.1002/mrm.24751 (ESPIRiT). Parker et al. 2014, 10.1002/mrm.24925 (virtual reference coil).
    """
    if scan.n_coils == 1:
        return to_device(np.ones(scan.kspace.shape, np.complex64), device)
    width = calibration_width(scan.sampled)
    if width < MIN_CALIBRATION_WIDTH:
        raise DataError(
            f"the fully sampled centre of k-space is {width} samples wide; expected {MIN_CALIBRATION_WIDTH} or more, "
            "to estimate coil maps (or give the maps; after undersampling, a larger undersampling.acs_fraction)"
        )
    maps = np.empty(scan.kspace.shape, np.complex64)
    for index, slice_id in enumerate(scan.slice_ids):
        centre = min(scan.matrix[0], GRID), min(scan.matrix[1], GRID)
        block = to_device(resize_centred(scan.kspace[index], centre), "cpu").astype(np.complex64)
        coarse = _estimate_coarse(block, width, scan.acquisition.fov_mm, slice_id)
        maps[index] = _interpolate(coarse, scan.matrix)
    return to_device(maps, device)


def calibration_width(sampled: np.ndarray) -> int:
    """Return the width of the largest fully sampled square about the centre of k-space; 0 if the centre is missing."""
    # a square of width w reaches from w // 2 samples before the centre to (w - 1) // 2 behind it
    offsets = [np.arange(n) - n // 2 for n in sampled.shape]
    rows, columns = (np.where(offset < 0, -2 * offset, 2 * offset + 1) for offset in offsets)
    first_with = np.maximum(rows[:, None], columns)
    return int(min(first_with[np.logical_not(sampled)].min(initial=np.iinfo(int).max) - 1, *sampled.shape))


def receive_shading(maps: np.ndarray, inside: np.ndarray, pixel_mm: tuple[float, float]) -> np.ndarray:
    """Find the field b whose product with normalised maps obeys Laplace's equation best: the lost B1- shading.

    A receive field is harmonic where no current flows. ESPIRiT loses the factor common to all coils; of the
    polynomials b of order 2, the one that minimises sum_c |laplacian(b maps_c)|^2 / |b|^2 restores it. It looks at the
    maps alone, so that bright or dark tissue is not taken for shading, as a fit to the image would.

    Parameters
    ----------
    maps : complex array (coil, readout, phase_encode)
        With a smooth common phase.
    inside : bool array (readout, phase_encode)
        Where the maps mean something.
    pixel_mm : (readout, phase_encode)

    Returns
    -------
    float64 array (readout, phase_encode)
        Median 1 inside, and beyond it within its range there; all ones if no positive field is found.

    Limits
    ------
    The change along B0 and the wavelength in the body (from 3 T on) are neglected: on simulated loops the logarithm of
    the shading is off by 0.06-0.12 (standard deviation), of the 0.27-0.38 it has.
    """
    rows, columns = np.meshgrid(*((2 * (np.arange(n) - n // 2) / n) for n in inside.shape), indexing="ij")
    powers = [(i, j) for i in range(SHADING_ORDER + 1) for j in range(SHADING_ORDER + 1 - i)]
    basis = np.stack([rows**i * columns**j for i, j in powers])
    if np.count_nonzero(inside) <= 4 * len(basis):
        return np.ones(inside.shape)
    curvature = np.stack([_laplacian(term * maps, pixel_mm)[:, inside].ravel() for term in basis])
    values = basis[:, inside]
    coefficients = scipy.linalg.eigh((curvature.conj() @ curvature.T).real, values @ values.T)[1][:, 0]
    shading = np.tensordot(coefficients, basis, axes=1)
    shading /= np.median(shading[inside])
    lowest, highest = shading[inside].min(), shading[inside].max()
    if not lowest > LOWEST_SHADING:
        return np.ones(inside.shape)
    return np.clip(shading, lowest, highest)


def _laplacian(field: np.ndarray, pixel_mm: tuple[float, float]) -> np.ndarray:
    """Return the five-point Laplacian over the last two axes; the border wraps, and stays outside every object."""
    return sum(
        (np.roll(field, 1, axis) + np.roll(field, -1, axis) - 2 * field) / size**2
        for axis, size in zip((-2, -1), pixel_mm, strict=True)
    )


def _estimate_coarse(block: np.ndarray, width: int, fov_mm: tuple[float, float], slice_id: int) -> np.ndarray:
    """Return complete maps on the coarse grid from the centre of one slice's k-space (coil, readout, phase_encode)."""
    # Only the fully sampled square: the samples around it would fold.
    square = resize_centred(block, (min(width, block.shape[1]), min(width, block.shape[2])))
    if not np.isfinite(square).all():
        raise DataError(f"k-space of slice {slice_id} holds NaN or Inf in its centre; expected finite samples")
    alive = np.any(square != 0, axis=(1, 2))
    if not alive.any():
        raise DataError(f"the calibration centre of slice {slice_id} holds nothing but zeros; expected a signal")
    maps = np.zeros(block.shape, np.complex64)
    if np.count_nonzero(alive) == 1:
        maps[alive] = 1
        return maps
    square = square[alive] / np.abs(square).max()
    low_resolution = centred_ifft(resize_centred(_taper(square), block.shape[1:]))
    magnitude = rss(low_resolution)
    foreground = foreground_mask(magnitude[None])[0]
    espirit = _espirit(square, min(width, MAX_CALIBRATION_WIDTH), block.shape[1:], slice_id)
    energy = (magnitude / np.sqrt(np.mean(magnitude[foreground] ** 2))) ** 2
    referenced = _reference_phase(espirit, low_resolution, energy * foreground)
    # Blurred by the narrow centre, the foreground is too wide by about one resolution element.
    inside = ndi.binary_erosion(foreground, iterations=2 + GRID // width)
    pixel_mm = fov_mm[0] / block.shape[1], fov_mm[1] / block.shape[2]
    maps[alive] = _continue_outward(referenced, energy) * receive_shading(referenced, inside, pixel_mm)
    return maps


def _espirit(square: np.ndarray, width: int, shape: tuple[int, int], slice_id: int) -> np.ndarray:
    kernel_width = 6 if width >= 16 else 4 if width >= 10 else 3
    # A centre without signal divides by zero: what fails there is found below.
    with np.errstate(all="ignore"):
        maps = espirit_maps(
            resize_centred(square, (width, width)),
            shape,
            kernel_width=kernel_width,
            threshold=SINGULAR_VALUE_THRESHOLD,
        )
    if not np.isfinite(maps).all():
        raise DataError(
            f"ESPIRiT gave NaN maps for slice {slice_id} from its {width} x {width} calibration centre; "
            "expected a centre with signal in several coils"
        )
    return maps


def _taper(square: np.ndarray) -> np.ndarray:
    """Weight the square with a Hamming window: the bare square rings far beyond the object."""
    for axis in (1, 2):
        n = square.shape[axis]
        window = 0.54 + 0.46 * np.cos(2 * np.pi * (np.arange(n) - n // 2) / n)
        square = square * window.reshape([-1 if a == axis else 1 for a in range(3)])
    return square.astype(np.complex64)


def _reference_phase(maps: np.ndarray, images: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Turn the phase common to all coils so that their sum, in phase at the object's centre, is real."""
    grids = np.indices(energy.shape)
    centre = [np.average(grid, weights=energy) for grid in grids]
    distance = np.hypot(*((grid - c) / (0.1 * n) for grid, c, n in zip(grids, centre, energy.shape, strict=True)))
    near = images[:, distance <= max(1.0, float(distance.min()))]
    vector = np.linalg.eigh(near @ near.conj().T)[1][:, -1]
    virtual = np.tensordot(np.exp(-1j * np.angle(vector)), maps, axes=1)
    return maps * np.exp(-1j * np.angle(virtual))


def _continue_outward(maps: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Replace the maps where the signal is weak by a smooth continuation from where it is strong; RSS stays 1."""
    smooth = np.tensordot(maps, energy, axes=2)[:, None, None] / energy.sum() * np.ones(energy.shape)
    weight = energy + 0.0
    weighted = weight * maps
    for width in (GRID / 4, GRID / 8, GRID / 16, GRID / 32, 0.0):
        spread, mean = _blurred(weight, width), _blurred(weighted, width)
        # From the widest kernel to none: each level speaks where it has seen signal, and else hands the last one on.
        smooth = (mean + WEIGHT_FLOOR * smooth) / (spread + WEIGHT_FLOOR)
    norm = np.sqrt(np.sum(np.abs(smooth) ** 2, axis=0))
    return smooth / np.where(norm > 0, norm, 1)


def _blurred(images: np.ndarray, width: float) -> np.ndarray:
    """Return images (..., rows, columns) after a Gaussian filter of this standard deviation in pixels."""
    return _along_both_axes([_blur(n, width) for n in images.shape[-2:]], images)


def _interpolate(maps: np.ndarray, matrix: tuple[int, int]) -> np.ndarray:
    """Interpolate from the coarse grid to the matrix, by cubic splines; the centre pixel stays the centre pixel."""
    return _along_both_axes([_splines(n, n_fine) for n, n_fine in zip(maps.shape[1:], matrix, strict=True)], maps)


def _along_both_axes(matrices: Sequence[np.ndarray], images: np.ndarray) -> np.ndarray:
    """Return R x C^T of images x (..., rows, columns), for real matrices R and C: one product for a whole filter."""
    of_rows, of_columns = matrices
    images = np.ascontiguousarray(images)
    rows = (of_rows @ images.view(of_rows.dtype)).view(images.dtype)  # of complex numbers: both parts are columns
    return rows @ of_columns.T.astype(images.dtype)


@lru_cache(maxsize=32)
def _blur(n: int, width: float) -> np.ndarray:
    return ndi.gaussian_filter(np.eye(n), (width, 0), mode="nearest").astype(np.float32)


@lru_cache(maxsize=32)
def _splines(n: int, n_fine: int) -> np.ndarray:
    """Return what takes n values to n_fine, (n_fine, n); never to fewer."""
    if n >= n_fine:
        return np.eye(n, dtype=np.float32)
    from scipy.interpolate import make_interp_spline  # takes a tenth of a second to import

    spline = make_interp_spline((np.arange(n) - n // 2) / n, np.eye(n))
    return spline((np.arange(n_fine) - n_fine // 2) / n_fine).astype(np.float32)
