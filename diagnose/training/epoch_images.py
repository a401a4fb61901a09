"""Corrupted training images, made an epoch ahead: where a core is free, the loop waits for the first epoch only."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np

from diagnose.slice_images import Progress
from diagnose.training.distributed import ProcessGroup

FILE = "shifted-epoch-{}.npy"
"""Two files take turns: one is read while the other is written."""


class _Closed(Exception):
    """Nobody waits for these images any more."""


class EpochImages:
    """The images of each epoch, as files of a run folder.

    Parameters
    ----------
    make : callable
        Called with (file, epoch, progress), in one thread at a time; writes the images of an epoch, which are a
        function of the epoch alone, and tells ``progress`` volume by volume.
    n_epochs : int
        None is made beyond.
    progress : callable, optional
        Told volume by volume of the images that the loop waits for; what it raises ends the wait.
    """

    def __init__(self, make: Callable[[Path, int, Progress], None], n_epochs: int, progress: Progress | None = None):
        self._make, self._n_epochs, self._progress = make, n_epochs, progress
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._under_way: tuple[int, Future[None]] | None = None
        self._closed, self._awaited = Event(), Event()

    def of(self, epoch: int, folder: Path, group: ProcessGroup) -> np.ndarray:
        """Return the images of an epoch, read-only, and begin those of the next; the first process makes them."""
        group.first(lambda: self._finished(epoch, folder))
        images: np.ndarray = np.load(_file(folder, epoch), mmap_mode="r", allow_pickle=False)
        if group.is_first and epoch + 1 < self._n_epochs:
            self._under_way = (epoch + 1, self._begun(epoch + 1, folder))
        return images

    def close(self, folder: Path) -> None:
        """Give up what is under way, at the next volume, and remove the files."""
        self._closed.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for epoch in range(2):
            _file(folder, epoch).unlink(missing_ok=True)

    def _finished(self, epoch: int, folder: Path) -> None:
        known, self._under_way = self._under_way, None
        self._awaited.set()
        try:
            if known is None or known[0] != epoch:
                known = (epoch, self._begun(epoch, folder))
            known[1].result()
        finally:
            self._awaited.clear()

    def _begun(self, epoch: int, folder: Path) -> Future[None]:
        return self._pool.submit(self._make, _file(folder, epoch), epoch, self._go_on)

    def _go_on(self, what: str, done: int, total: int) -> None:
        if self._closed.is_set():
            raise _Closed
        # Ahead of the loop they are nobody's concern: the loop itself is asked to stop.
        if self._progress is not None and self._awaited.is_set():
            self._progress(what, done, total)


def _file(folder: Path, epoch: int) -> Path:
    return folder / FILE.format(epoch % 2)
