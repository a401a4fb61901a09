"""Brain tumour segmentation by a 3-D U-Net, as in the second paper: trained on patches, judged on whole volumes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diagnose.checkpoint import load_network
from diagnose.cost_estimate import Cost, as_time, training_seconds, where
from diagnose.run_folder import DataLocation, run_name
from diagnose.segmentation.brats_releases import CHANNELS, CLASSES
from diagnose.segmentation.case_table import CaseTable, load_case_table
from diagnose.segmentation.clean_dice import ALL_BACKGROUND, THRESHOLD, baseline_blocks, block_of, lines_of, summarise
from diagnose.segmentation.dice import soft_dice_loss
from diagnose.segmentation.dice_table import DiceCell, write_dice_table
from diagnose.segmentation.epoch_patches import batch_of, draw_epoch
from diagnose.segmentation.patch_sampling import PatchSampler, patch_sampler
from diagnose.segmentation.request import SegmentationModel, SegmentationSpec, architecture_of
from diagnose.segmentation.scaled_volumes import BYTES_PER_VOXEL, LabelledVolume, labelled_volumes
from diagnose.segmentation.whole_volumes import Windows, measure
from diagnose.slice_images import Progress
from diagnose.torch_device import CPU, resolve_device
from diagnose.training.distributed import ProcessGroup
from diagnose.training.execution import Execution, choose_execution
from diagnose.training.task import BatchLoss, Interruptible, Validated
from diagnose.volumes import SPLITS
from mrisim.cohort_protocol import CohortSpec, SplitSizes, choose_scanners
from mrisim.datasets.patient_split import read_split
from mrisim.errors import ConfigError

SPEC = SegmentationSpec
DEFAULT_DATA = CohortSpec(
    anatomy="brain", n_patients=SplitSizes(train=32, val=6, test=24), n_slices=32, plane="axial",
    fov_mm=(224.0, 224.0), slice_thickness_mm=3.0, contrasts=("t1", "t1ce", "t2", "flair"), lesions="glioma",
    scanners=choose_scanners((), matrix=56, names=("sim3t-a",)),
)  # fmt: skip
"""62 heads with a glioma each, at 3 T, 4 coils, 56 x 56 x 32 voxels of 4 x 4 x 3 mm."""

METHODS = (ALL_BACKGROUND, THRESHOLD)
"""Names in the table of Dice that no run may have."""

__all__ = [
    "DEFAULT_DATA",
    "METHODS",
    "SPEC",
    "Segmentation",
    "check_request",
    "estimate",
    "lines_of",
    "load_data",
    "prepare",
]


def check_request(spec: SegmentationSpec, labels: Path | None, split: Path | None) -> None:
    """Check the options that are files, each by itself.

    Raises
    ------
    DataError, ConfigError
        If one is not there, cannot be read, or has no meaning.
    """
    if labels is not None:
        raise ConfigError("segmentation takes its labels from the seg files of BraTS; expected no --labels")
    if split is not None:
        read_split(split)


def load_data(spec: SegmentationSpec, location: DataLocation) -> CaseTable:
    """Find cases in the layouts of BraTS, split them by patient, and check them.

    Raises
    ------
    DataError, ConfigError
        If data, labels or split cannot be used.
    """
    check_request(spec, location.labels, location.split)
    return load_case_table(location.root, spec, location.split)


def prepare(
    spec: SegmentationSpec, table: CaseTable, progress: Progress | None, *, n_threads: int, group: ProcessGroup
) -> Segmentation:
    """Scale the volumes, or find them in the cache, and find where training patches may lie."""

    def scale_all(progress: Progress | None = None) -> dict[str, tuple[LabelledVolume, ...]]:
        return {
            split: labelled_volumes(table.of_split(split), spec.scaling, n_threads=n_threads, progress=progress)
            for split in SPLITS
        }

    group.first(lambda: len(scale_all(progress)))  # the others find them made
    volumes = scale_all()
    samplers = tuple(
        patch_sampler(volume.labels, spec.patch_shape, spec.min_tumour_fraction, name=volume.case)
        for volume in volumes["train"]
    )
    return Segmentation(spec, volumes, samplers)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Segmentation of brain tumours as a task of the training loop (`diagnose.training.task.Task`)."""

    spec: SegmentationSpec
    volumes: dict[str, tuple[LabelledVolume, ...]]
    """By split."""
    samplers: tuple[PatchSampler, ...]
    """Of the training volumes."""

    measure = "Dice"
    keeps_every_epoch = False

    @property
    def n_items(self) -> int:
        """As many as patches are asked for."""
        return self.spec.patches_per_epoch

    @property
    def windows(self) -> Windows:
        """How whole volumes are gone through."""
        return Windows(self.spec.patch_shape, self.spec.overlap)

    def build(self) -> nn.Module:
        """Return the network, freshly initialised."""
        return architecture_of(self.spec).build(self.spec.seed)

    def choose_execution(self, network: nn.Module, n_items: int, device: str) -> Execution:
        """Return the faster number format, measured."""
        shape = (min(n_items, self.n_items), len(CHANNELS), *self.spec.patch_shape)
        formats = {"precision": self.spec.precision, "memory_format": "contiguous"}
        return choose_execution(network, shape, **formats, device=device)

    def begin_epoch(self, epoch: int, folder: Path, group: ProcessGroup) -> BatchLoss:
        """Draw the patches of an epoch: by seed and epoch, whatever the norm."""
        spec, train = self.spec, self.volumes["train"]
        drawn = draw_epoch(self.samplers, spec.patches_per_epoch, seed=spec.seed, epoch=epoch, mirror=spec.mirror)

        def batch_loss(network: nn.Module, places: slice, execution: Execution) -> Tensor:
            images, masks = (part.to(execution.device) for part in batch_of(train, drawn[places], len(CLASSES)))
            with execution.autocast():
                logits = network(images)
            return soft_dice_loss(logits, masks)

        return batch_loss

    def validate(self, network: nn.Module, execution: Execution) -> Validated:
        """Return the Dice of each class on whole validation volumes, averaged over cases, and the soft Dice loss."""
        overlaps, loss = measure(network, self.volumes["val"], self.windows)
        by_class = overlaps.mean(axis=0)
        return Validated(float(by_class.mean()), dict(zip(CLASSES, by_class.tolist(), strict=True)), loss)

    def description(self, epoch: int, value: float) -> SegmentationModel:
        """Return what stands beside the weights."""
        spec = self.spec
        return SegmentationModel(
            architecture=architecture_of(spec), seed=spec.seed, epoch=epoch, scaling=spec.scaling,
            patch_shape=spec.patch_shape, overlap=spec.overlap, validation_dice=value,
        )  # fmt: skip

    def close(self, folder: Path) -> None:
        """Nothing is held between epochs."""

    def finish(self, folder: Path, execution: Execution, interruptible: Interruptible) -> dict[str, Any]:
        """Predict clean validation and test; write the table of Dice; return Dice and baselines with intervals."""
        network, description = load_network(folder, SegmentationModel)
        network.to(execution.device)
        with interruptible(network):
            overlaps = {split: measure(network, self.volumes[split], self.windows)[0] for split in ("val", "test")}
        blocks = {
            split: block_of(found, self.volumes[split], DiceCell(folder.name, split))
            for split, found in overlaps.items()
        }
        baselines, rules = baseline_blocks(self.volumes["train"], self.volumes["test"])
        write_dice_table(folder / "predictions.csv.gz", [*blocks.values(), *baselines])
        return summarise(blocks["test"], baselines, rules, description)


