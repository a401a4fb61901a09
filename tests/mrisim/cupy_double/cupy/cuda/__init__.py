"""Two devices that are this host; the current one is each thread's own."""

from __future__ import annotations

import threading
from typing import Any

from cupy.cuda import runtime


class _Current(threading.local):
    def __init__(self) -> None:
        self.stack = [0]


_current = _Current()


class Device:
    """A device by its number; without one, the current device. As a context, the current device."""

    def __init__(self, index: int | Device | None = None) -> None:
        self.id = _current.stack[-1] if index is None else getattr(index, "id", index)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __enter__(self) -> Device:
        if self.id >= runtime.getDeviceCount():
            raise runtime.CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        _current.stack.append(self.id)
        return self

    def __exit__(self, *_: Any) -> None:
        _current.stack.pop()

    def use(self) -> None:
        _current.stack[-1] = self.id
