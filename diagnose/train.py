"""Train one network: a plain loop that can be stopped at any moment and continued bit for bit, whatever the task.

AdamW, early stop on clean validation, best checkpoint. What is learnt, from which batches, is the task's
(`diagnose.tasks`). Under torchrun several processes train one network (`diagnose.training.distributed`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from diagnose.claimed_folder import given_up_on_error
from diagnose.run_folder import (
    DONE,
    RUN,
    DataLocation,
    draw_progress,
    has_begun,
    open_run,
    recall_execution,
    remember_execution,
    run_name,
    write_metrics,
)  # fmt: skip
from diagnose.torch_device import CPU, resolve_device
from diagnose.training.distributed import SMALL_PART, ProcessGroup, process_group
from diagnose.training.execution import Execution, deterministic_kernels
from diagnose.training.loop import Course, Interrupted, Watch, batches_in_epoch, interruptible, run_epoch
from diagnose.training.run_log import append, logged
from diagnose.training.spec import LoopSpec
from diagnose.training.state import new_state
from diagnose.training.task import Task, TrainingData, task_module
from mrisim.errors import ConfigError
from mrisim.files import write_text
from mrisim.output_folder import discard


@dataclass(frozen=True)
class FitResult:
    """A finished run."""

    folder: Path
    results: dict[str, Any]
    """Clean measures with intervals; the content of results.json."""
    was_done: bool


def fit(
    spec: LoopSpec, location: DataLocation, folder: Path | None = None, *, overwrite: bool = False,
    n_threads: int = 1, device: str = CPU, watch: Watch | None = None,
) -> FitResult:  # fmt: skip
    """Train a network, or go on with, or report, a run that exists.

    Parameters
    ----------
    spec : LoopSpec
        Of the task that is to be learnt.
    location : DataLocation
    folder : Path, optional
        The run folder; ``runs/<norm>__seed<k>__<hash>`` by default.
    overwrite : bool
        Replace a run that is there; it is kept until this one is finished.
    n_threads : int
        Of torch, and volumes read at a time. A resumed run keeps those it began with: the sums depend on them.
    device : str
        auto, cpu, cuda or cuda:N (`diagnose.torch_device`). A resumed run keeps the one it began on.
    watch : Watch, optional

    Returns
    -------
    FitResult

    Raises
    ------
    DataError, ConfigError
        If data, labels, split, request or the folder's name cannot be used.
    Interrupted
        If the caller asked to stop.
    """
    with process_group() as group:
        watch = watch or Watch()
        if not group.is_first:
            watch = Watch(stop=watch.stop)
        device = _device(device, group)
        module = task_module(spec.task)
        data = group.first(lambda: module.load_data(spec, location))
        folder = folder or Path("runs") / run_name(spec, data.identity)
        _check_name(folder, module.METHODS)
        begun = group.first(partial(_begin, folder, spec, data, location, overwrite, group.n_processes))
        if begun == "done":
            return FitResult(folder, json.loads((folder / "results.json").read_text(encoding="utf-8")), was_done=True)
        # The log is closed first: it lies in the folder.
        with _earlier_kept(folder, watch, group), _watch_of(folder, watch, group) as told:
            _announce(begun, folder, spec, data, group.n_processes, told)
            results = _carry_out(spec, data, folder, (n_threads, device), told, group)
        group.first(lambda: discard(folder))
    return FitResult(folder, results, was_done=False)


def _check_name(folder: Path, methods: Sequence[str]) -> None:
    """Refuse a name that is taken in the table of a run: its rows go by the folder's name."""
    if folder.resolve().name in methods:
        raise ConfigError(f"--out {folder.name} is the name of a method in the run's table; expected another")


def _earlier_kept(folder: Path, watch: Watch, group: ProcessGroup) -> AbstractContextManager[None]:
    if not group.is_first:
        return nullcontext()
    return given_up_on_error(folder, RUN, lambda: has_begun(folder), watch.say)


def _watch_of(folder: Path, watch: Watch, group: ProcessGroup) -> AbstractContextManager[Watch]:
    return logged(folder, watch) if group.is_first else nullcontext(watch)


