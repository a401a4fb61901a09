"""Threads that work side by side, each on one core: no threads of BLAS beside them, and the interpreter soon."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Lock, local
from typing import Any

from threadpoolctl import ThreadpoolController

HANDOVER_S = 5e-5
"""Time after which a thread that runs Python lets another one have its turn; Python's own is 5 ms."""
HALF_A_TICK_S = 5e-7
"""Python cuts it to whole microseconds: what it says of itself would come back as one less, time after time."""


class _SideBySide:
    """A context for any number of threads at once: the first to enter sets, the last to leave sets back what it found.

    In it BLAS computes in the thread that calls it, and threads that wait for the interpreter have it soon. BLAS has
    threads of its own, as many as there are cores, for every caller: 64 files took two workers 16.5 s with them, one
    worker 14, and two 9.5 s without them, at half the CPU time. Its sums depend on their number, too: samples would
    depend on the machine's, and on what else the program does.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._n_inside = 0
        self._found: tuple[float, list[int]] = (0.0, [])

    def __enter__(self) -> None:
        with self._lock:
            if self._n_inside == 0:
                self._found = sys.getswitchinterval(), [blas.num_threads for blas in _blas()]
                sys.setswitchinterval(HANDOVER_S)
                for blas in _blas():
                    _set_threads(blas, 1)
            self._n_inside += 1

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                interval, numbers = self._found
                sys.setswitchinterval(interval + HALF_A_TICK_S)
                for blas, number in zip(_blas(), numbers, strict=True):
                    _set_threads(blas, number)


SIDE_BY_SIDE = _SideBySide()


@contextmanager
def worker_threads(n_threads: int) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of threads, one at least, that compute side by side."""
    n_threads = max(1, n_threads)
    n_in_all = n_threads * n_side_by_side()  # a worker's own pool works beside those of the other workers
    with SIDE_BY_SIDE, ThreadPoolExecutor(n_threads, initializer=_begin_thread, initargs=(n_in_all,)) as pool:
        yield pool


def n_side_by_side() -> int:
    """Return how many threads may work where this one does, itself included: what memory is free is for all of them."""
    return getattr(_this_thread, "n_side_by_side", 1)


_this_thread = local()


def _begin_thread(n_in_all: int) -> None:
    """Limit BLAS for this thread: where it is built on OpenMP, every thread has a limit of its own."""
    _this_thread.n_side_by_side = n_in_all
    for blas in _blas():
        if getattr(blas, "threading_layer", "") == "openmp":
            _set_threads(blas, 1)


def _set_threads(blas: Any, number: int) -> None:
    # From 3.8 on threadpoolctl lets only the thread set the number that was the first to do so.
    if hasattr(blas, "clear_controlling_thread"):
        blas.clear_controlling_thread(force=True)
    blas.set_num_threads(number)


@cache
def _blas() -> list[Any]:
    """Return the controllers of all BLAS libraries."""
    import scipy.linalg  # noqa: F401  # SciPy brings a BLAS of its own, which is only found once it is loaded

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)
