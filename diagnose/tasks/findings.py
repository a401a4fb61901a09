"""Findings of a slice: loss, prediction, score and metric of one two-class head per finding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from diagnose.statistics.metrics import auroc
from diagnose.torch_device import device_of


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each head, averaged over images and summed over heads.

    Parameters
    ----------
    logits : Tensor of shape (image, finding, 2)
        Of absent and present.
    labels : Tensor of shape (image, finding), int64
        0 or 1.
    """
    n_findings = labels.shape[1]
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten()) * n_findings


def predict(
    network: nn.Module,
    images: np.ndarray,
    scale: Callable[[np.ndarray], np.ndarray],
    *,
    batch_size: int = 64,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> np.ndarray:
    """Return the logits of images, in evaluation mode and single precision.

    Parameters
    ----------
    network : nn.Module
        Left in the mode it came in.
    images : float array (image, rows, columns)
        Unscaled magnitudes; a memory map is read batch by batch.
    scale : callable
        The model's own input scaling.

    Returns
    -------
    float32 array (image, finding, 2)
    """
    was_training, device = network.training, device_of(network)
    network.eval()
    batches = []
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            batch = torch.from_numpy(scale(images[start : start + batch_size]))[:, None]
            batches.append(network(batch.to(device, memory_format=memory_format)).float().cpu().numpy())
    network.train(was_training)
    return np.concatenate(batches)


def scores(logits: np.ndarray) -> np.ndarray:
    """Return what images are ranked by: logit of present minus logit of absent, (image, finding).

    It orders as the softmax probability does. The paper ranks by the logit of present alone, which is stored too.
    """
    return logits[..., 1] - logits[..., 0]


def auroc_by_finding(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the AUROC of each finding (finding,) for logits (image, finding, 2) and labels (image, finding)."""
    ranked = scores(logits)
    return np.array([auroc(ranked[:, index], labels[:, index]) for index in range(labels.shape[1])])
