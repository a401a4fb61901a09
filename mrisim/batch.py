"""Corrupt many files: workers, resume, failures. Each file is whole or untouched, in any order."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mrisim import formats, output_folder
from mrisim.errors import DataError, MrisimError
from mrisim.files import disk_errors_named, write_text
from mrisim.formats import bids
from mrisim.fourier import release_memory
from mrisim.items import Item, load, usable_slices
from mrisim.job import Job, Report, attempt, chosen_slices
from mrisim.out_of_memory import memory_errors_named
from mrisim.worker_threads import worker_threads

T = TypeVar("T")

THREAD = "thread"
"""The executor that needs nothing: a pool of threads in this process."""
INDEX_FILE = "index.jsonl"
"""One line for each item done; a shard has one of its own."""
DISK_FACTOR = 2
"""Room on disk over the size of the input: the scan, its images, and some for compression that the output lacks."""
SHORT_READ_S, SHORT_SLICE_S = 0.5, 10.0
"""What takes longer the first time is not timed again for an estimate: imports and compiling are little of it."""
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
            f"{self.memory_bytes / 1e6:.0f} MB of memory a worker (judged by the first scan of each kind of file)"
        ]


def estimate(items: Sequence[Item], job: Job) -> Estimate:
    """Corrupt one slice of the first readable scan of each name ending, and scale by slices and by size.

    Raises
    ------
    DataError
        If no item can be read.
    """
    of_ending: dict[str, list[Item]] = {}
    for item in items:
        name = "" if item.path is None else item.path.name.lower()
        # DICOM series and images without an ending of their own are alike: what follows a dot there is a number
        ending = next((ending for ending in formats.SUFFIXES if name.endswith(ending)), "")
        of_ending.setdefault(ending, []).append(item)
    found = [_estimate_alike(alike, job, alone=len(items) == 1) for alike in of_ending.values()]
    parts = [part for part in found if part is not None]
    if not parts and items:
        raise DataError(f"none of the {len(items)} inputs can be read as a scan")
    return Estimate(
        seconds=sum(part.seconds for part in parts),
        disk_bytes=sum(part.disk_bytes for part in parts),
        memory_bytes=max((part.memory_bytes for part in parts), default=0),  # a shard may be empty
    )


def _estimate_alike(items: Sequence[Item], job: Job, *, alone: bool) -> Estimate | None:
    sizes = [_size_of(item) for item in items]
    for item, size in zip(items, sizes, strict=True):
        try:
            with memory_errors_named():
                one = _estimate_one(item, job)
        except MrisimError:
            if alone:
                raise
            continue
        finally:
            release_memory(job.device)
        scale = sum(sizes) / max(1, size)
        return Estimate(one.seconds * scale, int(one.disk_bytes * scale), one.memory_bytes)
    return None


def _estimate_one(item: Item, job: Job) -> Estimate:
    """Read one item and corrupt one slice of it, the middle one of those that are asked for."""
    (scan, _), read_s = _timed(lambda: load(item, job.seed), SHORT_READ_S)
    good, broken = usable_slices(scan)
    usable = scan.select(good) if broken else scan
    chosen = chosen_slices(job.slices, scan, usable)
    part = usable.select([chosen[len(chosen) // 2]])
    _, slice_s = _timed(lambda: job.images(part, job.corrupt(part, item.item_id).scan), SHORT_SLICE_S)
    n_bytes = scan.kspace.nbytes
    image_alone = item.file_format in ("nifti", "dicom", "png")
    written = n_bytes // (2 * scan.n_coils) if image_alone else n_bytes
    share = len(chosen) / scan.n_slices
    seconds = read_s * (1 + share) + slice_s * len(chosen)  # writing takes about as long as reading
    return Estimate(seconds, int(DISK_FACTOR * written * share), MEMORY_FACTOR * n_bytes)


def _timed(work: Callable[[], T], short_s: float) -> tuple[T, float]:
    """Do something, twice where it takes no longer than `short_s`; return what came of it, and what it took last.

    The first time also imports modules, and loads or compiles kernels: a batch does that once, not for each scan.
    """
    for _ in range(2):
        started = time.perf_counter()
        done = work()
        seconds = time.perf_counter() - started
        if seconds > short_s:
            break
    return done, seconds


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


def run(
    items: Sequence[Item],
    job: Job,
    out: Path,
    *,
    n_workers: int = 1,
    executor: str = THREAD,
    index_name: str = INDEX_FILE,
    on_report: Callable[[Report], None] = lambda report: None,
) -> list[Report]:
    """Process every item; one that fails is recorded and does not stop the others.

    Parameters
    ----------
    items : sequence of Item
    job : Job
    out : Path
        A folder that `output_folder.open_output` accepted.
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
        write_text(out / output_folder.DESCRIPTION_FILE, json.dumps(bids.dataset_description(), indent=1) + "\n")
    alone = index_name == INDEX_FILE
    if alone:  # and not a shard: it meets every failure again
        with disk_errors_named(output_folder.FAILURES_FILE):
            (out / output_folder.FAILURES_FILE).unlink(missing_ok=True)
    reports, indexed = {}, _indexed(out / index_name)
    with closing(_reports(executor, items, job, out, n_workers)) as coming:
        for report in coming:
            if report.failures:
                _append(out / output_folder.FAILURES_FILE, report)
            if report.outputs and report.item_id not in indexed:
                _append(out / index_name, report)
            on_report(report)
            reports[report.item_id] = report
    # Of what is not done, here or by another shard, the output of an earlier run is all there is.
    if alone and all(report.outputs for report in reports.values()):
        output_folder.discard(out)
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
    with worker_threads(min(n_workers, len(items))) as pool:
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
    resumed = sum(report.resumed for report in reports)
    written = sum(bool(report.outputs) for report in reports) - resumed
    for report in [report for report in reports if report.failures][:10]:
        lines += [f"{report.item_id}: {failure}" for failure in report.failures]
    failed = sum(bool(report.failures) for report in reports)
    lines.append(
        f"wrote {written} of {len(reports)} to {out}"
        + (f"; {resumed} were there" if resumed else "")
        + (f"; {failed} with failures, see {output_folder.FAILURES_FILE}" if failed else "")
    )
    if output_folder.holds_replaced(out):
        earlier = out / output_folder.REPLACED_FOLDER
        lines.append(f"the earlier output is kept in {earlier} until one run has found all of this done")
    return lines


def _indexed(path: Path) -> set[str]:
    """Return the items that an index names; a line that a kill cut short is taken out of it."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
        write_text(path, "".join(lines))
    return {json.loads(line)["item_id"] for line in lines}


def _append(path: Path, report: Report) -> None:
    with disk_errors_named(path.name), path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(report.record()) + "\n")


def _size_of(item: Item) -> int:
    if item.path is None:
        return 1
    try:
        files = list(item.path.iterdir()) if item.path.is_dir() else [item.path]
    except OSError:  # a folder that may not be entered: the run reports it
        return 0
    return sum(path.stat().st_size for path in files if path.is_file())
