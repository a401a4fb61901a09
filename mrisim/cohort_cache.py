"""The default cohort in the cache: made on first use, found by the hash of its spec ever after.

The cache is ``$MRISIM_CACHE``, else ``$XDG_CACHE_HOME/mrisim``, else ``~/.cache/mrisim``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mrisim.cohort_protocol import CohortSpec, default_spec
from mrisim.files import disk_errors_named

if TYPE_CHECKING:
    from mrisim.cohort_collection import CohortCollection

VARIABLE = "MRISIM_CACHE"


@dataclass(frozen=True)
class CachedCohort:
    """One cohort of the cache."""

    folder: Path
    n_bytes: int
    complete: bool


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the cached cohorts; it need not exist."""
    if environment.get(VARIABLE):
        return Path(environment[VARIABLE]).expanduser() / "cohorts"
    base = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "mrisim" / "cohorts"


def cached_path(spec: CohortSpec | CohortCollection) -> Path:
    """Return where the cache keeps, or would keep, a cohort or several."""
    return cache_folder() / f"{spec.anatomy}-{spec.sha256[:12]}"


def default_cohort(
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    announce: Callable[[str], None] = lambda line: None,
    spec: CohortSpec | CohortCollection | None = None,
    n_workers: int | None = None,
) -> Path:
    """Return the folder of the default cohort, which is made if it is not there.

    Parameters
    ----------
    progress : callable
        Told the number of patients done, and of all.
    announce : callable
        Told size, place and time before anything is written; not called where the cohort is there.
    spec : CohortSpec or CohortCollection, optional
        Another cohort, or several, to be cached in the same way.
    n_workers : int, optional
        None: the cores that this process may use.

    Raises
    ------
    DataError
        If the disk has no room; nothing was written.
    """
    from mrisim.cohort import is_complete, make_cohort
    from mrisim.cohort_collection import make_collection

    spec = spec or default_spec()
    folder = cached_path(spec)
    if is_complete(folder):
        return folder
    n_workers = n_workers or usable_cores()
    announce(cost_line(spec, n_workers, str(folder)))
    # Two trainings started together want the same cohort: the second waits for the first.
    if isinstance(spec, CohortSpec):
        make_cohort(spec, folder, n_workers=n_workers, wait_for_other=True, on_patient=progress)
    else:
        make_collection(spec, folder, n_workers=n_workers, wait_for_other=True, on_patient=progress)
    return folder


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cost_line(spec: CohortSpec | CohortCollection, n_workers: int, place: str) -> str:
    """Return size, place and time of a cohort in one line."""
    if not isinstance(spec, CohortSpec):
        return "; ".join(cost_line(part, n_workers, place) for part in spec.parts)
    sizes = spec.n_patients
    size_mb = spec.bytes_per_patient * sizes.total / 1e6
    return (
        f"simulating a {spec.anatomy} cohort: {sizes.train} / {sizes.val} / {sizes.test} patients "
        f"(train / val / test), "
        f"{spec.n_files} files with {spec.n_slices} slices, about {size_mb:.0f} MB in {place}, "
        f"about {spec.seconds(n_workers):.0f} s on {n_workers} worker{'s' if n_workers > 1 else ''}"
    )


def cached_cohorts() -> tuple[CachedCohort, ...]:
    """Return what the cache holds, by name."""
    from mrisim.cohort import is_complete

    root = cache_folder()
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return tuple(CachedCohort(folder, _size(folder), is_complete(folder)) for folder in folders)


def clear_cache() -> tuple[int, int]:
    """Remove the cached cohorts; return how many there were and how many bytes they took.

    Raises
    ------
    DataError
        If the cache cannot be written to.
    """
    cohorts = cached_cohorts()
    for cohort in cohorts:
        with disk_errors_named(cohort.folder.name):
            shutil.rmtree(cohort.folder)
    return len(cohorts), sum(cohort.n_bytes for cohort in cohorts)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
