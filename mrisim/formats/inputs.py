"""Which files below a path are inputs, and the identity that each has in names and random streams."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from mrisim.errors import DataError
from mrisim.files import PARTIAL
from mrisim.formats.bart import RECONSTRUCTION, base_path
from mrisim.formats.signature import EXPECTED, detect, is_bart, is_dicom

SUFFIXES = (".nii.gz", ".nii", ".h5", ".hdf5", ".mrd", ".cfl", ".hdr", ".dcm", ".ima", ".png")
"""Name endings that `item_id` removes, and that make a file of a folder an input even where its content is broken."""
PREVIEW = "_preview.png"
"""Name ending of the picture that stands beside a corrupted scan and its sidecar."""
_IMAGE = re.compile(rf"{re.escape(PREVIEW)}$|{RECONSTRUCTION}[a-z0-9-]+\.cfl$")


def input_files(path: Path | str) -> list[Path]:
    """Return the inputs that a path stands for, sorted: itself, or all that lie below a folder.

    A folder with DICOM files is one input (one series a folder); a BART pair is its ``.cfl``. Files of a known name
    ending are inputs even if their content is broken or cannot be read (links to nothing of git-annex), and so are
    folders that may not be entered, so that they are reported; hidden and ``.part`` files are not, nor are the images
    that an earlier run made beside its scans.

    Raises
    ------
    DataError
        If the path does not exist, or nothing below it is an input.
    """
    path = Path(path)
    if not path.is_dir():
        if not os.path.lexists(path) and not is_bart(path):
            raise DataError(f"{path.name} does not exist; {EXPECTED}")
        return [_samples_of_pair(path)]
    found: list[Path] = []
    closed: list[OSError] = []
    for folder, subfolders, names in os.walk(path, onerror=closed.append):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        here = Path(folder)
        files = [here / name for name in sorted(names) if not name.startswith(".") and not name.endswith(PARTIAL)]
        series = [file for file in files if _is_known_dicom(file)]
        if series:
            found.append(here)
        found += [file for file in files if file not in series and _is_input(file)]
    found += [Path(error.filename) for error in closed]
    if not found:
        raise DataError(f"{path.name} is a folder without any input; {EXPECTED}")
    return sorted(found)


def _samples_of_pair(path: Path) -> Path:
    """Return x.cfl for the names x and x.hdr of a BART pair; any other path as it is."""
    samples = base_path(path).with_name(base_path(path).name + ".cfl")
    return samples if path != samples and is_bart(path) and samples.is_file() else path


def without_pair_headers(paths: Sequence[Path]) -> list[Path]:
    """Leave out the header of a BART pair whose samples are named too, as a shell's ``*`` does: they are one input."""
    named = set(paths)
    return [path for path in paths if path.suffix != ".hdr" or path.with_suffix(".cfl") not in named]


def _is_known_dicom(path: Path) -> bool:
    try:
        return is_dicom(path)
    except DataError:  # what it is cannot be seen; its name may say that it is an input
        return False


def _is_input(path: Path) -> bool:
    scan = scan_of_image(path.name)
    if scan and path.with_name(scan + ".json").exists():
        return False
    if path.suffix == ".hdr":
        return not os.path.lexists(path.with_suffix(".cfl")) and not _is_header_of_others(path)
    if path.name.lower().endswith(SUFFIXES):
        return True
    try:
        return detect(path) != "bart"
    except DataError:
        return False


def scan_of_image(name: str) -> str:
    """Return the identity of the scan beside whose output an image of this name would stand, or nothing."""
    image = _IMAGE.search(name)
    return name[: image.start()] if image else ""


def _is_header_of_others(path: Path) -> bool:
    """Return whether a .hdr is readable and not BART's: Analyze images have one too."""
    try:
        return os.path.isfile(path) and not is_bart(path)
    except DataError:
        return False


def item_id(path: Path | str, root: Path | str) -> str:
    """Return the identity of an input: its POSIX path relative to the root, without suffix; a single file: its stem."""
    path, root = Path(path), Path(root)
    relative = path.name if path == root or root.is_file() else path.relative_to(root).as_posix()
    if path.is_dir():
        return relative
    suffix = next((suffix for suffix in SUFFIXES if relative.lower().endswith(suffix)), "")
    return relative[: len(relative) - len(suffix)]
