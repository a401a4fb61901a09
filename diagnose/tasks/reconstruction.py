"""Learned reconstruction of undersampled multi-coil k-space, as in the third paper.

The target is the root sum of squares over coils of the complete k-space, the loss 1 - SSIM. A training slice has a new
mask in every epoch, a validation or test volume always the same one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diagnose.checkpoint import load_network
from diagnose.cost_estimate import Cost, as_time, where
from diagnose.networks.varnet import VarNet
from diagnose.reconstruction.architectures import ReconstructionModel
from diagnose.reconstruction.classical import METHODS
from diagnose.reconstruction.distributions import EMBEDDED_COHORTS
from diagnose.reconstruction.masks import draw_mask, training_mask_stream
from diagnose.reconstruction.paired_volumes import PairedVolume, SliceStore
from diagnose.reconstruction.prediction import masked, reconstruct_volume, volume_mask, with_network, zero_filled
from diagnose.reconstruction.quality_table import ZERO_FILLED, write_quality
from diagnose.reconstruction.request import ReconstructionSpec
from diagnose.reconstruction.run_summary import lines_of, quality_row, summarise
from diagnose.reconstruction.ssim import ssim_loss, volume_ssim
from diagnose.reconstruction.training_data import ReconstructionData, load_reconstruction_data
from diagnose.run_folder import DataLocation, run_name
from diagnose.slice_images import Progress
from diagnose.torch_device import CPU, resolve_device
from diagnose.training.distributed import ProcessGroup
from diagnose.training.execution import Execution, choose_execution
from diagnose.training.task import BatchLoss, Interruptible, Validated
from mrisim.datasets.patient_split import read_split
from mrisim.errors import ConfigError
from mrisim.seeding import stream

SPEC = ReconstructionSpec
DEFAULT_DATA = EMBEDDED_COHORTS

__all__ = [
    "DEFAULT_DATA",
    "METHODS",
    "SPEC",
    "Reconstruction",
    "check_request",
    "estimate",
    "lines_of",
    "load_data",
    "prepare",
]


def check_request(spec: ReconstructionSpec, labels: Path | None, split: Path | None) -> None:
    """Check the options that are files, each by itself.

    Raises
    ------
    DataError, ConfigError
        If one is not there, cannot be read, or has no meaning.
    """
    if labels is not None:
        raise ConfigError("reconstruction learns from the images of the data alone; expected no --labels")
    if split is not None:
        read_split(split)


def load_data(spec: ReconstructionSpec, location: DataLocation) -> ReconstructionData:
    """Find the volumes of each distribution, and check them.

    Raises
    ------
    DataError, ConfigError
        If data, filters or split cannot be used.
    """
    check_request(spec, location.labels, location.split)
    return load_reconstruction_data(spec, location.root, location.split)


def prepare(
    spec: ReconstructionSpec, data: ReconstructionData, progress: Progress | None, *, n_threads: int,
    group: ProcessGroup,
) -> Reconstruction:  # fmt: skip
    """Set up what reads the slices, and try the network on one of every shape."""
    everything = [paired for split in data.by_split for paired in data.volumes(split)]
    task = Reconstruction(spec, data, _items(data.volumes("train")), SliceStore(everything))
    _check_fit(task.build(), everything)
    return task


Items = tuple[tuple[PairedVolume, int], ...]
"""Slices: volume, and place in it."""


def _items(volumes: Sequence[PairedVolume]) -> Items:
    return tuple((paired, index) for paired in volumes for index in range(paired.volume.n_slices))


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Reconstruction of slices as a task of the training loop (`diagnose.training.task.Task`)."""

    spec: ReconstructionSpec
    data: ReconstructionData
    items: Items
    """Of training."""
    store: SliceStore

    measure = "SSIM"
    keeps_every_epoch = True

    @property
    def n_items(self) -> int:
        """As many as there are training slices."""
        return len(self.items)

    def build(self) -> nn.Module:
        """Return the network, freshly initialised."""
        return self.spec.architecture.build(self.spec.seed)

    def choose_execution(self, network: nn.Module, n_items: int, device: str) -> Execution:
        """Return the formats that are asked for, or the fastest ones; a VarNet is complex and has no choice."""
        if isinstance(network, VarNet):
            return Execution(device=device, n_threads=torch.get_num_threads())
        shape = (min(n_items, self.n_items), 1, *self.items[0][0].target_shape)
        formats = {"precision": self.spec.precision, "memory_format": self.spec.memory_format}
        return choose_execution(network, shape, **formats, device=device)

    def begin_epoch(self, epoch: int, folder: Path, group: ProcessGroup) -> BatchLoss:
        """Order the slices of an epoch; a mask follows from file, slice and epoch."""
        order = stream(self.spec.seed, "batch order", epoch).permutation(self.n_items)

        def batch_loss(network: nn.Module, places: slice, execution: Execution) -> Tensor:
            rows = order[places]
            losses = [
                len(group_) * self._loss(network, group_, epoch, execution)
                for group_ in by_shape([self.items[row] for row in rows])
            ]
            return torch.stack(losses).sum() / len(rows)

        return batch_loss

    def _loss(self, network: nn.Module, items: Items, epoch: int, execution: Execution) -> Tensor:
        """Return 1 - SSIM, averaged over slices of one shape."""
        pairs = [self.store.slices(paired, [index]) for paired, index in items]
        kspace, targets = (torch.cat(parts).to(execution.device) for parts in zip(*pairs, strict=True))
        mask = torch.stack([self._training_mask(paired, index, epoch) for paired, index in items]).to(execution.device)
        with execution.autocast():
            images = with_network(network)(masked(kspace, mask), mask, items[0][0].target_shape)
        peaks = torch.tensor([paired.peak for paired, _ in items], dtype=torch.float64, device=execution.device)
        return ssim_loss(images.float(), targets, peaks)

    def _training_mask(self, paired: PairedVolume, index: int, epoch: int) -> Tensor:
        spec = self.spec
        rng = training_mask_stream(paired.volume.file, index, epoch, seed=spec.mask_seed)
        return torch.from_numpy(draw_mask(paired.sampled_lines, spec.acceleration, spec.mask, rng=rng))

    def validate(self, network: nn.Module, execution: Execution) -> Validated:
        """Return the SSIM of each distribution on its validation volumes, and their mean."""
        was_training = network.training
        network.eval()
        parts = {
            name: float(np.mean([self._ssim(network, paired) for paired in volumes]))
            for name, volumes in self.data.by_split["val"].items()
        }
        network.train(was_training)
        return Validated(float(np.mean(list(parts.values()))), parts)

    def _ssim(self, network: nn.Module, paired: PairedVolume) -> float:
        images, targets = reconstruct_volume(with_network(network), paired, self._mask(paired), self.store)
        return float(volume_ssim(images, targets).mean())

    def _mask(self, paired: PairedVolume) -> Tensor:
        return volume_mask(paired, self.spec.acceleration, self.spec.mask, seed=self.spec.mask_seed)

    def description(self, epoch: int, value: float) -> ReconstructionModel:
        """Return what stands beside the weights."""
        spec = self.spec
        return ReconstructionModel(
            architecture=spec.architecture, acceleration=spec.acceleration, mask=spec.mask, train_on=spec.train_on,
            seed=spec.seed, epoch=epoch, validation_ssim=value,
        )  # fmt: skip

    def close(self, folder: Path) -> None:
        """Nothing is held between epochs."""

    def finish(self, folder: Path, execution: Execution, interruptible: Interruptible) -> dict[str, Any]:
        """Reconstruct the test volumes, and zero-fill them; write the table; return the means with intervals."""
        network, description = load_network(folder, ReconstructionModel)
        network.to(execution.device)
        methods = {ZERO_FILLED: (zero_filled, None), folder.name: (with_network(network), description.epoch)}
        tested = [(name, paired) for name, volumes in self.data.by_split["test"].items() for paired in volumes]
        rows = []
        with interruptible(network):
            for run, (reconstruct, epoch) in methods.items():
                for name, paired in tested:
                    images, targets = reconstruct_volume(reconstruct, paired, self._mask(paired), self.store)
                    rows.append(quality_row(paired, images, targets, run=run, distribution=name, epoch=epoch))
        write_quality(folder / "quality.csv.gz", rows)
        return summarise(rows, folder.name, description)


