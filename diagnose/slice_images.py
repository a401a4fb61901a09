"""Images of labelled slices: read the k-space, corrupt it, reconstruct it, crop it, and keep the result on disk.

Clean and corrupted images take the same path, so that level 0 equals clean bit for bit. What is kept is shared by every
run that asks for the same files, shift, crop and code; training and evaluation read it as a memory map. The
image-domain kinds of `diagnose.evaluation.released_artifacts` act on the clean image at the end of that path.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from diagnose.clean_scans import NOTHING_KEPT, CleanScans
from diagnose.dataset import SliceTable
from diagnose.evaluation.released_artifacts import (
    ALL_RELEASED,
    LEVELS,
    apply_released,
    released_code_hash,
    released_table_version,
    severity,
)  # fmt: skip
from diagnose.volumes import Volume
from mrisim.errors import ConfigError, DataError
from mrisim.files import disk_errors_named
from mrisim.seeding import stream
from mrisim.worker_threads import worker_threads

CLEAN = "clean"
ABANDONED_S = 86_400
Progress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""


@dataclass(frozen=True)
class Shift:
    """What is done to the k-space (or, of the kinds `madaan-...`, to the image), and how the image is made from it."""

    kind: str = CLEAN
    level: int = 0
    reconstruction: str = "rss"
    seed: int = 0

    @property
    def label(self) -> str:
        """Name of the cached file."""
        corruption = CLEAN if self.kind == CLEAN else f"{self.kind}-level{self.level}-seed{self.seed}"
        return f"{corruption}-{self.reconstruction}"


@dataclass(frozen=True)
class ImageStore:
    """Where images are kept, how large they are, how many volumes are made at a time, and from which scans."""

    folder: Path
    crop: int | None = None
    """Side of the centred square in pixels; None keeps the scanner's image."""
    n_threads: int = 1
    scans: CleanScans = NOTHING_KEPT
    """Kept where one store makes the images of several shifts."""


def image_store(crop: int | None = None, *, n_threads: int = 1, scans: CleanScans = NOTHING_KEPT) -> ImageStore:
    """Return the store in the user's cache folder, beside the cohorts."""
    from mrisim.cohort_cache import cache_folder

    return ImageStore(cache_folder().parent / "slice-images", crop, n_threads, scans)


def make_images(
    volume: Volume,
    shift: Shift,
    *,
    crop: int | None = None,
    slices: Sequence[int] | None = None,
    item_id: str | None = None,
    scans: CleanScans = NOTHING_KEPT,
) -> np.ndarray:
    """Return magnitude images of a volume's slices after a shift.

    Parameters
    ----------
    volume : Volume
    shift : Shift
    crop : int, optional
        Side of the centred square in pixels.
    slices : sequence of int, optional
        Positions in the file; the corruption is the same as in a run over all of them.
    item_id : str, optional
        Name in the random streams; the stem of the file by default, so that every run sees the same corruption.
    scans : CleanScans, optional
        Reads the file, or has kept what it read.

    Returns
    -------
    float32 array (slice, rows, columns)

    Raises
    ------
    DataError
        If the file cannot be read, holds NaN, or is smaller than the crop.
    """
    from mrisim.artifacts import spec_class
    from mrisim.corrupt import corrupt
    from mrisim.reconstruct import crop_to_recon, reconstruct

    in_kspace = shift.kind != CLEAN and shift.kind not in LEVELS
    scan = scans.of(volume, measured=in_kspace and shift.level > 0)
    artifacts: list[Any] = []
    if in_kspace:
        artifacts.append(spec_class(shift.kind).at_level(shift.level, n_coils=scan.n_coils))
    result = corrupt(scan, artifacts, seed=shift.seed, item_id=item_id or volume.stem, slices=slices)
    images = crop_to_recon(reconstruct(result.scan, shift.reconstruction).magnitude, scan.acquisition)
    if not np.isfinite(images).all():
        raise DataError(f"{volume.file}: the {shift.reconstruction} image holds NaN or Inf; expected finite pixels")
    images = _cropped(images, crop, volume.file)
    if shift.kind in LEVELS:
        p = severity(shift.kind, shift.level)
        streams = [
            stream(shift.seed, item_id or volume.stem, shift.kind, number)
            for number in (range(scan.n_slices) if slices is None else slices)
        ]
        images = np.concatenate(
            [apply_released(image[None], shift.kind, p, rng=rng) for image, rng in zip(images, streams, strict=True)]
        )
    return images


def _cropped(images: np.ndarray, crop: int | None, file: str) -> np.ndarray:
    from mrisim.fourier import resize_centred

    if crop is None:
        return images
    if crop > min(images.shape[1:]):
        raise DataError(
            f"{file} has images of {images.shape[1]} x {images.shape[2]}; expected at least the crop, {crop}"
        )
    return resize_centred(images, (crop, crop))


