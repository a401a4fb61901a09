"""The training loop: one epoch at a time, each a function of the state before it, to be stopped after any batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from diagnose.checkpoint import Architecture, ModelDescription, save_model
from diagnose.dataset import SliceTable
from diagnose.execution import Execution
from diagnose.input_scaling import InputScaling
from diagnose.run_folder import write_history
from diagnose.sampling import epoch_order, epoch_translations, shifted_epoch, translate
from diagnose.slice_images import ImageStore, Progress
from diagnose.tasks.classification import auroc_by_finding, loss, predict
from diagnose.train_spec import TrainSpec
from diagnose.training_state import TrainingState
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
    order = epoch_order(material.train.labels, seed=spec.seed, epoch=state.epoch)
    images = material.train_images
    if spec.train_shift:
        draw = (spec.train_shift, spec.corruption_seed, state.epoch)
        images = shifted_epoch(folder / SHIFTED, material.train, images, order, material.store, draw=draw)
    _train_batches(state, spec, material, images, order, folder, watch)
    logits = predict(
        state.network, material.val_images, material.scaling.apply, memory_format=material.execution.torch_memory_format
    )
    areas = auroc_by_finding(logits, material.val.labels)
    mean = float(areas.mean())
    if mean > state.best_auroc:
        state.best_auroc, state.best_epoch = mean, state.epoch
        save_model(folder, state.network, _description(state, spec, material))
    entry = {
        "epoch": state.epoch,
        "train_loss": state.loss_sum / len(order),
        "val_auroc": dict(zip(material.val.findings, areas.tolist(), strict=True)),
        "val_auroc_mean": mean,
        "lr": float(state.optimizer.param_groups[0]["lr"]),
    }
    state.history.append(entry)
    state.epoch, state.n_batches_done, state.loss_sum = state.epoch + 1, 0, 0.0
    state.save(folder)
    if state.epoch % FIGURE_EVERY == 0:
        write_history(folder, state.history, material.val.findings)
    best = "  best" if state.best_epoch == entry["epoch"] else ""
    watch.say(
        f"epoch {state.epoch}/{spec.epochs}  loss {entry['train_loss']:.3f}  validation AUROC {mean:.3f}{best}  "
        f"({time.perf_counter() - started:.1f} s)"
    )


def _train_batches(
    state: TrainingState, spec: TrainSpec, material: Material, images: np.ndarray, order: np.ndarray,
    folder: Path, watch: Watch,
) -> None:  # fmt: skip
    """Take the steps of an epoch that are not taken yet."""
    moves = epoch_translations(len(order), spec.max_shift_px, seed=spec.seed, epoch=state.epoch)
    labels = torch.from_numpy(material.train.labels.astype(np.int64))
    state.network.train()
    for number in range(state.n_batches_done, batches_in_epoch(material.train, spec)):
        place = slice(number * spec.batch, (number + 1) * spec.batch)
        rows = order[place]
        batch = translate(material.scaling.apply(images[rows]), moves[place])
        tensor = torch.from_numpy(batch)[:, None].to(memory_format=material.execution.torch_memory_format)
        with material.execution.autocast():
            logits = state.network(tensor)
        value = loss(logits, labels[rows])
        state.optimizer.zero_grad(set_to_none=True)
        value.backward()
        state.optimizer.step()
        state.scheduler.step()
        state.loss_sum += float(value.detach()) * len(rows)
        state.n_batches_done = number + 1
        if watch.stop():
            state.save(folder)
            raise Interrupted(f"stopped in epoch {state.epoch + 1}; the state is saved, the same command goes on")
    if not np.isfinite(state.loss_sum):
        raise ConfigError(f"the loss of epoch {state.epoch + 1} is not finite; expected a smaller lr than {spec.lr:g}")


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
