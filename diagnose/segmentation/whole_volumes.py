"""Predictions of whole volumes, by sliding window, and how well they overlap with the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from diagnose.segmentation.dice import class_masks, dice_by_class, predicted_masks, soft_dice_loss
from diagnose.segmentation.patch_sampling import Shape3
from diagnose.segmentation.scaled_volumes import LabelledVolume
from diagnose.segmentation.sliding_window import predict_volume
from diagnose.torch_device import device_of

WINDOWS_AT_A_TIME = 4


@dataclass(frozen=True)
class Windows:
    """How a volume is gone through."""

    patch_shape: Shape3
    overlap: float


def predict_logits(network: nn.Module, images: np.ndarray, windows: Windows) -> np.ndarray:
    """Return the logits (class, x, y, z) of scaled images (channel, x, y, z), in evaluation mode, single precision.

    Overlapping windows are averaged before the sigmoid. The network is left in the mode it came in.
    """
    was_training = network.training
    network.eval()

    def of_windows(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            predicted: np.ndarray = network(torch.from_numpy(batch).to(device_of(network))).float().cpu().numpy()
        return predicted

    logits = predict_volume(
        of_windows, images, windows.patch_shape, overlap=windows.overlap, batch_size=WINDOWS_AT_A_TIME
    )
    network.train(was_training)
    return logits


def dice_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the Dice overlap of each class (class,) of logits (class, x, y, z) with labels (x, y, z)."""
    return dice_by_class(predicted_masks(logits), class_masks(labels, len(logits)))


def measure(network: nn.Module, volumes: Sequence[LabelledVolume], windows: Windows) -> tuple[np.ndarray, float]:
    """Return the Dice overlap (volume, class) of a network, and its soft Dice loss over whole volumes, their mean."""
    overlaps, losses = [], []
    for volume in volumes:
        logits = predict_logits(network, volume.images, windows)
        overlaps.append(dice_of(logits, volume.labels))
        masks = torch.from_numpy(class_masks(volume.labels, len(logits)))
        losses.append(float(soft_dice_loss(torch.from_numpy(logits)[None], masks[None])))
    return np.stack(overlaps), float(np.mean(losses))