def split_images(table: SliceTable, shift: Shift, store: ImageStore, progress: Progress | None = None) -> np.ndarray:
    """Return the images of all slices of a table, from the store or made and stored now.

    Parameters
    ----------
    table : SliceTable
        Of one split, or whole.
    shift : Shift
    store : ImageStore
    progress : callable, optional

    Returns
    -------
    float32 memory map (slice, rows, columns), in the order of the table; read-only

    Raises
    ------
    DataError
        If files have images of different sizes, or there is no room on the disk.
    """
    path = store.folder / _key(table, store.crop) / f"{shift.label}-{_spec_hash(shift, store)}.npy"
    if path.exists():
        return np.load(path, mmap_mode="r", allow_pickle=False)
    first = make_images(table.volumes[0], shift, crop=store.crop, slices=[0], scans=store.scans)
    shape = (len(table.labels), *first.shape[1:])
    _check_room(store.folder, 4 * int(np.prod(shape)), path.name)
    _remove_abandoned(path.parent)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        images = new_image_map(partial, shape)
        fill_images(images, table, lambda volume: (shift, None), store, progress=progress)
        images.flush()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _remove_abandoned(folder: Path) -> None:
    """Remove what a killed process began and nobody has touched for a day; a living one writes all the time."""
    for partial in folder.glob("*.part"):
        with suppress(FileNotFoundError):  # another process tidies up as well
            if time.time() - partial.stat().st_mtime > ABANDONED_S:
                partial.unlink()


def new_image_map(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """Return a new memory map (slice, rows, columns) of a file, all its room on the disk taken at once.

    A map whose file is sparse meets a full disk as a bus error, which ends the process without a word.

    Raises
    ------
    DataError
        If there is no room.
    """
    with disk_errors_named(path.name):
        path.parent.mkdir(parents=True, exist_ok=True)
        images = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        if hasattr(os, "posix_fallocate"):  # macOS has none
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return images


def fill_images(
    images: np.ndarray,
    table: SliceTable,
    shift_of: Callable[[Volume], tuple[Shift, str | None]],
    store: ImageStore,
    *,
    wanted: np.ndarray | None = None,
    progress: Progress | None = None,
) -> None:
    """Make the images of a table volume by volume and write them into an array (slice, rows, columns).

    Parameters
    ----------
    images : float32 array
    table : SliceTable
    shift_of : callable
        Gives a volume's shift, and its name in the random streams (None: the stem).
    store : ImageStore
    wanted : bool array (slice,), optional
        Only these are made; the others keep what they held.
    progress : callable, optional
    """
    wanted = np.ones(len(table.labels), bool) if wanted is None else wanted

    def one_volume(number: int) -> None:
        rows = np.flatnonzero((table.volume_of_slice == number) & wanted)
        if rows.size:
            volume = table.volumes[number]
            shift, item_id = shift_of(volume)
            made = make_images(
                volume,
                shift,
                crop=store.crop,
                slices=table.index_in_volume[rows].tolist(),
                item_id=item_id,
                scans=store.scans,
            )
            if made.shape[1:] != images.shape[1:]:
                raise DataError(
                    f"{volume.file} has images of {made.shape[1:]}, other files {images.shape[1:]}; "
                    "expected one size (crop all to the smallest: --set crop=N)"
                )
            images[rows] = made

    n_volumes = len(table.volumes)
    with worker_threads(store.n_threads) as pool:
        for done, _ in enumerate(pool.map(one_volume, range(n_volumes)), start=1):
            if progress is not None:
                progress("images", done, n_volumes)


def _key(table: SliceTable, crop: int | None) -> str:
    """Hash what the images of a table depend on, but for the shift: the files as they are now, and our own code."""
    files = [(volume.file, *_size_and_time(volume.path)) for volume in table.volumes]
    # The root is in the key because two cohorts may have files of equal name, size and time; only its hash is kept.
    root = str(table.volumes[0].path.resolve()).removesuffix(table.volumes[0].file)
    return hashlib.sha256(json.dumps([root, files, crop, simulator_hash()]).encode()).hexdigest()[:20]


def _size_and_time(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def _spec_hash(shift: Shift, store: ImageStore) -> str:
    """Hash the physical parameters of a level, so that another level table is another file."""
    from mrisim.artifacts import spec_class

    if shift.kind == CLEAN:
        return CLEAN
    if shift.kind in LEVELS:
        return hashlib.sha256((released_table_version() + released_code_hash()).encode()).hexdigest()[:8]
    specs = [spec_class(shift.kind).at_level(shift.level, n_coils=n).model_dump_json() for n in (1, 8)]
    return hashlib.sha256(json.dumps(specs).encode()).hexdigest()[:8]


@cache
def simulator_hash() -> str:
    """Return a hash of the simulator's sources: what outlives a correction of the physics would be silently wrong."""
    import mrisim

    root = Path(next(iter(mrisim.__path__)))
    digest = hashlib.sha256()
    for path in sorted([*root.rglob("*.py"), *root.rglob("*.json")]):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def _check_room(folder: Path, n_bytes: int, name: str) -> None:
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if n_bytes > 0.95 * free:
        raise DataError(f"{name} needs {n_bytes / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; expected room for it")


def check_kinds(kinds: Sequence[str]) -> list[str]:
    """Return the names of the kinds, aliases resolved.

    ``all`` are the six kinds of the simulator, ``madaan`` the five image-domain ones of
    `diagnose.evaluation.released_artifacts`.

    Raises
    ------
    ConfigError
        If a kind does not exist.
    """
    from mrisim.artifacts import ALIASES, KINDS, spec_class

    names: list[str] = []
    for kind in kinds:
        if kind == "all":
            names += KINDS
        elif kind == ALL_RELEASED:
            names += LEVELS
        elif kind.startswith(f"{ALL_RELEASED}-"):
            severity(kind, 0)
            names.append(kind)
        else:
            spec_class(kind)
            names.append(ALIASES.get(kind, kind))
    if not names:
        raise ConfigError("no kind of artifact was asked for; expected at least one, or all")
    return list(dict.fromkeys(names))
