"""Training patches of a volume, every one with at least a given share of tumour, all such places equally likely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mrisim.errors import ConfigError, DataError

Shape3 = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class PatchSampler:
    """Where patches of a volume may start."""

    patch_shape: Shape3
    starts_shape: Shape3
    """Number of starts along each axis."""
    starts: np.ndarray
    """Flat indices into ``starts_shape``."""

    def draw(self, *, rng: np.random.Generator) -> tuple[slice, slice, slice]:
        """Return one place, uniform over all that are allowed; it indexes (x, y, z)."""
        place = np.unravel_index(int(self.starts[rng.integers(len(self.starts))]), self.starts_shape)
        x, y, z = (slice(int(start), int(start) + side) for start, side in zip(place, self.patch_shape, strict=True))
        return x, y, z


def tumour_fractions(labels: np.ndarray, patch_shape: Shape3) -> np.ndarray:
    """Return the share of tumour in the patch at every start.

    Parameters
    ----------
    labels : (x, y, z)
        0 is background.
    patch_shape : tuple of int

    Returns
    -------
    float64 array (x - patch + 1, y - patch + 1, z - patch + 1)

    Raises
    ------
    DataError
        If the volume is smaller than the patch.
    """
    check_patch_fits(labels.shape, patch_shape)
    # summed from the corner, so that any box is a difference of eight corners, whatever its size
    sums = np.pad((labels > 0).astype(np.int64), ((1, 0),) * 3).cumsum(0).cumsum(1).cumsum(2)
    for axis, side in enumerate(patch_shape):
        n_starts = labels.shape[axis] - side + 1
        sums = np.take(sums, np.arange(side, side + n_starts), axis) - np.take(sums, np.arange(n_starts), axis)
    return sums / np.prod(patch_shape)


def patch_sampler(labels: np.ndarray, patch_shape: Shape3, min_tumour_fraction: float, *, name: str) -> PatchSampler:
    """Return the sampler of a volume.

    Parameters
    ----------
    labels : (x, y, z)
        0 is background.
    patch_shape : tuple of int
    min_tumour_fraction : float
        0 to 1; 0 allows every place. The network that the second paper is inferred to be takes 0.05.
    name : str
        Of the case, for messages.

    Raises
    ------
    ConfigError
        If the fraction is not from 0 to 1.
    DataError
        If the volume is smaller than the patch, or no patch has that much tumour: a case is not left out silently.
    """
    if not 0 <= min_tumour_fraction <= 1:
        raise ConfigError(f"min_tumour_fraction is {min_tumour_fraction}; expected 0 to 1")
    fractions = tumour_fractions(labels, patch_shape)
    # a share of n voxels is exact only to the last digit of a float
    starts = np.flatnonzero(fractions >= min_tumour_fraction - 1e-12)
    if starts.size == 0:
        raise DataError(
            f"{name}: no patch of {tuple(patch_shape)} has more than {fractions.max():.2%} tumour; expected "
            f"{min_tumour_fraction:.2%} (lower min_tumour_fraction, or leave the case out)"
        )
    a, b, c = fractions.shape
    return PatchSampler(patch_shape, (a, b, c), starts)


def check_patch_fits(shape: tuple[int, ...], patch_shape: Shape3) -> None:
    """Refuse a volume (x, y, z) that is smaller than the patch.

    Raises
    ------
    DataError
        As said.
    """
    if len(shape) != 3 or any(side < patch for side, patch in zip(shape, patch_shape, strict=True)):
        raise DataError(f"the volume is {tuple(shape)}; expected at least the patch, {tuple(patch_shape)}")
