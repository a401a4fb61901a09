"""Reconstruct an image from k-space: root sum of squares, adjoint, and SENSE with three kinds of regularisation.

    y_c = P F S_c x + n_c

P is the sampling, F the centred orthonormal FFT, S the coil maps. Everything but `rss` uses SigPy's Linops and Apps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mrisim.calibration import estimate_csm
from mrisim.coil_sums import acquired_samples, energy_of_slices, root_sum_of_squares
from mrisim.errors import ConfigError, DataError
from mrisim.fourier import (
    IMAGE_AXES,
    Array,
    array_module,
    centred_ifft,
    current_device,
    keep_freed_memory,
    resize_centred,
    to_device,
)
from mrisim.prewhitening import mix_channels, whitening_matrix
from mrisim.scan import Acquisition, Scan
from mrisim.slice_batches import batches, slices_at_once

if TYPE_CHECKING:
    from mrisim.encoding import Encoding

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
    at_once: int | None = None,
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
    at_once : int, optional
        Slices in the hands of the device at a time, by default what suits it (`mrisim.slice_batches`); the images agree
        but for rounding.

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
    if at_once is None:
        at_once = slices_at_once(scan.n_coils * scan.sampled.size * np.dtype(np.complex64).itemsize, device)
    places = batches(scan.n_slices, at_once)
    with current_device(device):
        if name == "rss":
            return Reconstruction(_rss_image(scan, places, device), name, {}, ())
        maps, origin = _maps_of(scan, csm, device)
        whiten = _unit_whitening(scan) if prewhitened and scan.noise_covariance is not None else None
        images = np.empty((scan.n_slices, *scan.matrix), np.complex64)
        errors: list[float] = []

        def solved(place: int | slice) -> tuple[Array, Array]:
            kspace, slice_maps = acquired_part(scan, place, device), to_device(maps[place], device)
            if whiten is not None:
                kspace, slice_maps = mix_channels(whiten, kspace), mix_channels(whiten, slice_maps)
            try:
                return solve(name, kspace, slice_maps, scan.sampled, regularisation, n_iterations)
            except DataError as failure:
                if isinstance(place, int):
                    raise DataError(f"{name} of slice {scan.slice_ids[place]}: {failure}") from None
                for index in range(place.start, place.stop):
                    solved(index)  # one of them fails again, by itself, and is named
                raise

        for place in places:
            image, error = solved(place)
            images[place] = to_device(image, "cpu")
            errors += np.atleast_1d(error).tolist()
    parameters: dict[str, Any] = {"csm": origin, "prewhitened": whiten is not None}
    if name in DEFAULTS:
        parameters |= {"regularisation": regularisation, "n_iterations": n_iterations}
    return Reconstruction(images, name, parameters, tuple(errors), _notes(scan, name, errors))


def solve(
    name: str, kspace: Array, csm: Array, sampled: np.ndarray, regularisation: float, n_iterations: int
) -> tuple[Array, Any]:
    """Reconstruct one slice, or several at once, on the device where they lie (`mrisim.fourier.current_device`).

    Parameters
    ----------
    name : str
        "adjoint", "sense", "l1-wavelet" or "tv".
    kspace, csm : complex64 array (..., coil, readout, phase_encode)
        K-space with zeros where nothing was acquired, and maps of any scale.
    sampled : bool array (readout, phase_encode)
    regularisation : float
    n_iterations : int

    Returns
    -------
    image : complex64 array (..., readout, phase_encode)
        sum_c conj(S_c) x_c / |S| in the limit of full sampling: x times the root sum of squares of the maps.
    relative_error : float, or host array (...) for several slices
        ||P(y - E x)|| / ||y||; 0 where y is zero.

    Raises
    ------
    DataError
        If the maps are zero or not finite, or the image is worse than none.
    """
    from mrisim.encoding import Encoding

    keep_freed_memory()
    xp = array_module(kspace)
    encode = Encoding(unit_maps(csm), sampled)
    zero_filled = encode.H(kspace)
    scale = xp.percentile(xp.abs(zero_filled), 99, axis=IMAGE_AXES, keepdims=True).astype(np.float32)
    norm = xp.sqrt(energy_of_slices(kspace))
    blank = (norm == 0) | (scale[..., 0, 0] == 0)
    if bool(blank.all()):
        return xp.zeros(encode.ishape, np.complex64), np.zeros(norm.shape)[()]
    empty = blank[..., None, None]
    with np.errstate(all="ignore"):
        # a product with a real number: a quotient takes ten times as long
        unit = (zero_filled * xp.where(empty, 0, 1 / scale)).astype(np.complex64, copy=False)
        image = unit if name == "adjoint" else _solution(name, unit, encode, regularisation, n_iterations)
        image = (image * scale).astype(np.complex64, copy=False)
        error = xp.sqrt(encode.misfit(image, kspace)) / xp.where(blank, 1, norm)
        error = to_device(xp.where(blank, 0, error), "cpu").astype(float)[()]
    # Every one of these estimates explains the data better than an empty image, or it has diverged.
    worst = np.max(error)
    if not np.isfinite(worst) or worst > 1 + 1e-4:
        raise DataError(
            f"diverged: ||y - E x|| / ||y|| is {worst:.3g} after {n_iterations} iterations at regularisation "
            f"{regularisation:g}; expected at most 1"
        )
    return image, error


def unit_maps(csm: Array) -> Array:
    """Return the maps (..., coil, rows, columns) with a root sum of squares of 1, of 0 where no coil sees anything.

    Raises
    ------
    DataError
        If the maps are zero everywhere, or not finite.
    """
    xp = array_module(csm)
    norm = maps_norm(csm)
    seen = seen_by_coils(norm)
    inverse = xp.where(seen, 1 / xp.where(seen, norm, 1), 0)
    return (csm * inverse[..., None, :, :]).astype(np.complex64, copy=False)


def seen_by_coils(norm: Array) -> Array:
    """Return where the root sum of squares of the maps (..., readout, phase_encode) is sensitivity, and not rounding.

    Raises
    ------
    DataError
        If the maps are zero everywhere, or not finite.
    """
    peak = norm.max(axis=IMAGE_AXES, keepdims=True)
    peaks = to_device(peak, "cpu")
    if not (np.isfinite(peaks) & (peaks > 0)).all():
        worst = peaks.min()
        raise DataError(f"the coil maps have a largest root sum of squares of {worst}; expected finite and above 0")
    return norm > 1e-6 * peak  # the precision of complex64


def maps_norm(csm: Array) -> Array:
    """Return the root sum of squares over coils, float32: (..., coil, rows, columns) -> (..., rows, columns)."""
    return root_sum_of_squares(csm)


def acquired_part(scan: Scan, place: int | slice, device: str) -> Array:
    """Return the k-space of a slice (coil, readout, phase_encode) in complex64, zero where nothing was acquired.

    Several slices come with an axis of their own, the first.

    Raises
    ------
    DataError
        If an acquired sample is NaN or Inf.
    """
    kspace, finite = acquired_samples(to_device(scan.kspace[place], device), scan.sampled)
    if not finite:
        parts = to_device(kspace, "cpu").reshape(-1, *kspace.shape[-3:])
        first = next(index for index, part in enumerate(parts) if not np.isfinite(part).all())
        slice_id = np.atleast_1d(scan.slice_ids[place])[first]
        raise DataError(f"kspace of slice {slice_id} holds NaN or Inf; expected finite samples")
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


def _rss_image(scan: Scan, places: Sequence[int | slice], device: str) -> np.ndarray:
    image = np.empty((scan.n_slices, *scan.matrix), np.float32)
    for place in places:
        kspace = acquired_part(scan, place, device)
        image[place] = to_device(root_sum_of_squares(centred_ifft(kspace, overwrite=True)), "cpu")
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


def _solution(name: str, right: Array, encode: Encoding, regularisation: float, n_iterations: int) -> Array:
    """Solve the normal equations, or their sparse counterpart, for right = E^H y of about unit size.

    The maps have unit norm: the largest eigenvalue of E^H E is at most 1, and that of the differences 8, so step sizes
    are known. SigPy's Apps would draw a random start from NumPy's global state to estimate them.
    """
    from mrisim.solvers import AcceleratedProximalGradient, BlockwiseConjugateGradient, TotalVariation, solved
    from mrisim.sparsity import WaveletThreshold

    image = array_module(right).zeros_like(right)
    if name == "sense":
        if encode.N.solves(right):
            return encode.N.solved(right, n_iterations, regularisation)
        n_axes = 1 if encode.whole_lines else 2
        return solved(
            BlockwiseConjugateGradient(encode.N, right, image, n_iterations, n_axes=n_axes, damping=regularisation)
        )
    if name == "l1-wavelet":
        penalty = WaveletThreshold(tuple(encode.ishape), regularisation)
        return solved(AcceleratedProximalGradient(encode.N, right, image, penalty, n_iterations))
    return solved(TotalVariation(encode.N, right, image, regularisation, DUAL_STEP, n_iterations))


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
