"""How far an epoch of training is: a bar on a terminal; elsewhere nothing, because the line of an epoch says enough."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

BatchProgress = Callable[[int, int, int, float], None]
"""As `diagnose.training.loop.Watch.batch`: told the epoch, its batches done and in all, and its mean loss so far."""


@contextmanager
def batch_progress(n_epochs: int) -> Iterator[BatchProgress]:
    """Give what is to be told of every batch; it writes to standard error.

    A bar is there while batches are trained, and gone at the last one: other lines and counts never meet it.
    """
    if not sys.stderr.isatty():
        yield lambda epoch, done, total, loss: None
        return
    under_way: list[Progress] = []

    def tell(epoch: int, done: int, total: int, loss: float) -> None:
        if not under_way:
            under_way.append(_bar())
            # A resumed epoch begins where it was: batches of an earlier process say nothing of this one's speed.
            under_way[0].add_task(f"epoch {epoch}/{n_epochs}", total=total, completed=done, loss=loss)
            under_way[0].start()
        under_way[0].update(under_way[0].task_ids[0], completed=done, loss=loss)
        if done == total:
            under_way.pop().stop()

    try:
        yield tell
    finally:
        for bar in under_way:
            bar.stop()


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(), console=Console(stderr=True), transient=True,
    )  # fmt: skip
