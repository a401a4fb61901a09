"""What freed memory and FFT plans do in CuPy: the pool keeps blocks, and a plan keeps the block that it lies in."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from cupy import cuda


class OutOfMemoryError(MemoryError):
    """The pool could not have memory of this size."""

    def __init__(self, size: int, total: int) -> None:
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes).")


class PlanCache:
    """The plans of one thread and device, each with a work area from the pool."""

    def __init__(self) -> None:
        self.plans: set[Any] = set()
        self.device = cuda.Device()
        _CACHES.add(self)

    def clear(self) -> None:
        self.plans.clear()


_CACHES: WeakSet[PlanCache] = WeakSet()
_of_thread = threading.local()
_freed: Counter[cuda.Device] = Counter()


def get_plan_cache() -> PlanCache:
    caches: dict[Any, PlanCache] = vars(_of_thread)
    return caches.setdefault(f"device {cuda.Device().id}", PlanCache())


def planned(transform: Callable[..., Any]) -> Callable[..., Any]:
    """Let a transform plan first, and free some memory as all work does."""

    def on_device(array: Any, *args: Any, **kwargs: Any) -> Any:
        get_plan_cache().plans.add((array.shape, str(array.dtype), str(kwargs.get("axes"))))
        _freed[cuda.Device()] += array.nbytes
        return transform(array, *args, **kwargs)

    return on_device


class MemoryPool:
    """Blocks of the current device."""

    def free_all_blocks(self) -> None:
        if not any(cache.plans for cache in list(_CACHES) if cache.device == cuda.Device()):
            _freed[cuda.Device()] = 0

    def free_bytes(self) -> int:
        return _freed[cuda.Device()]
