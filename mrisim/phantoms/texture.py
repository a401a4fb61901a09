"""Three-dimensional tissue texture: one fixed noise volume at any scale, so that all slices of a subject agree.

The volume is a constant of the package (seed below), periodic, of unit variance; a subject differs by its offset.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

N_VOXELS = 64
_SEED = 20240607  # a constant of the phantom, like its geometry: no stream of the caller is involved


@cache
def noise_volume() -> NDArray[np.floating]:
    """Low-pass Gaussian noise, (64, 64, 64), periodic, mean 0, variance 1."""
    white = np.random.Generator(np.random.Philox(_SEED)).standard_normal((N_VOXELS,) * 3)
    smooth = ndimage.gaussian_filter(white, 0.9, mode="wrap")
    return ((smooth - smooth.mean()) / smooth.std()).astype(np.float32)


def sample(
    axes_mm: tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]],
    scale_mm: tuple[float, float, float],
    offset: tuple[float, float, float],
) -> NDArray[np.floating]:
    """Sample the noise on the grid spanned by three axes, by trilinear interpolation.

    Parameters
    ----------
    axes_mm : coordinates along x, y, z.
    scale_mm : length of one noise voxel along x, y, z: the grain of the texture (fibres: long along one axis).
    offset : shift of the volume in noise voxels: the subject's and the tissue's own.

    Returns
    -------
    array (len(x), len(y), len(z)), unit variance before interpolation.
    """
    volume = noise_volume()
    for axis in sorted(range(3), key=lambda a: len(axes_mm[a])):  # the slice axis first: the rest is then a small plane
        position = np.asarray(axes_mm[axis]) / scale_mm[axis] + offset[axis]
        low = np.floor(position).astype(np.intp)
        part = (position - low).astype(np.float32).reshape((-1,) + (1,) * (2 - axis))
        below, above = np.take(volume, low % N_VOXELS, axis=axis), np.take(volume, (low + 1) % N_VOXELS, axis=axis)
        volume = below * (1 - part) + above * part
    return volume
