"""Input scaling: what happens to a reconstructed slice before the network sees it. A factor of the study, never hidden.

`z-score` and `p99` use the slice's own statistics, so they undo a gain and let one bright region dim the rest;
`cohort` uses one pair of constants for all slices; `raw` leaves the magnitudes as they are (1e-4 in fastMRI, where
eps = 1e-5 of the norm layers is no longer small).
"""

from typing import Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict

from mrisim.errors import ConfigError

ScalingName = Literal["z-score", "cohort", "p99", "raw"]
SCALINGS: tuple[str, ...] = get_args(ScalingName)


class InputScaling(BaseModel):
    """A scaling with the constants it was fitted with: part of the model, stored with its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ScalingName
    offset: float = 0.0
    """Of `cohort`: mean of the clean training images."""
    spread: float = 1.0
    """Of `cohort`: standard deviation of the clean training images."""

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Scale magnitudes (slice, rows, columns); float32, the input is not changed.

        A slice without any contrast becomes zero under `z-score` and `p99`: it has no statistic to divide by.
        """
        images = np.asarray(images, dtype=np.float32)
        if self.name == "raw":
            return images.copy()
        if self.name == "cohort":
            return (images - np.float32(self.offset)) / np.float32(self.spread)
        if self.name == "p99":
            return _divided(images, np.percentile(images, 99, axis=(-2, -1), keepdims=True))
        mean = images.mean(axis=(-2, -1), keepdims=True, dtype=np.float64)
        centred = images - mean
        return _divided(centred, np.sqrt(np.mean(centred**2, axis=(-2, -1), keepdims=True)))


def fit_scaling(name: str, train_images: np.ndarray) -> InputScaling:
    """Return the scaling of a name, its constants taken from the clean training images (slice, rows, columns).

    Raises
    ------
    ConfigError
        If the name is unknown, or `cohort` is asked for and the images have no contrast.
    """
    if name not in SCALINGS:
        raise ConfigError(f"scaling is {name!r}; expected one of {', '.join(SCALINGS)}")
    if name != "cohort":
        return InputScaling(name=name)
    # Two passes slice by slice: the training set may be a memory map larger than the memory.
    mean = float(np.mean([image.mean(dtype=np.float64) for image in train_images]))
    variance = float(np.mean([np.mean((image.astype(np.float64) - mean) ** 2) for image in train_images]))
    if not variance > 0:
        raise ConfigError("the training images have no contrast; expected a spread above 0 for the scaling `cohort`")
    return InputScaling(name="cohort", offset=mean, spread=variance**0.5)


def _divided(images: np.ndarray, by: np.ndarray) -> np.ndarray:
    return np.divide(images, by, out=np.zeros(images.shape, np.float64), where=by > 0).astype(np.float32)
