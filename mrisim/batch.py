"""Corrupt many files: request folder, resume, workers, failures. Each file is whole or untouched, in any order."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrisim.errors import DataError, MrisimError
from mrisim.files import PARTIAL, disk_errors_named, emptied, remove, write_text
from mrisim.formats import bids
from mrisim.handover import quick_handover
from mrisim.items import Item, load, usable_slices
from mrisim.job import Job, Report, attempt

THREAD = "thread"
"""The executor that needs nothing: a pool of threads in this process."""
REQUEST_FILE = "request.json"
REPLACED_FOLDER = ".replaced"
"""Where the output of an earlier run lies, within the output folder, until there is something in its place."""
DISCARDED_FOLDER = ".discarded"
"""What that becomes, in one step, when there is: a removal that is cut short must not look like something to keep."""
FAILURES_FILE = "failures.jsonl"
DESCRIPTION_FILE = "dataset_description.json"
DISK_FACTOR = 2
"""Room on disk over the size of the input: the scan, its images, and some for compression that the output lacks."""
MEMORY_FACTOR = 8
"""Peak memory over the size of the k-space of one file (input, output, and one slice's working copies)."""


@dataclass(frozen=True)
class Estimate:
    """What a batch would cost."""

    seconds: float
    disk_bytes: int
    memory_bytes: int

    def record(self) -> dict[str, Any]:
        """Return the estimate as JSON values."""
        return {
            "seconds": round(self.seconds, 1),
            "disk_mb": self.disk_bytes / 1e6,
            "memory_mb": self.memory_bytes / 1e6,
        }

    def lines(self, n_items: int) -> list[str]:
        """Return the estimate as text."""
        return [
            f"{n_items} scans: about {self.seconds:.0f} s on one worker, {self.disk_bytes / 1e6:.0f} MB on disk, "
            f"{self.memory_bytes / 1e6:.0f} MB of memory a worker (judged by the first scan)"
        ]


def estimate(items: Sequence[Item], job: Job) -> Estimate:
    """Corrupt one slice of the first readable scan, and scale its time and size by the size of the files.

    Raises
    ------
    DataError
        If no item can be read.
    """
    sizes = [_size_of(item) for item in items]
    for item, size in zip(items, sizes, strict=True):
        try:
            scan, _ = load(item, job.seed)
            good, _ = usable_slices(scan)
            started = time.perf_counter()
            part = scan.select(good[:1])
            job.images(part, job.corrupt(part, item.item_id).scan)
        except MrisimError:
            if len(items) == 1:
                raise
            continue
        seconds = (time.perf_counter() - started) * len(good)
        scale = sum(sizes) / max(1, size)
        return Estimate(
            seconds * scale, int(DISK_FACTOR * scan.kspace.nbytes * scale), MEMORY_FACTOR * scan.kspace.nbytes
        )
    raise DataError(f"none of the {len(items)} inputs can be read as a scan")


def check_room(out: Path, needed_bytes: int) -> None:
    """Refuse a batch for which the disk has no room.

    Raises
    ------
    DataError
    """
    existing = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        raise DataError(
            f"no room: about {needed_bytes / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free; nothing was written"
        )


def size_of(items: Sequence[Item]) -> int:
    """Return the size of the inputs on disk in bytes, without opening them."""
    return sum(_size_of(item) for item in items)


def open_output(out: Path, job: Job, inputs: Iterable[Path], *, overwrite: bool) -> bool:
    """Make the output folder, or accept an existing one of the same request.

    What lies there and is to be overwritten is set aside, until `run` has put something in its place, or `withdraw`
    brings it back.

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
    _check_folder(out)
    if _request_in(out) is None or _request_in(out / REPLACED_FOLDER) is None:
        with disk_errors_named(out.name):
            _bring_back(out)  # killed on the way there, or back
    # A file that was being written at a kill, or by a shard that starts just now, is nobody's.
    started = out.exists() and any(entry.suffix != PARTIAL for entry in out.iterdir())
    known = _request_in(out)
    same = started and known == job.record()
    if started and not overwrite and not same:
        raise DataError(f"the output folder {out.name} holds another request; use --overwrite or another --out")
    if same and (not overwrite or (out / REPLACED_FOLDER).exists()):  # where it was overwriting, it goes on
        return True
    if started and known is None:
        raise DataError(f"the output folder {out.name} holds files that are not ours; expected another --out")
    try:
        with disk_errors_named(out.name):
            if started:
                _set_aside(out)
            write_text(out / REQUEST_FILE, json.dumps(job.record(), indent=1) + "\n")
    except DataError:
        with suppress(OSError):
            _bring_back(out)
        raise
    return False


def _check_folder(out: Path) -> None:
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


def _set_aside(out: Path) -> None:
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


def _bring_back(out: Path) -> None:
    """Put the output of an earlier run back where it was, if any was set aside."""
    earlier = out / REPLACED_FOLDER
    if earlier.exists():
        for entry in list(earlier.iterdir()):
            if (out / entry.name).is_dir():  # a rename takes the place of files alone
                remove(out / entry.name)
            entry.rename(out / entry.name)
        earlier.rmdir()


def _discard(out: Path) -> None:
    """Remove the output of an earlier run, now that there is something in its place."""
    shutil.rmtree(out / DISCARDED_FOLDER, ignore_errors=True)
    with suppress(FileNotFoundError):  # there is none, or another shard was first
        (out / REPLACED_FOLDER).rename(out / DISCARDED_FOLDER)
        shutil.rmtree(out / DISCARDED_FOLDER, ignore_errors=True)


def is_replacing(out: Path) -> bool:
    """Return whether the output of an earlier run still waits for something to be put in its place."""
    return (out / REPLACED_FOLDER).exists() and not any(out.glob("index*.jsonl"))


def withdraw(out: Path) -> None:
    """Take an output folder back in which nothing came about; what else lies there, or lay there before, stays."""
    for name in (REQUEST_FILE, FAILURES_FILE, DESCRIPTION_FILE):
        (out / name).unlink(missing_ok=True)
    with disk_errors_named(out.name):
        _bring_back(out)
    with suppress(OSError):  # it holds something, or is where the user stands
        out.rmdir()


def run(
    items: Sequence[Item],
    job: Job,
    out: Path,
    *,
    n_workers: int = 1,
    executor: str = THREAD,
    index_name: str = "index.jsonl",
    on_report: Callable[[Report], None] = lambda report: None,
) -> list[Report]:
    """Process every item; one that fails is recorded and does not stop the others.

    Parameters
    ----------
    items : sequence of Item
    job : Job
    out : Path
        A folder that `open_output` accepted.
    n_workers : int
        Files at a time; with threads, a single file spreads its slices over them.
    executor : str
        One that `check_executor` accepted.
    index_name : str
        File that gets one line for each item done; every shard has its own.
    on_report : callable
        Told each report as it comes.

    Returns
    -------
    list of Report
        In the order of the items.
    """
    if any(item.path is not None and item.path.name.lower().endswith((".nii", ".nii.gz")) for item in items):
        write_text(out / DESCRIPTION_FILE, json.dumps(bids.dataset_description(), indent=1) + "\n")
    reports = {}
    with closing(_reports(executor, items, job, out, n_workers)) as coming:
        for report in coming:
            _append(out / (FAILURES_FILE if report.failures else index_name), report)
            if report.failures and report.outputs:
                _append(out / index_name, report)
            on_report(report)
            reports[report.item_id] = report
    if any(report.outputs for report in reports.values()):
        _discard(out)
    return [reports[item.item_id] for item in items]


def check_executor(executor: str, n_workers: int) -> None:
    """Refuse an executor that cannot run a batch, before anything is written.

    Parameters
    ----------
    executor : str
        ``thread``, or one of `mrisim.dask_executor`.
    n_workers : int

    Raises
    ------
    UsageError, ConfigError
    """
    if executor != THREAD:
        from mrisim import dask_executor

        dask_executor.check(executor, n_workers)


def _reports(
    executor: str, items: Sequence[Item], job: Job, out: Path, n_workers: int
) -> Generator[Report, None, None]:
    """Process items and give their reports; closed before its end, it waits for the items under way alone."""
    if executor != THREAD:
        from mrisim import dask_executor

        yield from dask_executor.reports(executor, items, job, out, n_workers)
        return
    n_threads = n_workers if len(items) == 1 else 1
    with quick_handover(), ThreadPoolExecutor(max_workers=n_workers) as pool:
        try:
            yield from pool.map(lambda item: attempt(item, job, out, n_threads=n_threads), items)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def summary(reports: Sequence[Report]) -> dict[str, Any]:
    """Return what became of a batch as JSON values."""
    return {
        "n_done": sum(bool(report.outputs) for report in reports),
        "n_resumed": sum(report.resumed for report in reports),
        "n_failed": sum(bool(report.failures) for report in reports),
        "items": [report.record() for report in reports],
    }


def summary_lines(reports: Sequence[Report], job: Job, out: Path) -> list[str]:
    """Return what became of a batch in a few lines."""
    lines = []
    if len(reports) == 1 and reports[0].outputs:
        lines += reports[0].lines(job)
    done = sum(bool(report.outputs) for report in reports)
    for report in [report for report in reports if report.failures][:10]:
        lines += [f"{report.item_id}: {failure}" for failure in report.failures]
    failed = sum(bool(report.failures) for report in reports)
    lines.append(
        f"wrote {done} of {len(reports)} to {out}"
        + (f"; {failed} with failures, see {FAILURES_FILE}" if failed else "")
    )
    return lines


def _append(path: Path, report: Report) -> None:
    with disk_errors_named(path.name), path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(report.record()) + "\n")


def _size_of(item: Item) -> int:
    if item.path is None:
        return 1
    files = item.path.iterdir() if item.path.is_dir() else [item.path]
    return sum(path.stat().st_size for path in files if path.is_file())
