"""Measure reconstructions on volumes of several distributions: rows of the quality table, and of findings' boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from diagnose.reconstruction.paired_volumes import PairedVolume, SliceStore
from diagnose.reconstruction.pathology import Boxes, boxes_in, crop_ssim, is_small
from diagnose.reconstruction.prediction import Reconstruct, reconstruct_volume, volume_mask
from diagnose.reconstruction.quality import with_intensities_of
from diagnose.reconstruction.quality_table import CLEAN, MATCHED, OUTPUT, QualityRow
from diagnose.reconstruction.request import ReconstructionSpec
from diagnose.reconstruction.run_summary import quality_row

Parts = Mapping[str, tuple[PairedVolume, ...]]
"""Distribution -> volumes."""


@dataclass(frozen=True)
class Crop:
    """SSIM inside the box of one finding."""

    item: str
    patient: str
    run: str
    distribution: str
    label: str
    small: bool
    ssim: float


@dataclass(frozen=True)
class Method:
    """What is measured, as the rows name it."""

    run: str
    epoch: int | None
    reconstruct: Reconstruct


@dataclass(frozen=True)
class Corruption:
    """An artifact on the complete k-space, before lines are left out; the target stays the clean one."""

    kind: str = CLEAN
    level: int = 0
    seed: int = 0

    def kspace(self, paired: PairedVolume) -> Tensor | None:
        """Return the corrupted k-space of a volume, None where it is the clean one."""
        if self.level == 0:
            return None
        from mrisim.artifacts import spec_class
        from mrisim.corrupt import corrupt
        from mrisim.formats.fastmri import read

        scan = read(paired.volume.path)
        artifact = spec_class(self.kind).at_level(self.level, n_coils=scan.n_coils)
        corrupted = corrupt(scan, [artifact], seed=self.seed, item_id=paired.volume.stem).scan
        return torch.from_numpy(corrupted.kspace.astype(np.complex64))


@dataclass(frozen=True, eq=False)
class Bench:
    """Volumes with their masks and targets, the same for every method."""

    spec: ReconstructionSpec
    """Gives the masks."""
    store: SliceStore
    boxes: Boxes = field(default_factory=dict)

    def mask(self, paired: PairedVolume) -> Tensor:
        """Return the one mask of a volume."""
        return volume_mask(paired, self.spec.acceleration, self.spec.mask, seed=self.spec.mask_seed)

    def target(self, paired: PairedVolume) -> np.ndarray:
        """Return the target of a volume (slice, rows, columns)."""
        targets: np.ndarray = self.store.slices(paired, range(paired.volume.n_slices))[1].numpy()
        return targets

    def measure(
        self, methods: list[Method], parts: Parts, corruption: Corruption | None = None, *, matched: bool = True
    ) -> tuple[list[QualityRow], list[Crop]]:
        """Measure methods on every volume; each is corrupted once for all methods.

        Parameters
        ----------
        methods : list of Method
        parts : mapping
        corruption : Corruption, optional
        matched : bool
            Measure each image a second time, its mean and standard deviation matched to the target's.
        """
        shift = corruption or Corruption()
        rows, crops = list[QualityRow](), list[Crop]()
        for name, volumes in parts.items():
            for paired in volumes:
                kspace, mask = shift.kspace(paired), self.mask(paired)
                for method in methods:
                    images, targets = reconstruct_volume(method.reconstruct, paired, mask, self.store, kspace=kspace)
                    rows += measured(paired, images, targets, method, name, shift, matched=matched)
                    if shift.level == 0:
                        crops += self.crops(paired, images, targets, method.run, name)
        return rows, crops

    def crops(
        self, paired: PairedVolume, images: np.ndarray, targets: np.ndarray, run: str, distribution: str
    ) -> list[Crop]:
        """Return the SSIM in every box of a volume."""
        volume = paired.volume
        return [
            Crop(
                volume.stem, volume.patient, run, distribution, box.label, is_small(box, targets.shape),
                crop_ssim(images, targets, box),
            )
            for box in boxes_in(self.boxes, volume.stem, targets.shape)
        ]  # fmt: skip


def measured(
    paired: PairedVolume, images: np.ndarray, targets: np.ndarray, method: Method, distribution: str,
    shift: Corruption, *, matched: bool,
) -> list[QualityRow]:  # fmt: skip
    """Return the row of one volume, and that of its matched intensities."""
    variants: list[tuple[str, Callable[[], np.ndarray]]] = [(OUTPUT, lambda: images)]
    if matched:
        variants.append((MATCHED, lambda: with_intensities_of(images, targets)))
    return [
        quality_row(
            paired, make(), targets, run=method.run, distribution=distribution, epoch=method.epoch,
            kind=shift.kind, level=shift.level, intensities=name,
        )
        for name, make in variants
    ]  # fmt: skip
