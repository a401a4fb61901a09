"""Scaled volumes and labels, kept in the user's cache as memory maps: a release of BraTS does not fit in memory."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from diagnose.segmentation import brats, volume_scaling
from diagnose.segmentation.brats import Case, load_images, load_labels
from diagnose.segmentation.case_table import content_mark
from diagnose.segmentation.volume_scaling import VolumeScaling, brain_mask, z_scored
from mrisim.errors import DataError
from mrisim.files import written_whole
from mrisim.worker_threads import worker_threads

BYTES_PER_VOXEL = 17
"""Four contrasts in single precision, and a label."""


@dataclass(frozen=True, eq=False)
class LabelledVolume:
    """One case as the network sees it."""

    case: str
    patient: str
    images: np.ndarray
    """(channel, x, y, z), float32, scaled, zero outside the brain; read-only."""
    labels: np.ndarray
    """(x, y, z), uint8; read-only."""


def scaled(images: np.ndarray, scaling: VolumeScaling, brain: np.ndarray) -> np.ndarray:
    """Return images (channel, x, y, z) scaled within a brain (x, y, z), and zero outside: clean and shifted alike.

    Raises
    ------
    DataError
        If a contrast has no spread within the brain.
    """
    return z_scored(np.where(brain, images, np.float32(0)), scaling, brain=brain)


def labelled_volumes(
    cases: Sequence[Case], scaling: VolumeScaling, *, n_threads: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[LabelledVolume, ...]:  # fmt: skip
    """Return cases scaled, from the cache or read and kept there now.

    Parameters
    ----------
    cases : sequence of Case
    scaling : str
        Of `diagnose.segmentation.volume_scaling.z_scored`, over where any contrast is not zero.
    n_threads : int
        Cases read at a time.
    progress : callable, optional
        Told (what, done, total).

    Raises
    ------
    DataError
        If a file cannot be read, a contrast has no spread, or there is no room.
    """
    found = []
    with worker_threads(n_threads) as pool:
        for done, volume in enumerate(pool.map(lambda case: _volume(case, scaling), cases), start=1):
            found.append(volume)
            if progress is not None:
                progress("cases", done, len(cases))
    return tuple(found)


def _volume(case: Case, scaling: VolumeScaling) -> LabelledVolume:
    stem = _cache() / _key(case, scaling)
    paths = [stem.with_name(f"{stem.name}-{part}.npy") for part in ("images", "labels")]
    if not all(path.exists() for path in paths):
        images, labels = load_images(case), load_labels(case)
        _check_room(labels.size * BYTES_PER_VOXEL, case.name)
        for path, array in zip(paths, (scaled(images, scaling, brain_mask(images)), labels), strict=True):
            with written_whole(path) as partial, partial.open("wb") as stream:
                np.save(stream, array)
    images, labels = (np.load(path, mmap_mode="r", allow_pickle=False) for path in paths)
    return LabelledVolume(case.name, case.patient, images, labels)


def _cache() -> Path:
    from mrisim.cohort_cache import cache_folder

    return cache_folder().parent / "volumes"


def _key(case: Case, scaling: VolumeScaling) -> str:
    """Hash what a scaled volume depends on: the content of its files, their release, the scaling and our own code."""
    files = {role: (path.stat().st_size, content_mark(path)) for role, path in case.paths.items()}
    return hashlib.sha256(json.dumps([case.release, files, scaling, _code_hash()]).encode()).hexdigest()[:20]


@cache
def _code_hash() -> str:
    sources = [Path(str(module.__file__)).read_bytes() for module in (brats, volume_scaling)]
    return hashlib.sha256(b"".join([*sources, Path(__file__).read_bytes()])).hexdigest()


def _check_room(n_bytes: int, name: str) -> None:
    existing = next(parent for parent in (_cache(), *_cache().absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if n_bytes > 0.95 * free:
        raise DataError(f"{name} needs {n_bytes / 1e6:.0f} MB and {free / 1e6:.0f} MB are free; expected room for it")
