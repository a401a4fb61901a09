"""Options that several commands of the `diagnose` program share, and how their texts are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mrisim.errors import UsageError
from mrisim.files import named

Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder with fastMRI HDF5 files; none = the embedded knee cohort.", show_default=False),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels", help="Label table (fastMRI+); default: Annotations/knee.csv in the data.", show_default=False
    ),
]
Split = Annotated[
    Path | None,
    typer.Option("--split", help="Stored split file; default: the folders, else by patient.", show_default=False),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="NAME=VALUE of the training spec; several times.", show_default=False)
]
Out = Annotated[
    Path | None,
    typer.Option("--out", callback=named, help="Output folder; default: named after the request.", show_default=False),
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="CPU threads. Default: all cores.", show_default=False)
]
Device = Annotated[str, typer.Option("--device", help="Where networks run: auto, cpu, cuda or cuda:N.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and what it would cost.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output of an earlier run.")]


def parse_levels(text: str) -> tuple[int, ...]:
    """Read ``0..5``, ``3`` or ``1,3,5``.

    Raises
    ------
    UsageError
        If it is none of these, or a level is not 0 to 5.
    """
    levels: set[int] = set()
    for part in text.split(","):
        first, dots, last = part.strip().partition("..")
        last = last if dots else first
        if not (first.isdigit() and last.isdigit() and 0 <= int(first) <= int(last) <= 5):
            raise UsageError(f"--levels is {text!r}; expected levels from 0 to 5, as 0..5 or 1,3,5")
        levels |= set(range(int(first), int(last) + 1))
    return tuple(sorted(levels))


def parse_reconstructions(text: str) -> tuple[str, ...]:
    """Read names of reconstructions, separated by commas.

    Raises
    ------
    UsageError
        If one is unknown.
    """
    from mrisim.reconstruct import RECONSTRUCTIONS

    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    unknown = [name for name in names if name not in RECONSTRUCTIONS]
    if unknown:
        raise UsageError(f"--recon names {unknown[0]!r}; expected some of {', '.join(RECONSTRUCTIONS)}")
    return names
