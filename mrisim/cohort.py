"""Make a cohort: patients in worker processes, files that appear whole, a killed run resumed to the same bytes.

Processes, not threads: drawing a knee is many small array operations, which hold the interpreter's lock (measured on 2
cores: 8.5 ms a slice with 2 processes, 15.2 with 2 threads, 19.2 with 1).

Limits
------
Worker processes start afresh and import the calling script: a script that calls `make_cohort` needs the usual
``if __name__ == "__main__":``.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mrisim.cohort_patient import anatomy_module
from mrisim.cohort_protocol import CohortSpec
from mrisim.cohort_writer import DATASET_FILE, RECORDS, finish, record_path, write_patient
from mrisim.errors import ConfigError, DataError, MrisimError
from mrisim.files import disk_errors_named, make_folder, write_text

REQUEST_FILE = "request.json"
LOCK_FILE = ".mrisim-lock"
ROOM_FACTOR = 1.05
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
OURS = ("multicoil_train", "multicoil_val", "multicoil_test", "Annotations", "TrainingData", RECORDS)


@dataclass(frozen=True)
class CohortReport:
    """What `make_cohort` did."""

    folder: Path
    n_patients: int
    n_made: int
    """Patients made by this call; the others were there."""
    n_bytes: int
    """Size of all files of the cohort."""


def make_cohort(
    spec: CohortSpec,
    folder: Path,
    *,
    n_workers: int = 1,
    overwrite: bool = False,
    wait_for_other: bool = False,
    on_patient: Callable[[int, int], None] = lambda done, total: None,
) -> CohortReport:
    """Make a cohort, or finish one that was interrupted.

    Parameters
    ----------
    spec : CohortSpec
    folder : Path
        Holds nothing, or a cohort of the same spec, complete or not.
    n_workers : int
        Processes; the files do not depend on it.
    overwrite : bool
        Remove the cohort of another spec that lies in the folder.
    wait_for_other : bool
        Where another process makes this cohort: wait for it, instead of refusing.
    on_patient : callable
        Told the number of patients done, and of all.

    Raises
    ------
    ConfigError
        A field strength without cited tissue values, or no worker.
    DataError
        The folder holds something else or is read-only, another run is writing to it, or the disk has no room; nothing
        was written.
    """
    for scanner in spec.scanners:
        anatomy_module(spec).check_field_strength(scanner.field_strength_t)
    if n_workers < 1:
        raise ConfigError(f"workers is {n_workers}; expected 1 or more")
    _check_folder(spec, folder, overwrite)
    _check_room(spec, folder)
    make_folder(folder)
    with _locked(folder, wait_for_other):
        _check_folder(spec, folder, overwrite)
        if known_spec(folder) not in (None, _as_json(spec)):
            _remove(folder)
        if is_complete(folder):
            shutil.rmtree(folder / RECORDS, ignore_errors=True)  # of a run that was killed at its very end
            return _report(spec, folder, json.loads((folder / DATASET_FILE).read_text()), 0)
        request = {"spec_sha256": spec.sha256, "spec": _as_json(spec)}
        write_text(folder / RECORDS / REQUEST_FILE, json.dumps(request, indent=1) + "\n")
        total = spec.n_patients.total
        pending = [patient for patient in range(total) if not record_path(folder, patient).exists()]
        done = total - len(pending)
        on_patient(done, total)
        # Closed at once where the caller is interrupted, so that no worker outlives the call.
        with closing(_written(spec, folder, pending, n_workers)) as written:
            for _ in written:
                done += 1
                on_patient(done, total)
        return _report(spec, folder, finish(spec, folder), len(pending))


def is_complete(folder: Path) -> bool:
    """Return whether a folder holds a whole cohort: ``dataset.json`` is written last."""
    return (folder / DATASET_FILE).is_file()


def known_spec(folder: Path) -> dict[str, Any] | None:
    """Return the spec of the cohort in a folder, complete or not, or None where there is none."""
    for path in (folder / DATASET_FILE, folder / RECORDS / REQUEST_FILE):
        if path.is_file():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                return dict(content["spec"])
            except (ValueError, KeyError, TypeError):
                raise DataError(f"{path.name} in {folder.name} is damaged; expected the request of a cohort") from None
    return None


def _as_json(spec: CohortSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json")


def _check_folder(spec: CohortSpec, folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise DataError(f"the output {folder.name} is a file; expected a folder, or a name that is free")
    if not folder.exists() or not any(entry.name != LOCK_FILE for entry in folder.iterdir()):
        return
    known = known_spec(folder)
    if known is None:
        raise DataError(f"the output folder {folder.name} holds files that are not ours; expected another --out")
    if known != _as_json(spec) and not overwrite:
        raise DataError(f"the output folder {folder.name} holds another cohort; use --overwrite or another --out")


def _check_room(spec: CohortSpec, folder: Path) -> None:
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    n_there = len(list((folder / RECORDS).glob("[0-9]*.json"))) if folder.exists() else 0
    if folder.exists() and is_complete(folder) and known_spec(folder) == _as_json(spec):
        return
    needed = int(ROOM_FACTOR * spec.bytes_per_patient * (spec.n_patients.total - n_there))
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise DataError(
            f"no room: about {needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free; nothing was written"
        )


def _remove(folder: Path) -> None:
    # Only what a cohort consists of: a folder may hold a user's notes beside it.
    (folder / DATASET_FILE).unlink(missing_ok=True)
    for name in OURS:
        shutil.rmtree(folder / name, ignore_errors=True)


def _report(spec: CohortSpec, folder: Path, description: dict[str, Any], n_made: int) -> CohortReport:
    n_bytes = sum(int(file["n_bytes"]) for file in description["files"])
    return CohortReport(folder, spec.n_patients.total, n_made, n_bytes)


@contextmanager
def _locked(folder: Path, wait_for_other: bool) -> Iterator[None]:
    """Keep other runs out of the folder; the system frees the lock of a process that was killed."""
    try:
        import fcntl
    except ImportError:  # not on Windows, where two runs into one folder are the user's risk
        yield
        return
    with disk_errors_named(folder.name):
        lock = (folder / LOCK_FILE).open("w")
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait_for_other else fcntl.LOCK_NB))
        except BlockingIOError:
            raise DataError(f"another run is writing to {folder.name}; expected a folder of its own") from None
        yield
    (folder / LOCK_FILE).unlink(missing_ok=True)


def _written(spec: CohortSpec, folder: Path, patients: list[int], n_workers: int) -> Generator[int, None, None]:
    """Write patients in worker processes and yield their numbers as they are done."""
    if not patients:
        return
    waiting = iter(patients)
    with _one_thread_each():
        # One process at least: BLAS then runs on one thread for every number of workers, with the same rounding.
        pool = ProcessPoolExecutor(
            min(n_workers, len(patients)),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_die_with_parent,
        )
        try:
            # A few at a time, so that memory does not grow with the number of patients.
            running = {pool.submit(_write_one, spec, i, folder) for i in islice(waiting, 2 * n_workers)}
            while running:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(_write_one, spec, i, folder) for i in islice(waiting, len(finished))}
                yield from (_result(future) for future in finished)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _write_one(spec: CohortSpec, patient: int, folder: Path) -> int:
    write_patient(spec, patient, folder)
    return patient


def _result(future: Future[int]) -> int:
    try:
        return future.result()
    except BrokenProcessPool:
        raise MrisimError("a worker process was ended from outside (memory?); the same command resumes") from None


def _die_with_parent() -> None:
    """Let a worker end when its parent is killed: it would wait for work for ever, and write beside a resumed run."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C reaches the whole group; the parent decides


@contextmanager
def _one_thread_each() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
