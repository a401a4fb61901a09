"""The folded surfaces: cerebral cortex with sulci and the Sylvian fissure, and the cerebellum with its folia."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mrisim.phantoms import brain_anatomy as anatomy
from mrisim.phantoms import brain_folding as folding
from mrisim.phantoms import solids
from mrisim.phantoms.brain_anatomy import HeadShape

FloatArray = NDArray[np.floating]

RADIAL = 0.85
"""How nearly perpendicular to the surface sulci run: the folding field is read at this share of the way back to it."""
FOLIA_SPACING_MM = 4.6


def pial_distance(shape: HeadShape, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """Distance to the folded cerebral surface, negative inside the brain.

    A point belongs to the brain if it is inside the hull and outside every sulcal blade. Depth below the surface,
    blades included, is then also the distance that the cortical ribbon is measured by.
    """
    ax = np.abs(x)
    hull = anatomy.cerebral_hull(shape, ax, y, z)
    step = np.float32(1.0)
    rounded = anatomy.cerebral_hull(shape, ax, y, z, 3.5)
    slopes = [
        anatomy.cerebral_hull(shape, ax + dx, y + dy, z + dz, 3.5) - rounded
        for dx, dy, dz in ((step, 0, 0), (0, step, 0), (0, 0, step))
    ]
    length = np.sqrt(slopes[0] ** 2 + slopes[1] ** 2 + slopes[2] ** 2 + 1e-4)
    normal = (slopes[0] / length, slopes[1] / length, slopes[2] / length)
    depth = np.clip(-rounded, 0, 40)
    relief = anatomy.noise(shape, x, y, z, 9.0, 1)
    # Sulci meander: the field is read through a warp of a few millimetres.
    meander = 3.6 * anatomy.noise(shape, x, y, z, 6.0, 8), 3.6 * anatomy.noise(shape, y, z, x, 6.0, 9)
    back = np.float32(RADIAL) * depth
    surface = (
        (ax + back * normal[0] + meander[0]) * np.where(x < 0, -1, 1),
        y + back * normal[1] + meander[1],
        z + back * normal[2] - meander[0],
    )
    sheet = folding.sheet_distance(
        anatomy.fold_points(shape, *surface), anatomy.fold_directions(shape, *normal), shape.fold_wavelength_mm
    )
    reach = shape.sulcal_depth_mm * np.clip(1.0 + 0.38 * relief, 0.3, 1.45)
    # Where the hull's distance has a ridge (far from any surface) there is no way back and no sulcus.
    reach = reach * np.clip((length - 0.35) / 0.3, 0, 1)
    reach = np.minimum(reach, 29)
    # The medial wall is less deeply folded than the convexity.
    reach = reach * (1 - 0.45 * np.clip(-1.6 * normal[0] - 0.4, 0, 1))
    # Lips open towards the skull; a blade ends in a rounded fundus.
    half_width = shape.sulcal_half_width_mm * (1 + 0.7 * np.exp(-depth / 4.0))
    blade = np.hypot(np.maximum(sheet - half_width, 0), np.maximum(depth - reach, 0))
    blade = np.where((sheet < half_width) & (depth < reach), -0.5, blade)
    blade = np.minimum(blade, _sylvian(shape, ax, y, z, relief))
    # The core joins the hemispheres across the midline and keeps sulci out of itself.
    return solids.smooth_union(np.maximum(hull, -blade), anatomy.midline_core(ax, y, z), 3.0)


def _sylvian(shape: HeadShape, ax: FloatArray, y: FloatArray, z: FloatArray, relief: FloatArray) -> FloatArray:
    """Distance to the Sylvian fissure: an oblique lateral cleft that ends on the sheet over the insula."""
    width = shape.sulcal_half_width_mm + 0.35
    oblique = (z - (-1.0 - 0.38 * (y - 5)) - 2.5 * relief) * np.float32(0.935)
    cleft = np.abs(oblique) - width
    outside = np.maximum(np.maximum(shape.insula_x_mm - ax, np.abs(y + 7) - 31), 0)
    cleft = np.hypot(np.maximum(cleft, 0), outside) + np.minimum(cleft, 0)
    insula = shape.insula_x_mm + 1.2 * relief - 0.004 * (y - 2) ** 2
    sheet = np.abs(ax - insula) - width * 0.9
    beyond = np.maximum(np.maximum(np.abs(oblique) - 13, np.abs(y - 1) - 21), 0)
    return np.minimum(cleft, np.hypot(np.maximum(sheet, 0), beyond) + np.minimum(sheet, 0))


def cortical_ribbon(shape: HeadShape, pial: FloatArray, ax: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """Distance to white matter's surface: the ribbon is where this is positive and `pial` negative.

    The ribbon thins out over the corpus callosum, where the surface is white matter.
    """
    bare = np.clip(1 - (anatomy.midline_core(ax, y, z) - 0.5) / 3.0, 0, 1)
    return pial + shape.cortex_mm * (1 - bare)


def cerebellum(
    shape: HeadShape, x: FloatArray, y: FloatArray, z: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Distance to the cerebellum, share of white matter in it, share of fluid between its folia.

    Folia are sheets that fan out from below the fourth ventricle; they run side to side and bow backwards.
    """
    ax = np.abs(x)
    lobe = solids.ellipsoid(ax, y, z, (24.0, -63.0, -38.0), (31.0, 29.0, 22.0))
    vermis = solids.ellipsoid(ax, y, z, (0.0, -60.0, -23.0), (13.0, 22.0, 20.0))
    distance = solids.smooth_union(lobe, vermis, 8.0)
    depth = np.clip(-distance, 0, 40)
    warp = anatomy.noise(shape, x, y, z, 5.0, 2)
    # The fan's axis lies in front and below, so that axial, sagittal and coronal slices all cut folia across.
    bow_y, bow_z = y + 36 - 0.010 * ax * ax, z + 56
    turn = np.arctan2(bow_z, -bow_y + 1e-3) * 34.0 + 0.9 * warp
    phase = turn * np.float32(2 * np.pi / FOLIA_SPACING_MM)
    fissure = np.clip(np.cos(phase) - 0.62 - 0.012 * depth, 0, 1) * 1.5 * (0.5 + 0.6 * shape.atrophy)
    # The tree of white matter: a core, branches in every third folium, thin cores in the others.
    branch = np.clip(-np.cos(phase / 3 + warp) * 1.6 - 0.75, 0, 1)
    thin = np.clip(-np.cos(phase) - 0.72, 0, 1) * np.clip(depth / 5 - 0.3, 0, 1)
    deep = solids.ellipsoid(ax, y, z, (17.0, -54.0, -38.0), (17.0, 11.0, 10.0))
    core = np.clip(0.5 - (deep + 1.5 * warp) / 3.0, 0, 1)
    white = np.clip(np.maximum(core, np.maximum(branch * np.clip(depth / 3 - 0.6, 0, 1), thin)), 0, 1)
    return distance, white, np.clip(fissure, 0, 0.8) * (1 - core)