def by_shape(items: Sequence[tuple[PairedVolume, int]]) -> list[Items]:
    """Return items in groups that can be stacked, in the order in which the shapes first come."""
    groups: dict[tuple[Any, ...], list[tuple[PairedVolume, int]]] = {}
    for paired, index in items:
        groups.setdefault((paired.kspace_shape, paired.target_shape), []).append((paired, index))
    return [tuple(group) for group in groups.values()]


def _check_fit(network: nn.Module, volumes: Sequence[PairedVolume]) -> None:
    """Refuse images that a network cannot take, before a long run finds out."""
    for (paired, _), *_ in by_shape([(paired, 0) for paired in volumes]):
        mask = torch.ones((1, paired.kspace_shape[2]), dtype=torch.bool)
        kspace = torch.ones((1, *paired.kspace_shape), dtype=torch.complex64)
        try:
            with torch.inference_mode():
                with_network(network.eval())(kspace, mask, paired.target_shape)
        except ValueError as error:
            raise ConfigError(f"{paired.volume.file} does not fit the network: {error}") from None


def estimate(
    spec: ReconstructionSpec, location: DataLocation, *, folder: Path | None = None, n_threads: int = 1,
    device: str = CPU,
) -> Cost:  # fmt: skip
    """Return what a run would take, from the real data and a measured step; nothing is written.

    Raises
    ------
    DataError, ConfigError
        As `load_data`.
    """
    device = resolve_device(device)
    data = load_data(spec, location)
    n_threads_before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        task = prepare(spec, data, None, n_threads=n_threads, group=ProcessGroup())
        network = task.build()
        step_s = _step_seconds(task, Execution(device=device).laid_out(network), device)
    finally:
        torch.set_num_threads(n_threads_before)
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    counts = {
        split: "; ".join(
            f"{name}: {len({one.volume.patient for one in part})} patients, {len(part)} volumes, "
            f"{sum(one.volume.n_slices for one in part)} slices"
            for name, part in data.by_split[split].items()
        )
        for split in data.by_split
    }
    return Cost({
        "out": str(folder or Path("runs") / run_name(spec, data.identity)),
        **counts,
        "network": spec.architecture.label,
        "parameters": f"{n_parameters:,}",
        "weights": f"{4 * n_parameters * (spec.epochs + 1) / 1e6:.0f} MB, those of every epoch are kept",
        "training": f"about {as_time(step_s * spec.epochs * -(-task.n_items // spec.batch))} for {spec.epochs} epochs "
        f"on {where(device, n_threads)}, without validation",
        "notes": "; ".join(data.notes) or "none",
    })  # fmt: skip


def _step_seconds(task: Reconstruction, network: nn.Module, device: str) -> float:
    """Return the shorter of two training steps, in s; the first reads files and sets things up."""
    loss = task.begin_epoch(0, Path(), ProcessGroup())
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        value = loss(network, slice(0, min(task.spec.batch, task.n_items)), Execution(device=device))
        value.backward()
        float(value.detach())  # a GPU returns before it has computed
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])
