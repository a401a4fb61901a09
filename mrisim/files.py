"""Write a file so that it is either whole or not there: temporary name, flush to disk, rename."""

import errno
import hashlib
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mrisim.errors import DataError, UsageError

PARTIAL = ".part"
_DISK_ERRORS = {
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG): "no room on the disk",
    (errno.EACCES, errno.EPERM, errno.EROFS): "the output folder is read-only",
    (errno.EEXIST, errno.ENOTDIR): "a file, or a link to nothing, lies where a folder is expected",
    (errno.EISDIR,): "a folder of that name is there; expected another name",
    (errno.ENAMETOOLONG,): "the name is too long",
}


@contextmanager
def disk_errors_named(name: str) -> Iterator[None]:
    """Turn what the disk refuses while `name` is written, or made as a folder, into one clear line.

    Raises
    ------
    DataError
        If there is no room, the folder cannot be written to, or a file lies in the way.
    """
    try:
        yield
    except OSError as error:
        for numbers, reason in _DISK_ERRORS.items():
            if error.errno in numbers:
                raise DataError(f"{name} could not be written: {reason}") from None
        raise


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where it is not there.

    Raises
    ------
    DataError
        If a file lies in the way, or the folder above cannot be written to.
    """
    with disk_errors_named(folder.name):
        folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` once the block has ended without an error.

    Raises
    ------
    DataError
        As `disk_errors_named`; nothing is left behind.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        with disk_errors_named(path.name):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            with partial.open("rb") as stream:
                os.fsync(stream.fileno())
            partial.replace(path)
    finally:
        with suppress(NotADirectoryError):  # a file lies where the folder would be
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def refuse_existing(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Refuse to write where something lies, before the work whose result would replace it.

    Raises
    ------
    UsageError
    DataError
        Where a folder lies: no file replaces it.
    """
    for path in paths:
        if path.is_dir():
            raise DataError(f"{path.name} could not be written: {_DISK_ERRORS[(errno.EISDIR,)]}")
        if os.path.lexists(path) and not overwrite:
            raise UsageError(f"{path.name} exists; use --overwrite or another name")


def emptied(folder: Path, keep: Collection[str] = ()) -> None:
    """Remove all that a folder holds, but for some names; the folder stays, which may be where the user stands."""
    for entry in folder.iterdir():
        if entry.name not in keep:
            remove(entry)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that it holds."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def named(path: Path | None) -> Path | None:
    """Return a path that ends in a name, also where ``.`` or ``..`` is given; None stays None.

    Raises
    ------
    DataError
        If no file can have that path (a name of more than 255 bytes).
    """
    try:
        os.stat(path or ".")
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise DataError(f"{str(path)[:40]}... is too long for a path; expected a shorter one") from None
    return path if path is None or path.name not in ("", "..") else path.resolve()


def all_named(paths: list[Path] | None) -> list[Path] | None:
    """Return paths that all end in a name, as `named` does."""
    return None if paths is None else [path for path in map(named, paths) if path is not None]


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
