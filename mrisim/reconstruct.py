"""Reconstruct an image from k-space: root sum of squares, adjoint, and SENSE with three kinds of regularisation.

    y_c = P F S_c x + n_c

P is the sampling, F the centred orthonormal FFT, S the coil maps. Everything but `rss` uses SigPy's Linops and Apps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mrisim.calibration import estimate_csm
from mrisim.errors import ConfigError, DataError
from mrisim.fourier import Array, array_module, centred_ifft, resize_centred, to_device
from mrisim.prewhitening import mix_channels, whitening_matrix
from mrisim.quality import rss
from mrisim.scan import Acquisition, Scan

RECONSTRUCTIONS = {
    "rss": "root sum of squares of the zero-filled coil images; needs no maps, magnitude only",
    "adjoint": "zero-filled coil images weighted with the conjugate maps and summed (E^H y)",
    "sense": "least squares with the coil maps and an L2 penalty, by conjugate gradients",
    "l1-wavelet": "least squares with the coil maps and an L1 penalty on Daubechies-4 wavelets, by FISTA",
    "tv": "least squares with the coil maps and an L1 penalty on finite differences, by primal-dual steps",
}
"""Every reconstruction by name, with what it does."""

DEFAULTS: dict[str, tuple[float, int]] = {"sense": (1e-2, 30), "l1-wavelet": (5e-3, 60), "tv": (5e-3, 100)}
"""Regularisation and number of iterations, for data scaled so that the zero-filled image is about 1."""

DUAL_STEP = 0.03
"""Of `tv`. Residuals are some per cent of the image, and so is the dual variable: at SigPy's step of 1 the image is
not half way after 100 iterations."""

POOR_FIT = 0.1
"""||P(y - E x)|| / ||y|| above which a note says that maps and data disagree."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """An image, how it was made, and how well it explains the data."""

    image: np.ndarray
    """(slice, rows, columns) on the encoded matrix: float32 for `rss`, else complex64. Intensity: that of `rss`."""
    name: str
    parameters: dict[str, Any]
    """What was used, defaults included."""
    relative_error: tuple[float, ...]
    """||P(y - E x)|| / ||y|| of each slice; empty for `rss`, which has no model of the data."""
    notes: tuple[str, ...] = ()
    """One line for each thing that did not fit."""

    @property
    def magnitude(self) -> np.ndarray:
        """(slice, rows, columns), float32."""
        return np.abs(self.image).astype(np.float32)


def reconstruct(
    scan: Scan,
    name: str,
    *,
    csm: Array | None = None,
    device: str = "cpu",
    regularisation: float | None = None,
    n_iterations: int | None = None,
    prewhitened: bool = True,
) -> Reconstruction:
    """Reconstruct every slice of a scan, each on its own.

    Maps come from `csm`, else from the scan, else they are estimated. They enter with a root sum of squares of 1: then
    every reconstruction has the intensity of `rss`, shading included, and one regularisation serves all arrays. The
    k-space of a slice is divided by the 99th percentile of its zero-filled image and the image multiplied by it, so
    that reconstruct(a y) = a reconstruct(y).

    Parameters
    ----------
    scan : Scan
    name : str
        One of `RECONSTRUCTIONS`.
    csm : complex array (slice, coil, readout, phase_encode), optional
    device : str
        "cpu", "cuda", "cuda:N".
    regularisation, n_iterations : float and int, optional
        Of `sense`, `l1-wavelet` and `tv`; defaults in `DEFAULTS`.
    prewhitened : bool
        Decorrelate the channels first where the scan knows its noise covariance. `rss` never does: it is the plain one.

    Returns
    -------
    Reconstruction
        On the host, whatever the device.

    Raises
    ------
    ConfigError
        If the name, regularisation or number of iterations is not possible.
    DataError
        If data or maps are not finite, maps are missing and cannot be estimated, or the solver diverges.

    References
    ----------
    Pruessmann et al. 1999, Magn Reson Med 42:952. Lustig et al. 2007, 10.1002/mrm.21391. Block et al. 2007,
    10.1002/mrm.21236.
    """
    regularisation, n_iterations = _checked_parameters(name, regularisation, n_iterations)
    if not scan.sampled.any():
        raise DataError("the sampling mask is empty; expected at least one acquired sample")
    if name == "rss":
        return Reconstruction(_rss_image(scan, device), name, {}, ())
    maps, origin = _maps_of(scan, csm, device)
    whiten = _unit_whitening(scan) if prewhitened and scan.noise_covariance is not None else None
    images = np.empty((scan.n_slices, *scan.matrix), np.complex64)
    errors = []
    for index, slice_id in enumerate(scan.slice_ids):
        kspace, slice_maps = acquired_part(scan, index, device), to_device(maps[index], device)
        if whiten is not None:
            kspace, slice_maps = mix_channels(whiten, kspace), mix_channels(whiten, slice_maps)
        try:
            image, error = solve(name, kspace, slice_maps, scan.sampled, regularisation, n_iterations)
        except DataError as failure:
            raise DataError(f"{name} of slice {slice_id}: {failure}") from None
        images[index] = to_device(image, "cpu")
        errors.append(error)
    parameters: dict[str, Any] = {"csm": origin, "prewhitened": whiten is not None}
    if name in DEFAULTS:
        parameters |= {"regularisation": regularisation, "n_iterations": n_iterations}
    return Reconstruction(images, name, parameters, tuple(errors), _notes(scan, name, errors))


def solve(
    name: str, kspace: Array, csm: Array, sampled: np.ndarray, regularisation: float, n_iterations: int
) -> tuple[Array, float]:
    """Reconstruct one slice on the device where it lies.

    Parameters
    ----------
    name : str
        "adjoint", "sense", "l1-wavelet" or "tv".
    kspace, csm : complex64 array (coil, readout, phase_encode)
        K-space with zeros where nothing was acquired, and maps of any scale.
    sampled : bool array (readout, phase_encode)
    regularisation : float
    n_iterations : int

    Returns
    -------
    image : complex64 array (readout, phase_encode)
        sum_c conj(S_c) x_c / |S| in the limit of full sampling: x times the root sum of squares of the maps.
    relative_error : float
        ||P(y - E x)|| / ||y||; 0 where y is zero.

    Raises
    ------
    DataError
        If the maps are zero or not finite, or the image is worse than none.
    """
    import sigpy
    from sigpy.mri.linop import Sense

    xp = array_module(kspace)
    maps = unit_maps(csm)
    encode = Sense(maps, weights=xp.asarray(sampled, dtype=np.float32))
    zero_filled = encode.H(kspace)
    scale = float(xp.percentile(xp.abs(zero_filled), 99))
    norm = float(xp.linalg.norm(kspace))
    if norm == 0 or scale == 0:
        return xp.zeros(kspace.shape[1:], np.complex64), 0.0
    data = (kspace / np.float32(scale)).astype(np.complex64)
    with np.errstate(all="ignore"), sigpy.get_device(kspace):
        if name == "adjoint":
            image = zero_filled / np.float32(scale)
        else:
            image = _app(name, data, maps, sampled, regularisation, n_iterations).run()
        image = image.astype(np.complex64)
        error = float(xp.linalg.norm(encode(image) - data) / xp.linalg.norm(data))
    # Every one of these estimates explains the data better than an empty image, or it has diverged.
    if not np.isfinite(error) or error > 1 + 1e-4:
        raise DataError(
            f"diverged: ||y - E x|| / ||y|| is {error:.3g} after {n_iterations} iterations at regularisation "
            f"{regularisation:g}; expected at most 1"
        )
    return (image * np.float32(scale)).astype(np.complex64), error


def unit_maps(csm: Array) -> Array:
    """Return the maps with a root sum of squares of 1, and of 0 where no coil sees anything, in complex64.

    Raises
    ------
    DataError
        If the maps are zero everywhere, or not finite.
    """
    xp = array_module(csm)
    norm = maps_norm(csm)
    peak = float(norm.max())
    if not peak > 0 or not np.isfinite(peak):
        raise DataError(f"the coil maps have a largest root sum of squares of {peak}; expected finite and above 0")
    # Below the precision of complex64 a map is rounding, not sensitivity.
    seen = norm > 1e-6 * peak
    return xp.where(seen, csm / xp.where(seen, norm, 1), 0).astype(np.complex64)


def maps_norm(csm: Array) -> Array:
    """Return the root sum of squares over coils, float32: (..., coil, rows, columns) -> (..., rows, columns)."""
    xp = array_module(csm)
    return xp.sqrt(xp.sum(xp.square(csm.real) + xp.square(csm.imag), axis=-3)).astype(np.float32)


def acquired_part(scan: Scan, index: int, device: str) -> Array:
    """Return the k-space of one slice (coil, readout, phase_encode) in complex64, zero where nothing was acquired.

    Raises
    ------
    DataError
        If an acquired sample is NaN or Inf.
    """
    kspace = to_device(scan.kspace[index], device)
    xp = array_module(kspace)
    kspace = xp.where(xp.asarray(scan.sampled), kspace, 0).astype(np.complex64)
    if not bool(xp.isfinite(kspace).all()):
        raise DataError(f"kspace of slice {scan.slice_ids[index]} holds NaN or Inf; expected finite samples")
    return kspace


def crop_to_recon(image: np.ndarray, acquisition: Acquisition) -> np.ndarray:
    """Crop or zero-pad an image (..., rows, columns) about its centre to the matrix that the scanner would show.

    That is `recon_shape` where the acquisition states it; else the encoded matrix less the readout oversampling.
    """
    shape = acquisition.recon_shape
    if shape is None:
        shape = round(image.shape[-2] / acquisition.readout_oversampling), image.shape[-1]
    return resize_centred(image, shape)


def _checked_parameters(name: str, regularisation: float | None, n_iterations: int | None) -> tuple[float, int]:
    if name not in RECONSTRUCTIONS:
        raise ConfigError(f"reconstruction is {name!r}; expected one of {', '.join(RECONSTRUCTIONS)}")
    if name not in DEFAULTS:
        if regularisation is not None or n_iterations is not None:
            raise ConfigError(f"regularisation or n_iterations is given; expected neither, because {name} has none")
        return 0.0, 0
    default_regularisation, default_iterations = DEFAULTS[name]
    regularisation = default_regularisation if regularisation is None else float(regularisation)
    n_iterations = default_iterations if n_iterations is None else n_iterations
    if not 0 <= regularisation < np.inf:
        raise ConfigError(f"regularisation is {regularisation}; expected 0 or more, for {name}")
    if n_iterations < 1:
        raise ConfigError(f"n_iterations is {n_iterations}; expected 1 or more, for {name}")
    return regularisation, n_iterations


def _rss_image(scan: Scan, device: str) -> np.ndarray:
    image = np.empty((scan.n_slices, *scan.matrix), np.float32)
    for index in range(scan.n_slices):
        image[index] = rss(to_device(centred_ifft(acquired_part(scan, index, device)), "cpu"))
    return image


def _maps_of(scan: Scan, csm: Array | None, device: str) -> tuple[Array, str]:
    if csm is not None and tuple(csm.shape) != tuple(scan.kspace.shape):
        raise DataError(f"csm has shape {tuple(csm.shape)}; expected {tuple(scan.kspace.shape)}, that of the kspace")
    if csm is not None:
        return csm, "given"
    if scan.csm is not None:
        return scan.csm, "scan"
    return estimate_csm(scan, device=device), "uniform" if scan.n_coils == 1 else "estimated"


def _unit_whitening(scan: Scan) -> np.ndarray:
    """Return the whitening matrix for unit mean noise power: it mixes the channels and keeps their units."""
    psi = np.asarray(scan.noise_covariance, np.complex128)
    power = float(np.mean(np.diag(psi).real))
    return whitening_matrix(psi) * np.sqrt(power) if power > 0 else whitening_matrix(psi)


def _app(name: str, data: Array, maps: Array, sampled: np.ndarray, regularisation: float, n_iterations: int) -> Any:
    """Return the SigPy App that solves for data of about unit size and maps of unit norm.

    The largest eigenvalue of E^H E is then at most 1, and that of the differences 8: step sizes are known. SigPy would
    draw a random start from NumPy's global state to estimate them.
    """
    import sigpy
    from sigpy.mri import app

    options: dict[str, Any] = {
        "weights": array_module(data).asarray(sampled, dtype=np.float32),
        "device": sigpy.get_device(data),
        "max_iter": n_iterations,
        "show_pbar": False,
    }
    if name == "sense":
        return app.SenseRecon(data, maps, lamda=regularisation, **options)
    # float32, or SigPy's soft threshold turns complex64 into complex128.
    threshold = np.float32(regularisation)
    if name == "l1-wavelet":
        return app.L1WaveletRecon(data, maps, threshold, alpha=1, **options)
    return app.TotalVariationRecon(data, maps, threshold, sigma=DUAL_STEP, tau=1 / (9 * DUAL_STEP), **options)


def _notes(scan: Scan, name: str, errors: list[float]) -> tuple[str, ...]:
    if name == "adjoint":
        return ()
    notes = []
    acceleration = scan.sampled.size / np.count_nonzero(scan.sampled)
    if acceleration > scan.n_coils and scan.n_coils > 1:
        notes.append(f"{name}: {acceleration:.1f}-fold undersampling of {scan.n_coils} coils leaves the image open")
    worst = int(np.argmax(errors))
    if errors[worst] > POOR_FIT:
        notes.append(
            f"{name}: in slice {scan.slice_ids[worst]} ||y - E x|| / ||y|| is {errors[worst]:.2f}; expected below "
            f"{POOR_FIT}: maps that are not of this scan, corrupted lines, or noise"
        )
    return tuple(notes)
