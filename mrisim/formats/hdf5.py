"""Guarded HDF5: a received file is opened only if all its data lie inside it; fastMRI and ISMRMRD are told by keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mrisim.errors import DataError
from mrisim.formats.guards import reading


def is_hdf5(path: Path) -> bool:
    """Return whether a file is HDF5, with or without a user block."""
    import h5py

    return bool(h5py.is_hdf5(path))


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Open an HDF5 file for reading, once it is known to refer to no other file.

    External links, external storage and virtual data sets would let a received file read any file of the reader's.

    Raises
    ------
    DataError
        If the file is truncated or damaged, or refers to another one.
    """
    import h5py

    with reading(path, "a complete HDF5 file"):
        file = h5py.File(path, "r")
    with file:
        with reading(path, "a complete HDF5 file"):
            _refuse_other_files(file, path.name)
        yield file


def _refuse_other_files(group: Any, file_name: str) -> None:
    import h5py

    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise DataError(f"{file_name} has an external link {name!r} to another file; expected all data inside")
        if isinstance(link, h5py.SoftLink):
            raise DataError(f"{file_name} has a soft link {name!r}; expected the data themselves")
        child = group[name]
        if isinstance(child, h5py.Group):
            _refuse_other_files(child, file_name)
        elif isinstance(child, h5py.Dataset) and (child.external or child.is_virtual):
            raise DataError(f"{file_name} keeps {name!r} in another file; expected all data inside")


def detect_layout(path: Path) -> str:
    """Return "fastmri" or "ismrmrd" for an HDF5 file.

    Raises
    ------
    DataError
        If it is neither.
    """
    with open_hdf5(path) as file:
        if "kspace" in file:
            return "fastmri"
        if measurement_names(file):
            return "ismrmrd"
        keys = ", ".join(sorted(file)[:8]) or "nothing"
    raise DataError(
        f"{path.name} is HDF5 with {keys}; expected `kspace` (fastMRI) or a group of `xml`, `data` (ISMRMRD)"
    )


def measurement_names(file: Any) -> list[str]:
    """Return the names of the ISMRMRD measurements of an open HDF5 file."""
    import h5py

    groups = [name for name in file if isinstance(file[name], h5py.Group)]
    return [name for name in groups if "xml" in file[name] and "data" in file[name]]


def text_attribute(file: Any, name: str) -> str:
    """Return a root attribute as text; nothing where the file has none of that name."""
    value = file.attrs.get(name, "")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
