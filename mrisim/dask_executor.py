"""Spread a batch over Dask: worker processes of this machine, or a cluster that is already running.

    dask                 as many processes, of one thread each, as there are workers
    dask://HOST:PORT     the scheduler there, whose workers have this version of mrisim and see the same folders

An item is one task; what travels is the path of its input, and its report. As many items are under way as the cluster
has threads, so that a process that dies takes one item a thread with it. Dask has another do it again, which writes
over what was left half written (`mrisim.files.written_whole`). An item whose process dies four times (Dask's setting
``allowed-failures``) is recorded as failed; the others go on.

Limits
------
The local cluster listens on the loopback interface without a password, as Dask does by default: on a machine shared
with people you do not trust, use threads. A worker that its scheduler lost sight of, but that still runs, may write an
item at the same time as the one that took its place; the item may then be recorded as failed, and a second run does it.
A cluster that grows with its queue sees none: give it its workers beforehand.

References
----------
Dask.distributed: https://distributed.dask.org/en/stable/killed.html (workers that die), .../resilience.html.
"""

from __future__ import annotations

import importlib.util
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrisim import __version__
from mrisim.errors import ConfigError, DataError, MrisimError, UsageError
from mrisim.import_warnings import ignore_import_warnings
from mrisim.items import Item
from mrisim.job import Job, Report, attempt

if TYPE_CHECKING:
    from distributed import Client, Future

LOCAL = "dask"
CONNECT_S = 10
"""How long a scheduler may take to answer."""
IGNORE_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""Run in each local worker: ctrl-C reaches them too, and only the program itself shall hear it."""


class SchedulerLost(MrisimError):
    """The scheduler went away in the middle of a batch; what is done is done, and the same command goes on."""

    exit_code = 6


def check(executor: str, n_workers: int) -> None:
    """Refuse what cannot be run, before anything is written.

    Parameters
    ----------
    executor : str
        ``dask`` or ``dask://HOST:PORT``; after ``dask://`` comes Dask's own address, so ``tls://HOST:PORT`` will do.
    n_workers : int
        Processes of a local cluster; a running one has its own.

    Raises
    ------
    UsageError
        If the executor is malformed, or a running cluster is told a number of workers.
    ConfigError
        If Dask is not installed, or no scheduler answers.
    """
    address = _address(executor)
    if address is not None and n_workers != 1:
        raise UsageError(f"--workers is {n_workers}, but the cluster at {address} has its own; expected no --workers")
    if importlib.util.find_spec("distributed") is None:
        raise ConfigError(
            f'--executor {executor} needs Dask, which is not installed: pip install "mrisim-diagnose[dask]"'
        )
    if address is not None:
        with _connected(address, n_workers):
            pass


def reports(executor: str, items: Sequence[Item], job: Job, out: Path, n_workers: int) -> Iterator[Report]:
    """Process items on Dask's workers, and give each report as soon as it is there.

    If the iterator is closed or an error passes through it, the items under way are waited for, as a pool of threads
    does; no further one is begun.

    Parameters
    ----------
    executor : str
    items : sequence of Item
    job : Job
    out : Path
    n_workers : int

    Raises
    ------
    ConfigError, DataError
        If no scheduler answers, or a worker has another mrisim, or none, or does not see the output folder.
    SchedulerLost
    """
    # a worker has another working folder
    placed = [item if item.path is None else replace(item, path=item.path.absolute()) for item in items]
    task = partial(_attempt_on_worker, job=job, out=out.absolute(), version=__version__)
    with _connected(_address(executor), n_workers) as client:
        yield from spread(client, task, placed)


def spread(client: Client, task: Callable[[Item], Report], items: Sequence[Item]) -> Iterator[Report]:
    """Run a task on each item, at most as many at a time as the cluster has threads; reports come as they are done."""
    from distributed import as_completed

    waiting = iter(items)
    item_of: dict[Future[Report], Item] = {}
    done = as_completed(loop=client.loop, with_results=True, raise_errors=False)

    def begin() -> None:
        room = _n_threads(client) - len(item_of)
        # a cluster that grows with its load has no worker before it has a task
        for item in islice(waiting, max(room, 0 if item_of else 1)):
            future = client.submit(task, item, pure=False)
            item_of[future] = item
            done.add(future)

    try:
        begin()
        while item_of:
            future, result = next(done)
            item = item_of.pop(future)
            report = _report(future, result, item)
            begin()
            yield report
    finally:
        for _ in done:  # those under way, if it did not come to its end
            pass


def _report(future: Future[Report], result: Any, item: Item) -> Report:
    """Return what became of one task; raise what is wrong with all of them."""
    from distributed import KilledWorker

    if isinstance(result, Report):
        return result
    if future.status == "cancelled":
        raise SchedulerLost("the connection to the Dask scheduler was lost; the same command resumes")
    error = result[1]
    if isinstance(error, KilledWorker):
        n_deaths = error.allowed_failures + 1
        return Report(
            item.item_id,
            failures=(f"{n_deaths} worker processes died while they worked on it; out of memory?",),
            exit_code=MrisimError.exit_code,
        )
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == "mrisim":
        raise ConfigError(f"a Dask worker has no mrisim; expected mrisim {__version__} on all of them") from None
    raise error


def _attempt_on_worker(item: Item, job: Job, out: Path, version: str) -> Report:
    """Process one item in a worker, once it is clear that the output will be that of the machine which asked."""
    ignore_import_warnings()
    if version != __version__:
        raise ConfigError(f"a Dask worker has mrisim {__version__}; expected {version}, as on this machine")
    if not out.is_dir():
        raise DataError(
            f"a Dask worker does not see the output folder {out.name}; expected one that all machines share"
        )
    return attempt(item, job, out)


def _n_threads(client: Client) -> int:
    try:
        return sum(client.nthreads().values())
    except OSError:
        raise SchedulerLost("the connection to the Dask scheduler was lost; the same command resumes") from None


@contextmanager
def _connected(address: str | None, n_workers: int) -> Iterator[Client]:
    """Connect to a scheduler, or start a local cluster and end it with the block."""
    from distributed import Client, LocalCluster

    if address is None:
        cluster = LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            memory_limit=0,  # else a worker with a large file would be ended for its share of the memory
            dashboard_address="127.0.0.1:0",  # else port 8787 of every interface
            silence_logs=logging.CRITICAL,
            preload=[IGNORE_CTRL_C],
        )
        with cluster, Client(cluster, set_as_default=False) as client:
            yield client
        return
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ConfigError(f"no Dask scheduler answers at {address} ({reason})") from None
    with client:
        yield client


def _address(executor: str) -> str | None:
    """Return the scheduler's address; None for a local cluster."""
    if executor == LOCAL:
        return None
    match = re.fullmatch(r"dask://((?:[a-z]+://)?[^/\s]+:\d{1,5})", executor)
    if match is None:
        raise UsageError(f"--executor is {executor!r}; expected thread, dask or dask://HOST:PORT")
    return match[1]
