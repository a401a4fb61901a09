"""The healthy procedural brain: its shape parameters, hulls and deep structures, and who owns each point.

Head coordinates in mm, RAS: x to the patient's right, y anterior, z superior, origin near the anterior commissure, so
that numbers can be read against an atlas in MNI space. Structures are mirrored in x; the subject's deformation and the
side-dependent offset of the folding field make the hemispheres differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrisim.phantoms import brain_folding as folding
from mrisim.phantoms import solids

FloatArray = NDArray[np.floating]
Vector = tuple[float, float, float]

TISSUES = (
    "csf",
    "grey_matter",
    "white_matter",
    "fat",
    "marrow",
    "cortical_bone",
    "muscle",
    "skin",
    "blood",
    "oedema",
    "necrosis",
    "enhancing",
    "gliosis",
    "vitreous",
)
INDEX = {name: i for i, name in enumerate(TISSUES)}

_CC_ARC = (
    (0.0, 22.0, -2.0),
    (0.0, 29.0, 5.0),
    (0.0, 20.0, 17.0),
    (0.0, 0.0, 25.0),
    (0.0, -22.0, 24.0),
    (0.0, -37.0, 13.0),
)
_LATERAL_VENTRICLE = (
    (15.0, 35.0, 2.0),
    (9.5, 22.0, 10.0),
    (7.5, 8.0, 17.0),
    (9.5, -10.0, 22.5),
    (15.0, -28.0, 21.0),
    (24.0, -41.0, 11.0),
    (26.0, -54.0, 6.0),
    (22.0, -70.0, 4.0),
)
_LATERAL_RADIUS_MM = (1.2, 4.4, 4.6, 4.2, 4.8, 6.0, 3.6, 1.0)
_TEMPORAL_HORN = ((25.0, -40.0, 8.0), (33.0, -36.0, -5.0), (34.0, -22.0, -14.0), (31.0, -9.0, -18.0))


@dataclass(frozen=True)
class HeadShape:
    """Everything that makes one healthy procedural head.

    Attributes
    ----------
    fold_wavelength_mm : two sulci lie half of it apart. fold_rotation : (3, 3). fold_offset_mm, side_offset_mm :
        where the folding field is read; the latter separates the hemispheres.
    atrophy : 0 (young) to 1; widens ventricles, sulci and the subarachnoid space.
    """

    fold_wavelength_mm: float
    fold_rotation: tuple[Vector, Vector, Vector]
    fold_offset_mm: Vector
    side_offset_mm: float
    atrophy: float
    cortex_mm: float
    sulcal_half_width_mm: float
    sulcal_depth_mm: float
    csf_mm: float
    ventricle_scale: float
    skull_mm: float
    diploe_fraction: float
    scalp_mm: float
    fronto_occipital: float
    insula_x_mm: float

    def fractions(self, x: FloatArray, y: FloatArray, z: FloatArray, edge_mm: float) -> FloatArray:
        """Tissue fractions at points; see `paint_head`."""
        from mrisim.phantoms.brain_head import paint_head  # the painters need this module's shape

        return paint_head(self, x, y, z, edge_mm)


def draw_shape(*, rng: np.random.Generator) -> HeadShape:
    """Draw a healthy adult head."""
    atrophy = float(rng.beta(1.6, 2.2))
    quaternion = rng.normal(size=4)
    w, i, j, k = (quaternion / np.linalg.norm(quaternion)).tolist()
    offset_x, offset_y, offset_z = rng.uniform(0, 200, 3).tolist()
    rotation = (
        (1 - 2 * (j * j + k * k), 2 * (i * j - k * w), 2 * (i * k + j * w)),
        (2 * (i * j + k * w), 1 - 2 * (i * i + k * k), 2 * (j * k - i * w)),
        (2 * (i * k - j * w), 2 * (j * k + i * w), 1 - 2 * (i * i + j * j)),
    )
    return HeadShape(
        fold_wavelength_mm=float(rng.uniform(19.5, 22.0)),
        fold_rotation=rotation,
        fold_offset_mm=(offset_x, offset_y, offset_z),
        side_offset_mm=float(rng.uniform(5, 9)),
        atrophy=atrophy,
        cortex_mm=float(rng.uniform(3.2, 3.5) - 0.25 * atrophy),
        sulcal_half_width_mm=0.25 + 0.55 * atrophy + float(rng.uniform(0, 0.1)),
        sulcal_depth_mm=float(rng.uniform(24, 28)),
        csf_mm=float(1.2 + 2.0 * atrophy + rng.uniform(0, 0.6)),
        ventricle_scale=float((0.75 + 0.75 * atrophy) * np.exp(rng.normal(0, 0.12))),
        skull_mm=float(rng.uniform(5.5, 8.0)),
        diploe_fraction=float(rng.uniform(0.4, 0.6)),
        scalp_mm=float(rng.uniform(5.0, 9.5)),
        fronto_occipital=float(rng.uniform(0.06, 0.14)),
        insula_x_mm=float(rng.uniform(35.5, 38.5)),
    )


def main_ellipsoid(shape: HeadShape, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """Distance to the egg that cerebrum, inner table, skull and scalp are offsets of: wider behind than in front."""
    u = x * (1 + shape.fronto_occipital * (y + 17) / 87)
    # A low vault rounds less than an ellipsoid: flatten the section by a power above 2.
    radius = (np.abs(u / 65.5) ** 2.35 + np.abs((y + 17) / 85.0) ** 2.35 + np.abs((z - 10) / 64.0) ** 2.35 + 1e-6) ** (
        1 / 2.35
    )
    # First-order distance: the gradient of the radius is close to 1 / (local radius).
    local = np.sqrt((u * u + (y + 17) ** 2 + (z - 10) ** 2) / (radius * radius) + 1e-6)
    return (radius - 1) * local


def cerebral_hull(shape: HeadShape, ax: FloatArray, y: FloatArray, z: FloatArray, rounding: float = 1.0) -> FloatArray:
    """Distance to one cerebral hemisphere without sulci, ax = |x|, including its medial wall and temporal lobe.

    `rounding` above 1 melts its parts into one another: a surface whose normals turn slowly everywhere.
    """
    egg = main_ellipsoid(shape, ax, y, z)
    tent = np.clip((-30 - y) / 20, 0, 1) * np.clip((y + 92) / 25, 0, 1)
    tentorium = -22 + 17 * np.exp(-((ax / 19) ** 2)) * tent
    cerebrum = solids.smooth_intersection(egg, tentorium - z, 6.0 * rounding)
    temporal = solids.ellipsoid(ax, y, z, (43.0, -17.0, -21.0), (23.0, 39.0, 21.5))
    hull = solids.smooth_union(cerebrum, solids.smooth_intersection(temporal, egg, 6.0), 5.0 * rounding)
    return solids.smooth_intersection(hull, 1.0 - ax, 5.0 * rounding)


def midline_core(ax: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """Distance to what joins the hemispheres: corpus callosum, septum and thalami, down to the hypothalamus."""
    arc, _ = solids.polyline(ax / 5, y, z, _CC_ARC)
    middle = solids.ellipsoid(ax, y, z, (0.0, -7.0, 7.0), (25.0, 31.0, 19.0))
    return np.minimum(arc - 3.8, middle)


def brain_stem(ax: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """Distance to midbrain with peduncles, pons and medulla."""
    midbrain = solids.ellipsoid(ax, y, z, (0.0, -24.0, -11.0), (16.0, 14.0, 14.0))
    pons = solids.ellipsoid(ax, y, z, (0.0, -24.0, -32.0), (19.0, 13.0, 16.0))
    medulla = solids.column(ax, y, 0.0, -34 + 0.25 * (z + 50), 9.0, 7.5)
    medulla = solids.smooth_intersection(medulla, z + 34, 4.0)
    return solids.smooth_union(solids.smooth_union(midbrain, pons, 6.0), medulla, 8.0)


def ventricles(shape: HeadShape, ax: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """Distance to the ventricular system."""
    scale = shape.ventricle_scale
    spread = 1 + 0.12 * (scale - 1)  # wide ventricles also reach further out
    points = [(px * spread, py, pz / 1.5) for px, py, pz in _LATERAL_VENTRICLE]
    distance, along = solids.polyline(ax, y, z / 1.5, points)
    lateral = distance - scale**0.8 * np.interp(along, np.linspace(0, 1, len(points)), _LATERAL_RADIUS_MM).astype(
        np.float32
    )
    lateral = np.maximum(lateral, 1.3 - ax)  # the septum
    horn, horn_along = solids.polyline(ax, y, z, _TEMPORAL_HORN)
    lateral = np.minimum(lateral, horn - scale * (2.6 - 1.5 * horn_along))
    third = solids.ellipsoid(ax, y, z, (0.0, -13.0, 0.0), (2.2 * scale, 14.0, 11.0))
    fourth = solids.ellipsoid(ax, y, z, (0.0, -45.0, -33.0), (6.5, 5.5, 9.0))
    return np.minimum(np.minimum(lateral, third), fourth)


def deep_grey(ax: FloatArray, y: FloatArray, z: FloatArray) -> tuple[tuple[FloatArray, float], ...]:
    """Distance to each deep nucleus and the its share of grey matter; the rest is white: fibres, and iron's effect."""
    tail, along = solids.polyline(
        ax, y, z, ((14.0, 8.0, 18.0), (16.5, -12.0, 23.0), (22.0, -30.0, 22.0), (30.0, -40.0, 12.0))
    )
    caudate = solids.smooth_union(
        solids.ellipsoid(ax, y, z, (14.0, 15.0, 7.0), (5.5, 10.5, 11.5), 0.15), tail - (3.2 - 2.2 * along), 3.0
    )
    putamen = solids.ellipsoid(ax, y, z, (26.0, 1.0, 2.0), (5.2, 16.5, 11.0), -0.28)
    pallidum = solids.ellipsoid(ax, y, z, (19.5, -5.0, -1.0), (4.2, 9.5, 6.5), -0.42)
    thalamus = solids.ellipsoid(ax, y, z, (11.0, -19.0, 7.0), (8.2, 15.0, 9.0), -0.5)
    claustrum = np.maximum(np.abs(putamen - 2.6) - 0.55, 28.0 - ax)
    hippocampus, _ = solids.polyline(ax, y, z, ((22.0, -8.0, -22.0), (28.0, -22.0, -16.0), (26.0, -36.0, -4.0)))
    dentate = solids.ellipsoid(ax, y, z, (14.0, -56.0, -36.0), (5.0, 8.0, 4.5))
    return (
        (pallidum, 0.30),
        (caudate, 0.95),
        (putamen, 0.92),
        (thalamus, 0.62),
        (claustrum, 0.75),
        (hippocampus - 4.5, 0.9),
        (dentate, 0.4),
    )


