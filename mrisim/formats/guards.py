"""At the edge of every format: a library's error in one line, a file that appears once complete, slices that exist."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mrisim.errors import ConfigError, DataError
from mrisim.files import written_whole


@contextmanager
def reading(path: Path, expected: str) -> Iterator[None]:
    """Turn any error of a reading library (they raise many types) into one line that names the file, not its folder."""
    try:
        yield
    except (DataError, ConfigError, AssertionError, NameError, ImportError):  # the last three are mistakes of ours
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
