"""Magnitude images - NIfTI, DICOM, PNG - as k-space: phase and coils are synthesised, and every output says so.

The magnitude m becomes y_c = F(S_c m exp(i phi) / RSS(S)): S is the simulated array of 8 coils, phi a smooth random
polynomial. RSS(S) is divided out because an image already carries its own shading, so the clean root sum of squares is
the image. This is not raw data: magnitude, quantised, interpolated (Shimron et al. 2022, 10.1073/pnas.2117203119).
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrisim.errors import ConfigError, DataError
from mrisim.files import PARTIAL
from mrisim.formats import dicom_files, reading, selected, writing
from mrisim.formats.ismrmrd import unstated
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
LABEL_MAP_EQUAL_NEIGHBOURS = 0.75
"""Share of neighbours in the foreground with the same integer value above which a volume counts as a label map."""
MAX_LABELS = 1024
NOT_MAGNITUDE = ("P", "PHASE", "PHASE MAP", "R", "REAL", "I", "IMAGINARY", "VELOCITY", "VELOCITY MAP")
"""Third values of ImageType (DICOM PS3.3 C.8.3.1.1.1 and vendors) that are not a magnitude."""


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
    magnitude, known, ids, n_slices, notes = _READERS[layout](path, slices)
    lowest = float(np.min(magnitude, initial=0.0, where=np.isfinite(magnitude)))
    if lowest < 0:
        raise DataError(f"{path.name} has negative values down to {lowest:.4g}; expected a magnitude image")
    return synthesise(magnitude, known, seed=seed, item=item, slice_ids=ids, n_slices=n_slices, notes=notes)


def synthesise(
    magnitude: np.ndarray,
    known: dict[str, Any],
    *,
    seed: int,
    item: str,
    slice_ids: Sequence[int],
    n_slices: int,
    notes: Sequence[str] = (),
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
    notes : sequence of str

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
        *notes,
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
    mirrored = kspace[..., ::-1, ::-1].conj()
    # Where N is even, -N/2 has no partner: reversing moves DC by one.
    shift = tuple(1 - n % 2 for n in kspace.shape[-2:])
    mirrored = np.roll(mirrored, shift, axis=(-2, -1))
    return float(np.linalg.norm(kspace - mirrored)) < SYMMETRY_TOLERANCE * float(np.linalg.norm(kspace))


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


_Volume = tuple[np.ndarray, dict[str, Any], list[int], int, list[str]]
"""magnitude (slice, readout, phase_encode), known fields of Acquisition, slice ids, slices of the file, notes."""


# ---------------------------------------------------------------- NIfTI


def _read_nifti(path: Path, slices: slice | Sequence[int] | None) -> _Volume:
    import nibabel

    with reading(path, "a NIfTI file"):
        image: Any = nibabel.load(path)
        shape, dtype = tuple(image.shape), image.get_data_dtype()
        intent = int(image.header["intent_code"])
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (2, 3) or 0 in shape:
        raise DataError(f"{path.name} has shape {image.shape}; expected one volume (readout, phase_encode, slice)")
    if dtype.fields is not None or dtype.kind == "c":
        kind = "complex" if dtype.kind == "c" else "colour"
        raise DataError(f"{path.name} holds {kind} values ({dtype}); expected a magnitude image")
    shape = (*shape, 1)[:3]
    chosen = selected(shape[2], slices)
    with reading(path, "a complete NIfTI file"):
        volume = np.asarray(image.dataobj, np.float32).reshape(shape)
    if intent == 1002 or is_label_map(volume):
        raise DataError(f"{path.name} is a label map (regions of equal integers); expected an MR image")
    zooms = (*(float(zoom) for zoom in image.header.get_zooms()), 1.0)[:3]
    scale = {"meter": 1000.0, "micron": 0.001}.get(image.header.get_xyzt_units()[0], 1.0)
    known: dict[str, Any] = {
        "fov_mm": (shape[0] * zooms[0] * scale, shape[1] * zooms[1] * scale),
        "slice_thickness_mm": zooms[2] * scale,
        "readout_oversampling": 1.0,
        "assumed": ("phase_encode_axis",),
        **_bids_entities(path.name),
    }
    return volume.transpose(2, 0, 1)[chosen], known, chosen, shape[2], []


def _bids_entities(file_name: str) -> dict[str, str]:
    match = re.match(r"(sub-[A-Za-z0-9]+)_(?:.*_)?([A-Za-z0-9]+)\.nii(\.gz)?$", file_name)
    return {"patient_id": match[1], "contrast": match[2]} if match else {}


def is_label_map(volume: np.ndarray) -> bool:
    """Return whether a volume (x, y, z) holds regions of equal integers rather than a signal."""
    finite = np.isfinite(volume)
    if not finite.all() or not volume.any() or (volume != np.round(volume)).any():
        return False
    if np.unique(volume).size > MAX_LABELS:
        return False
    equal = pairs = 0
    for axis in (0, 1):
        first, second = np.moveaxis(volume, axis, 0)[:-1], np.moveaxis(volume, axis, 0)[1:]
        inside = (first != 0) & (second != 0)
        pairs += int(inside.sum())
        equal += int((inside & (first == second)).sum())
    return pairs > 0 and equal > LABEL_MAP_EQUAL_NEIGHBOURS * pairs


def _write_nifti(path: Path, scan: Scan, image: np.ndarray, source: Path | None, description: str) -> None:
    import nibabel

    ids = scan.slice_ids
    volume = np.ascontiguousarray(image.transpose(1, 2, 0), np.float32)
    if source is None:
        rows_mm, columns_mm = (fov / n for fov, n in zip(scan.acquisition.fov_mm, scan.matrix, strict=True))
        affine = np.diag([rows_mm, columns_mm, scan.acquisition.slice_thickness_mm, 1.0])
        output: Any = nibabel.Nifti1Image(volume, affine)
        output.header.set_xyzt_units("mm")
    else:
        original: Any = nibabel.load(source)
        shape = (*original.shape, 1)[:3]
        _require_shape(image, shape[:2], source)
        if list(ids) != list(range(ids[0], ids[0] + len(ids))):
            # No affine describes a stack with gaps: the whole grid is kept, the slices that are missing are empty.
            full = np.zeros(shape, np.float32)
            full[:, :, list(ids)] = volume
            volume, ids = full, (0,)
        output = _like(original, volume, ids[0])
    output.header["descrip"] = description.encode("ascii", "replace")[:79]
    data = output.to_bytes()
    with writing(path) as part:
        # No name and no time in the gzip header: the same input gives the same bytes.
        packed = io.BytesIO()
        with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0, compresslevel=6) as packer:
            packer.write(data)
        part.write_bytes(packed.getvalue() if path.name.endswith(".gz") else data)


def _like(original: Any, volume: np.ndarray, first_slice: int) -> Any:
    header = original.header.copy()
    header.set_data_dtype(np.float32)
    shifted = np.eye(4)
    shifted[2, 3] = first_slice
    output = type(original)(volume, original.affine @ shifted, header)
    output.set_sform(original.affine @ shifted, int(original.header["sform_code"]))
    output.set_qform(original.affine @ shifted, int(original.header["qform_code"]))
    return output


def derivative_name(stem: str, description: str) -> str:
    """Return the BIDS derivative's file name: sub-01_T1w, motionL3seed7 -> sub-01_desc-motionL3seed7_T1w.nii.gz.

    A `desc` that the stem has is joined with the new one; a stem outside BIDS gets the entity at its end.

    Raises
    ------
    ConfigError
        If the description is not letters and digits only, as BIDS asks.
    """
    if not re.fullmatch(r"[A-Za-z0-9]+", description):
        raise ConfigError(f"description is {description!r}; expected letters and digits only, in a BIDS file name")
    *entities, suffix = stem.split("_")
    if not stem.startswith("sub-") or not entities or "-" in suffix:
        return f"{stem}_desc-{description}.nii.gz"
    earlier = [part for part in entities if part.startswith("desc-")]
    kept = [part for part in entities if not part.startswith("desc-")]
    label = "".join(part.removeprefix("desc-") for part in earlier) + description
    return "_".join([*kept, f"desc-{label}", suffix]) + ".nii.gz"


def dataset_description(name: str = "Corrupted MR images") -> dict[str, Any]:
    """Return the content of `dataset_description.json`, which BIDS requires beside derivatives."""
    from mrisim import __version__

    return {
        "Name": name,
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "mrisim", "Version": __version__}],
        "SourceDatasets": [],
    }


def derivative_sidecar(source_name: str, description: str, *, skull_stripped: bool) -> dict[str, Any]:
    """Return the fields that BIDS asks of the JSON beside a derived image; `SkullStripped` is required there."""
    return {
        "Description": description,
        "Sources": [f"bids:raw:{source_name}"],
        "SkullStripped": skull_stripped,
        "Kspace": "synthesised-from-magnitude",
    }


# ---------------------------------------------------------------- DICOM


def _read_dicom(path: Path, slices: slice | Sequence[int] | None) -> _Volume:
    series, files = _series(path)
    first = series[0]
    chosen = selected(len(series), slices)
    transposed = _phase_encode_is_vertical(first)
    planes = [_pixels(series[i], files[i], alone=len(chosen) == 1) for i in chosen]
    magnitude = np.stack(planes).astype(np.float32)
    spacing = [float(value) for value in getattr(first, "PixelSpacing", None) or (1.0, 1.0)]
    rows_mm, columns_mm = first.Rows * spacing[0], first.Columns * spacing[1]
    known: dict[str, Any] = _dicom_timing(first)
    known["fov_mm"] = (columns_mm, rows_mm) if transposed else (rows_mm, columns_mm)
    known["readout_oversampling"] = 1.0
    bandwidth_hz = _value(first, "PixelBandwidth")
    if bandwidth_hz:
        n_readout = first.Columns if transposed else first.Rows
        known["dwell_time_us"] = 1e6 / (bandwidth_hz * n_readout)
    if _value_text(first, "InPlanePhaseEncodingDirection") not in ("ROW", "COL"):
        known["assumed"] = ("phase_encode_axis",)
    if getattr(first, "PixelSpacing", None) is None:
        known["assumed"] = (*known.get("assumed", ()), "fov_mm")
    return magnitude.swapaxes(1, 2) if transposed else magnitude, known, chosen, len(series), []


def _series(path: Path) -> tuple[list[Any], list[Path]]:
    """Return the data sets of one series in the order of their positions, and their files."""
    import pydicom

    files = dicom_files(path) if path.is_dir() else [path]
    found = []
    for file in files:
        with reading(file, "a DICOM file"):
            found.append((pydicom.dcmread(file), file))
        _require_mr_image(found[-1][0], file)
    uids = {str(getattr(data, "SeriesInstanceUID", "")) for data, _ in found}
    if len(uids) > 1:
        raise DataError(f"{path.name} holds {len(uids)} DICOM series; expected one a folder")
    shapes = {(data.Rows, data.Columns) for data, _ in found}
    if len(shapes) > 1:
        raise DataError(f"{path.name} holds images of the sizes {sorted(shapes)}; expected one")
    with reading(path, "positions or numbers of the DICOM images"):
        keys = [_order_key(data) for data, _ in found]
    if len(set(keys)) < len(keys):
        raise DataError(f"{path.name} holds {len(keys)} images at {len(set(keys))} positions; expected one volume")
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return [found[i][0] for i in order], [found[i][1] for i in order]


def _require_mr_image(data: Any, file: Path) -> None:
    modality = _value_text(data, "Modality")
    if modality != "MR":
        raise DataError(f"{file.name} has the Modality {modality!r}; expected 'MR'")
    if "PixelData" not in data or "Rows" not in data or "Columns" not in data:
        raise DataError(f"{file.name} holds no image; expected PixelData with Rows and Columns")
    if int(_value(data, "NumberOfFrames") or 1) > 1:
        raise DataError(f"{file.name} has {data.NumberOfFrames} frames; expected one (dcm2niix makes a NIfTI of it)")
    colours = _value_text(data, "PhotometricInterpretation")
    if colours != "MONOCHROME2" or int(_value(data, "SamplesPerPixel") or 1) != 1:
        raise DataError(f"{file.name} has the PhotometricInterpretation {colours!r}; expected 'MONOCHROME2'")
    kinds = [str(part).upper() for part in getattr(data, "ImageType", None) or ()]
    if len(kinds) > 2 and kinds[2] in NOT_MAGNITUDE:
        raise DataError(f"{file.name} has the ImageType {kinds[2]!r}; expected a magnitude image")


def _order_key(data: Any) -> tuple[float, ...]:
    position, orientation = getattr(data, "ImagePositionPatient", None), getattr(data, "ImageOrientationPatient", None)
    if position is None or orientation is None:
        return (float(data.InstanceNumber),)
    directions = np.asarray(orientation, float).reshape(2, 3)
    return (round(float(np.cross(*directions) @ np.asarray(position, float)), 4),)


def _phase_encode_is_vertical(data: Any) -> bool:
    """COL: phase encoding runs along the columns, from row to row (PS3.3 C.8.3.1); ROW, or unknown: along the rows."""
    return _value_text(data, "InPlanePhaseEncodingDirection") == "COL"


def _pixels(data: Any, file: Path, *, alone: bool) -> np.ndarray:
    """Return the rescaled pixels; NaN where this one of several images is damaged."""
    try:
        with reading(file, "complete pixels of a known encoding"):
            pixels = np.asarray(data.pixel_array, np.float32)
    except DataError:
        if alone:
            raise
        return np.full((data.Rows, data.Columns), np.nan, np.float32)
    slope, intercept = _rescale(data)
    return pixels * np.float32(slope) + np.float32(intercept)


def _rescale(data: Any) -> tuple[float, float]:
    slope, intercept = _value(data, "RescaleSlope"), _value(data, "RescaleIntercept")
    return slope or 1.0, intercept or 0.0


def _value(data: Any, name: str) -> float | None:
    value = getattr(data, name, None)
    try:
        return None if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        return None


def _value_text(data: Any, name: str) -> str:
    return str(getattr(data, name, "") or "").strip()


def _dicom_timing(data: Any) -> dict[str, Any]:
    names = {
        "repetition_time_ms": "RepetitionTime",
        "echo_time_ms": "EchoTime",
        "echo_train_length": "EchoTrainLength",
        "field_strength_t": "MagneticFieldStrength",
        "slice_thickness_mm": "SliceThickness",
    }
    timing: dict[str, Any] = {}
    for name, keyword in names.items():
        value = _value(data, keyword)
        if value is not None and value > 0:
            timing[name] = int(value) if name == "echo_train_length" else value
    return timing


def _write_dicom(path: Path, scan: Scan, image: np.ndarray, source: Path, description: str) -> None:
    series, _ = _series(source)
    transposed = _phase_encode_is_vertical(series[0])
    planes = image.swapaxes(1, 2) if transposed else image
    _require_shape(planes, (series[0].Rows, series[0].Columns), source)
    outputs = [_derived(series[i], plane, description) for i, plane in zip(scan.slice_ids, planes, strict=True)]
    if not source.is_dir():
        with writing(path) as part:
            outputs[0].save_as(part, enforce_file_format=True)
        return
    folder = path.with_name(path.name + PARTIAL)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        for slice_id, output in zip(scan.slice_ids, outputs, strict=True):
            with writing(folder / f"IM{slice_id + 1:05d}.dcm") as part:
                output.save_as(part, enforce_file_format=True)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _derived(data: Any, plane: np.ndarray, description: str) -> Any:
    """Return a copy of a data set with the new pixels, new UIDs, and the words that say that it is derived."""
    import copy

    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    output = copy.deepcopy(data)
    output.remove_private_tags()
    slope, intercept = _rescale(data)
    stored = np.dtype(f"{'i' if data.PixelRepresentation else 'u'}{data.BitsAllocated // 8}")
    lowest, highest = _stored_range(int(data.BitsStored), bool(data.PixelRepresentation))
    pixels = np.clip(np.rint((plane - intercept) / slope), lowest, highest).astype(stored)
    output.PixelData = pixels.astype(stored.newbyteorder("<")).tobytes()
    output["PixelData"].VR = "OW"
    # The same input and description give the same UIDs: a replay gives the same bytes.
    key = [str(data.SOPInstanceUID), description]
    output.SOPInstanceUID = generate_uid(entropy_srcs=["instance", *key])
    output.SeriesInstanceUID = generate_uid(entropy_srcs=["series", str(data.SeriesInstanceUID), description])
    output.file_meta.MediaStorageSOPInstanceUID = output.SOPInstanceUID
    output.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    kinds = [str(part) for part in getattr(data, "ImageType", None) or ()]
    output.ImageType = ["DERIVED", "SECONDARY", *kinds[2:]]
    output.DerivationDescription = f"Simulated MR artifact: {description}"[:1024]
    output.SeriesDescription = "Simulated MR artifact"
    for name in ("SmallestImagePixelValue", "LargestImagePixelValue"):
        if name in output:
            delattr(output, name)
    return output


def _stored_range(bits: int, signed: bool) -> tuple[int, int]:
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


# ---------------------------------------------------------------- PNG


def _read_png(path: Path, slices: slice | Sequence[int] | None) -> _Volume:
    plane = _png_plane(path)
    chosen = selected(1, slices)
    known: dict[str, Any] = {
        "fov_mm": (float(plane.shape[0]), float(plane.shape[1])),
        "readout_oversampling": 1.0,
        "assumed": ("phase_encode_axis", "fov_mm"),
    }
    return plane[None].astype(np.float32), known, chosen, 1, []


def _png_plane(path: Path) -> np.ndarray:
    """Return the grey values of a PNG, uint8 or uint16."""
    from PIL import Image

    with reading(path, "a complete PNG file"), Image.open(path) as image:
        mode = image.mode
        pixels = np.asarray(image.convert("RGBA") if mode in ("P", "PA") else image)
    if mode == "1":
        raise DataError(f"{path.name} has one bit a pixel; expected a grey image of 8 or 16 bits")
    if pixels.ndim == 3:
        colours, opacity = pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., :1], pixels[..., 3:4]
        if pixels.shape[2] == 2:
            opacity = pixels[..., 1:]
        if (colours != colours[..., :1]).any() or (opacity != 255).any():
            raise DataError(f"{path.name} has colours or transparency (mode {mode}); expected a grey image")
        pixels = colours[..., 0]
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.uint16)


def _write_png(path: Path, scan: Scan, image: np.ndarray, source: Path, description: str) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    original = _png_plane(source)
    _require_shape(image, original.shape, source)
    # The grey scale of the input is the window: nothing is stretched, what is brighter than white is white.
    pixels = np.clip(np.rint(image[0]), 0, np.iinfo(original.dtype).max).astype(original.dtype)
    text = PngInfo()
    text.add_text("Description", description or "Simulated MR artifact")
    with writing(path) as part, part.open("wb") as file:
        Image.fromarray(pixels).save(file, format="PNG", pnginfo=text)


# ---------------------------------------------------------------- all three


def _require_shape(image: np.ndarray, shape: tuple[int, ...], source: Path) -> None:
    if tuple(image.shape[1:]) != tuple(shape):
        raise DataError(f"the image has shape {image.shape[1:]}; expected {tuple(shape)} as in {source.name}")


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
    if layout == "nifti":
        _write_nifti(path, scan, reconstruction, source, description)
    elif source is None:
        raise DataError(f"{path.name} cannot be made from k-space alone; expected a {layout} source for its metadata")
    else:
        {"dicom": _write_dicom, "png": _write_png}[layout](path, scan, reconstruction, source, description)


_READERS = {"nifti": _read_nifti, "dicom": _read_dicom, "png": _read_png}
