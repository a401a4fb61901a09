"""Threads that work side by side, each on one core: no threads of BLAS beside them, and the interpreter soon."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

HANDOVER_S = 5e-5
"""Time after which a thread that runs Python lets another one have its turn; Python's own is 5 ms."""
HALF_A_TICK_S = 5e-7
"""Python cuts it to whole microseconds: what it says of itself would come back as one less, time after time."""


@contextmanager
def side_by_side() -> Iterator[None]:
    """Let BLAS compute in the thread that calls it, and threads that wait for the interpreter have it soon.

    BLAS has threads of its own, as many as there are cores, for every caller: 64 files took two workers 16.5 s with
    them, one worker 14, and two 9.5 s without them, at half the CPU time. Its sums depend on their number, too: samples
    would depend on the machine's. Sets back what it found; where two threads overlap in here, the first one's limit
    of BLAS holds (`threadpoolctl`).
    """
    before = sys.getswitchinterval()
    with _blas().limit(limits=1):
        sys.setswitchinterval(HANDOVER_S)
        try:
            yield
        finally:
            sys.setswitchinterval(before + HALF_A_TICK_S)


@contextmanager
def worker_threads(n_threads: int) -> Iterator[ThreadPoolExecutor]:
    """Give a pool of threads, one at least, that compute side by side."""
    with side_by_side(), ThreadPoolExecutor(max_workers=max(1, n_threads)) as pool:
        yield pool


@cache
def _blas() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401  # SciPy brings a BLAS of its own, which is only found once it is loaded

    return ThreadpoolController().select(user_api="blas")
