"""Train one network: a plain loop that can be stopped at any moment and continued bit for bit.

Weighted sampler, AdamW, early stop on the mean AUROC of clean validation, best checkpoint; the corruption of
`train_shift`, if any, acts on multi-coil k-space, anew in every epoch. Under torchrun several processes train one
network (`diagnose.training.distributed`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diagnose.checkpoint import load_model
from diagnose.cost_estimate import Cost, as_time, image_bytes, seconds_per_image, slice_counts, training_seconds
from diagnose.dataset import SliceTable, load_slice_table
from diagnose.evaluation.clean_results import predict_clean, summarise_clean
from diagnose.evaluation.prediction_table import write_table
from diagnose.input_scaling import fit_scaling
from diagnose.run_folder import (
    DONE,
    DataLocation,
    draw_progress,
    open_run,
    recall_execution,
    remember_execution,
    run_name,
    write_metrics,
)  # fmt: skip
from diagnose.slice_images import ImageStore, Shift, image_store, make_images, split_images
from diagnose.training.distributed import SMALL_PART, ProcessGroup, process_group
from diagnose.training.execution import Execution, choose_execution, deterministic_kernels
from diagnose.training.loop import SHIFTED, Material, Watch, architecture_of, batches_in_epoch, run_epoch
from diagnose.training.spec import TrainSpec
from diagnose.training.state import new_state
from mrisim.errors import ConfigError
from mrisim.files import write_text


@dataclass(frozen=True)
class FitResult:
    """A finished run."""

    folder: Path
    results: dict[str, Any]
    """Clean AUROC with intervals; the content of results.json."""
    was_done: bool


def fit(
    spec: TrainSpec, location: DataLocation, folder: Path | None = None, *, overwrite: bool = False,
    n_threads: int = 1, watch: Watch | None = None,
) -> FitResult:  # fmt: skip
    """Train a network, or go on with, or report, a run that exists.

    Parameters
    ----------
    spec : TrainSpec
    location : DataLocation
    folder : Path, optional
        The run folder; ``runs/<norm>__seed<k>__<hash>`` by default.
    overwrite : bool
        Replace a run that is there.
    n_threads : int
        Of torch, and volumes read at a time. A resumed run keeps those it began with: the sums depend on them.
    watch : Watch, optional

    Returns
    -------
    FitResult

    Raises
    ------
    DataError, ConfigError
        If data, labels, split or request cannot be used.
    Interrupted
        If the caller asked to stop.
    """
    with process_group() as group:
        watch = watch or Watch()
        if not group.is_first:
            watch = Watch(stop=watch.stop)
        table = group.first(lambda: load_slice_table(spec.data_request(location.root, location.labels, location.split)))
        folder = folder or Path("runs") / run_name(spec, table.identity)
        begun = group.first(partial(_begin, folder, spec, table, location, overwrite, group.n_processes))
        if begun == "done":
            return FitResult(folder, json.loads((folder / "results.json").read_text(encoding="utf-8")), was_done=True)
        _announce(begun, folder, spec, table, group.n_processes, watch)
        known = group.first(lambda: recall_execution(folder))
        n_threads_before = torch.get_num_threads()
        torch.set_num_threads(known.n_threads if known else n_threads)
        try:
            with deterministic_kernels():
                store = image_store(spec.crop, n_threads=n_threads)
                results = _train_and_predict(spec, table, folder, store, watch, group)
        finally:
            torch.set_num_threads(n_threads_before)
    return FitResult(folder, results, was_done=False)


def estimate(spec: TrainSpec, location: DataLocation, *, folder: Path | None = None, n_threads: int = 1) -> Cost:
    """Return what a run would take, from the real data and a measured step; nothing is written.

    Raises
    ------
    DataError, ConfigError
        As `fit`.
    """
    table = load_slice_table(spec.data_request(location.root, location.labels, location.split))
    train = table.of_split("train")
    shape = make_images(train.volumes[0], Shift(), crop=spec.crop, slices=[0]).shape[1:]
    network = architecture_of(spec, table).build(spec.seed)
    n_threads_before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    _check_fit(network, (spec.batch, 1, *shape))
    try:
        steps = training_seconds(network, (spec.batch, 1, *shape), spec.epochs * len(train.labels))
    finally:
        torch.set_num_threads(n_threads_before)
    clean = seconds_per_image(train, [Shift()], spec.crop, n_threads) * len(table.labels)
    return Cost({
        "out": str(folder or Path("runs") / run_name(spec, table.identity)),
        **slice_counts(table),
        "findings": ", ".join(table.findings),
        "parameters": f"{sum(parameter.numel() for parameter in network.parameters()):,}",
        "clean_images": f"{as_time(clean)}, {image_bytes(table, shape) / 1e6:.0f} MB in the cache (once)",
        "training": f"about {as_time(steps)} for {spec.epochs} epochs on {n_threads} threads, at most",
        "notes": "; ".join(table.notes) or "none",
    })  # fmt: skip


def _begin(
    folder: Path, spec: TrainSpec, table: SliceTable, location: DataLocation, overwrite: bool, n_processes: int
) -> str:
    """Open the run folder and check that the processes fit it; return whether it is new, resumed or done."""
    if spec.batch < n_processes:
        raise ConfigError(f"batch is {spec.batch}; expected at least one slice for each of the {n_processes} processes")
    begun = open_run(folder, spec, table, location, overwrite=overwrite)
    known = recall_execution(folder)
    if known is not None and known.n_processes != n_processes:
        raise ConfigError(
            f"{folder.name} was begun with {known.n_processes} processes, now there are {n_processes}; expected as "
            "many (sums depend on it, and batch norm on each process's part), another --out, or --overwrite"
        )
    return begun


def _announce(begun: str, folder: Path, spec: TrainSpec, table: SliceTable, n_processes: int, watch: Watch) -> None:
    for note in table.notes:
        watch.say(f"note: {note}")
    watch.say(f"{'resuming' if begun == 'resumed' else 'training'} {spec.norm}, seed {spec.seed}, in {folder}")
    part = spec.batch // n_processes
    if spec.norm == "bn" and n_processes > 1 and part < SMALL_PART:
        watch.say(
            f"warning: batch norm sees {part} slices at a time, the part of one process; expected {SMALL_PART} or more "
            f"(--set batch={SMALL_PART * n_processes})"
        )


def _train_and_predict(
    spec: TrainSpec, table: SliceTable, folder: Path, store: ImageStore, watch: Watch, group: ProcessGroup
) -> dict[str, Any]:
    parts = [table.of_split(split) for split in ("train", "val", "test")]

    def make_all() -> list[np.ndarray]:
        return [split_images(part, Shift(), store, watch.images) for part in parts]

    group.first(lambda: len(make_all()))  # the others find them made
    (train, val, test), (train_images, val_images, test_images) = parts, make_all()
    network = architecture_of(spec, table).build(spec.seed)
    execution = group.first(lambda: _execution(spec, network, train_images, folder, group))
    scaling = group.first(lambda: fit_scaling(spec.scaling, train_images))
    material = Material(train, train_images, val, val_images, scaling, store, execution, group)
    state = new_state(execution.laid_out(network), spec, batches_in_epoch(train, spec))
    state.restore(folder)
    while state.epoch < spec.epochs and state.epoch - 1 - state.best_epoch < spec.patience:
        run_epoch(state, spec, material, folder, watch)
    images = {"val": (val, val_images), "test": (test, test_images)}
    return group.first(lambda: _finish(folder, state.history, images, execution, spec))


def _execution(
    spec: TrainSpec, network: torch.nn.Module, train_images: np.ndarray, folder: Path, group: ProcessGroup
) -> Execution:
    """Return the formats that the run began with, or measure them and write them down."""
    execution = recall_execution(folder)
    if execution is None:
        shape = (min(-(-spec.batch // group.n_processes), len(train_images)), 1, *train_images.shape[1:])
        _check_fit(network, shape)
        execution = choose_execution(network, shape, precision=spec.precision, memory_format=spec.memory_format)
        execution = execution.model_copy(update={"n_processes": group.n_processes})
        remember_execution(folder, execution)
    return execution


def _finish(
    folder: Path, history: list[dict[str, Any]], images: dict[str, tuple[SliceTable, np.ndarray]],
    execution: Execution, spec: TrainSpec,
) -> dict[str, Any]:  # fmt: skip
    """Predict with the best weights and write what a finished run holds."""
    write_metrics(folder, history)
    draw_progress(folder, history, images["test"][0].findings)
    (folder / SHIFTED).unlink(missing_ok=True)
    trained, description = load_model(folder)
    blocks = predict_clean(trained, description, images, run=folder.name, execution=execution)
    write_table(folder / "predictions.csv.gz", blocks)
    results = summarise_clean(blocks, description)
    results |= {"n_processes": execution.n_processes, "batch_per_process": spec.batch // execution.n_processes}
    write_text(folder / "results.json", json.dumps(results, indent=2) + "\n")
    write_text(folder / DONE, "")
    return results


def _check_fit(network: torch.nn.Module, batch_shape: tuple[int, ...]) -> None:
    """Refuse images that the network shrinks to nothing, before a long run finds out."""
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros((1, *batch_shape[1:])))
    except ValueError as error:
        rows, columns = batch_shape[2:]
        raise ConfigError(f"images of {rows} x {columns} do not fit the network: {error}") from None
