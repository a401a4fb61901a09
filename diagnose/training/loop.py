"""The training loop: one epoch at a time, each a function of the state before it, to be stopped between any batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from diagnose.checkpoint import epoch_folder, save_model
from diagnose.run_folder import draw_progress, write_metrics
from diagnose.slice_images import Progress
from diagnose.training.distributed import ProcessGroup
from diagnose.training.execution import Execution
from diagnose.training.spec import LoopSpec
from diagnose.training.state import TrainingState
from diagnose.training.task import BatchLoss, Task
from mrisim.errors import ConfigError, MrisimError

FIGURE_EVERY = 5


class Interrupted(MrisimError):
    """The run was asked to stop; its state is saved, and the same command goes on from there."""

    exit_code = 6


@dataclass(frozen=True)
class Watch:
    """How a run talks to its caller, and hears from it."""

    say: Callable[[str], None] = lambda text: None
    images: Progress | None = None
    stop: Callable[[], bool] = lambda: False
    """Asked between volumes while images are made, before an epoch, after every batch of training, and before every
    batch that is only predicted: True ends the run, its state saved."""
    batch: Callable[[int, int, int, float], None] = lambda epoch, done, total, loss: None
    """Told after every batch: epoch, counted from 1, its batches done and in all, and its mean loss so far."""

    def between_volumes(self, what: str, done: int, total: int) -> None:
        """Say how many volumes of something are done, and stop the run if that is asked for.

        Not after the last one: what is complete is kept.

        Raises
        ------
        Interrupted
        """
        if self.images is not None:
            self.images(what, done, total)
        if done < total and self.stop():
            raise Interrupted(f"stopped at {done} of {total} {what}; the same command goes on")


@dataclass(frozen=True, eq=False)
class Course:
    """What stays the same over the epochs of a run."""

    task: Task
    spec: LoopSpec
    execution: Execution
    group: ProcessGroup
    folder: Path
    watch: Watch


def batches_in_epoch(task: Task, spec: LoopSpec) -> int:
    return -(-task.n_items // spec.batch)


def run_epoch(state: TrainingState, course: Course) -> None:
    """Train what is left of an epoch, validate, and keep what is best."""
    started = time.perf_counter()
    task, group, folder = course.task, course.group, course.folder
    if group.first(course.watch.stop):
        group.first(lambda: _stop(state, folder))
    if state.n_batches_done < batches_in_epoch(task, course.spec):  # else stopped in validation
        _train_batches(state, course, task.begin_epoch(state.epoch, folder, group))
    entry = group.first(lambda: _validated(state, course))
    mean = entry[f"val_{task.measure.lower()}_mean"]
    if mean > state.best_value:
        state.best_value, state.best_epoch = mean, state.epoch
        group.first(lambda: save_model(folder, state.network, task.description(state.epoch, mean)))
    if task.keeps_every_epoch:
        kept = epoch_folder(folder, state.epoch)
        group.first(lambda: save_model(kept, state.network, task.description(state.epoch, mean)))
    state.history.append(entry)
    state.epoch, state.n_batches_done, state.loss_sum = state.epoch + 1, 0, 0.0
    group.first(lambda: state.save(folder))
    group.first(lambda: write_metrics(folder, state.history))
    if state.epoch % FIGURE_EVERY == 0:
        group.first(lambda: draw_progress(folder, state.history, task.measure))
    best = "  best" if state.best_epoch == entry["epoch"] else ""
    course.watch.say(
        f"epoch {state.epoch}/{course.spec.epochs}  loss {entry['train_loss']:.3f}  validation {task.measure} "
        f"{mean:.3f}{best}  ({time.perf_counter() - started:.1f} s)"
    )


def _train_batches(state: TrainingState, course: Course, loss: BatchLoss) -> None:
    """Take the steps of an epoch that are not taken yet."""
    spec, group, n_items = course.spec, course.group, course.task.n_items
    n_batches = batches_in_epoch(course.task, spec)
    state.network.train()
    for number in range(state.n_batches_done, n_batches):
        start, stop = number * spec.batch, min((number + 1) * spec.batch, n_items)
        state.optimizer.zero_grad(set_to_none=True)
        loss_sum = _backward(state.network, loss, group.part(start, stop), stop - start, course.execution)
        group.add_gradients(state.network)
        if spec.largest_gradient is not None:
            nn.utils.clip_grad_norm_(state.network.parameters(), spec.largest_gradient)
        state.optimizer.step()
        state.scheduler.step()
        loss_sum, n_stops = group.totals(loss_sum, float(course.watch.stop()))
        state.loss_sum += loss_sum
        state.n_batches_done = number + 1
        course.watch.batch(state.epoch + 1, number + 1, n_batches, state.loss_sum / stop)
        if n_stops:
            group.first(lambda: _stop(state, course.folder))


def _backward(network: nn.Module, loss: BatchLoss, part: slice, n_batch: int, execution: Execution) -> float:
    """Add the gradient that a part of a batch has in the mean over the batch; return its summed loss.

    The part is empty where a batch is smaller than the processes are many.
    """
    n_items = part.stop - part.start
    if n_items == 0:
        return 0.0
    value = loss(network, part, execution)
    (value if n_items == n_batch else value * (n_items / n_batch)).backward()
    return float(value.detach()) * n_items


@contextmanager
def interruptible(network: nn.Module, stop: Callable[[], bool], end: Callable[[], None]) -> Iterator[None]:
    """Ask, before every batch that a network predicts in the meantime, whether to stop, and ``end`` the run if so.

    Every batch of every task is one call of the network, so none of them has to know of this.
    """

    def ask(_network: nn.Module, _inputs: tuple[Any, ...]) -> None:
        if stop():
            end()

    handle = network.register_forward_pre_hook(ask)
    try:
        yield
    finally:
        handle.remove()


def _stop(state: TrainingState, folder: Path) -> None:
    state.save(folder)
    raise Interrupted(f"stopped in epoch {state.epoch + 1}; the state is saved, the same command goes on")


def _validated(state: TrainingState, course: Course) -> dict[str, Any]:
    """Return the line of an epoch that is trained: its loss, and how well clean validation goes."""
    if not np.isfinite(state.loss_sum):
        raise ConfigError(
            f"the loss of epoch {state.epoch + 1} is not finite; expected a smaller lr than {course.spec.lr:g}"
        )
    with interruptible(state.network, course.watch.stop, lambda: _stop(state, course.folder)):
        found = course.task.validate(state.network, course.execution)
    name = f"val_{course.task.measure.lower()}"
    loss = {} if found.loss is None else {"val_loss": found.loss}
    return {
        "epoch": state.epoch,
        "train_loss": state.loss_sum / course.task.n_items,
        **loss,
        name: found.parts,
        f"{name}_mean": found.mean,
        "lr": float(state.optimizer.param_groups[0]["lr"]),
    }