def _begin(
    folder: Path, spec: LoopSpec, data: TrainingData, location: DataLocation, overwrite: bool, n_processes: int
) -> str:
    """Open the run folder and check that the processes fit it; return whether it is new, resumed or done."""
    if spec.batch < n_processes:
        raise ConfigError(f"batch is {spec.batch}; expected at least one item for each of the {n_processes} processes")
    begun = open_run(folder, spec, data, location, overwrite=overwrite)
    known = recall_execution(folder)
    if known is not None and known.n_processes != n_processes:
        raise ConfigError(
            f"{folder.name} was begun with {known.n_processes} processes, now there are {n_processes}; expected as "
            "many (sums depend on it, and batch norm on each process's part), another --out, or --overwrite"
        )
    return begun


def _announce(begun: str, folder: Path, spec: LoopSpec, data: TrainingData, n_processes: int, watch: Watch) -> None:
    for note in data.notes:
        watch.say(f"note: {note}")
    watch.say(f"{'resuming' if begun == 'resumed' else 'training'} {spec.norm}, seed {spec.seed}, in {folder}")
    part = spec.batch // n_processes
    if spec.norm == "bn" and n_processes > 1 and part < SMALL_PART:
        watch.say(
            f"warning: batch norm sees {part} items at a time, the part of one process; expected {SMALL_PART} or more "
            f"(--set batch={SMALL_PART * n_processes})"
        )


def _device(asked: str, group: ProcessGroup) -> str:
    """Return the device of a new run, which is known to work."""
    if group.n_processes == 1:
        return resolve_device(asked)
    if asked not in ("auto", CPU):
        raise ConfigError(f"device is {asked!r}; expected 'cpu', because several processes train on CPUs alone")
    return CPU


def _device_again(known: Execution) -> str:
    """Return the device that a run began on: sums differ from one to another."""
    try:
        return resolve_device(known.device)
    except ConfigError as error:
        raise ConfigError(f"the run was begun on {known.device}: {error}, with --overwrite or another --out") from None


def _carry_out(
    spec: LoopSpec, data: TrainingData, folder: Path, resources: tuple[int, str], watch: Watch, group: ProcessGroup
) -> dict[str, Any]:
    """Prepare, train and predict with threads and device, or with those that the run began with."""
    known = group.first(lambda: recall_execution(folder))
    n_threads, device = resources if known is None else (resources[0], _device_again(known))
    n_threads_before = torch.get_num_threads()
    torch.set_num_threads(known.n_threads if known else n_threads)
    try:
        with deterministic_kernels(device):
            progress = watch.between_volumes if group.is_first else None
            task = task_module(spec.task).prepare(spec, data, progress, n_threads=n_threads, group=group)
            return _train_and_predict(task, spec, folder, device, watch, group)
    finally:
        torch.set_num_threads(n_threads_before)


def _train_and_predict(
    task: Task, spec: LoopSpec, folder: Path, device: str, watch: Watch, group: ProcessGroup
) -> dict[str, Any]:
    network = task.build()
    execution = group.first(lambda: _execution(task, spec, network, folder, device, group))
    state = new_state(execution.laid_out(network), spec, batches_in_epoch(task, spec))
    state.restore(folder)
    course = Course(task, spec, execution, group, folder, watch)
    try:
        while state.epoch < spec.epochs and state.epoch - 1 - state.best_epoch < spec.patience:
            run_epoch(state, course)
    finally:
        task.close(folder)
    return group.first(lambda: _finish(course, state.history))


def _execution(
    task: Task, spec: LoopSpec, network: torch.nn.Module, folder: Path, device: str, group: ProcessGroup
) -> Execution:
    """Return the formats that the run began with, or measure them and write them down."""
    execution = recall_execution(folder)
    if execution is None:
        execution = task.choose_execution(network, -(-spec.batch // group.n_processes), device)
        execution = execution.model_copy(update={"n_processes": group.n_processes})
        remember_execution(folder, execution)
    return execution


def _finish(course: Course, history: list[dict[str, Any]]) -> dict[str, Any]:
    """Predict with the best weights and write what a finished run holds."""
    folder, n_processes = course.folder, course.execution.n_processes
    write_metrics(folder, history)
    draw_progress(folder, history, course.task.measure)
    results = course.task.finish(folder, course.execution, partial(interruptible, stop=course.watch.stop, end=_stop))
    results |= {"n_processes": n_processes, "batch_per_process": course.spec.batch // n_processes}
    write_text(folder / "results.json", json.dumps(results, indent=2) + "\n")
    append(folder, "\n".join(["finished", *task_module(course.spec.task).lines_of(results)]))
    write_text(folder / DONE, "")
    return results


def _stop() -> None:
    raise Interrupted("stopped in the final predictions; the training is done and saved, the same command goes on")
