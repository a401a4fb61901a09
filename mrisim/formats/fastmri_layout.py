"""How ``kspace`` lies in a fastMRI file: which axes, which columns, averages or not; and slices of it, both ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mrisim.errors import DataError
from mrisim.formats.hdf5 import text_attribute
from mrisim.formats.header import Header

SLICES_ATTRIBUTE = "mrisim_slice_ids"
"""Root attribute of our own files: which slices of the volume are in the file."""


@dataclass(frozen=True)
class KspaceLayout:
    """How the axes of `kspace` in the file map to (slice, coil, readout, phase_encode)."""

    n_slices: int
    n_coils: int
    matrix: tuple[int, int]
    """(readout, phase_encode) of the Scan, padding included."""
    averaged: bool
    """A leading axis of averages."""
    has_coils: bool
    coils_first: bool
    phase_encode_first: bool
    first_column: int
    """Where the first column of the file lies in the Scan: more than 0 where the file leaves the padding out."""
    n_columns: int
    """Phase-encode columns in the file."""


def kspace_layout(file: Any, header: Header, name: str) -> tuple[KspaceLayout, list[str]]:
    """Return how `kspace` lies in an open file, and a note on each departure from the published layout."""
    import h5py

    kspace, notes = file["kspace"], list[str]()
    shape = tuple(kspace.shape) if isinstance(kspace, h5py.Dataset) else ()
    if len(shape) not in (3, 4, 5) or 0 in shape or kspace.dtype.kind != "c":
        found = f"shape {shape} and dtype {kspace.dtype}" if shape else "no array"
        raise DataError(f"`kspace` of {name} has {found}; expected complex (slice, [coil,] readout, phase_encode)")
    contrast = text_attribute(file, "acquisition")
    if "DIFF" in contrast.upper() or "DWI" in contrast.upper() or (len(shape) == 5 and "coil_sens_maps" in file):
        raise DataError(
            f"{name} is a diffusion-weighted EPI scan ({contrast or 'maps'}), which needs regridding; expected T2"
        )
    averaged, has_coils = len(shape) == 5, len(shape) > 3
    rows, columns = shape[-2:]
    encoded = header.encoded_matrix
    swapped = encoded is not None and columns == encoded[0] != rows and rows <= encoded[0]
    if swapped and not averaged:
        rows, columns = columns, rows
        notes.append("phase encoding is stored as the first axis (not as published); it is read as the last")
    leading = shape[1:3] if averaged else shape[:2]
    channels = header.n_receiver_channels
    coils_first = (
        has_coils
        and channels is not None
        and leading[0] == channels != leading[1]
        and _n_header_slices(header) == leading[1]
    )
    if coils_first:
        notes.append("coils are stored before slices (not as published); they are read as the second axis")
    n_slices, n_coils = (leading[1], leading[0]) if coils_first else leading
    if SLICES_ATTRIBUTE not in file.attrs and "slice" in header.limits and _n_header_slices(header) != n_slices:
        notes.append(f"the header states {_n_header_slices(header)} slices, the file has {n_slices}")
    first, n_padded = _padding(header, columns, averaged, notes)
    return KspaceLayout(
        n_slices=n_slices,
        n_coils=n_coils if has_coils else 1,
        matrix=(rows, n_padded),
        averaged=averaged,
        has_coils=has_coils,
        coils_first=coils_first,
        phase_encode_first=swapped and not averaged,
        first_column=first,
        n_columns=columns,
    ), notes


def _n_header_slices(header: Header) -> int:
    return header.limits["slice"][1] + 1 if "slice" in header.limits else 1


def _padding(header: Header, columns: int, averaged: bool, notes: list[str]) -> tuple[int, int]:
    """Return where the file's columns start in the padded matrix, and its width.

    Only prostate files leave the padding out; their own reconstruction pads to the readout matrix (square pixels).
    """
    limits = header.limits.get("kspace_encoding_step_1")
    if not averaged or limits is None or header.encoded_matrix is None or columns != limits[1] + 1:
        return 0, columns
    n_padded = max(header.encoded_matrix[0], columns)
    first = n_padded // 2 - limits[2]
    if first < 0 or first + columns > n_padded:
        notes.append(f"the header's centre {limits[2]} does not fit {columns} columns in {n_padded}; nothing is padded")
        return 0, columns
    return first, n_padded


def read_slices(kspace: Any, layout: KspaceLayout, chosen: list[int]) -> np.ndarray:
    """Return the chosen slices as (slice, coil, readout, phase_encode); NaN where a damaged chunk cannot be read."""
    shape = (len(chosen), layout.n_coils, *layout.matrix)
    result = np.zeros(shape, kspace.dtype.newbyteorder("="))
    columns = slice(layout.first_column, layout.first_column + layout.n_columns)
    failures = []
    for position, index in enumerate(chosen):
        try:
            block = kspace[_slice_index(layout, index)]
        except OSError as error:
            failures.append(error)
            result[position] = np.nan
            continue
        result[position, :, :, columns] = _scan_axes(block, layout)
    if len(failures) == len(chosen):
        raise failures[0]
    return result


def _slice_index(layout: KspaceLayout, index: int) -> tuple[slice | int, ...]:
    """Return what selects one slice of `kspace` in the file."""
    return (*[slice(None)] * slice_axis(layout), index)


def slice_axis(layout: KspaceLayout) -> int:
    """Return the axis of `kspace` in the file that counts slices."""
    return int(layout.averaged) + int(layout.coils_first)


def _scan_axes(block: np.ndarray, layout: KspaceLayout) -> np.ndarray:
    """Return one slice as (coil, readout, phase_encode), averages merged."""
    if layout.averaged:
        block = _merge_averages(block)
    block = block if layout.has_coils else block[None]
    return block.swapaxes(-1, -2) if layout.phase_encode_first else block


def _merge_averages(block: np.ndarray) -> np.ndarray:
    """Return the mean of each line over the averages that have it: (average, coil, readout, phase_encode) -> one."""
    acquired = block.any(axis=(1, 2))
    n_averages = np.maximum(acquired.sum(axis=0), 1).astype(block.real.dtype)
    return block.sum(axis=0, dtype=block.dtype) / n_averages


def file_axes(kspace: Any, layout: KspaceLayout, position: int, plane: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Return one slice of the scan in the axes of the file; lines that equal the clean ones keep the file's samples."""
    columns = slice(layout.first_column, layout.first_column + layout.n_columns)
    fresh, before = plane[:, :, columns], clean[:, :, columns]
    if layout.averaged:
        block = kspace[_slice_index(layout, position)]
        changed = (fresh != before).any(axis=(0, 1))
        replaced = block.any(axis=(1, 2)) & changed
        # A line that a kind has added where no average had one would be lost; none does, padding and gaps stay empty.
        return np.where(replaced[:, None, None, :], fresh[None], block).astype(block.dtype)
    if layout.phase_encode_first:
        fresh = fresh.swapaxes(-1, -2)
    return (fresh if layout.has_coils else fresh[0]).astype(kspace.dtype)
