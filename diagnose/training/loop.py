"""The training loop: one epoch at a time, each a function of the state before it, to be stopped after any batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from diagnose.checkpoint import Architecture, ModelDescription, save_model
from diagnose.dataset import SliceTable
from diagnose.input_scaling import InputScaling
from diagnose.run_folder import draw_progress, write_metrics
from diagnose.slice_images import ImageStore, Progress
from diagnose.tasks.classification import auroc_by_finding, loss, predict
from diagnose.training.distributed import ProcessGroup
from diagnose.training.execution import Execution
from diagnose.training.sampling import epoch_order, epoch_translations, shifted_epoch, translate
from diagnose.training.spec import TrainSpec
from diagnose.training.state import TrainingState
from mrisim.errors import ConfigError, MrisimError

FIGURE_EVERY = 5
SHIFTED = "shifted-epoch.npy"


class Interrupted(MrisimError):
    """The run was asked to stop; its state is saved, and the same command goes on from there."""

    exit_code = 6


@dataclass(frozen=True)
class Watch:
    """How a run talks to its caller, and hears from it."""

    say: Callable[[str], None] = lambda text: None
    images: Progress | None = None
    stop: Callable[[], bool] = lambda: False
    """Asked after every batch: True saves the state and ends the run."""


@dataclass(frozen=True, eq=False)
class Material:
    """What the loop reads: the training and validation slices, how they are scaled, and how steps run."""

    train: SliceTable
    train_images: np.ndarray
    val: SliceTable
    val_images: np.ndarray
    scaling: InputScaling
    store: ImageStore
    execution: Execution
    group: ProcessGroup


def architecture_of(spec: TrainSpec, table: SliceTable) -> Architecture:
    return Architecture(
        norm=spec.norm, depth=spec.depth, width=spec.width, stem_stride=spec.stem_stride,
        pooled_size=spec.pooled_size, n_heads=len(table.findings),
    )  # fmt: skip


def batches_in_epoch(train: SliceTable, spec: TrainSpec) -> int:
    return -(-len(train.labels) // spec.batch)


def run_epoch(state: TrainingState, spec: TrainSpec, material: Material, folder: Path, watch: Watch) -> None:
    """Train what is left of an epoch, validate, and keep what is best."""
    started = time.perf_counter()
    group = material.group
    order = epoch_order(material.train.labels, seed=spec.seed, epoch=state.epoch)
    images = _epoch_images(state, spec, material, order, folder)
    _train_batches(state, spec, material, images, order, folder, watch)
    entry = group.first(lambda: _validated(state, spec, material))
    mean = entry["val_auroc_mean"]
    if mean > state.best_auroc:
        state.best_auroc, state.best_epoch = mean, state.epoch
        group.first(lambda: save_model(folder, state.network, _description(state, spec, material)))
    state.history.append(entry)
    state.epoch, state.n_batches_done, state.loss_sum = state.epoch + 1, 0, 0.0
    group.first(lambda: state.save(folder))
    group.first(lambda: write_metrics(folder, state.history))
    if state.epoch % FIGURE_EVERY == 0:
        group.first(lambda: draw_progress(folder, state.history, material.val.findings))
    best = "  best" if state.best_epoch == entry["epoch"] else ""
    watch.say(
        f"epoch {state.epoch}/{spec.epochs}  loss {entry['train_loss']:.3f}  validation AUROC {mean:.3f}{best}  "
        f"({time.perf_counter() - started:.1f} s)"
    )


def _epoch_images(
    state: TrainingState, spec: TrainSpec, material: Material, order: np.ndarray, folder: Path
) -> np.ndarray:
    """Return the training images of an epoch: the clean ones, or those that its shift makes now."""
    if not spec.train_shift:
        return material.train_images
    draw, file = (spec.train_shift, spec.corruption_seed, state.epoch), folder / SHIFTED

    def make() -> None:
        shifted_epoch(file, material.train, material.train_images, order, material.store, draw=draw)

    material.group.first(make)
    return np.load(file, mmap_mode="r", allow_pickle=False)


def _train_batches(
    state: TrainingState, spec: TrainSpec, material: Material, images: np.ndarray, order: np.ndarray,
    folder: Path, watch: Watch,
) -> None:  # fmt: skip
    """Take the steps of an epoch that are not taken yet."""
    moves = epoch_translations(len(order), spec.max_shift_px, seed=spec.seed, epoch=state.epoch)
    state.network.train()
    for number in range(state.n_batches_done, batches_in_epoch(material.train, spec)):
        start, stop = number * spec.batch, min((number + 1) * spec.batch, len(order))
        part = material.group.part(start, stop)
        state.optimizer.zero_grad(set_to_none=True)
        loss_sum = _backward(state.network, material, images, (order[part], moves[part]), stop - start)
        material.group.add_gradients(state.network)
        state.optimizer.step()
        state.scheduler.step()
        loss_sum, n_stops = material.group.totals(loss_sum, float(watch.stop()))
        state.loss_sum += loss_sum
        state.n_batches_done = number + 1
        if n_stops:
            material.group.first(lambda: _stop(state, folder))


def _backward(
    network: nn.Module, material: Material, images: np.ndarray, part: tuple[np.ndarray, np.ndarray], n_batch: int
) -> float:
    """Add the gradient that a part of a batch has in the mean over the batch; return its summed loss.

    `part` are rows (slice,) and translations (slice, 2); none at all where a batch is smaller than the processes are
    many.
    """
    rows, moves = part
    if len(rows) == 0:
        return 0.0
    batch = translate(material.scaling.apply(images[rows]), moves)
    tensor = torch.from_numpy(batch)[:, None].to(memory_format=material.execution.torch_memory_format)
    with material.execution.autocast():
        logits = network(tensor)
    value = loss(logits, torch.from_numpy(material.train.labels[rows].astype(np.int64)))
    (value if len(rows) == n_batch else value * (len(rows) / n_batch)).backward()
    return float(value.detach()) * len(rows)


def _stop(state: TrainingState, folder: Path) -> None:
    state.save(folder)
    raise Interrupted(f"stopped in epoch {state.epoch + 1}; the state is saved, the same command goes on")


def _validated(state: TrainingState, spec: TrainSpec, material: Material) -> dict[str, Any]:
    """Return the line of an epoch that is trained: its loss, and the AUROC of clean validation."""
    if not np.isfinite(state.loss_sum):
        raise ConfigError(f"the loss of epoch {state.epoch + 1} is not finite; expected a smaller lr than {spec.lr:g}")
    logits = predict(
        state.network, material.val_images, material.scaling.apply, memory_format=material.execution.torch_memory_format
    )
    areas = auroc_by_finding(logits, material.val.labels)
    return {
        "epoch": state.epoch,
        "train_loss": state.loss_sum / len(material.train.labels),
        "val_auroc": dict(zip(material.val.findings, areas.tolist(), strict=True)),
        "val_auroc_mean": float(areas.mean()),
        "lr": float(state.optimizer.param_groups[0]["lr"]),
    }


def _description(state: TrainingState, spec: TrainSpec, material: Material) -> ModelDescription:
    rows, columns = material.train_images.shape[1:]
    return ModelDescription(
        architecture=architecture_of(spec, material.train),
        findings=material.train.findings,
        scaling=material.scaling,
        image_shape=(rows, columns),
        seed=spec.seed,
        epoch=state.best_epoch,
        validation_auroc=state.best_auroc,
    )
