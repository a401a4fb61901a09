"""Files in and out: what a file is (from its content, not its name), how it becomes a Scan, and how a Scan goes back.

    measured k-space    fastMRI HDF5, ISMRMRD HDF5, BART cfl/hdr
    magnitude only      NIfTI, DICOM (a file, or a folder with one series), PNG: phase and coils are synthesised

Errors name the file, never its folder. The libraries are imported when a file of their type is met.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np

from mrisim.errors import ConfigError, DataError
from mrisim.files import PARTIAL, written_whole
from mrisim.fourier import resize_centred
from mrisim.quality import rss
from mrisim.scan import Scan, coil_images

FORMAT_NAMES = ("fastmri", "ismrmrd", "bart", "nifti", "dicom", "png")
OUTPUT_SUFFIX = {"fastmri": ".h5", "ismrmrd": ".h5", "bart": ".cfl", "nifti": ".nii.gz", "dicom": ".dcm", "png": ".png"}
SUFFIXES = (".nii.gz", ".nii", ".h5", ".hdf5", ".mrd", ".cfl", ".hdr", ".dcm", ".ima", ".png")
"""Name endings that `item_id` removes, and that make a file of a folder an input even where its content is broken."""

_EXPECTED = "expected fastMRI or ISMRMRD HDF5, BART cfl/hdr, NIfTI, DICOM or PNG"


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
        raise DataError(f"{path.name} is a folder without DICOM files; {_EXPECTED}")
    if is_bart(path):
        return "bart"
    if not path.exists():
        raise DataError(f"{path.name} does not exist; {_EXPECTED}")
    head = _first_bytes(path)
    if not head:
        raise DataError(f"{path.name} is empty (0 bytes); {_EXPECTED}")
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head[128:132] == b"DICM":
        return "dicom"
    if head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0":
        return "nifti"
    from mrisim.formats import ismrmrd

    if ismrmrd.is_hdf5(path):
        return ismrmrd.detect_layout(path)
    if path.suffix == ".cfl":
        raise DataError(f"{path.name} has no {path.stem}.hdr of BART beside it; expected the pair")
    raise DataError(f"{path.name} starts with the bytes {head[:4].hex(' ')}; {_EXPECTED}")


def _first_bytes(path: Path, n_bytes: int = 352) -> bytes:
    with reading(path, "a readable file"), path.open("rb") as file:
        head = file.read(n_bytes)
    if head[:2] == b"\x1f\x8b":
        with reading(path, "a complete gzip file (.nii.gz)"), gzip.open(path) as unpacked:
            return unpacked.read(n_bytes)
    return head


def is_bart(path: Path) -> bool:
    """Return whether a path - x, x.cfl or x.hdr - names a BART pair, from the first line of x.hdr."""
    from mrisim.formats import bart

    header = bart.base_path(path).with_name(bart.base_path(path).name + ".hdr")
    if not header.is_file() or (path.is_file() and path.suffix not in (".cfl", ".hdr")):
        return False
    with reading(header, "a readable file"), header.open("rb") as file:
        return file.read(12) == b"# Dimensions"


def dicom_files(folder: Path) -> list[Path]:
    """Return the DICOM files that lie directly in a folder, by name."""
    return [path for path in sorted(folder.iterdir()) if path.is_file() and _is_dicom(path)]


def _is_dicom(path: Path) -> bool:
    with reading(path, "a readable file"), path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read(
    path: Path | str, *, slices: slice | Sequence[int] | None = None, seed: int = 0, item: str | None = None
) -> Scan:
    """Read a file of any known format into a Scan.

    Parameters
    ----------
    path : Path
        A file, the stem of a BART pair, or a folder with one DICOM series.
    slices : slice or sequence of int, optional
        The slices to read, by their position in the file; None reads all.
    seed : int
        Seed of the phase that a magnitude-only input gets; measured k-space does not use it.
    item : str, optional
        Identity of the input for that phase; None takes `item_id(path, path)`.

    Returns
    -------
    Scan
        Slices with NaN or Inf (or without any signal) may be among the others: see `corrupt_slices`.

    Raises
    ------
    DataError
        If the file cannot be read, or no slice of it can be used.
    ConfigError
        If `slices` selects nothing.
    """
    path = Path(path)
    name = detect(path)
    if name in ("nifti", "dicom", "png"):
        from mrisim.formats import images

        scan = images.read(path, name, slices=slices, seed=seed, item=item_id(path, path) if item is None else item)
    else:
        scan = _with_symmetry_note(_kspace_module(name).read(path, slices=slices))
    _require_signal(scan, path)
    return scan


def _kspace_module(name: str) -> ModuleType:
    from mrisim.formats import bart, fastmri, ismrmrd

    return {"fastmri": fastmri, "ismrmrd": ismrmrd, "bart": bart}[name]


def _with_symmetry_note(scan: Scan) -> Scan:
    from mrisim.formats.images import is_conjugate_symmetric

    if not is_conjugate_symmetric(scan.kspace[scan.n_slices // 2]):
        return scan
    note = "k-space is conjugate-symmetric: it was computed from a magnitude image (10.1073/pnas.2117203119)"
    return replace(scan, acquisition=replace(scan.acquisition, notes=(*scan.acquisition.notes, note)))


def _require_signal(scan: Scan, path: Path) -> None:
    if not scan.kspace.any():
        raise DataError(f"{path.name} holds only zeros; expected an MR signal")
    if len(corrupt_slices(scan)) == scan.n_slices:
        raise DataError(f"{path.name} holds NaN, Inf or nothing in all {scan.n_slices} slices; expected an MR signal")


def corrupt_slices(scan: Scan) -> tuple[int, ...]:
    """Return the ids of the slices that cannot be used: NaN or Inf, or a measured k-space of zeros only.

    An empty slice of an image or a simulation is legitimate (above the head); a receiver without noise is not.
    """
    measured = scan.acquisition.kspace_origin in ("measured", "emulated-singlecoil")
    corrupt = []
    for slice_id, plane in zip(scan.slice_ids, scan.kspace, strict=True):
        if not np.isfinite(plane).all() or (measured and not plane.any()):
            corrupt.append(slice_id)
    return tuple(corrupt)


def write(
    path: Path | str,
    corrupted: Scan,
    reconstruction: np.ndarray,
    *,
    source: Path | str | None = None,
    layout: str | None = None,
    reconstruction_name: str = "rss",
    clean_reconstruction: np.ndarray | None = None,
    description: str = "",
) -> Path:
    """Write a corrupted scan and its reconstruction as one file in the layout of the input.

    Parameters
    ----------
    path : Path
        The output; see `OUTPUT_SUFFIX`. A folder where `source` is a DICOM series; BART writes two pairs.
    corrupted : Scan
        All slices of the input or some of them, as its `slice_ids` say.
    reconstruction : (slice, rows, columns), real
        Image of the corrupted scan.
    source : Path, optional
        The input whose layout and metadata are kept. None writes a new file.
    layout : str, optional
        One of `FORMAT_NAMES`. None takes that of `source`, or "fastmri"; another than that of `source` converts.
    reconstruction_name : str
        Name of the reconstruction, part of the data set's name.
    clean_reconstruction : (slice, rows, columns), optional
        The clean target: stored as `reconstruction_rss` where a new fastMRI file is written.
    description : str
        What was done, in one line without personal data; stored in the file where its format has a place for it.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    DataError
        If there is no room or no permission, or the shapes do not fit the source. Nothing is left behind.
    ConfigError
        If `layout` is not known.
    """
    path = Path(path)
    source = None if source is None else Path(source)
    origin = None if source is None else detect(source)
    layout = layout or origin or "fastmri"
    if layout not in FORMAT_NAMES:
        raise ConfigError(f"layout is {layout!r}; expected one of {', '.join(FORMAT_NAMES)}")
    if reconstruction.ndim != 3 or len(reconstruction) != corrupted.n_slices:
        raise DataError(
            f"reconstruction has shape {reconstruction.shape}; expected ({corrupted.n_slices}, rows, columns)"
        )
    same_source = source if origin == layout else None
    if layout in ("nifti", "dicom", "png"):
        from mrisim.formats import images

        images.write(path, layout, corrupted, reconstruction, source=same_source, description=description)
        return path
    extra = {"clean_reconstruction": clean_reconstruction} if layout == "fastmri" else {}
    _kspace_module(layout).write(
        path, corrupted, reconstruction, source=same_source, name=reconstruction_name, description=description, **extra
    )
    return path


def convert(source: Path | str, target: Path | str) -> list[str]:
    """Write a scan in another layout, told by the ending of the target.

    ``.h5`` is fastMRI, ``.mrd`` ISMRMRD, ``.cfl`` BART, ``.nii.gz`` NIfTI. The image that goes with the k-space is the
    root sum of squares.

    Returns
    -------
    list of str
        What was done, and the reader's notes, one line each.

    Raises
    ------
    DataError
        If the source cannot be read or the target cannot be written.
    ConfigError
        If the ending of the target is another one.
    """
    target = Path(target)
    layouts = {".h5": "fastmri", ".mrd": "ismrmrd", ".cfl": "bart", ".nii.gz": "nifti"}
    layout = next((layout for suffix, layout in layouts.items() if target.name.endswith(suffix)), None)
    if layout is None:
        raise ConfigError(f"{target.name} ends with {target.suffix!r}; expected one of {', '.join(layouts)}")
    scan = read(source)
    image = rss(coil_images(scan))
    if scan.acquisition.recon_shape is not None:
        image = resize_centred(image, scan.acquisition.recon_shape)
    write(target, scan, image, layout=layout, clean_reconstruction=image)
    kspace = f"{scan.acquisition.kspace_origin} k-space {scan.kspace.shape}"
    return [f"{Path(source).name} -> {target.name}: {layout}, {kspace}", *scan.acquisition.notes]


def input_files(path: Path | str) -> list[Path]:
    """Return the inputs that a path stands for, sorted: itself, or all that lie below a folder.

    A folder with DICOM files is one input (one series a folder); a BART pair is its ``.cfl``. Files of a known name
    ending are inputs even if their content is broken, so that they are reported; hidden and ``.part`` files are not.

    Raises
    ------
    DataError
        If the path does not exist, or nothing below it is an input.
    """
    path = Path(path)
    if not path.is_dir():
        if not path.exists() and not is_bart(path):
            raise DataError(f"{path.name} does not exist; {_EXPECTED}")
        return [path]
    found: list[Path] = []
    for folder, subfolders, names in os.walk(path):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        here = Path(folder)
        files = [here / name for name in sorted(names) if not name.startswith(".") and not name.endswith(PARTIAL)]
        series = [file for file in files if _is_dicom(file)]
        if series:
            found.append(here)
        found += [file for file in files if file not in series and _is_input(file)]
    if not found:
        raise DataError(f"{path.name} is a folder without any input; {_EXPECTED}")
    return sorted(found)


def _is_input(path: Path) -> bool:
    if path.suffix == ".hdr":
        return not path.with_suffix(".cfl").exists() and is_bart(path)
    if path.name.lower().endswith(SUFFIXES):
        return True
    try:
        return detect(path) != "bart"
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


def selected(n_slices: int, slices: slice | Sequence[int] | None) -> list[int]:
    """Return the indices that `slices` selects of `n_slices`.

    Raises
    ------
    ConfigError
        If it selects nothing, or a slice that does not exist.
    """
    every = range(n_slices)
    if slices is None:
        return list(every)
    chosen = list(every[slices]) if isinstance(slices, slice) else [int(index) for index in slices]
    if not chosen or any(index not in every for index in chosen):
        raise ConfigError(f"slices is {_slices_text(slices)}; expected some of the slices 0 to {n_slices - 1}")
    return chosen


def _slices_text(slices: slice | Sequence[int]) -> str:
    if isinstance(slices, slice):
        return ":".join("" if part is None else str(part) for part in (slices.start, slices.stop))
    return str(list(slices))


@contextmanager
def reading(path: Path, expected: str) -> Iterator[None]:
    """Turn any error of a reading library (they raise many types) into one line that names the file, not its folder."""
    try:
        yield
    except (DataError, ConfigError):
        raise
    except Exception as error:
        text = " ".join(str(error).split()).replace(str(path), path.name)
        text = re.sub(r"(?:/[^/\s'\"]+)+/", "", text)[:160]
        raise DataError(f"{path.name} cannot be read ({type(error).__name__}: {text}); expected {expected}") from None


@contextmanager
def writing(path: Path, n_bytes: int = 0) -> Iterator[Path]:
    """Give a temporary name for a file that appears under its own once it is complete (`mrisim.files.written_whole`).

    Parameters
    ----------
    path : Path
    n_bytes : int
        About what will be written: refused at once if the disk has less, since HDF5 cannot end cleanly on a full one.

    Raises
    ------
    DataError
        For any error of the disk, those that HDF5 reports without an error number too.
    """
    no_room = f"{path.name} could not be written: no room on the disk"
    try:
        with written_whole(path) as part:
            if shutil.disk_usage(path.parent).free < n_bytes:
                raise DataError(no_room)
            yield part
    except (OSError, RuntimeError) as error:
        # HDF5 passes the disk's own message on, without its number
        if any(message in str(error) for message in ("No space left", "File too large", "quota exceeded")):
            raise DataError(no_room) from None
        if isinstance(error, RuntimeError):
            raise
        reason = os.strerror(error.errno) if error.errno else "the library failed"
        raise DataError(f"{path.name} could not be written ({reason}); expected a writable folder") from None
