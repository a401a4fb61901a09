"""One file of a data set: open it, compare it with its layout, read what identifies it.

Every file is opened: archives of fastMRI prostate were truncated although their SHA-256 was right
(cai2r/fastMRI_prostate#20). A shallow look costs no more than the header; ``deep`` reads every value.
"""

import csv
import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import h5py
import nibabel
import numpy as np

from mrisim.datasets.manifest import ArrayLayout, Layout, Manifest, ValueSource
from mrisim.errors import DataError

Severity = Literal["error", "warning"]
OUR_MISTAKES = (AssertionError, NameError, ImportError, MemoryError)
"""What no broken file raises. h5py, nibabel, numpy, gzip and csv raise nearly anything else on one."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as the manifest, or the lock, says. ``file`` is relative to the root, or None: the set."""

    severity: Severity
    file: str | None
    message: str


@dataclass(frozen=True)
class FoundFile:
    """A file below the root and the layout that its name belongs to."""

    path: str
    """Relative to the root, POSIX."""
    layout: Layout
    skipped: bool = False
    """A known issue of the manifest leaves it out."""


@dataclass(frozen=True)
class FileFacts:
    """What a file holds. None: not stated by this kind of file."""

    n_slices: int | None = None
    shape: tuple[int, ...] | None = None
    patient_key: str | None = None
    acquisition: str | None = None


def find_files(manifest: Manifest, root: Path) -> tuple[FoundFile, ...]:
    """Return the files below a root that a layout of the manifest names, sorted by path.

    Raises
    ------
    DataError
        If there is none, or if two layouts claim the same file.
    """
    found: dict[str, Layout] = {}
    for layout in manifest.layouts:
        for path in root.glob(layout.glob):
            relative = path.relative_to(root).as_posix()
            if not path.is_file() and not path.is_symlink():
                continue
            if relative in found:
                raise DataError(f"{relative} belongs to {found[relative].glob} and {layout.glob}; expected one layout")
            found[relative] = layout
    if not found:
        globs = ", ".join(layout.glob for layout in manifest.layouts)
        raise DataError(f"no file of {manifest.name} below the root; expected {globs}; got 0 files")
    skip = [issue.match for issue in manifest.known_issues if issue.action == "skip"]
    return tuple(
        FoundFile(path, found[path], any(fnmatchcase(path, match) for match in skip)) for path in sorted(found)
    )


def inspect_file(root: Path, file: FoundFile, *, deep: bool = False) -> tuple[FileFacts, tuple[Finding, ...]]:
    """Open a file and compare it with its layout.

    Parameters
    ----------
    root : Path
    file : FoundFile
    deep : bool
        Read every value, and look for values that are not finite and for slices that are all zero.

    Returns
    -------
    facts : FileFacts
    findings : tuple of Finding
        A file that cannot be opened is a finding, not an exception: the others are still looked at.
    """
    readers = {"hdf5": _inspect_hdf5, "nifti": _inspect_nifti, "npy": _inspect_npy, "csv": _inspect_csv}
    try:
        facts, messages = readers[file.layout.format](root / file.path, file.layout, deep)
    except OUR_MISTAKES:
        raise
    except Exception as error:
        reason = " ".join(str(error).replace(str(root), "<root>").split())[:200]
        return FileFacts(), (Finding("error", file.path, f"cannot be read as {file.layout.format}: {reason}"),)
    facts, missing = _identified(facts, file)
    return facts, tuple(Finding("error", file.path, text) for text in [*messages, *missing])


def _inspect_hdf5(path: Path, layout: Layout, deep: bool) -> tuple[FileFacts, list[str]]:
    messages: list[str] = []
    n_slices: int | None = None
    shape: tuple[int, ...] | None = None
    with h5py.File(path, "r") as file:
        for array in layout.arrays:
            data = file.get(array.key)
            if not isinstance(data, h5py.Dataset):
                if array.required:
                    messages.append(f"expected the array {array.key!r}; got {', '.join(sorted(file)) or 'no array'}")
                continue
            messages += _array_messages(array, data, deep)
            if shape is None and data.ndim:
                n_slices, shape = _slice_count(array, data.shape), tuple(data.shape)
        missing = [name for name in layout.attributes if name not in file.attrs]
        if missing:
            messages.append(f"expected the attributes {', '.join(missing)}; got {', '.join(file.attrs) or 'none'}")
        patient, acquisition = (_attribute(file, source) for source in (layout.patient_key, layout.acquisition))
    return FileFacts(n_slices, shape, patient, acquisition), messages


def _inspect_nifti(path: Path, layout: Layout, deep: bool) -> tuple[FileFacts, list[str]]:
    (array,) = layout.arrays
    image: Any = nibabel.load(path)
    _check_nifti_length(path, image, deep)
    shape = tuple(int(size) for size in image.shape)
    messages = _header_messages(array, shape, str(image.get_data_dtype()))
    if not messages and (deep or array.allowed_values is not None):
        messages += _value_messages(array, np.asanyarray(image.dataobj))
    return FileFacts(_slice_count(array, shape), shape), messages


def _inspect_npy(path: Path, layout: Layout, deep: bool) -> tuple[FileFacts, list[str]]:
    (array,) = layout.arrays
    # Opening the map fails where the file is shorter than its header says; pickled objects are refused.
    data = np.load(path, mmap_mode="r", allow_pickle=False)
    messages = _array_messages(array, data, deep)
    return FileFacts(_slice_count(array, data.shape), tuple(data.shape)), messages


