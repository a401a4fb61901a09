"""The virtual scanner: a finely rasterised object becomes multi-coil k-space on a coarser grid.

The object is given on a raster several times finer than the image, so that its k-space is that of small points and is
cut, not folded, at the edge of the sampled region: reconstructing on the grid one has simulated on ("inverse crime")
would hide Gibbs ringing and partial volume.
"""

from dataclasses import dataclass, replace

import numpy as np

from mrisim.coils import simulated_csm, simulated_noise_covariance
from mrisim.errors import ConfigError
from mrisim.fourier import centred_fft, resize_centred
from mrisim.scan import Acquisition, Scan

ROLL_OFF_FRACTION = 0.12
"""Share of the readout field of view, at each end, over which a limb leaves the reach of the transmit coil."""
PHASE_SPREAD_RAD = 0.6
"""Standard deviation of the smooth image phase over the field of view."""


def acquire(
    water: np.ndarray,
    fat: np.ndarray,
    acquisition: Acquisition,
    matrix: tuple[int, int],
    *,
    rng: np.random.Generator,
    n_coils: int = 8,
    noise_std: float = 0.0,
    fat_shift_hz: float = 0.0,
) -> Scan:
    """Acquire one slice.

    Parameters
    ----------
    water, fat : (rows, columns)
        Signal of the two components on the fine raster, at least as fine as the matrix; rows are the readout.
    acquisition : Acquisition
        Field of view, dwell time and the rest; the raster covers the same field of view.
    matrix : (int, int)
        Encoded matrix (readout, phase_encode).
    rng : numpy.random.Generator
        For the smooth phase and the noise.
    n_coils : int
    noise_std : float
        s, the noise's standard deviation of each component, in units of the image; coils are correlated.
    fat_shift_hz : float
        Frequency of fat relative to water, negative in tissue: fat is displaced along the readout by its quotient with
        the bandwidth of a pixel.

    Returns
    -------
    Scan
        With its true coil maps and noise covariance; `kspace_origin` is "simulated".

    Raises
    ------
    ConfigError
        If the raster is coarser than the matrix.
    """
    array = receiver((water.shape[0], water.shape[1]), matrix, acquisition.fov_mm, n_coils=n_coils)
    phase = np.exp(1j * _smooth_phase(water.shape, rng)).astype(np.complex64)
    phase *= transmit_reach(water.shape[0])[:, None]
    bandwidth_hz = 1e6 / (acquisition.dwell_time_us * matrix[0])
    kspace = sampled(phase * water, phase * fat, array, fat_shift_pixels=fat_shift_hz / bandwidth_hz)
    covariance = 2 * noise_std**2 * array.noise_covariance
    if noise_std > 0:
        kspace = kspace + correlated_noise(kspace.shape, covariance, rng=rng)
    return Scan(
        kspace=kspace[None].astype(np.complex64),
        acquisition=replace(acquisition, kspace_origin="simulated"),
        csm=array.csm[None],
        noise_covariance=covariance if noise_std > 0 else None,
    )


@dataclass(frozen=True)
class Receiver:
    """A coil array as one scan sees it: its maps on the object's raster and on the image grid, and its noise."""

    csm_fine: np.ndarray
    """(coil, rows, columns) on the raster."""
    csm: np.ndarray
    """(coil, readout, phase_encode) on the grid."""
    noise_covariance: np.ndarray
    """(coil, coil), mean diagonal 1."""


