"""Dice overlap of tumour classes: a soft loss to train by, and the score of each class of a whole volume.

Conventions, stated because they move the numbers: the loss squares its denominators, is taken for each volume and class
and then averaged; the score is of a whole volume, class by class, no class merged with another (BraTS' "whole tumour"
and "tumour core" are merged classes and are not these). A class that neither prediction nor reference has scores 1; one
that is predicted where the reference has none scores 0.

References
----------
Milletari et al., V-Net, 2016. arXiv:1606.04797 (squared denominators)
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

EPSILON = 1e-5
"""Keeps a class that is neither predicted nor there from 0 / 0; far below one voxel."""


def soft_dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return 1 - (2 sum p t + eps) / (sum p^2 + sum t^2 + eps), averaged over volumes and classes.

    Parameters
    ----------
    logits : Tensor
        Shape (volume, class, x, y, z); p is its sigmoid, so that classes do not compete.
    targets : Tensor
        Same shape, 0 or 1: `class_masks`.

    Returns
    -------
    Tensor
        A scalar between 0 and 1, float32.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if logits.shape != targets.shape or logits.ndim != 5:
        raise ValueError(
            f"logits are {tuple(logits.shape)} and targets {tuple(targets.shape)}; expected (volume, class, x, y, z)"
        )
    probability, target = torch.sigmoid(logits.float()), targets.float()
    axes = (2, 3, 4)
    overlap = (probability * target).sum(axes)
    size = probability.square().sum(axes) + target.square().sum(axes)
    return (1 - (2 * overlap + EPSILON) / (size + EPSILON)).mean()


def class_masks(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Return where each class is, the background left out: (..., x, y, z) -> bool (..., class, x, y, z)."""
    classes = np.arange(1, n_classes + 1).reshape(-1, 1, 1, 1)
    return np.asarray(labels)[..., None, :, :, :] == classes


def predicted_masks(logits: np.ndarray) -> np.ndarray:
    """Return where the sigmoid of a class is above one half; a voxel may belong to several classes, or to none."""
    return np.asarray(logits) > 0


def dice_by_class(predicted: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the Dice overlap of each class of one volume.

    Parameters
    ----------
    predicted, reference : bool array (class, x, y, z)

    Returns
    -------
    float64 array (class,)
        1 where both are empty.

    Raises
    ------
    ValueError
        If the shapes differ or the arrays are not bool.
    """
    if predicted.shape != reference.shape or predicted.ndim != 4:
        raise ValueError(f"predicted is {predicted.shape}, reference {reference.shape}; expected one (class, x, y, z)")
    if predicted.dtype != bool or reference.dtype != bool:
        raise ValueError(f"predicted is {predicted.dtype} and reference {reference.dtype}; expected bool masks")
    axes = (1, 2, 3)
    size = predicted.sum(axes, dtype=np.int64) + reference.sum(axes, dtype=np.int64)
    overlap = (predicted & reference).sum(axes, dtype=np.int64)
    return np.where(size == 0, 1.0, 2 * overlap / np.maximum(size, 1))
