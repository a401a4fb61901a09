"""Slice-level multi-label diagnosis: one two-class head per finding, as in the first paper."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diagnose.checkpoint import Architecture, ModelDescription, load_model
from diagnose.clean_scans import NOTHING_KEPT, CleanScans
from diagnose.cost_estimate import (
    Cost,
    as_time,
    image_bytes,
    seconds_per_image,
    slice_counts,
    training_seconds,
    where,
)  # fmt: skip
from diagnose.dataset import SliceTable, check_label_table, load_slice_table
from diagnose.evaluation.clean_results import lines_of, predict_clean, summarise_clean
from diagnose.evaluation.prediction_table import write_table
from diagnose.input_scaling import InputScaling, fit_scaling
from diagnose.run_folder import DataLocation, run_name
from diagnose.slice_images import ImageStore, Progress, Shift, image_store, make_images, split_images
from diagnose.tasks.findings import auroc_by_finding, loss, predict
from diagnose.torch_device import CPU, resolve_device
from diagnose.training.distributed import ProcessGroup
from diagnose.training.epoch_images import EpochImages
from diagnose.training.execution import Execution, choose_execution
from diagnose.training.sampling import epoch_order, epoch_translations, shifted_epoch, translate
from diagnose.training.spec import TrainSpec
from diagnose.training.task import BatchLoss, Interruptible, Validated
from mrisim.cohort_protocol import default_spec
from mrisim.datasets.label_map import load_label_map, read_annotations
from mrisim.datasets.patient_split import read_split
from mrisim.errors import ConfigError

SPEC = TrainSpec
DEFAULT_DATA = default_spec()
METHODS = ()
"""Nothing stands beside the run in its table."""

__all__ = [
    "DEFAULT_DATA",
    "METHODS",
    "SPEC",
    "Classification",
    "architecture_of",
    "check_request",
    "estimate",
    "lines_of",
    "load_data",
    "prepare",
]


def check_request(spec: TrainSpec, labels: Path | None, split: Path | None) -> None:
    """Check label map and tables that the user gives, each by itself.

    Raises
    ------
    DataError, ConfigError
        If one is not there or cannot be read.
    """
    load_label_map(spec.label_map)
    if labels is not None:
        check_label_table(labels)
        read_annotations(labels)
    if split is not None:
        read_split(split)


def load_data(spec: TrainSpec, location: DataLocation) -> SliceTable:
    """Find slices, labels and patients, and check them.

    Raises
    ------
    DataError, ConfigError
        If data, labels or split cannot be used.
    """
    return load_slice_table(spec.data_request(location.root, location.labels, location.split))


def prepare(
    spec: TrainSpec, table: SliceTable, progress: Progress | None, *, n_threads: int, group: ProcessGroup
) -> Classification:
    """Make the clean images, or find them in the cache, and fit the input scaling on those of training."""
    scans = CleanScans() if spec.train_shift else NOTHING_KEPT  # read again in every epoch
    store = image_store(spec.crop, n_threads=n_threads, scans=scans)
    parts = {split: table.of_split(split) for split in ("train", "val", "test")}

    def make_all() -> dict[str, np.ndarray]:
        return {split: split_images(part, Shift(), store, progress) for split, part in parts.items()}

    group.first(lambda: len(make_all()))  # the others find them made
    images = make_all()
    scaling = group.first(lambda: fit_scaling(spec.scaling, images["train"]))
    return Classification(spec, parts, images, scaling, store, progress)


@dataclass(frozen=True, eq=False)
class Classification:
    """Diagnosis of slices as a task of the training loop (`diagnose.training.task.Task`)."""

    spec: TrainSpec
    parts: dict[str, SliceTable]
    """By split."""
    images: dict[str, np.ndarray]
    """Clean, by split: (slice, rows, columns)."""
    scaling: InputScaling
    store: ImageStore
    progress: Progress | None = None
    """Told of corrupted images that an epoch waits for."""

    measure = "AUROC"
    keeps_every_epoch = False

    @property
    def n_items(self) -> int:
        """As many as there are training slices."""
        return len(self.parts["train"].labels)

    def build(self) -> nn.Module:
        """Return the network, freshly initialised."""
        return architecture_of(self.spec, self.parts["train"]).build(self.spec.seed)

    def choose_execution(self, network: nn.Module, n_items: int, device: str) -> Execution:
        """Return the fastest formats, measured."""
        shape = (min(n_items, self.n_items), 1, *self.images["train"].shape[1:])
        _check_fit(network, shape)
        formats = {"precision": self.spec.precision, "memory_format": self.spec.memory_format}
        return choose_execution(network, shape, **formats, device=device)

    def begin_epoch(self, epoch: int, folder: Path, group: ProcessGroup) -> BatchLoss:
        """Draw the slices of an epoch and their translations; corrupt them anew where the run trains on a shift."""
        spec, train = self.spec, self.parts["train"]
        order = epoch_order(train.labels, seed=spec.seed, epoch=epoch)
        moves = epoch_translations(len(order), spec.max_shift_px, seed=spec.seed, epoch=epoch)
        images = self.shifted.of(epoch, folder, group) if spec.train_shift else self.images["train"]

        def batch_loss(network: nn.Module, places: slice, execution: Execution) -> Tensor:
            rows = order[places]
            batch = translate(self.scaling.apply(images[rows]), moves[places])
            tensor = torch.from_numpy(batch)[:, None].to(execution.device, memory_format=execution.torch_memory_format)
            with execution.autocast():
                logits = network(tensor)
            return loss(logits, torch.from_numpy(train.labels[rows].astype(np.int64)).to(execution.device))

        return batch_loss

    @cached_property
    def shifted(self) -> EpochImages:
        """The training images of each epoch under the shift that the run trains on."""
        spec, train = self.spec, self.parts["train"]

        def make(file: Path, epoch: int, progress: Progress) -> None:
            order = epoch_order(train.labels, seed=spec.seed, epoch=epoch)
            draw = (spec.train_shift, spec.corruption_seed, epoch)
            shifted_epoch(file, train, self.images["train"], order, self.store, draw=draw, progress=progress)

        return EpochImages(make, spec.epochs, self.progress)

    def close(self, folder: Path) -> None:
        """End the making of images."""
        if self.spec.train_shift:
            self.shifted.close(folder)

    def validate(self, network: nn.Module, execution: Execution) -> Validated:
        """Return the AUROC of each finding on clean validation."""
        val = self.parts["val"]
        logits = predict(network, self.images["val"], self.scaling.apply, memory_format=execution.torch_memory_format)
        areas = auroc_by_finding(logits, val.labels)
        return Validated(float(areas.mean()), dict(zip(val.findings, areas.tolist(), strict=True)))

    def description(self, epoch: int, value: float) -> ModelDescription:
        """Return what stands beside the weights."""
        rows, columns = self.images["train"].shape[1:]
        return ModelDescription(
            architecture=architecture_of(self.spec, self.parts["train"]), findings=self.parts["train"].findings,
            scaling=self.scaling, image_shape=(rows, columns), seed=self.spec.seed, epoch=epoch, validation_auroc=value,
        )  # fmt: skip

    def finish(self, folder: Path, execution: Execution, interruptible: Interruptible) -> dict[str, Any]:
        """Predict clean validation and test; write the prediction table; return AUROC with intervals."""
        trained, description = load_model(folder)
        trained.to(execution.device)
        images = {split: (self.parts[split], self.images[split]) for split in ("val", "test")}
        with interruptible(trained):
            blocks = predict_clean(trained, description, images, run=folder.name, execution=execution)
        write_table(folder / "predictions.csv.gz", blocks)
        return summarise_clean(blocks, description)


def architecture_of(spec: TrainSpec, table: SliceTable) -> Architecture:
    """Return the architecture that a request asks for, with a head for each finding of the data."""
    return Architecture(
        norm=spec.norm, depth=spec.depth, width=spec.width, stem_stride=spec.stem_stride,
        pooled_size=spec.pooled_size, n_heads=len(table.findings),
    )  # fmt: skip


def estimate(
    spec: TrainSpec, location: DataLocation, *, folder: Path | None = None, n_threads: int = 1, device: str = CPU
) -> Cost:
    """Return what a run would take, from the real data and a measured step; nothing is written.

    Raises
    ------
    DataError, ConfigError
        As `load_data`.
    """
    device = resolve_device(device)
    table = load_data(spec, location)
    train = table.of_split("train")
    shape = make_images(train.volumes[0], Shift(), crop=spec.crop, slices=[0]).shape[1:]
    network = architecture_of(spec, table).build(spec.seed)
    n_threads_before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    _check_fit(network, (spec.batch, 1, *shape))
    try:
        steps = training_seconds(network, (spec.batch, 1, *shape), spec.epochs * len(train.labels), device=device)
    finally:
        torch.set_num_threads(n_threads_before)
    clean = seconds_per_image(train, [Shift()], spec.crop, n_threads) * len(table.labels)
    return Cost({
        "out": str(folder or Path("runs") / run_name(spec, table.identity)),
        **slice_counts(table),
        "findings": ", ".join(table.findings),
        "parameters": f"{sum(parameter.numel() for parameter in network.parameters()):,}",
        "clean_images": f"{as_time(clean)}, {image_bytes(table, shape) / 1e6:.0f} MB in the cache (once)",
        "training": f"about {as_time(steps)} for {spec.epochs} epochs on {where(device, n_threads)}, at most",
        "notes": "; ".join(table.notes) or "none",
    })  # fmt: skip


def _check_fit(network: nn.Module, batch_shape: tuple[int, ...]) -> None:
    """Refuse images that the network shrinks to nothing, before a long run finds out."""
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros((1, *batch_shape[1:])))
    except ValueError as error:
        rows, columns = batch_shape[2:]
        raise ConfigError(f"images of {rows} x {columns} do not fit the network: {error}") from None
