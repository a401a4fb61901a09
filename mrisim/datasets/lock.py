"""The lock: what exactly lay below a root (path, size, time, SHA-256, slices, shape, patient), for later runs.

Size and time are compared on every run; hashing a terabyte takes hours and is done on ``deep`` only. Paths are relative
to the root, so that a lock can be passed on without saying where anybody keeps patients' data.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from mrisim.datasets.manifest import Count, Manifest, ManifestPart, Sha256
from mrisim.datasets.structure import Finding, FoundFile, find_files, inspect_file
from mrisim.errors import DataError
from mrisim.files import sha256_of_file, write_text

LOCK_NAME = "mrisim.lock.json"


class LockedFile(ManifestPart):
    """One file as it was."""

    path: str
    """Relative to the root, POSIX."""
    size_bytes: Count
    mtime_ns: int
    sha256: Sha256
    n_slices: int | None
    shape: tuple[int, ...] | None
    patient_key: str | None
    acquisition: str | None

    @model_validator(mode="after")
    def _is_relative(self) -> Self:
        path = PurePosixPath(self.path)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"path {self.path!r} must be relative to the root")
        return self


class Lock(ManifestPart):
    """All files of one data set as they were."""

    schema_version: Literal[1] = 1
    dataset: str
    version: str | None
    files: Annotated[tuple[LockedFile, ...], Field(min_length=1)]


def make_lock(
    manifest: Manifest, root: Path, *, n_workers: int = 1, progress: Callable[[str], None] | None = None
) -> Lock:
    """Open, hash and record every file below a root.

    Parameters
    ----------
    manifest : Manifest
    root : Path
    n_workers : int
        Threads; hashing releases the interpreter lock.
    progress : callable, optional
        Gets the relative path of each file when it is done.

    Raises
    ------
    DataError
        If a file is not what its layout says: a broken set is not locked.
    """
    files = [file for file in find_files(manifest, root) if not file.skipped]
    locked = []
    with ThreadPoolExecutor(max_workers=n_workers) as pool:
        for file in pool.map(lambda file: _lock_file(root, file), files):
            locked.append(file)
            if progress:
                progress(file.path)
    return Lock(dataset=manifest.name, version=manifest.version, files=tuple(locked))


def _lock_file(root: Path, file: FoundFile) -> LockedFile:
    facts, findings = inspect_file(root, file)
    if findings:
        raise DataError(f"{file.path} {findings[0].message}; a lock needs whole files: run verify first")
    status = (root / file.path).stat()
    return LockedFile(
        path=file.path,
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        sha256=sha256_of_file(root / file.path),
        n_slices=facts.n_slices,
        shape=facts.shape,
        patient_key=facts.patient_key,
        acquisition=facts.acquisition,
    )


def write_lock(lock: Lock, path: Path, *, root: Path) -> None:
    """Write a lock at once or not at all.

    Raises
    ------
    DataError
        If the path lies below the root: the folder of the data is never written to.
    """
    refuse_inside(path, root)
    write_text(path, json.dumps(lock.model_dump(mode="json"), indent=1) + "\n")


def read_lock(path: Path, manifest: Manifest) -> Lock:
    """Read a lock.

    Raises
    ------
    DataError
        If there is none, it is damaged, or it belongs to another data set.
    """
    if not path.is_file():
        raise DataError(f"no lock {path.name}; expected a file that `mrisim data lock {manifest.name}` wrote")
    try:
        lock = Lock.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "the whole"
        raise DataError(f"{path.name} is not a lock: {place}: {problem['msg']}") from error
    if lock.dataset != manifest.name:
        raise DataError(f"{path.name} is the lock of {lock.dataset}; expected {manifest.name}")
    return lock


def compare_with_lock(root: Path, paths: list[str], lock: Lock, *, deep: bool) -> tuple[Finding, ...]:
    """Return what differs from the lock.

    Parameters
    ----------
    root : Path
    paths : list of str
        The files that are there now, relative to the root.
    lock : Lock
    deep : bool
        Hash every file. A file with another time and the same hash (a copy) is then no finding.
    """
    locked = {file.path: file for file in lock.files}
    findings = [Finding("error", path, "is in the lock and not on disk") for path in sorted(set(locked) - set(paths))]
    findings += [Finding("error", path, "is not in the lock; lock again") for path in sorted(set(paths) - set(locked))]
    for path in sorted(set(paths) & set(locked)):
        message = _difference(root / path, locked[path], deep)
        if message:
            findings.append(Finding("error", path, message))
    return tuple(findings)


def _difference(path: Path, locked: LockedFile, deep: bool) -> str | None:
    try:
        now = path.stat()
        if now.st_size != locked.size_bytes:
            return f"has {now.st_size} bytes; the lock says {locked.size_bytes}"
        if deep:
            now_sha256, then_sha256 = sha256_of_file(path), locked.sha256
            same = now_sha256 == then_sha256
            return None if same else f"has SHA-256 {now_sha256[:12]}...; the lock says {then_sha256[:12]}..."
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if now.st_mtime_ns != locked.mtime_ns:
        return "was written to after the lock (same size); a deep check compares the contents"
    return None


def refuse_inside(path: Path, root: Path) -> None:
    """Raise DataError where an output would lie below the folder of the data."""
    if path.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{path.name} would lie inside the data folder; expected a place outside of it")
