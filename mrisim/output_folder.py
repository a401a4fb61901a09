"""The output folder of a batch: whose it is, and what becomes of an earlier run's output that is to be overwritten."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mrisim.errors import DataError
from mrisim.files import PARTIAL, disk_errors_named, emptied, remove, write_text
from mrisim.job import Job

REQUEST_FILE = "request.json"
REPLACED_FOLDER = ".replaced"
"""Where the output of an earlier run lies, within the output folder, until there is something in its place."""
DISCARDED_FOLDER = ".discarded"
"""What that becomes, in one step, when there is: a removal that is cut short must not look like something to keep."""
FAILURES_FILE = "failures.jsonl"
DESCRIPTION_FILE = "dataset_description.json"


def open_output(out: Path, job: Job, inputs: Iterable[Path], *, overwrite: bool) -> bool:
    """Make the output folder, or accept an existing one of the same request.

    What lies there and is to be overwritten is set aside, until there is something in its place and `discard` removes
    it, or `withdraw` brings it back.

    Returns
    -------
    bool
        Whether output of an earlier run is there to be resumed.

    Raises
    ------
    DataError
        If the folder lies inside an input, belongs to another request, or cannot be written to.
    """
    for given in inputs:
        if given.is_dir() and out.resolve().is_relative_to(given.resolve()):
            raise DataError(f"the output folder {out.name} lies inside the input {given.name}; expected another place")
        if overwrite and given.resolve().is_relative_to(out.resolve()):
            raise DataError(f"the input {given.name} lies inside the output folder {out.name}; expected another --out")
    check_folder(out)
    if _request_in(out) is None or _request_in(out / REPLACED_FOLDER) is None:
        with disk_errors_named(out.name):
            bring_back(out)  # killed on the way there, or back
    # A file that was being written at a kill, or by a shard that starts just now, is nobody's.
    started = out.exists() and any(entry.suffix != PARTIAL for entry in out.iterdir())
    known = _request_in(out)
    same = started and known == job.record()
    if started and known is None:
        raise DataError(f"the output folder {out.name} holds files that are not ours; expected another --out")
    if started and not overwrite and not same:
        raise DataError(f"the output folder {out.name} holds another request; use --overwrite or another --out")
    if same and (not overwrite or (out / REPLACED_FOLDER).exists()):  # where it was overwriting, it goes on
        return True
    try:
        with disk_errors_named(out.name):
            if started:
                set_aside(out)
            write_text(out / REQUEST_FILE, json.dumps(job.record(), indent=1) + "\n")
    except DataError:
        with suppress(OSError):
            bring_back(out)
        raise
    return False


def check_folder(out: Path) -> None:
    """Refuse a place where no folder can be.

    Raises
    ------
    DataError
        If a file, or a link to nothing, lies there or on the way there.
    """
    place = next(place for place in (out, *out.absolute().parents) if place.exists() or place.is_symlink())
    if not place.is_dir():
        what = "a file" if place.exists() else "a link to nothing"
        raise DataError(f"the output {place.name} is {what}; expected a folder, or a name that is free")


def _request_in(out: Path) -> dict[str, Any] | None:
    """Return the request of an output folder; None where there is none, or somebody else's file of that name."""
    try:
        known = json.loads((out / REQUEST_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return None
    return known if isinstance(known, dict) and {"requests", "seed"} <= known.keys() else None


def set_aside(out: Path) -> None:
    """Keep the output of an earlier run within the folder, which may be a volume of its own, or where the user stands.

    Until all of it is there, or back, only one of the two places has a request.
    """
    earlier = out / REPLACED_FOLDER
    if earlier.exists():  # an attempt to replace it that never ended
        emptied(out, keep=(REPLACED_FOLDER, REQUEST_FILE))
        return
    earlier.mkdir()
    for entry in list(out.iterdir()):
        if entry != earlier:
            entry.rename(earlier / entry.name)


def bring_back(out: Path) -> None:
    """Put the output of an earlier run back where it was, if any was set aside."""
    earlier = out / REPLACED_FOLDER
    if earlier.exists():
        for entry in list(earlier.iterdir()):
            if (out / entry.name).is_dir():  # a rename takes the place of files alone
                remove(out / entry.name)
            entry.rename(out / entry.name)
        earlier.rmdir()


def discard(out: Path) -> None:
    """Remove the output of an earlier run, now that there is something in its place."""
    shutil.rmtree(out / DISCARDED_FOLDER, ignore_errors=True)
    with disk_errors_named(out.name), suppress(FileNotFoundError):  # there is none, or another shard was first
        (out / REPLACED_FOLDER).rename(out / DISCARDED_FOLDER)
        shutil.rmtree(out / DISCARDED_FOLDER, ignore_errors=True)


def holds_replaced(out: Path) -> bool:
    """Return whether the output of an earlier run is still there, beside what was to replace it."""
    return (out / REPLACED_FOLDER).exists()


def is_replacing(out: Path) -> bool:
    """Return whether the output of an earlier run still waits for something to be put in its place."""
    return holds_replaced(out) and not any(out.glob("index*.jsonl"))


def withdraw(out: Path) -> None:
    """Take an output folder back in which nothing came about; what else lies there, or lay there before, stays."""
    with disk_errors_named(out.name):
        for name in (REQUEST_FILE, FAILURES_FILE, DESCRIPTION_FILE):
            (out / name).unlink(missing_ok=True)
        bring_back(out)
    with suppress(OSError):  # it holds something, or is where the user stands
        out.rmdir()
