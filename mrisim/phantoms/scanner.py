"""The virtual scanner: a finely rasterised object becomes multi-coil k-space on a coarser grid.

The object is given on a raster several times finer than the image, so that its k-space is that of small points and is
cut, not folded, at the edge of the sampled region: reconstructing on the grid one has simulated on ("inverse crime")
would hide Gibbs ringing and partial volume.
"""

from dataclasses import replace

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
    if water.shape[0] < matrix[0] or water.shape[1] < matrix[1]:
        raise ConfigError(f"the raster has shape {water.shape}; expected at least the matrix {matrix}")
    csm_fine = simulated_csm(water.shape, acquisition.fov_mm, n_coils=n_coils)  # type: ignore[arg-type]
    phase = np.exp(1j * _smooth_phase(water.shape, rng)).astype(np.complex64)
    phase *= _transmit_reach(water.shape[0])[:, None]
    bandwidth_hz = 1e6 / (acquisition.dwell_time_us * matrix[0])
    shift = fat_shift_hz / bandwidth_hz
    ramp = np.exp(-2j * np.pi * shift * (np.arange(matrix[0]) - matrix[0] // 2) / matrix[0]).astype(np.complex64)
    kspace = _sampled(csm_fine * (phase * water), matrix) + ramp[:, None] * _sampled(csm_fine * (phase * fat), matrix)
    covariance = 2 * noise_std**2 * simulated_noise_covariance(acquisition.fov_mm, n_coils=n_coils)
    if noise_std > 0:
        white = rng.normal(size=(2, *kspace.shape)) / np.sqrt(2)
        kspace = kspace + np.tensordot(np.linalg.cholesky(covariance), white[0] + 1j * white[1], axes=1)
    return Scan(
        kspace=kspace[None].astype(np.complex64),
        acquisition=replace(acquisition, kspace_origin="simulated"),
        csm=simulated_csm(matrix, acquisition.fov_mm, n_coils=n_coils)[None],
        noise_covariance=covariance if noise_std > 0 else None,
    )


def _sampled(coil_images: np.ndarray, matrix: tuple[int, int]) -> np.ndarray:
    """Return the centre of the object's k-space, scaled so that the image keeps its values."""
    raster = coil_images.shape[-2:]
    kspace = resize_centred(centred_fft(coil_images.astype(np.complex64)), matrix)
    return kspace * np.float32(np.sqrt(np.prod(matrix) / np.prod(raster)))


def _smooth_phase(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return a polynomial phase of order 2 with standard deviation `PHASE_SPREAD_RAD` over the raster, in rad."""
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    terms = (rows, columns, rows * columns, rows**2, columns**2)
    phase = sum(rng.normal() * term for term in terms)
    phase = phase - phase.mean()
    return PHASE_SPREAD_RAD * phase / phase.std() + rng.uniform(0, 2 * np.pi)


def _transmit_reach(n_rows: int) -> np.ndarray:
    """Return the share of the signal along the readout: 1 inside, a squared-sine fall to 0 at both ends.

    A limb runs through the field of view; without this it would end there in a step that wraps round and rings.
    """
    from_edge = (0.5 - np.abs(np.linspace(-0.5, 0.5, n_rows))) / ROLL_OFF_FRACTION
    return (np.sin(np.pi / 2 * np.clip(from_edge, 0, 1)) ** 2).astype(np.float32)