def _inspect_csv(path: Path, layout: Layout, deep: bool) -> tuple[FileFacts, list[str]]:
    del deep
    messages: list[str] = []
    with path.open(newline="", encoding="utf-8-sig") as stream:  # with or without a byte order mark
        rows = list(csv.reader(stream))
    if layout.columns is not None and (not rows or tuple(rows[0]) != layout.columns):
        messages.append(f"expected the header {','.join(layout.columns)}; got {','.join(rows[0] if rows else [])!r}")
    n_rows = len(rows) - (layout.columns is not None)
    if layout.n_rows is not None and n_rows != layout.n_rows:
        messages.append(f"expected {layout.n_rows} rows; got {n_rows}")
    return FileFacts(), messages


def _array_messages(array: ArrayLayout, data: Any, deep: bool) -> list[str]:
    messages = _header_messages(array, tuple(data.shape), str(data.dtype))
    if messages or not (deep or array.allowed_values is not None):
        return messages
    if data.dtype.kind not in "biufc":
        data[()]
        return []
    slice_axis = array.axes.index("slice") if array.axes and "slice" in array.axes else None
    if slice_axis is None or array.allowed_values is not None:
        return _value_messages(array, np.asarray(data[()]))
    # Slice by slice: a multi-coil brain volume is more than a gigabyte.
    parts = (np.asarray(data[(slice(None),) * slice_axis + (index,)]) for index in range(data.shape[slice_axis]))
    return _slice_messages(array, parts)


def _slice_messages(array: ArrayLayout, parts: Iterator[np.ndarray]) -> list[str]:
    name = array.key or "the array"
    messages, zero = [], []
    for index, values in enumerate(parts):
        if not np.isfinite(values).all():
            messages.append(f"{name} has values that are not finite in slice {index}")
        elif values.dtype.kind == "c" and not values.any():
            # Only k-space: a slice of an image may lie outside the body.
            zero.append(index)
    if zero:
        messages.append(f"{name} is all zero in {len(zero)} slices, the first of them {zero[0]}")
    return messages


def _value_messages(array: ArrayLayout, values: np.ndarray) -> list[str]:
    name = array.key or "the array"
    if not np.isfinite(values).all():
        return [f"{name} has values that are not finite"]
    if array.allowed_values is None:
        return [] if values.any() else [f"{name} is all zero"]
    strange = sorted(set(np.unique(values).tolist()) - set(array.allowed_values))
    if not strange:
        return []
    return [f"{name} has the labels {strange[:5]}; expected only {list(array.allowed_values)}: another release?"]


def _header_messages(array: ArrayLayout, shape: tuple[int, ...], dtype: str) -> list[str]:
    name = array.key or "the array"
    if len(shape) != array.ndim:
        axes = f" ({', '.join(array.axes)})" if array.axes else ""
        return [f"{name} has shape {shape}; expected {array.ndim} axes{axes}"]
    messages = []
    if array.shape and any(want not in (None, got) for want, got in zip(array.shape, shape, strict=True)):
        messages.append(f"{name} has shape {shape}; expected {array.shape}")
    if 0 in shape:
        messages.append(f"{name} has shape {shape}; expected no empty axis")
    if array.dtypes and dtype not in array.dtypes:
        messages.append(f"{name} has dtype {dtype}; expected {' or '.join(array.dtypes)}")
    return messages


def _slice_count(array: ArrayLayout, shape: tuple[int, ...]) -> int | None:
    if array.axes is None or "slice" not in array.axes or len(shape) != array.ndim:
        return None
    return int(shape[array.axes.index("slice")])


def _attribute(file: h5py.File, source: ValueSource | None) -> str | None:
    if source is None or source.attribute is None or source.attribute not in file.attrs:
        return None
    value = file.attrs[source.attribute]
    return value.decode() if isinstance(value, bytes) else str(value)


def _identified(facts: FileFacts, file: FoundFile) -> tuple[FileFacts, list[str]]:
    """Fill in what the path states; a missing patient is an error, because no split can be made without it."""
    values = {"patient_key": facts.patient_key, "acquisition": facts.acquisition}
    messages = []
    for name, source in (("patient_key", file.layout.patient_key), ("acquisition", file.layout.acquisition)):
        if source is None:
            continue
        if source.pattern is not None:
            match = re.search(source.pattern, file.path)
            values[name] = match["value"] if match else None
        if name == "patient_key" and not (values[name] or "").strip():
            place = f"the attribute {source.attribute!r}" if source.attribute else f"its name, {source.pattern}"
            messages.append(f"expected a patient in {place}; got none")
    return FileFacts(facts.n_slices, facts.shape, values["patient_key"], values["acquisition"]), messages


def _check_nifti_length(path: Path, image: Any, deep: bool) -> None:
    """Raise where the file ends before its last voxel; the header alone does not tell."""
    n_bytes = int(image.dataobj.offset + np.prod(image.shape, dtype=np.int64) * image.get_data_dtype().itemsize)
    if path.suffix != ".gz":
        if path.stat().st_size < n_bytes:
            raise EOFError(f"truncated: {path.stat().st_size} bytes; expected {n_bytes}")
        return
    with path.open("rb") as stream:
        stream.seek(-4, 2)
        stated = int.from_bytes(stream.read(4), "little")
    # The last four bytes of a whole gzip file are its uncompressed length; of a cut one they are noise.
    if stated == n_bytes % 2**32 and not deep:
        return
    length = 0
    with gzip.open(path, "rb") as stream:
        while block := stream.read(1 << 22):
            length += len(block)
    if length < n_bytes:
        raise EOFError(f"truncated: {length} bytes uncompressed; expected {n_bytes}")
