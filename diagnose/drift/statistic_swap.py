"""Which frozen statistics of batch norm a shift breaks: replace some of them by those of the shifted images.

A swap is self-consistent: each chosen layer takes the statistics of what really enters it, behind the layers that were
swapped before it and the ones that were not. So `both` in all layers is prediction-time batch norm over all images, and
`mean` asks what right means do behind frozen variances. The transplanted swaps take the means, or the variances, that
the network has once it is adapted whole: with the other moment frozen, something else arrives at each layer, and they
answer another question. Both stand side by side because the answers can differ.

References
----------
Schneider et al., Improving robustness against common corruptions by covariate shift adaptation, 2020. arXiv:2006.16971
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from diagnose.adapt import (
    ALL_LAYERS,
    MOMENTS,
    Moment,
    batch_norms,
    prediction_time_statistics,
    restored_statistics,
    running_statistics,
)  # fmt: skip
from diagnose.tasks.findings import predict
from mrisim.errors import ConfigError

FROZEN, BOTH, TRANSPLANTED = "frozen", "both", "-transplanted"
LayerStatistics = tuple[Tensor, Tensor]
"""Mean and variance of a layer, each (channel,)."""


@dataclass(frozen=True)
class Swap:
    """Which statistics are replaced, in which layers."""

    name: str
    moments: tuple[Moment, ...] = MOMENTS
    layers: slice = field(default_factory=lambda: ALL_LAYERS)


def swaps(n_layers: int, n_swapped: Sequence[int]) -> tuple[Swap, ...]:
    """Return the self-consistent swaps: mean, variance and both in all layers; both in the first and the last k.

    Parameters
    ----------
    n_layers : int
        Batch norms in the network.
    n_swapped : sequence of int
        The values of k.

    Raises
    ------
    ConfigError
        If a k leaves nothing frozen, or nothing swapped.
    """
    wrong = [k for k in n_swapped if not 0 < k < n_layers]
    if wrong:
        raise ConfigError(
            f"a swap of {wrong[0]} layers in a network with {n_layers} batch norms; expected 1 to {n_layers - 1}"
        )
    return (
        Swap("mean", ("mean",)),
        Swap("variance", ("variance",)),
        Swap(BOTH),
        *(Swap(f"first-{k}", layers=slice(0, k)) for k in n_swapped),
        *(Swap(f"last-{k}", layers=slice(n_layers - k, None)) for k in n_swapped),
    )


def stored_statistics(network: nn.Module) -> list[LayerStatistics]:
    """Return copies of the statistics that the network normalises by now, the first layer first."""
    return [(mean.clone(), variance.clone()) for mean, variance, _ in map(running_statistics, batch_norms(network))]


def swapped_statistics(
    network: nn.Module,
    images: np.ndarray,
    scale: Callable[[np.ndarray], np.ndarray],
    swap: Swap,
    *,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> list[LayerStatistics]:
    """Return the statistics of all layers after a swap; the network is left as it was.

    Parameters
    ----------
    network : nn.Module
    images : float array (image, rows, columns)
        Of the shifted set; they pass as one batch, whose activations must fit into memory.
    scale : callable
        The model's input scaling.
    swap : Swap
    memory_format : torch.memory_format
    """
    with prediction_time_statistics(network, 0.0, moments=swap.moments, layers=swap.layers):
        predict(network, images, scale, batch_size=len(images), memory_format=memory_format)
        return stored_statistics(network)


@contextmanager
def normalised_by(network: nn.Module, statistics: Sequence[LayerStatistics]) -> Iterator[None]:
    """Let the network normalise by other statistics within the block."""
    with restored_statistics(network):
        for layer, values in zip(batch_norms(network), statistics, strict=True):
            mean, variance, _ = running_statistics(layer)
            mean.copy_(values[0])
            variance.copy_(values[1])
        yield


def with_transplants(
    stored: Sequence[LayerStatistics], found: Mapping[str, list[LayerStatistics]]
) -> dict[str, list[LayerStatistics]]:
    """Return the statistics of every swap, by its name, with the transplanted ones behind them.

    Parameters
    ----------
    stored : sequence of LayerStatistics
        Of the frozen network.
    found : mapping from the name of a swap to its statistics
        `both` must be there.
    """
    pairs = list(zip(stored, found[BOTH], strict=True))
    return {
        **found,
        f"mean{TRANSPLANTED}": [(adapted[0], frozen[1]) for frozen, adapted in pairs],
        f"variance{TRANSPLANTED}": [(frozen[0], adapted[1]) for frozen, adapted in pairs],
    }
