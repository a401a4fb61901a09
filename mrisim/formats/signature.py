"""What a file is, from its content: the first bytes, the keys of an HDF5 file, the header beside a BART file."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

from mrisim.errors import DataError
from mrisim.formats.bart import base_path
from mrisim.formats.guards import reading
from mrisim.formats.hdf5 import detect_layout, is_hdf5

FORMAT_NAMES = ("fastmri", "ismrmrd", "bart", "nifti", "dicom", "png")
EXPECTED = "expected fastMRI or ISMRMRD HDF5, BART cfl/hdr, NIfTI, DICOM or PNG"
_DICOM_NAME = re.compile(r"(\.dcm|\.ima|\d)$", re.IGNORECASE)
"""How the name of a DICOM image ends: slice.dcm, IM0007, 1.2.840.113619."""


def detect(path: Path | str) -> str:
    """Return the format of a file or of a DICOM folder, from its content: one of `FORMAT_NAMES`.

    Raises
    ------
    DataError
        If the file is missing, empty, or of no known type.
    """
    path = Path(path)
    if path.is_dir():
        if dicom_files(path):
            return "dicom"
        raise DataError(f"{path.name} is a folder without DICOM files; {EXPECTED}")
    if is_bart(path):
        return "bart"
    if not os.path.exists(path):
        raise DataError(f"{path.name} {'is a link to nothing' if path.is_symlink() else 'does not exist'}; {EXPECTED}")
    if not os.path.isfile(path):
        raise DataError(f"{path.name} is a pipe, a socket or a device; {EXPECTED}")
    head = _first_bytes(path)
    if not head:
        raise DataError(f"{path.name} is empty (0 bytes); {EXPECTED}")
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head[128:132] == b"DICM":
        return "dicom"
    if head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0":
        return "nifti"
    if is_hdf5(path):
        return detect_layout(path)
    if path.suffix == ".cfl":
        raise DataError(f"{path.name} has no {path.stem}.hdr of BART beside it; expected the pair")
    raise DataError(f"{path.name} starts with the bytes {head[:4].hex(' ')}; {EXPECTED}")


def _first_bytes(path: Path, n_bytes: int = 352) -> bytes:
    with reading(path, "a readable file"), path.open("rb") as file:
        head = file.read(n_bytes)
    if head[:2] == b"\x1f\x8b":
        with reading(path, "a complete gzip file (.nii.gz)"), gzip.open(path) as unpacked:
            return unpacked.read(n_bytes)
    return head


def is_bart(path: Path) -> bool:
    """Return whether a path - x, x.cfl or x.hdr - names a BART pair, from the first line of x.hdr."""
    header = base_path(path).with_name(base_path(path).name + ".hdr")
    if not header.is_file() or (path.is_file() and path.suffix not in (".cfl", ".hdr")):
        return False
    with reading(header, "a readable file"), header.open("rb") as file:
        return file.read(12) == b"# Dimensions"


def dicom_files(folder: Path) -> list[Path]:
    """Return the DICOM files that lie directly in a folder, by name.

    Raises
    ------
    DataError
        If the folder cannot be read, or a file that may be one of them, by its name: a series with a gap is not the
        series.
    """
    found = []
    with reading(folder, "a readable folder"):
        paths = sorted(folder.iterdir())
    for path in paths:
        try:
            if is_dicom(path):
                found.append(path)
        except DataError:
            if _DICOM_NAME.search(path.name):
                raise
    return found


def is_dicom(path: Path) -> bool:
    """Return whether this is a file that has the mark of DICOM after its preamble; a pipe or a folder is not.

    Raises
    ------
    DataError
        If it is a link to nothing, or cannot be read.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        return False
    with reading(path, "a readable file"), path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
