"""Input scaling of volumes: a z-score of each contrast, over the brain or slice by slice."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from mrisim.errors import ConfigError, DataError

VolumeScaling = Literal["brain", "slice"]
VOLUME_SCALINGS: tuple[str, ...] = get_args(VolumeScaling)


def brain_mask(images: np.ndarray) -> np.ndarray:
    """Return where any contrast (channel, x, y, z) of a skull-stripped volume is not zero: (x, y, z)."""
    return np.any(np.asarray(images) != 0, axis=0)


def z_scored(images: np.ndarray, scaling: VolumeScaling = "brain", *, brain: np.ndarray | None = None) -> np.ndarray:
    """Return each contrast with mean 0 and standard deviation 1.

    Parameters
    ----------
    images : (channel, x, y, z)
    scaling : str
        ``brain``: statistics over each contrast's own voxels that are not zero; the others become 0. ``slice``: over
        all voxels of each slice z, zeros among them, as in the network that the second paper is inferred to be; a slice
        without contrast becomes 0. There, a slice's scale depends on how much of it is brain.
    brain : bool array (x, y, z), optional
        For ``brain``, in place of the voxels that are not zero. An artifact fills the air with noise or ghosts, and
        "not zero" is then everywhere: give the mask of the clean images to keep scaling and artifact apart.

    Returns
    -------
    float32 array of the same shape

    Raises
    ------
    ConfigError
        If the scaling is unknown.
    DataError
        If a contrast has no spread within the brain.
    """
    if scaling not in VOLUME_SCALINGS:
        raise ConfigError(f"scaling is {scaling!r}; expected one of {', '.join(VOLUME_SCALINGS)}")
    images = np.asarray(images, np.float32)
    if scaling == "slice":
        mean = images.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
        centred = images - mean
        spread = np.sqrt(np.mean(centred**2, axis=(1, 2), keepdims=True))
        return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0).astype(np.float32)
    result = np.zeros_like(images)
    for channel, image in enumerate(images):
        inside = image != 0 if brain is None else brain
        values = image[inside].astype(np.float64)
        spread = float(values.std()) if values.size else 0.0
        if not spread > 0:
            raise DataError(f"contrast {channel} has no spread within the brain; expected an image with contrast")
        result[channel, inside] = (values - values.mean()) / spread
    return result
