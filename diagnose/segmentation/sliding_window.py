"""Inference on a volume larger than the patch: overlapping windows, their results averaged with weights.

    f(r) = sum_w weight_w(r) f_w(r) / sum_w weight_w(r)

The weights of a voxel add up to 1 (a partition of unity), so a network that gives each voxel a function of that voxel
alone gives the same through any windows. Gaussian weights trust the middle of a window, where the network sees most.

References
----------
Isensee et al., nnU-Net, 2021, 10.1038/s41592-020-01008-z (Gaussian weights, a standard deviation of 1/8 of the patch).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Literal, get_args

import numpy as np

from diagnose.segmentation.patch_sampling import Shape3, check_patch_fits
from mrisim.errors import ConfigError

Weighting = Literal["gaussian", "uniform"]
WEIGHTINGS: tuple[str, ...] = get_args(Weighting)
SIGMA_OVER_PATCH = 1 / 8


def window_starts(n_voxels: int, patch: int, overlap: float) -> list[int]:
    """Return where windows start along one axis: evenly spread, the first at 0, the last flush with the end.

    Neighbours overlap by at least the given share of the patch.

    Raises
    ------
    ConfigError
        If the overlap is not in 0 <= overlap < 1.
    """
    if not 0 <= overlap < 1:
        raise ConfigError(f"overlap is {overlap}; expected 0 or more and less than 1")
    step = max(1, int(patch * (1 - overlap)))
    n_steps = -(-(n_voxels - patch) // step)
    return [round(index * (n_voxels - patch) / n_steps) for index in range(n_steps + 1)] if n_steps else [0]


def window_weights(patch_shape: Shape3, weighting: Weighting) -> np.ndarray:
    """Return the weights of a window (x, y, z), float32, above 0, symmetric, 1 at the middle.

    Raises
    ------
    ConfigError
        If the weighting is unknown.
    """
    if weighting not in WEIGHTINGS:
        raise ConfigError(f"weighting is {weighting!r}; expected one of {', '.join(WEIGHTINGS)}")
    axes = []
    for side in patch_shape:
        offset = np.arange(side) - (side - 1) / 2
        axes.append(np.exp(-0.5 * (offset / (side * SIGMA_OVER_PATCH)) ** 2) if weighting == "gaussian" else offset**0)
    x, y, z = axes
    weights = x[:, None, None] * y[None, :, None] * z[None, None, :]
    return (weights / weights.max()).astype(np.float32)


def predict_volume(
    predict: Callable[[np.ndarray], np.ndarray],
    volume: np.ndarray,
    patch_shape: Shape3,
    *,
    overlap: float = 0.5,
    weighting: Weighting = "gaussian",
    batch_size: int = 1,
) -> np.ndarray:
    """Return the prediction for a whole volume.

    Parameters
    ----------
    predict : callable
        Maps windows (window, channel, x, y, z) to (window, class, x, y, z), float.
    volume : (channel, x, y, z)
    patch_shape : tuple of int
    overlap : float
        Of neighbouring windows, as a share of the patch.
    weighting : str
    batch_size : int
        Windows at a time.

    Returns
    -------
    float32 array (class, x, y, z)

    Raises
    ------
    DataError
        If the volume is smaller than the patch.
    ConfigError
        If overlap or weighting cannot be meant.
    """
    shape = volume.shape[1:]
    check_patch_fits(shape, patch_shape)
    weights = window_weights(patch_shape, weighting)
    starts = [window_starts(side, patch, overlap) for side, patch in zip(shape, patch_shape, strict=True)]
    windows = [
        tuple(slice(start, start + side) for start, side in zip(place, patch_shape, strict=True))
        for place in product(*starts)
    ]
    total = np.zeros(shape, np.float32)
    result: np.ndarray | None = None
    for batch in _batches(windows, batch_size):
        predicted = predict(np.stack([volume[(slice(None), *window)] for window in batch]))
        if result is None:
            result = np.zeros((predicted.shape[1], *shape), np.float32)
        for window, part in zip(batch, predicted, strict=True):
            result[(slice(None), *window)] += weights * part
            total[window] += weights
    assert result is not None
    return result / total


def _batches(windows: list[tuple[slice, ...]], size: int) -> Iterator[list[tuple[slice, ...]]]:
    for first in range(0, len(windows), size):
        yield windows[first : first + size]
