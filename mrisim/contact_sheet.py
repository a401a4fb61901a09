"""`mrisim preview`: every kind at every level on one slice of a scan."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mrisim import formats
from mrisim.artifacts import spec_class
from mrisim.artifacts.base import N_LEVELS
from mrisim.corrupt import corrupt
from mrisim.errors import ConfigError
from mrisim.files import make_folder
from mrisim.preview import save_animation, save_contact_sheet, save_page, window_of
from mrisim.reconstruct import reconstruct
from mrisim.reference import reference_of
from mrisim.scan import Scan


def draw_all(
    path: Path | None,
    kinds: Sequence[str],
    *,
    seed: int,
    reconstruction: str,
    device: str,
    out: Path,
    slice_position: int | None,
) -> list[Path]:
    """Write contact sheet, GIF and HTML page of a file, or of the embedded default; return their paths.

    Raises
    ------
    ConfigError
        If the file has no such slice.
    DataError
        If the file cannot be read, or the folder cannot be written to.
    """
    if path is None:
        from mrisim.phantoms.default import default_scan

        scan, name = default_scan(), "default"
    else:
        scan, name = formats.read(path, seed=seed), formats.item_id(path, path.parent)
    position = scan.n_slices // 2 if slice_position is None else slice_position
    if not 0 <= position < scan.n_slices:
        raise ConfigError(f"--slice is {position}; expected 0 to {scan.n_slices - 1}")
    make_folder(out)  # before the work
    rows = images_by_level(scan, kinds, position, seed=seed, item_id=name, reconstruction=reconstruction, device=device)
    window = window_of(next(iter(rows.values()))[0])
    origin = scan.acquisition.kspace_origin
    caption = (
        f"{name}, slice {scan.slice_ids[position]}, {reconstruction}, seed {seed}; k-space {origin}; "
        "window of the clean image"
    )
    paths = [out / f"{name}{ending}" for ending in ("-levels.png", "-levels.gif", "-levels.html")]
    save_contact_sheet(paths[0], rows, window, scan.voxel_mm)
    save_animation(paths[1], rows, window, scan.voxel_mm)
    save_page(paths[2], rows, window, caption, scan.voxel_mm)
    return paths


def images_by_level(
    scan: Scan, kinds: Sequence[str], position: int, *, seed: int, item_id: str, reconstruction: str, device: str
) -> dict[str, list[np.ndarray]]:
    """Return the magnitude images (rows, columns) of one slice for each kind, from level 0 to 5."""
    scan = replace(scan, reference=reference_of(scan))
    rows = {}
    for kind in kinds:
        images = []
        for level in range(N_LEVELS + 1):
            spec = spec_class(kind).at_level(level, n_coils=scan.n_coils)
            result = corrupt(scan, [spec], seed=seed, item_id=item_id, slices=[position], device=device)
            images.append(reconstruct(result.scan, reconstruction, device=device).magnitude[0])
        rows[kind] = images
    return rows
