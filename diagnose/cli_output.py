"""What the commands of the `diagnose` program share besides options: what they print, default data, cores, signals."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mrisim.errors import UsageError

if TYPE_CHECKING:
    from diagnose.run_folder import DataLocation
    from mrisim.cohort_collection import CohortCollection
    from mrisim.cohort_protocol import CohortSpec


def check_device(device: str) -> None:
    """Refuse a device that is not there before any data are made; what "auto" stands for is left to the run.

    Raises
    ------
    ConfigError
    """
    if device != "auto":
        from diagnose.torch_device import resolve_device

        resolve_device(device)


def data_elsewhere(data: Path | None, labels: Path | None) -> DataLocation | None:
    """Return where the data of runs lie now, None where the runs say so themselves.

    Raises
    ------
    UsageError
        If labels are given alone.
    DataError
        If a file is not there.
    """
    from diagnose.dataset import check_label_table
    from diagnose.run_folder import DataLocation

    if labels is not None:
        if data is None:
            raise UsageError(f"--labels {labels.name} has no effect without --data: a run knows its own labels")
        check_label_table(labels)
    return None if data is None else DataLocation(data, labels)


def default_data(spec: CohortSpec | CohortCollection | None = None) -> Path:
    """Return an embedded cohort, the knees if none is named; it is made, and announced, on first use."""
    from mrisim.cohort_cache import default_cohort

    stop_on_sigterm(at_once=True)  # the patients that are made are kept
    return default_cohort(count_progress("patients"), announce=log, spec=spec)


def raise_for_missing_cohort(as_json: bool, spec: CohortSpec | CohortCollection | None = None) -> None:
    """End a dry run that would first have to make the cohort: say what that costs, and make nothing."""
    from mrisim.cohort import is_complete
    from mrisim.cohort_cache import cached_path, cost_line
    from mrisim.cohort_protocol import default_spec

    spec = spec or default_spec()
    if not is_complete(cached_path(spec)):
        line = cost_line(spec, n_cores(), "the cache folder")
        print_result(
            {"first": line},
            [f"first {line}", "then train; the same --dry-run says more once the cohort is there"],
            as_json,
        )
        raise typer.Exit


def n_cores() -> int:
    """Return the number of cores that this process may use: its share, where torchrun started several."""
    from diagnose.training.distributed import n_processes_here
    from mrisim.cohort_cache import usable_cores

    return max(1, usable_cores() // n_processes_here())


def count_progress(what: str) -> Callable[[int, int], None]:
    """Say how far something is: at each tenth, or in place on a terminal."""

    def tell(done: int, total: int) -> None:
        if sys.stderr.isatty():
            typer.echo(f"\r{what} {done}/{total}", err=True, nl=done == total)
        elif total >= 50 and (done == total or done % (total // 10) == 0):
            typer.echo(f"{what} {done}/{total}", err=True)

    return tell


def image_progress() -> Callable[[str, int, int], None]:
    """Say how many volumes of something are done."""
    return lambda what, done, total: count_progress(f"{what}: volumes")(done, total)


def stop_on_sigterm(*, at_once: bool = False) -> Callable[[], bool]:
    """Return what says whether SIGTERM (or SIGUSR1, of a scheduler that is about to stop the job) has come."""
    asked: list[int] = []

    def note(number: int, _frame: Any) -> None:
        asked.append(number)
        if at_once:
            raise SystemExit(6)

    signal.signal(signal.SIGTERM, note)
    signal.signal(signal.SIGUSR1, note)
    return lambda: bool(asked)


def print_result(record: dict[str, Any], lines: Iterable[str], as_json: bool) -> None:
    """Print what a command found on standard output: one JSON object, or lines."""
    from diagnose.training.distributed import is_first_process

    if not is_first_process():
        return
    if as_json:
        typer.echo(json.dumps(record, default=str))
    else:
        for line in lines:
            typer.echo(line)


def log(*lines: str) -> None:
    """Say something on standard error; of several processes of one training, the first speaks."""
    from diagnose.training.distributed import is_first_process

    if is_first_process():
        for line in lines:
            typer.echo(line, err=True)
