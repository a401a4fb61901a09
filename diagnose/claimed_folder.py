"""A folder that is claimed for a request: found again, or taken from an earlier one, whose output is kept for a while.

Until it is replaced, the earlier output lies whole in `.replaced` (`mrisim.output_folder`), beside what is to replace
it, and both have a mark: the file that says what was asked. What a kill leaves, at any moment, `claim` can tell:

    a mark in one place alone   it was being set aside, or brought back: it is brought back
    .withdrawn                  what was to replace it was being removed: that goes on, and it is brought back
    a mark in both              what is to replace it is under way, and can be taken up
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mrisim.errors import ConfigError, MrisimError
from mrisim.files import PARTIAL, disk_errors_named, emptied
from mrisim.output_folder import (
    DISCARDED_FOLDER,
    REPLACED_FOLDER,
    bring_back,
    check_folder,
    discard,
    holds_replaced,
    set_aside,
)  # fmt: skip

IDENTITY = "identity.txt"
WITHDRAWN = ".withdrawn"
"""What the mark of something that is being removed is called, until all of it is gone."""


@dataclass(frozen=True)
class Mark:
    """The file by which a folder says what was asked of it."""

    what: str
    """What such a folder is, as in "run"."""
    file: str = IDENTITY
    unless: str = ""
    """A file of folders of another sort that have the same mark."""

    def read(self, folder: Path) -> str:
        """Return the hash of a folder's request; empty where it has none, or somebody else's file of that name."""
        if self.unless and (folder / self.unless).exists():
            return ""
        try:
            text = (folder / self.file).read_text(encoding="utf-8").strip()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, UnicodeDecodeError):
            return ""
        return text if re.fullmatch("[0-9a-f]{64}", text) else ""


def claim(folder: Path, request: str, mark: Mark, *, finished: bool, overwrite: bool, restart: bool = False) -> bool:
    """Find the folder of a request again, or make room for it: the caller writes the mark first of all.

    Parameters
    ----------
    folder : Path
        It need not exist.
    request : str
        As `Mark.read` gives it.
    mark : Mark
    finished : bool
        Whether the folder, as it is, holds something finished.
    overwrite : bool
        Set the output of another request aside. Something that was to replace it and is not finished is given up for
        this: where the earlier output is the one that is asked for, it is back.
    restart : bool
        Set the output of the same request aside as well, but for one that is itself to replace something.

    Returns
    -------
    bool
        Whether the folder is one of this request.

    Raises
    ------
    ConfigError
        If it holds another request and may not be overwritten, or files of somebody else's.
    DataError
        If it is no folder or cannot be written to.
    """
    check_ours(folder, mark)
    settle(folder, mark, finished=finished)
    known, earlier = mark.read(folder), mark.read(folder / REPLACED_FOLDER)
    if earlier and overwrite and known != request:
        withdraw(folder, mark)
        known, earlier, restart = earlier, "", False
    if known == request and (earlier or not restart):
        return True
    if known:
        if not overwrite:
            raise ConfigError(_refusal(folder, mark, in_place_of=earlier, request=request))
        try:
            with disk_errors_named(folder.name):
                set_aside(folder)
        except MrisimError:
            with suppress(OSError):
                bring_back(folder)
            raise
    return False


def check_ours(folder: Path, mark: Mark) -> None:
    """Refuse a folder that holds files of somebody else's, which are never overwritten.

    Raises
    ------
    ConfigError
    DataError
        If it is no folder.
    """
    check_folder(folder)
    # A file that was being written at a kill is nobody's.
    if not folder.exists() or all(entry.suffix == PARTIAL for entry in folder.iterdir()):
        return
    if not (mark.read(folder) or mark.read(folder / REPLACED_FOLDER)):
        raise ConfigError(
            f"{folder.name} holds files that are no {mark.what}; expected an empty folder, or another --out"
        )


def check_outside(folder: Path, data: Path) -> None:
    """Refuse a folder of output that lies in the data.

    Raises
    ------
    ConfigError
    """
    if folder.resolve().is_relative_to(data.resolve()):
        raise ConfigError(f"--out {folder.name} lies in the data folder; expected a place outside of it")


def _refusal(folder: Path, mark: Mark, *, in_place_of: str, request: str) -> str:
    held = f"{folder.name} holds another {mark.what} (other settings, data or labels)"
    if not in_place_of:
        return f"{held}; expected an empty folder, the same request, or --overwrite"
    place = f"{folder.name}/{REPLACED_FOLDER}"
    if in_place_of == request:
        return f"{held} that is not finished; the one of this request is kept in {place}: --overwrite brings it back"
    return f"{held} that is not finished, and in {place} what it replaces; expected another --out or --overwrite"


def settle(folder: Path, mark: Mark, *, finished: bool) -> None:
    """End what a kill has cut short: setting aside, bringing back, removing."""
    known, earlier = mark.read(folder), mark.read(folder / REPLACED_FOLDER)
    with disk_errors_named(folder.name):
        if earlier and (folder / WITHDRAWN).exists():
            withdraw(folder, mark)
        elif bool(known) != bool(earlier):
            bring_back(folder)
        elif earlier and finished:
            discard(folder)
    if known:
        shutil.rmtree(folder / DISCARDED_FOLDER, ignore_errors=True)


def withdraw(folder: Path, mark: Mark) -> None:
    """Remove what was to replace the earlier output, which is brought back; no step of it needs room on the disk."""
    with disk_errors_named(folder.name):
        if (folder / mark.file).exists():
            (folder / mark.file).rename(folder / WITHDRAWN)
        emptied(folder, keep=(REPLACED_FOLDER, WITHDRAWN))
        (folder / WITHDRAWN).unlink(missing_ok=True)
        bring_back(folder)


def give_up(folder: Path, mark: Mark, *, kept: bool, say: Callable[[str], None]) -> None:
    """Leave a folder whose new output is not finished: bring the earlier one back, unless the new one is to be kept."""
    if not holds_replaced(folder):
        return
    if kept:
        say(f"the earlier {mark.what} is kept in {folder / REPLACED_FOLDER} until this one is finished")
    else:
        withdraw(folder, mark)
        say(f"nothing of it is finished: the earlier {mark.what} is back in {folder}")


@contextmanager
def given_up_on_error(
    folder: Path, mark: Mark, has_begun: Callable[[], bool], say: Callable[[str], None] = lambda text: None
) -> Iterator[None]:
    """At an error, or ctrl-C, `give_up`; new output is kept where it ``has_begun``: something of it can be taken up."""
    try:
        yield
    except BaseException:
        with suppress(OSError, MrisimError):  # what went wrong is raised again
            give_up(folder, mark, kept=has_begun(), say=say)
        raise
