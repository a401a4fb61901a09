"""From undersampled k-space to images: what a network is given, and the trivial reconstruction it has to beat.

U-Net and ViT map the zero-filled image, |F^-1 M k| as root sum of squares over coils, cut to the target; a VarNet maps
the k-space, and the root sum of squares of what it completes is cut.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from diagnose.networks.varnet import VarNet
from diagnose.reconstruction.masks import MaskPattern, draw_mask, volume_mask_stream
from diagnose.reconstruction.paired_volumes import PairedVolume, SliceStore
from diagnose.reconstruction.torch_fourier import crop_centred, rss_image
from diagnose.torch_device import device_of
from mrisim.errors import DataError

SLICES_AT_ONCE = 8

Reconstruct = Callable[[Tensor, Tensor, tuple[int, int]], Tensor]
"""Measured k-space (slice, coil, readout, phase_encode), mask (slice, phase_encode) and the target's shape -> images
(slice, rows, columns)."""


def zero_filled(measured: Tensor, mask: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the root sum of squares of k-space as it is, zeros where nothing was measured."""
    return crop_centred(rss_image(measured), shape)


def with_network(network: nn.Module) -> Reconstruct:
    """Return a network as a reconstruction on the device where its weights lie; gradients pass."""

    def reconstruct(measured: Tensor, mask: Tensor, shape: tuple[int, int]) -> Tensor:
        measured, mask = measured.to(device_of(network)), mask.to(device_of(network))
        if isinstance(network, VarNet):
            return crop_centred(rss_image(network(measured, mask)), shape)
        return network(zero_filled(measured, mask, shape)[:, None])[:, 0]

    return reconstruct


def masked(kspace: Tensor, mask: Tensor) -> Tensor:
    """Return k-space with zeros outside a mask: (slice, coil, readout, phase_encode) by (slice, phase_encode)."""
    return torch.where(mask[:, None, None, :], kspace, 0)


def volume_mask(paired: PairedVolume, acceleration: int, pattern: MaskPattern, *, seed: int) -> Tensor:
    """Return the one mask of a validation or test volume (phase_encode,): a function of its file's name and the seed.

    So every network meets the same mask of a volume.
    """
    rng = volume_mask_stream(paired.volume.file, seed=seed)
    return torch.from_numpy(draw_mask(paired.sampled_lines, acceleration, pattern, rng=rng))


def reconstruct_volume(
    reconstruct: Reconstruct, paired: PairedVolume, mask: Tensor, store: SliceStore, *, kspace: Tensor | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Reconstruct a whole volume from the lines of a mask.

    Parameters
    ----------
    reconstruct : callable
    paired : PairedVolume
    mask : bool Tensor
        Shape (phase_encode,).
    store : SliceStore
        Gives k-space and target.
    kspace : Tensor, optional
        In place of the store's: corrupted k-space of the same shape.

    Returns
    -------
    images, targets : float32 arrays (slice, rows, columns)

    Raises
    ------
    DataError
        If the target is empty, whatever maximum the file states: nothing can be measured against it.
    """
    clean, targets = store.slices(paired, range(paired.volume.n_slices))
    if not bool((targets > 0).any()):
        raise DataError(f"the target of {paired.volume.file} is empty; expected an image with signal")
    kspace = clean if kspace is None else kspace
    with torch.inference_mode():
        images = [
            reconstruct(masked(part, mask[None].expand(len(part), -1)), mask.expand(len(part), -1), paired.target_shape)
            for part in kspace.split(SLICES_AT_ONCE)
        ]
    return torch.cat(images).float().cpu().numpy(), targets.numpy()
