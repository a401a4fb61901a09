"""A local queue of worker processes: so many at a time, each with its own threads, log and end.

Measured on two cores: two processes with one thread each train more networks an hour than one with two threads.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from diagnose.study.worker import Task

POLL_S = 0.1
LOGS = "logs"
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}
"""How threads wait for each other, as `diagnose.cli` sets it and says why; what the user has set wins."""


@dataclass(frozen=True)
class Ended:
    """A task that has ended, well or not."""

    task: Task
    exit_code: int
    seconds: float
    reason: str = ""
    """Why it failed, from the end of its log."""


@dataclass(frozen=True)
class QueueWatch:
    """How a queue tells what it does."""

    on_running: Callable[[list[str]], None] = lambda names: None
    """Told the names of the tasks that run, whenever that changes."""
    on_end: Callable[[Ended], None] = lambda ended: None
    on_wait: Callable[[], None] = lambda: None
    """Called some times a second."""


def run_queue(
    tasks: Sequence[Task], study: Path, n_workers: int, *, lock: int | None = None, watch: QueueWatch | None = None
) -> list[Ended]:
    """Run tasks in worker processes, in order, ``n_workers`` at a time; return how each ended.

    Parameters
    ----------
    tasks : sequence of Task
    study : Path
        ``logs/<task>.log`` in it gets what the workers print.
    n_workers : int
    lock : int, optional
        File descriptor that workers inherit: the lock of the study is free when the last of them is gone.
    watch : QueueWatch, optional

    Raises
    ------
    BaseException
        Whatever interrupts the wait; before it goes on, every worker has been asked to save its state, and has ended.
    """
    watch = watch or QueueWatch()
    waiting, ended = list(tasks), []
    running: dict[subprocess.Popen[str], tuple[Task, float]] = {}
    try:
        while waiting or running:
            changed = False
            while waiting and len(running) < n_workers:
                task = waiting.pop(0)
                running[_start(task, study, lock)] = (task, time.monotonic())
                changed = True
            if changed:
                watch.on_running([task.name for task, _ in running.values()])
            time.sleep(POLL_S)
            watch.on_wait()
            for process in [process for process in running if process.poll() is not None]:
                task, started = running.pop(process)
                reason = _reason(study, task, process.returncode) if process.returncode else ""
                ended.append(Ended(task, process.returncode, time.monotonic() - started, reason))
                watch.on_end(ended[-1])
    except BaseException:
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait()
        raise
    finally:
        watch.on_running([])
    return ended


def _start(task: Task, study: Path, lock: int | None) -> subprocess.Popen[str]:
    log = study / LOGS / f"{task.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(task.n_threads))
    environment = {**WAITING, **os.environ, **threads, "NUMBA_NUM_THREADS": "1"}
    with log.open("a") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "diagnose.study.worker"], stdin=subprocess.PIPE, stdout=stream, stderr=stream,
            text=True, env=environment, pass_fds=() if lock is None else (lock,),
        )  # fmt: skip
    assert process.stdin is not None
    try:
        with process.stdin as stdin:
            stdin.write(task.text())
    except BrokenPipeError:
        pass  # it ended at once: its exit code and log say why
    return process


def _reason(study: Path, task: Task, exit_code: int) -> str:
    if exit_code < 0:
        return f"killed by signal {-exit_code}" + (" (out of memory?)" if exit_code == -signal.SIGKILL else "")
    lines = (study / LOGS / f"{task.name}.log").read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else f"exit code {exit_code}, and an empty log"
