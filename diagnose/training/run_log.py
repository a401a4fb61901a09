"""train.log of a run: what the run says, each line with its time in UTC; a resumed run goes on in the same file.

The log holds no path of this machine. It is no part of what a run computes: two equal runs differ in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from diagnose.training.loop import Watch
from mrisim.errors import MrisimError
from mrisim.files import disk_errors_named

LOG = "train.log"


@contextmanager
def logged(folder: Path, watch: Watch) -> Iterator[Watch]:
    """Give a watch that also writes down what is said, and at the end why a run has stopped or failed.

    Raises
    ------
    DataError
        If there is no room for a line.
    """

    def say(text: str) -> None:
        append(folder, text)
        watch.say(text)

    try:
        yield replace(watch, say=say)
    except BaseException as error:
        # What went wrong is raised again: a disk that has no room for this line either is no other error.
        with suppress(OSError, MrisimError):
            append(folder, str(error) if isinstance(error, MrisimError) else f"ended by {type(error).__name__}")
        raise


def append(folder: Path, text: str) -> None:
    """Write lines at the end of the log; the folder goes by its name."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    lines = (text.replace(str(folder), folder.name) if len(folder.parts) > 1 else text).splitlines()
    with disk_errors_named(LOG), (folder / LOG).open("a", encoding="utf-8") as log:
        log.write("".join(f"{now} {line}\n" for line in lines))