def receiver(
    raster: tuple[int, int],
    matrix: tuple[int, int],
    fov_mm: tuple[float, float],
    *,
    n_coils: int,
    radius_mm: float | None = None,
    offset_mm: float = 0.0,
) -> Receiver:
    """Return the array of `mrisim.coils` on both grids of a scan; all slices of a volume share it.

    Raises
    ------
    ConfigError
        If the raster is coarser than the matrix.
    """
    if raster[0] < matrix[0] or raster[1] < matrix[1]:
        raise ConfigError(f"the raster has shape {raster}; expected at least the matrix {matrix}")
    fine = simulated_csm(raster, fov_mm, n_coils=n_coils, radius_mm=radius_mm, offset_mm=offset_mm)
    if all(n_fine % n == 0 for n_fine, n in zip(raster, matrix, strict=True)):
        # The grid's points are points of the raster, and the field is the costly part.
        steps = [n_fine // n for n_fine, n in zip(raster, matrix, strict=True)]
        first = [(n * step) // 2 - (n // 2) * step for n, step in zip(matrix, steps, strict=True)]
        grid = np.ascontiguousarray(fine[:, first[0] :: steps[0], first[1] :: steps[1]])
    else:
        grid = simulated_csm(matrix, fov_mm, n_coils=n_coils, radius_mm=radius_mm, offset_mm=offset_mm)
    return Receiver(fine, grid, simulated_noise_covariance(fov_mm, n_coils=n_coils))


def sampled(water: np.ndarray, fat: np.ndarray, array: Receiver, *, fat_shift_pixels: float = 0.0) -> np.ndarray:
    """Receive the object with every coil and sample its k-space on the grid, without noise.

    Parameters
    ----------
    water, fat : (rows, columns), complex
        Transverse magnetisation on the raster.
    array : Receiver
    fat_shift_pixels : float
        Displacement of fat along the readout, in pixels of the grid.

    Returns
    -------
    complex64 array (coil, readout, phase_encode)
    """
    n_readout = array.csm.shape[-2]
    frequency = (np.arange(n_readout) - n_readout // 2) / n_readout
    ramp = np.exp(-2j * np.pi * fat_shift_pixels * frequency).astype(np.complex64)
    both = (_cut(array.csm_fine * pool, array.csm.shape[-2:]) for pool in (water, fat))
    return next(both) + ramp[:, None] * next(both)


def correlated_noise(
    shape: tuple[int, ...], covariance: np.ndarray, *, rng: np.random.Generator, single_precision: bool = False
) -> np.ndarray:
    """Draw complex receiver noise (coil, readout, phase_encode) with E[n n^H] = covariance at every sample.

    `single_precision` draws other numbers, in half the time: for whole cohorts.
    """
    factor = np.linalg.cholesky(covariance)
    if single_precision:
        factor = (factor / np.sqrt(2)).astype(np.complex64)
        white = rng.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
        return np.tensordot(factor, white, axes=1)
    white = rng.normal(size=(2, *shape)) / np.sqrt(2)
    return np.tensordot(factor, white[0] + 1j * white[1], axes=1)


def _cut(coil_images: np.ndarray, matrix: tuple[int, int]) -> np.ndarray:
    """Return the centre of the object's k-space, scaled so that the image keeps its values."""
    raster = coil_images.shape[-2:]
    kspace = resize_centred(centred_fft(coil_images.astype(np.complex64)), matrix)
    return kspace * np.float32(np.sqrt(np.prod(matrix) / np.prod(raster)))


def _smooth_phase(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return a polynomial phase of order 2 with standard deviation `PHASE_SPREAD_RAD` over the raster, in rad."""
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    terms = (rows, columns, rows * columns, rows**2, columns**2)
    phase = np.sum([rng.normal() * term for term in terms], axis=0)
    phase -= phase.mean()
    return PHASE_SPREAD_RAD * phase / phase.std() + rng.uniform(0, 2 * np.pi)


def transmit_reach(n_rows: int) -> np.ndarray:
    """Return the share of the signal along the readout: 1 inside, a squared-sine fall to 0 at both ends.

    A limb runs through the field of view; without this it would end there in a step that wraps round and rings.
    """
    from_edge = (0.5 - np.abs(np.linspace(-0.5, 0.5, n_rows))) / ROLL_OFF_FRACTION
    return (np.sin(np.pi / 2 * np.clip(from_edge, 0, 1)) ** 2).astype(np.float32)
