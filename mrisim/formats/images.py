"""Magnitude images - NIfTI, DICOM, PNG - as k-space: phase and coils are synthesised, and every output says so.

The magnitude m becomes y_c = F(S_c m exp(i phi) / RSS(S)): S is the simulated array of 8 coils, phi a smooth random
polynomial. RSS(S) is divided out because an image already carries its own shading, so the clean root sum of squares is
the image. This is not raw data: magnitude, quantised, interpolated (Shimron et al. 2022, 10.1073/pnas.2117203119).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrisim.errors import DataError
from mrisim.formats import dicom, nifti, png
from mrisim.formats.header import unstated
from mrisim.fourier import centred_fft
from mrisim.quality import foreground_mask
from mrisim.scan import Acquisition, Scan
from mrisim.seeding import stream

N_COILS = 8
PHASE_RANGE_RAD = np.pi / 2
"""Bound of each of the nine coefficients of the phase."""
EMPTY_OUTER_RATIO = 2e-3
"""Below this ratio of the k-space power at 0.85-1.0 to that at 0.2-0.4 of the highest frequency of an axis, the outer
part counts as empty. Measured: Colin27 as it is 4e-3 to 2e-2, zero-filled by 1.33 to 2 below 1e-3."""
SYMMETRY_TOLERANCE = 1e-3
"""||S(k) - conj S(-k)|| / ||S|| below which k-space counts as that of a real image."""
_FILES = {"nifti": nifti, "dicom": dicom, "png": png}


def read(path: Path, layout: str, *, slices: slice | Sequence[int] | None, seed: int, item: str) -> Scan:
    """Read a magnitude image and synthesise its multi-coil k-space.

    Parameters
    ----------
    path : Path
        A file, or a folder with one DICOM series.
    layout : str
        "nifti", "dicom" or "png".
    slices : slice or sequence of int, optional
    seed : int
    item : str
        Identity of the input: with the seed it fixes the phase.

    Raises
    ------
    DataError
        If the image is not one magnitude volume.
    """
    volume = _FILES[layout].read(path, slices)
    magnitude = volume.magnitude
    lowest = float(np.min(magnitude, initial=0.0, where=np.isfinite(magnitude)))
    if lowest < 0:
        raise DataError(f"{path.name} has negative values down to {lowest:.4g}; expected a magnitude image")
    return synthesise(
        magnitude, volume.known, seed=seed, item=item, slice_ids=volume.slice_ids, n_slices=volume.n_slices
    )


def write(
    path: Path, layout: str, scan: Scan, reconstruction: np.ndarray, *, source: Path | None, description: str = ""
) -> None:
    """Write the reconstruction as an image like the source, in the source's units and geometry.

    NIfTI becomes float32 with the source's header; DICOM and PNG keep their type and clip at its ends. A NIfTI needs no
    source: its orientation is then the identity.

    Raises
    ------
    DataError
        If the shapes differ, a DICOM or PNG has no source, or there is no room.
    """
    if layout != "nifti" and source is None:
        raise DataError(f"{path.name} cannot be made from k-space alone; expected a {layout} source for its metadata")
    _FILES[layout].write(path, scan, reconstruction, source, description)


def synthesise(
    magnitude: np.ndarray,
    known: dict[str, Any],
    *,
    seed: int,
    item: str,
    slice_ids: Sequence[int],
    n_slices: int,
) -> Scan:
    """Make a Scan of a magnitude volume: 8 simulated coils, one smooth phase for the volume.

    Parameters
    ----------
    magnitude : (slice, readout, phase_encode), real
    known : dict
        Fields of Acquisition that the file states; `fov_mm` is required.
    seed, item : int, str
        Key of the phase, together with nothing else: no path, no content.
    slice_ids, n_slices : sequence of int, int
        Which slices of how many these are: a part gets the phase that it has in the whole.

    Returns
    -------
    Scan
        complex64, with its true maps as `csm` and the origin "synthesised-from-magnitude". The root sum of squares of
        its images is the magnitude.
    """
    from mrisim.coils import simulated_csm

    matrix = magnitude.shape[1:]
    csm = simulated_csm(matrix, known["fov_mm"], n_coils=N_COILS)
    shading = np.sqrt((np.abs(csm) ** 2).sum(axis=0))
    phase = _smooth_phase(matrix, slice_ids, n_slices, seed, item)
    # Inf times a phase is NaN and a warning; a slice with either is corrupt.
    finite = np.where(np.isfinite(magnitude), magnitude, np.float32(np.nan))
    image = (finite / shading * np.exp(1j * phase)).astype(np.complex64)
    assumed = tuple(known.get("assumed", ())) + unstated(known)
    recorded = [
        f"phase (polynomial of order 2, seed {seed}) and {N_COILS} coil maps are synthesised from a magnitude image",
        *_empty_outer_notes(magnitude),
    ]
    fields = {name: value for name, value in known.items() if name != "assumed"}
    acquisition = Acquisition(
        **fields, kspace_origin="synthesised-from-magnitude", assumed=assumed, notes=tuple(recorded)
    )
    kspace = np.empty((len(image), N_COILS, *matrix), np.complex64)
    for index, plane in enumerate(image):
        kspace[index] = centred_fft(csm * plane)
    maps = np.broadcast_to(csm, kspace.shape)
    return Scan(kspace, acquisition, csm=maps, slice_ids=tuple(slice_ids))


def _smooth_phase(matrix: tuple[int, ...], slice_ids: Sequence[int], n_slices: int, seed: int, item: str) -> np.ndarray:
    rng = stream(seed, item, "synthesised-phase")
    coefficients = rng.uniform(-PHASE_RANGE_RAD, PHASE_RANGE_RAD, 9)
    axes = [2 * np.asarray(slice_ids) / n_slices - 1, *(np.linspace(-1, 1, n, endpoint=False) for n in matrix)]
    z, x, y = np.meshgrid(*axes, indexing="ij", sparse=True)
    terms = (z, x, y, z * z, x * x, y * y, z * x, z * y, x * y)
    return sum((a * term for a, term in zip(coefficients, terms, strict=True)), np.zeros(()))


def is_conjugate_symmetric(kspace: np.ndarray) -> bool:
    """Return whether every coil of (coil, readout, phase_encode) has the k-space of a real image.

    A measured object has phase, so S(-k) = conj S(k) tells k-space that was computed from a magnitude image.
    """
    if not np.isfinite(kspace).all() or not kspace.any():
        return False
    # Where N is even, -N/2 has no partner: reversing moves DC by one.
    shift = tuple(1 - n % 2 for n in kspace.shape[-2:])
    limit, difference = (SYMMETRY_TOLERANCE * float(np.linalg.norm(kspace))) ** 2, 0.0
    for coil in kspace:
        mirrored = np.roll(coil[::-1, ::-1].conj(), shift, axis=(-2, -1))
        difference += float(np.linalg.norm(coil - mirrored)) ** 2
        if difference >= limit:  # of measured k-space, the first coil says so
            return False
    return True


def _empty_outer_notes(magnitude: np.ndarray) -> list[str]:
    """Return a note where the middle slice has no power at high frequencies: zero-filled or interpolated source.

    A window inside the object keeps the edges and the rectified background out, which have power everywhere; the power
    of the rounding of integer images is subtracted.
    """
    import scipy.ndimage as ndi

    plane = np.nan_to_num(magnitude[len(magnitude) // 2]).astype(np.float64)
    scale = max(plane.shape) / 40
    depth = ndi.distance_transform_edt(foreground_mask(plane[None])[0])
    window = ndi.gaussian_filter((depth > 2 * scale).astype(float), scale / 1.5)
    power = np.abs(centred_fft((plane * window).astype(complex))) ** 2
    rounding = float(np.mean(window**2)) / 12 if (plane == np.rint(plane)).all() else 0.0
    found = []
    for axis, name in ((0, "readout"), (1, "phase_encode")):
        n = plane.shape[axis]
        frequency = np.abs(np.arange(n) - n // 2) / (n / 2)
        profile = power.mean(axis=1 - axis)
        outer, middle = profile[frequency >= 0.85], profile[(frequency >= 0.2) & (frequency <= 0.4)]
        if outer.size and middle.size and outer.mean() - 1.5 * rounding < EMPTY_OUTER_RATIO * middle.mean():
            found.append(name)
    if not found or not window.any():
        return []
    return [f"outer k-space is empty along {' and '.join(found)}: the image was zero-filled or interpolated"]
