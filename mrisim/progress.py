"""Say how far a batch is, a bar on a terminal, one plain line an item elsewhere; and what a first run waits for."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def progress(n_items: int) -> Iterator[Callable[[Any], None]]:
    """Give a function to be called with each finished item's report; it writes to standard error."""
    if n_items <= 1:
        yield lambda report: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("corrupting", total=n_items)
            yield lambda report: bar.advance(task)
    else:
        done = 0

        def tell(report: Any) -> None:
            nonlocal done
            done += 1
            state = "failed" if report.failures else "resumed" if report.resumed else f"{report.seconds:.1f} s"
            print(f"{done}/{n_items} {report.item_id}: {state}", file=sys.stderr, flush=True)

        yield tell


def announce_compiling() -> None:
    """Say so on a terminal, once, when loops are compiled: a machine's first run took 18 s."""
    if not sys.stderr.isatty():
        return
    from numba.core import event

    class Announcement(event.Listener):
        made = False

        def on_start(self, _event: event.Event) -> None:
            if not self.made:
                print("compiling for this machine, once: up to half a minute", file=sys.stderr, flush=True)
            self.made = True

        def on_end(self, _event: event.Event) -> None:
            pass

    event.register("numba:compile", Announcement())
