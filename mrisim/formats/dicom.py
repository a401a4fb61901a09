"""DICOM: one MR series of single-frame magnitude images, a file each; what is written says that it is derived."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrisim.errors import DataError
from mrisim.files import PARTIAL
from mrisim.formats.guards import reading, selected, writing
from mrisim.formats.magnitude import MagnitudeVolume, require_shape
from mrisim.formats.signature import dicom_files
from mrisim.scan import Scan

NOT_MAGNITUDE = ("P", "PHASE", "PHASE MAP", "R", "REAL", "I", "IMAGINARY", "VELOCITY", "VELOCITY MAP")
"""Third values of ImageType (DICOM PS3.3 C.8.3.1.1.1 and vendors) that are not a magnitude."""


def read(path: Path, slices: slice | Sequence[int] | None) -> MagnitudeVolume:
    """Read one series, its images in the order of their positions; a damaged one of several is NaN."""
    series, files = _series(path)
    first = series[0]
    chosen = selected(len(series), slices)
    transposed = _phase_encode_is_vertical(first)
    magnitude = _magnitude([series[i] for i in chosen], [files[i] for i in chosen])
    spacing = [float(value) for value in getattr(first, "PixelSpacing", None) or (1.0, 1.0)]
    rows_mm, columns_mm = first.Rows * spacing[0], first.Columns * spacing[1]
    known: dict[str, Any] = _timing(first)
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
    return MagnitudeVolume(magnitude.swapaxes(1, 2) if transposed else magnitude, known, chosen, len(series))


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


def _magnitude(series: list[Any], files: list[Path]) -> np.ndarray:
    """Return the rescaled pixels (slice, row, column); NaN where an image is damaged, an error where all are."""
    magnitude = np.full((len(series), series[0].Rows, series[0].Columns), np.nan, np.float32)
    errors = []
    for plane, data, file in zip(magnitude, series, files, strict=True):
        try:
            plane[:] = _pixels(data, file)
        except DataError as error:
            errors.append(error)
    if len(errors) == len(series):
        raise errors[0]
    return magnitude


def _pixels(data: Any, file: Path) -> np.ndarray:
    with reading(file, "complete pixels of a known encoding"):
        pixels = np.asarray(data.pixel_array, np.float32)
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


def _timing(data: Any) -> dict[str, Any]:
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


def write(path: Path, scan: Scan, image: np.ndarray, source: Path, description: str) -> None:
    """Write a file for a file, a folder for a folder, in the stored type of the source; it clips at its ends."""
    series, _ = _series(source)
    transposed = _phase_encode_is_vertical(series[0])
    planes = image.swapaxes(1, 2) if transposed else image
    require_shape(planes, (series[0].Rows, series[0].Columns), source)
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

    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, generate_uid

    output = copy.deepcopy(data)
    output.remove_private_tags()
    slope, intercept = _rescale(data)
    stored = np.dtype(f"{'i' if data.PixelRepresentation else 'u'}{data.BitsAllocated // 8}")
    lowest, highest = _stored_range(int(data.BitsStored), bool(data.PixelRepresentation))
    pixels = np.clip(np.rint((plane - intercept) / slope), lowest, highest).astype(stored)
    # Big endian stays: other words of the file have that order. Single bytes are OB, since it swaps words of them.
    big_endian = data.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    output.PixelData = pixels.astype(stored.newbyteorder(">" if big_endian else "<")).tobytes()
    output["PixelData"].VR = "OB" if stored.itemsize == 1 else "OW"
    # The same input and description give the same UIDs: a replay gives the same bytes.
    key = [str(data.SOPInstanceUID), description]
    output.SOPInstanceUID = generate_uid(entropy_srcs=["instance", *key])
    output.SeriesInstanceUID = generate_uid(entropy_srcs=["series", str(data.SeriesInstanceUID), description])
    output.file_meta.MediaStorageSOPInstanceUID = output.SOPInstanceUID
    output.file_meta.TransferSyntaxUID = ExplicitVRBigEndian if big_endian else ExplicitVRLittleEndian
    kinds = [str(part) for part in getattr(data, "ImageType", None) or ()]
    output.ImageType = ["DERIVED", "SECONDARY", *kinds[2:]]
    output.DerivationDescription = (description or "Simulated MR artifact")[:1024]
    output.SeriesDescription = "Simulated MR artifact"
    for name in ("SmallestImagePixelValue", "LargestImagePixelValue"):
        if name in output:
            delattr(output, name)
    return output


def _stored_range(bits: int, signed: bool) -> tuple[int, int]:
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