def fold_points(
    shape: HeadShape, x: FloatArray, y: FloatArray, z: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Turn head coordinates into those of the folding field: mirrored, shifted per side, rotated."""
    side = np.where(x < 0, np.float32(shape.side_offset_mm), np.float32(0))
    a, b, c = fold_directions(shape, np.abs(x), y + side, z - 0.6 * side)
    return a + shape.fold_offset_mm[0], b + shape.fold_offset_mm[1], c + shape.fold_offset_mm[2]


def fold_directions(
    shape: HeadShape, u: FloatArray, v: FloatArray, w: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rotate vectors (mirrored in x) into the folding field."""
    rows = shape.fold_rotation
    return (
        rows[0][0] * u + rows[0][1] * v + rows[0][2] * w,
        rows[1][0] * u + rows[1][1] * v + rows[1][2] * w,
        rows[2][0] * u + rows[2][1] * v + rows[2][2] * w,
    )


def noise(shape: HeadShape, x: FloatArray, y: FloatArray, z: FloatArray, scale_mm: float, index: int) -> FloatArray:
    """Unit-variance noise of this head; `index` separates structures."""
    a, b, _ = shape.fold_offset_mm
    return folding.noise(x, y, z, scale_mm, offset=a + 0.37 * b + 11.3 * index)
