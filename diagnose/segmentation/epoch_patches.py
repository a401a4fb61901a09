"""The patches of an epoch: a function of seed and epoch alone, and so the same for every norm, batch and resumption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diagnose.segmentation.dice import class_masks
from diagnose.segmentation.patch_sampling import PatchSampler
from diagnose.segmentation.scaled_volumes import LabelledVolume
from mrisim.seeding import stream


@dataclass(frozen=True)
class Patch:
    """Where a patch is taken, and whether it is turned left to right."""

    volume: int
    """Position among the training volumes."""
    place: tuple[slice, slice, slice]
    mirrored: bool


def draw_epoch(
    samplers: Sequence[PatchSampler], n_patches: int, *, seed: int, epoch: int, mirror: bool
) -> tuple[Patch, ...]:
    """Draw the patches of an epoch, in order.

    Every volume comes equally often, but for a difference of one; places are uniform over those that the sampler
    allows.

    Parameters
    ----------
    samplers : sequence of PatchSampler
        Of the training volumes, in their order.
    n_patches : int
    seed, epoch : int
    mirror : bool
        Whether half of the patches, by chance, are turned.
    """
    rng = stream(seed, "patches", epoch)
    n_rounds = -(-n_patches // len(samplers))
    order = np.concatenate([rng.permutation(len(samplers)) for _ in range(n_rounds)])[:n_patches]
    return tuple(
        Patch(volume, samplers[volume].draw(rng=rng), bool(rng.random() < 0.5) and mirror) for volume in order.tolist()
    )


def batch_of(volumes: Sequence[LabelledVolume], patches: Sequence[Patch], n_classes: int) -> tuple[Tensor, Tensor]:
    """Return images (patch, channel, x, y, z), float32, and masks (patch, class, x, y, z), float32 of 0 and 1."""
    images, masks = [], []
    for patch in patches:
        volume = volumes[patch.volume]
        step = -1 if patch.mirrored else 1
        images.append(volume.images[(slice(None), *patch.place)][:, ::step])
        masks.append(class_masks(volume.labels[patch.place][::step], n_classes))
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks).astype(np.float32))
