"""NIfTI: one volume, slices along its third axis, its voxel sizes, and its orientation kept in what is written.

The phase-encode axis is the first or the second, whichever the JSON beside the file names (BIDS), or the header; the
second where neither does.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrisim.errors import DataError
from mrisim.formats import bids
from mrisim.formats.guards import reading, selected, writing
from mrisim.formats.magnitude import MagnitudeVolume, require_shape
from mrisim.scan import Scan

LABEL_MAP_EQUAL_NEIGHBOURS = 0.75
"""Share of neighbours in the foreground with the same integer value above which a volume counts as a label map."""
MAX_LABELS = 1024


def read(path: Path, slices: slice | Sequence[int] | None) -> MagnitudeVolume:
    """Read one volume; label maps, colours, complex values and series of volumes are refused."""
    import nibabel

    with reading(path, "a NIfTI file"):
        image: Any = nibabel.load(path)
        shape, dtype = tuple(image.shape), image.get_data_dtype()
        intent = int(image.header["intent_code"])
        stated_axis = _stated_axis(image)
    sidecar = bids.scan_sidecar(path)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (2, 3) or 0 in shape:
        raise DataError(f"{path.name} has shape {image.shape}; expected one volume of slices")
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
    axis = _phase_encode_axis(sidecar, stated_axis)
    readout, phase_encode = (1, 0) if axis == 0 else (0, 1)
    known: dict[str, Any] = {
        "fov_mm": (shape[readout] * zooms[readout] * scale, shape[phase_encode] * zooms[phase_encode] * scale),
        "slice_thickness_mm": zooms[2] * scale,
        "readout_oversampling": 1.0,
        "assumed": () if axis in (0, 1) else ("phase_encode_axis",),
        **bids.acquisition_fields(sidecar, shape[readout]),
        **bids.name_entities(path.name),
    }
    return MagnitudeVolume(volume.transpose(2, readout, phase_encode)[chosen], known, chosen, shape[2])


def _phase_encode_axis(sidecar: dict[str, Any], stated_axis: int | None) -> int | None:
    """Return the axis that the sidecar names, or else the header: 0, 1, 2, or None."""
    axis = bids.phase_encode_axis(sidecar)
    return stated_axis if axis is None else axis


def _stated_axis(image: Any) -> int | None:
    return image.header.get_dim_info()[1] if hasattr(image.header, "get_dim_info") else None


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


def write(path: Path, scan: Scan, image: np.ndarray, source: Path | None, description: str) -> None:
    """Write float32 with the header and orientation of the source, or with the identity where there is none."""
    import nibabel

    ids = scan.slice_ids
    original: Any = None if source is None else nibabel.load(source)
    if source is not None and _phase_encode_axis(bids.scan_sidecar(source), _stated_axis(original)) == 0:
        image = image.swapaxes(1, 2)
    volume = np.ascontiguousarray(image.transpose(1, 2, 0), np.float32)
    if source is None:
        rows_mm, columns_mm = (fov / n for fov, n in zip(scan.acquisition.fov_mm, scan.matrix, strict=True))
        affine = np.diag([rows_mm, columns_mm, scan.acquisition.slice_thickness_mm, 1.0])
        output: Any = nibabel.Nifti1Image(volume, affine)
        output.header.set_xyzt_units("mm")
    else:
        shape = (*original.shape, 1)[:3]
        require_shape(image, shape[:2], source)
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
