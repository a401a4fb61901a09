"""Files in and out: what a file is (from its content, not its name), how it becomes a Scan, and how a Scan goes back.

    measured k-space    fastMRI HDF5, ISMRMRD HDF5, BART cfl/hdr
    magnitude only      NIfTI, DICOM (a file, or a folder with one series), PNG: phase and coils are synthesised

Errors name the file, never its folder. The libraries are imported when a file of their type is met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np

from mrisim.errors import ConfigError, DataError
from mrisim.formats.guards import reading, selected, writing
from mrisim.formats.inputs import PREVIEW, SUFFIXES, input_files, item_id, scan_of_image, without_pair_headers
from mrisim.formats.signature import FORMAT_NAMES, detect, dicom_files, is_bart
from mrisim.fourier import resize_centred
from mrisim.quality import rss
from mrisim.scan import Scan, coil_images

__all__ = [
    "FORMAT_NAMES", "OUTPUT_SUFFIX", "PREVIEW", "SUFFIXES",
    "convert", "corrupt_slices", "detect", "dicom_files", "files_written", "input_files", "is_bart", "item_id",
    "read", "reading", "scan_of_image", "selected", "without_pair_headers", "write", "writing",
]  # fmt: skip

OUTPUT_SUFFIX = {"fastmri": ".h5", "ismrmrd": ".h5", "bart": ".cfl", "nifti": ".nii.gz", "dicom": ".dcm", "png": ".png"}
CONVERTED_IMAGE = "rss"
"""The reconstruction that `convert` writes beside the k-space."""


def read(
    path: Path | str,
    *,
    slices: slice | Sequence[int] | None = None,
    seed: int = 0,
    item: str | None = None,
    layout: str | None = None,
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
    layout : str, optional
        What `detect` says of the path, where that is known. None looks.

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
    name = layout or detect(path)
    if name in ("nifti", "dicom", "png"):
        from mrisim.formats import images

        scan = images.read(path, name, slices=slices, seed=seed, item=item_id(path, path) if item is None else item)
    else:
        scan = _with_symmetry_note(_kspace_module(name).read(path, slices=slices))
    _require_signal(scan, path)
    return _with_dead_coils_note(scan)


def _kspace_module(name: str) -> ModuleType:
    from mrisim.formats import bart, fastmri, ismrmrd

    return {"fastmri": fastmri, "ismrmrd": ismrmrd, "bart": bart}[name]


def _with_symmetry_note(scan: Scan) -> Scan:
    from mrisim.formats.images import is_conjugate_symmetric

    if not is_conjugate_symmetric(scan.kspace[scan.n_slices // 2]):
        return scan
    return _with_note(
        scan, "k-space is conjugate-symmetric: it was computed from a magnitude image (10.1073/pnas.2117203119)"
    )


def _with_dead_coils_note(scan: Scan) -> Scan:
    dead = scan.dead_coils
    if not dead:
        return scan
    numbers = ", ".join(map(str, dead))
    return _with_note(
        scan, f"nothing but zeros in coil {numbers} of 0 to {scan.n_coils - 1}: dead, added noise spares it"
    )


def _with_note(scan: Scan, note: str) -> Scan:
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
    source_layout: str | None = None,
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
    source_layout : str, optional
        What `detect` says of `source`, where that is known. None looks.
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
    origin = None if source is None else source_layout or detect(source)
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


def files_written(target: Path) -> list[Path]:
    """Return the files that `convert` writes for a target; BART's are two pairs."""
    if not target.name.endswith(".cfl"):
        return [target]
    from mrisim.formats import bart

    return bart.files_written(target, CONVERTED_IMAGE)


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
    write(target, scan, image, layout=layout, reconstruction_name=CONVERTED_IMAGE, clean_reconstruction=image)
    kspace = f"{scan.acquisition.kspace_origin} k-space {scan.kspace.shape}"
    return [
        f"{Path(source).name} -> {target.name}: {layout}, {kspace}",
        *scan.acquisition.notes,
        *_what_is_lost(scan, layout),
    ]


def _what_is_lost(scan: Scan, layout: str) -> list[str]:
    if layout == "bart":
        return ["BART files hold samples alone: field of view, timing and noise covariance are not in it"]
    if layout == "nifti":
        return ["NIfTI files hold the image alone: k-space is not in it"]
    parts = {"coil maps": scan.csm, "noise covariance": scan.noise_covariance}
    lost = [name for name, part in parts.items() if part is not None] if layout == "ismrmrd" else []
    return [f"ISMRMRD files have no place for {' and '.join(lost)}: not in it"] if lost else []
