"""fastMRI HDF5: one volume a file, ``kspace`` as (slice, [coil,] readout, phase_encode), an ISMRMRD header, a target.

Knee, brain (single- and multi-coil) and prostate T2. What published and repackaged files do, and what is made of it:

- columns of zeros pad the phase encoding: `Scan.sampled` holds the acquired ones, from header, ``mask`` and data;
- the readout is oversampled: it stays so, and `Acquisition.readout_oversampling` says it;
- slices were left out, header sizes differ, phase encoding is stored first: the data are right, and a note says it;
- prostate T2 has three averages, each with every second line: a line becomes the mean of those that acquired it.

References
----------
Zbontar et al. 2018, arXiv:1811.08839; Tibrewala et al. 2023, arXiv:2304.09254 (prostate); ismrmrd/mrd#69 (axes).
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrisim.errors import DataError
from mrisim.formats.fastmri_layout import (
    SLICES_ATTRIBUTE,
    KspaceLayout,
    file_axes,
    kspace_layout,
    read_slices,
    slice_axis,
)
from mrisim.formats.guards import reading, selected, writing
from mrisim.formats.hdf5 import open_hdf5, text_attribute
from mrisim.formats.header import Header, header_xml, parse_header, unstated
from mrisim.quality import rss
from mrisim.scan import Acquisition, Scan, coil_images

if TYPE_CHECKING:
    from pydantic import TypeAdapter

TARGETS = ("reconstruction_rss", "reconstruction_esc")
CSM, PSI = "sensitivity_maps", "noise_covariance"
ACQUISITION_ATTRIBUTE = "mrisim_acquisition"
"""Root attribute of our own files: what the header cannot hold."""


def read(path: Path, *, slices: slice | list[int] | None = None) -> Scan:
    """Read a volume, or some slices of it.

    Parameters
    ----------
    path : Path
    slices : slice or list of int, optional
        Positions in the file; the Scan's `slice_ids` are those of the volume.

    Returns
    -------
    Scan
        A slice that the file cannot give back (damaged chunk) is NaN.

    Raises
    ------
    DataError
        If `kspace` has another shape or type, the header is broken, or the scan is diffusion-weighted (EPI).

    Limits
    ------
    The published files have no noise scan, and do not tell the order of acquisition beyond the header's echo train.
    """
    with open_hdf5(path) as file, reading(path, "a fastMRI HDF5 file"):
        header = _header(file, path.name)
        layout, notes = kspace_layout(file, header, path.name)
        chosen = selected(layout.n_slices, slices)
        kspace = read_slices(file["kspace"], layout, chosen)
        sampled = _sampled(file, header, layout, kspace, notes, path.name)
        kspace[..., ~sampled] = 0
        ids = np.asarray(file.attrs.get(SLICES_ATTRIBUTE, np.arange(layout.n_slices)), int)
        acquisition = _acquisition(file, header, layout, notes, path.name)
        csm = _maps(file, layout, chosen)
        covariance = file[PSI][()] if PSI in file else None
    if ids.shape != (layout.n_slices,):
        raise DataError(f"{path.name} names {ids.size} slices; expected {layout.n_slices}")
    return Scan(
        kspace,
        acquisition,
        sampled=sampled,
        csm=csm,
        noise_covariance=covariance,
        slice_ids=tuple(int(ids[i]) for i in chosen),
    )


def _header(file: Any, name: str) -> Header:
    return parse_header(file["ismrmrd_header"][()], name) if "ismrmrd_header" in file else Header()


def _sampled(
    file: Any, header: Header, layout: KspaceLayout, kspace: np.ndarray, notes: list[str], name: str
) -> np.ndarray:
    """Return (readout, phase_encode): acquired, as the header, the mask and the data say."""
    n_columns = layout.matrix[1]
    has_signal = kspace.any(axis=(0, 1, 2))
    acquired = np.ones(n_columns, bool)
    limits, encoded = header.limits.get("kspace_encoding_step_1"), header.encoded_matrix
    if limits is not None and encoded is not None and not layout.averaged:
        if encoded[1] == n_columns:
            first = encoded[1] // 2 - limits[2]
            acquired = (np.arange(n_columns) >= first) & (np.arange(n_columns) < first + limits[1] + 1)
        else:
            notes.append(f"the header states {encoded[1]} phase-encode columns, the file has {n_columns}")
        if (has_signal & ~acquired).any():
            notes.append("columns that the header calls padding hold signal; they count as acquired")
            acquired |= has_signal
    if not (has_signal & acquired).any():
        return np.broadcast_to(acquired, layout.matrix).copy()
    acquired &= has_signal
    if "mask" not in file:
        return np.broadcast_to(acquired, layout.matrix).copy()
    mask = np.squeeze(file["mask"][()])
    if mask.shape == layout.matrix:
        return mask.astype(bool) & acquired
    if mask.shape != (layout.n_columns,):
        raise DataError(f"`mask` of {name} has shape {mask.shape}; expected ({layout.n_columns},), one value a column")
    padded = np.zeros(n_columns, bool)
    padded[layout.first_column : layout.first_column + layout.n_columns] = mask.astype(bool)
    if (acquired & ~padded).any():
        notes.append("the mask leaves out columns that hold signal; they count as not acquired")
    return np.broadcast_to(acquired & padded, layout.matrix).copy()


def _acquisition(file: Any, header: Header, layout: KspaceLayout, notes: list[str], name: str) -> Acquisition:
    if ACQUISITION_ATTRIBUTE in file.attrs:
        return _own_acquisition(text_attribute(file, ACQUISITION_ATTRIBUTE), notes, name)
    known: dict[str, Any] = dict(header.timing)
    n_readout, n_columns = layout.matrix
    if header.encoded_matrix is not None and header.encoded_fov_mm is not None:
        fov_mm, oversampling = header.encoded_fov_mm, header.oversampling
        if n_readout != header.encoded_matrix[0]:
            notes.append(f"the header states {header.encoded_matrix[0]} readout samples, the file has {n_readout}")
            if n_readout == round(header.encoded_matrix[0] / oversampling):
                fov_mm, oversampling = (fov_mm[0] / oversampling, *fov_mm[1:]), 1.0
        known |= {"fov_mm": fov_mm[:2], "slice_thickness_mm": fov_mm[2], "readout_oversampling": oversampling}
    if header.recon_matrix is not None:
        known["recon_shape"] = header.recon_matrix[:2]
    target = next((file[key] for key in TARGETS if key in file), None)
    if target is None:
        notes.append("the file has no target image (test or challenge set)")
    elif target.ndim == 3:
        known["recon_shape"] = tuple(int(n) for n in target.shape[1:])
        if target.shape[0] != layout.n_slices:
            notes.append(f"the target has {target.shape[0]} slices, the k-space {layout.n_slices}")
    shape = known.get("recon_shape")
    if shape is not None and (shape[0] > n_readout or shape[1] > n_columns):
        notes.append(f"the image matrix {shape} is larger than the k-space matrix {layout.matrix}")
    if layout.averaged:
        notes.append(f"{file['kspace'].shape[0]} averages are merged: each line is the mean of those that acquired it")
    assumed = (*unstated(known), *(() if shape else ("recon_shape",)))
    known.setdefault("fov_mm", (float(n_readout), float(n_columns)))
    return Acquisition(
        **known,
        contrast=text_attribute(file, "acquisition"),
        patient_id=text_attribute(file, "patient_id"),
        kspace_origin="measured" if layout.has_coils else "emulated-singlecoil",
        assumed=assumed,
        notes=tuple(notes),
    )


def _own_acquisition(text: str, notes: list[str], name: str) -> Acquisition:
    from pydantic import ValidationError

    try:
        stored = _acquisition_adapter().validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"{ACQUISITION_ATTRIBUTE} of {name} is wrong at {first['loc']}: {first['msg']}") from None
    return replace(stored, notes=(*stored.notes, *(note for note in notes if note not in stored.notes)))


@cache
def _acquisition_adapter() -> TypeAdapter[Acquisition]:
    """Build the validator once: that takes as long as reading a small file."""
    from pydantic import TypeAdapter

    return TypeAdapter(Acquisition)


def _maps(file: Any, layout: KspaceLayout, chosen: list[int]) -> np.ndarray | None:
    if CSM not in file:
        return None
    expected = (layout.n_slices, layout.n_coils, *layout.matrix)
    if file[CSM].shape != expected:
        raise DataError(f"`{CSM}` has shape {file[CSM].shape}; expected {expected} as the k-space")
    first, last = min(chosen), max(chosen)
    maps = file[CSM][first : last + 1]  # at once: maps that all slices share are one compressed chunk
    return maps if chosen == [*range(first, last + 1)] else maps[np.subtract(chosen, first)]


def write(
    path: Path,
    scan: Scan,
    reconstruction: np.ndarray,
    *,
    source: Path | None,
    name: str,
    description: str = "",
    clean_reconstruction: np.ndarray | None = None,
) -> None:
    """Write the file that the source is, with the scan's k-space in it and its image beside the target.

    ``kspace`` is the scan's; ``reconstruction_rss``, ``max``, ``norm`` and the header stay what they were; the image is
    ``reconstruction_<name>_corrupted`` with its own ``max`` and ``norm`` as attributes of the data set. ``mask`` is
    written where lines are missing. Averages that acquired a line all get the scan's line, unless it is unchanged.
    Without a source, a complete new file is written, with `clean_reconstruction` as ``reconstruction_rss``; where that
    is the image itself, of a scan that nobody corrupted, it is there once.

    Raises
    ------
    DataError
        If the scan does not fit the source, or there is no room.
    """
    import h5py

    n_bytes = sum(part.nbytes for part in (scan.kspace, scan.csm, reconstruction) if part is not None)
    with writing(path, n_bytes) as part, h5py.File(part, "w") as file:
        if source is None:
            _write_new(file, scan, clean_reconstruction)
        else:
            _copy_with(file, scan, source)
        if source is not None or reconstruction is not clean_reconstruction:
            image = np.ascontiguousarray(reconstruction, np.float32)
            target = file.create_dataset(f"reconstruction_{name}_corrupted", data=image)
            target.attrs.update(_max_and_norm(image))
        if description:
            file.attrs["mrisim_description"] = description


def _max_and_norm(image: np.ndarray) -> dict[str, float]:
    return {"max": float(image.max()), "norm": float(np.linalg.norm(image.astype(np.float64)))}


def _write_new(file: Any, scan: Scan, clean: np.ndarray | None) -> None:
    import json

    kspace = scan.kspace
    single = scan.n_coils == 1 and scan.acquisition.kspace_origin == "emulated-singlecoil"
    file.create_dataset("kspace", data=kspace[:, 0] if single else kspace)
    if clean is not None:
        file.create_dataset("reconstruction_esc" if single else "reconstruction_rss", data=clean.astype(np.float32))
        file.attrs.update(_max_and_norm(clean))
    else:
        file.attrs.update(_max_and_norm(rss(coil_images(scan))))
    file.create_dataset("ismrmrd_header", data=header_xml(scan))
    file.attrs["acquisition"] = scan.acquisition.contrast
    file.attrs["patient_id"] = scan.acquisition.patient_id
    file.attrs[ACQUISITION_ATTRIBUTE] = json.dumps(asdict(scan.acquisition))
    file.attrs[SLICES_ATTRIBUTE] = np.asarray(scan.slice_ids)
    if not scan.fully_sampled:
        file.create_dataset("mask", data=_mask(scan.sampled))
    _write_parts(file, scan)


def _write_parts(file: Any, scan: Scan) -> None:
    if scan.csm is not None:
        file.create_dataset(CSM, data=scan.csm)
    if scan.noise_covariance is not None:
        file.create_dataset(PSI, data=scan.noise_covariance)


def _mask(sampled: np.ndarray) -> np.ndarray:
    """Return the mask a column, as published, or (readout, phase_encode) where the columns differ along the readout."""
    columns = sampled.any(axis=0)
    return np.asarray(columns) if (sampled == columns).all() else sampled


def _copy_with(file: Any, scan: Scan, source: Path) -> None:
    with open_hdf5(source) as original, reading(source, "a fastMRI HDF5 file"):
        layout, _ = kspace_layout(original, _header(original, source.name), source.name)
        ids = np.asarray(original.attrs.get(SLICES_ATTRIBUTE, np.arange(layout.n_slices)), int).tolist()
        if scan.kspace.shape[1:] != (layout.n_coils, *layout.matrix) or not set(scan.slice_ids) <= set(ids):
            expected = (layout.n_slices, layout.n_coils, *layout.matrix)
            raise DataError(f"the scan is {scan.kspace.shape}; expected slices of {expected} as in {source.name}")
        positions = [ids.index(slice_id) for slice_id in scan.slice_ids]
        before = read_slices(original["kspace"], layout, positions)
        blocks = [
            file_axes(original["kspace"], layout, position, plane, clean)
            for position, plane, clean in zip(positions, scan.kspace, before, strict=True)
        ]
        compression = original["kspace"].compression
        file.create_dataset("kspace", data=np.stack(blocks, axis=slice_axis(layout)), compression=compression)
        for key in original:
            # An earlier corrupted image belongs to k-space that is no longer in the file.
            if key not in ("kspace", "mask", CSM, PSI) and not key.endswith("_corrupted"):
                _copy_slices(original, file, key, layout.n_slices, positions)
        file.attrs.update(dict(original.attrs))
        if len(positions) < layout.n_slices or SLICES_ATTRIBUTE in original.attrs:
            file.attrs[SLICES_ATTRIBUTE] = np.asarray(scan.slice_ids)
        if "mask" in original or not scan.fully_sampled:
            columns = slice(layout.first_column, layout.first_column + layout.n_columns)
            file.create_dataset("mask", data=_mask(scan.sampled[:, columns]))
        _write_parts(file, scan)


def _copy_slices(original: Any, file: Any, key: str, n_slices: int, positions: list[int]) -> None:
    """Copy a data set; of one that has an entry a slice, the entries of the written slices."""
    import h5py

    item = original[key]
    per_slice = isinstance(item, h5py.Dataset) and item.ndim >= 3 and item.shape[0] == n_slices
    if not per_slice or len(positions) == n_slices:
        original.copy(key, file)
        return
    target = file.create_dataset(key, data=np.stack([item[i] for i in positions]))
    target.attrs.update(dict(item.attrs))
