"""Cortical folding: a narrow-band random field whose zero sheets are sulci, and the noise of the other structures.

The field is a constant of the package (seed below), periodic; a subject looks at it through its own rotation and
offset. Zero sheets of band-pass noise form a labyrinth of even spacing with branches and ends, as sulci do.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mrisim.phantoms import texture

FloatArray = NDArray[np.floating]
N_VOXELS = 96
VOXELS_PER_WAVELENGTH = 12.0
_SEED = 20240611  # a constant of the phantom, like its geometry: no stream of the caller is involved
_BAND = 0.22  # relative width of the spectral shell: wider makes the spacing of sulci less even


@cache
def field_volumes() -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Unit-variance field and its gradient per wavelength along three axes, each (96, 96, 96), periodic."""
    frequency = np.fft.fftfreq(N_VOXELS)
    kx, ky, kz = np.meshgrid(frequency, frequency, frequency, indexing="ij")
    radius = np.sqrt(kx**2 + ky**2 + kz**2) * VOXELS_PER_WAVELENGTH
    white = np.random.Generator(np.random.Philox(_SEED)).standard_normal((N_VOXELS,) * 3)
    spectrum = np.fft.fftn(white) * np.exp(-0.5 * ((radius - 1) / _BAND) ** 2)
    field = np.fft.ifftn(spectrum).real
    scale = 1 / field.std()
    slopes = [np.fft.ifftn(2j * np.pi * k * spectrum).real * scale * VOXELS_PER_WAVELENGTH for k in (kx, ky, kz)]
    a, b, c, d = (volume.astype(np.float32) for volume in (field * scale, *slopes))
    return a, b, c, d


def sheet_distance(
    points: tuple[FloatArray, FloatArray, FloatArray],
    normals: tuple[FloatArray, FloatArray, FloatArray],
    wavelength_mm: float,
) -> FloatArray:
    """Distance in mm, along the surface with these unit normals, to the line where a zero sheet meets it.

    First order: |f| / |tangential gradient|. Measured in space instead, a sheet that grazes the surface would become a
    lake. `points` and `normals` are in coordinates of the field, arrays of any one shape.
    """
    field, *slopes = (_at_points(volume, points, VOXELS_PER_WAVELENGTH / wavelength_mm) for volume in field_volumes())
    along = sum(slope * normal for slope, normal in zip(slopes, normals, strict=True))
    squared = sum(slope * slope for slope in slopes) - along * along
    # At saddles and grazing sheets the gradient vanishes; 0.45 of its typical size keeps sulci from swelling there.
    steepness = np.sqrt(np.maximum(squared, np.float32((0.45 * 2 * np.pi * np.sqrt(2 / 3)) ** 2)))
    return np.abs(field) * np.float32(wavelength_mm) / steepness


def noise(
    x: FloatArray, y: FloatArray, z: FloatArray, scale_mm: float, offset: float = 0.0, *, smooth: bool = False
) -> FloatArray:
    """Unit-variance noise at points of any one shape; `scale_mm` is one voxel of `texture.noise_volume`.

    `smooth` reads by cubic splines: ten times dearer, for outlines on which the facets of linear reading would show.
    """
    if smooth:
        return _at_points(_spline_noise(), (x, y, z), 1 / scale_mm, offset, order=3)
    # Trilinear reading costs a little variance; the shapes that use it are not sensitive to that.
    return _at_points(texture.noise_volume(), (x, y, z), 1 / scale_mm, offset)


@cache
def _spline_noise() -> FloatArray:
    return ndimage.spline_filter(texture.noise_volume(), order=3, mode="grid-wrap", output=np.float32)


def _at_points(
    volume: FloatArray,
    points: tuple[FloatArray, FloatArray, FloatArray],
    per_mm: float,
    offset: float = 0.0,
    order: Literal[1, 3] = 1,
) -> FloatArray:
    coordinates = np.empty((3, points[0].size), np.float32)
    for axis, values in enumerate(points):
        np.multiply(values.ravel(), np.float32(per_mm), out=coordinates[axis])
        coordinates[axis] += np.float32(offset * (1 + 0.7 * axis))
    read: FloatArray = ndimage.map_coordinates(
        volume, coordinates, order=order, mode="grid-wrap", output=np.float32, prefilter=False
    )
    return read.reshape(points[0].shape)