def estimate(
    spec: SegmentationSpec, location: DataLocation, *, folder: Path | None = None, n_threads: int = 1,
    device: str = CPU,
) -> Cost:  # fmt: skip
    """Return what a run would take, from the real data and a measured step; nothing is written.

    Raises
    ------
    DataError, ConfigError
        As `load_data`.
    """
    import nibabel

    device = resolve_device(device)
    table = load_data(spec, location)
    network = architecture_of(spec).build(spec.seed)
    n_threads_before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        shape = (spec.batch, len(CHANNELS), *spec.patch_shape)
        n_patches = spec.epochs * spec.patches_per_epoch
        steps = training_seconds(network, shape, n_patches, device=device, memory_format="contiguous")
    finally:
        torch.set_num_threads(n_threads_before)
    labels: list[Any] = [nibabel.load(case.paths["seg"]) for case in table.cases]
    n_voxels = sum(x * y * z for x, y, z in (volume.shape for volume in labels))
    parts = {split: table.of_split(split) for split in SPLITS}
    return Cost({
        "out": str(folder or Path("runs") / run_name(spec, table.identity)),
        **{
            split: f"{len({case.patient for case in cases})} patients, {len(cases)} cases"
            for split, cases in parts.items()
        },
        "classes": ", ".join(CLASSES),
        "parameters": f"{sum(parameter.numel() for parameter in network.parameters()):,}",
        "scaled_volumes": f"{n_voxels * BYTES_PER_VOXEL / 1e6:.0f} MB in the cache (once)",
        "training": f"about {as_time(steps)} for {spec.epochs} epochs on {where(device, n_threads)}, "
        "without validation",
        "notes": "; ".join(table.notes) or "none",
    })  # fmt: skip
