"""Statistics of activations in front of and behind each norm layer, and how far a shift moves them.

All is made from the mean and variance of each channel in each image: those of a set of images, of a group of channels
and of one image follow exactly, so a forward pass is needed once for each shift.

Laws (tested): frozen batch norm is an affine map of each channel, so the drift of its output equals that of its input,
channel by channel; instance norm has no drift behind it; nothing drifts against itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from diagnose.tasks.findings import predict

ROUNDING = 1e-6
"""A standard deviation below this part of the mean is float32's rounding: the channel is constant."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SetStatistics = tuple[np.ndarray, np.ndarray]
"""Mean and variance of a set of images, each (channel,) or (group,)."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and biased variance over the pixels of each image; float64 (image, channel), or (image, group)."""

    mean: np.ndarray
    variance: np.ndarray

    def of_groups(self, n_groups: int) -> Moments:
        """Return the moments over the channels of each group together, as a group norm takes them."""
        n_images = len(self.mean)
        means = self.mean.reshape(n_images, n_groups, -1)
        variances = self.variance.reshape(n_images, n_groups, -1)
        return Moments(means.mean(axis=2), variances.mean(axis=2) + means.var(axis=2))

    def of_set(self) -> SetStatistics:
        """Return mean and biased variance over all images and pixels, each (channel,)."""
        return self.mean.mean(axis=0), self.variance.mean(axis=0) + self.mean.var(axis=0)


@dataclass(frozen=True, eq=False)
class LayerMoments:
    """What enters a norm layer and what leaves it."""

    before: Moments
    after: Moments


def norm_positions(network: nn.Module) -> dict[str, nn.Module]:
    """Return the norm layers by name, the first in the network first; an identity where the network has no norm.

    Every network of `diagnose.networks` calls them norm1, norm2, ... and defines them in the order of their use.

    Raises
    ------
    ValueError
        If there is none.
    """
    positions = {name: module for name, module in network.named_modules() if name.rpartition(".")[2].startswith("norm")}
    if not positions:
        raise ValueError(
            f"{type(network).__name__} has no module called norm...; expected norm layers, or their places"
        )
    return positions


def n_groups_of(layer: nn.Module, n_channels: int) -> int:
    """Return into how many groups a layer parts the channels: each its own for batch norm and for none."""
    return int(getattr(layer, "num_groups", n_channels))


def measure(
    network: nn.Module,
    images: np.ndarray,
    scale: Callable[[np.ndarray], np.ndarray],
    *,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> dict[str, LayerMoments]:
    """Return the moments at every norm layer for images (image, rows, columns), in evaluation mode.

    Parameters
    ----------
    network : nn.Module
        Left as it was.
    images : float array (image, rows, columns)
        Unscaled magnitudes.
    scale : callable
        The model's input scaling.
    memory_format : torch.memory_format
    """
    with _recorded(norm_positions(network)) as parts:
        predict(network, images, scale, memory_format=memory_format)
    return {name: LayerMoments(*(_joined(side) for side in sides)) for name, sides in parts.items()}


@contextmanager
def _recorded(layers: dict[str, nn.Module]) -> Iterator[dict[str, tuple[list[Tensor], list[Tensor]]]]:
    """Collect the moments of each batch, (2, image, channel), in front of and behind each layer."""
    parts: dict[str, tuple[list[Tensor], list[Tensor]]] = {name: ([], []) for name in layers}

    def hook_of(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def record(_layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            for side, tensor in zip(parts[name], (inputs[0], output), strict=True):
                # Double precision: a group's variance is a difference of these.
                variance, mean = torch.var_mean(tensor.double().flatten(2), dim=2, correction=0)
                side.append(torch.stack([mean, variance]))

        return record

    hooks = [layer.register_forward_hook(hook_of(name)) for name, layer in layers.items()]
    try:
        yield parts
    finally:
        for hook in hooks:
            hook.remove()


def _joined(parts: list[Tensor]) -> Moments:
    mean, variance = torch.cat(parts, dim=1).cpu().numpy()
    return Moments(mean, variance)


@dataclass(frozen=True)
class Drift:
    """How far a set of activations has moved from a reference, averaged over channels; None where none counts."""

    n_channels: int
    n_constant_channels: int
    """Left out of the averages: they have no spread to measure a shift by."""
    mean_shift: float | None
    """|mean - reference mean| / reference standard deviation."""
    log_variance_ratio: float | None
    """ln(variance / reference variance): 0 is no change, 0.69 twice the variance."""
    abs_log_variance_ratio: float | None
    """Of its modulus: channels that gain and channels that lose variance do not cancel."""


def drift_between(found: SetStatistics, reference: SetStatistics) -> Drift:
    """Return the drift of a set of activations from a reference, channel by channel."""
    (mean, variance), (reference_mean, reference_variance) = found, reference
    counts = _varies(mean, variance) & _varies(reference_mean, reference_variance)
    n_channels, n_left = len(counts), int(counts.sum())
    if not n_left:
        return Drift(n_channels, n_channels, None, None, None)
    shifts = np.abs(mean - reference_mean)[counts] / np.sqrt(reference_variance[counts])
    ratios = np.log(variance[counts] / reference_variance[counts])
    return Drift(
        n_channels, n_channels - n_left, float(shifts.mean()), float(ratios.mean()), float(np.abs(ratios).mean())
    )


def sample_quantiles(moments: Moments, reference: SetStatistics) -> tuple[list[float | None], list[float | None]]:
    """Return the distribution over images and groups of the statistics of single images, at `QUANTILES`.

    Parameters
    ----------
    moments : Moments of shape (image, group)
    reference : tuple
        Mean and variance of the clean set, each (group,).

    Returns
    -------
    mean : list of float or None
        Of (an image's mean - mean of the clean set) / standard deviation of the clean set, group by group.
    spread : list of float or None
        Of an image's standard deviation / that of the clean set. It is what a per-image norm divides by.
    """
    mean, variance = reference
    counts = _varies(mean, variance)
    if not counts.any():
        return [None] * len(QUANTILES), [None] * len(QUANTILES)
    spread = np.sqrt(variance[counts])
    means = (moments.mean[:, counts] - mean[counts]) / spread
    spreads = np.sqrt(moments.variance[:, counts]) / spread
    return np.quantile(means, QUANTILES).tolist(), np.quantile(spreads, QUANTILES).tolist()


def _varies(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return np.sqrt(variance) > ROUNDING * np.abs(mean)
