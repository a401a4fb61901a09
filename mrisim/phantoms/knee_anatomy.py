"""The healthy knee as solids in millimetres.

Axes: x anterior (-) to posterior, y superior (-) to inferior, z medial (-) to lateral.
The joint line lies near y = 3. `KneeShape` holds what differs between subjects; `surfaces` gives the bones and their
cartilage on a window; the `paint_*` functions of its siblings put them on a canvas.

References
----------
Geometry: proportions of the project's pilot knee (drawn by eye against sagittal proton-density images), extended to
3-D.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrisim.phantoms import solids
from mrisim.phantoms.canvas import Window

FloatArray = NDArray[np.floating]

COMPARTMENT_Z_MM = 22.0  # centre of each tibiofemoral compartment from the midline
ROI_BONES = (-48.0, 40.0, -90.0, 90.0, -46.0, 46.0)


@dataclass(frozen=True)
class KneeShape:
    """Geometry of one healthy knee, millimetres unless the name says otherwise."""

    condyle_radius_mm: float
    condyle_elongation: float
    shaft_radius_mm: float
    cortex_mm: float
    cartilage_mm: float
    cartilage_thinning: float
    joint_gap_mm: float
    plateau_slope: float
    notch_half_width_mm: float
    patella_x_mm: float
    patella_y_mm: float
    patella_radius_mm: float
    patella_height_mm: float
    patella_tilt_rad: float
    meniscus_length_mm: float
    meniscus_height_mm: float
    meniscus_degeneration: tuple[float, float]
    acl_radius_mm: float
    acl_course_mm: float
    acl_mucoid: float
    subcutaneous_mm: float
    half_width_mm: float
    muscle_scale: float
    muscle_fat: float
    film_mm: float
    pouch_mm: float
    trabecular_contrast: float


def draw_shape(*, rng: np.random.Generator) -> KneeShape:
    """Draw the geometry of one healthy knee, confounders of the lesions included."""
    uniform = rng.uniform
    return KneeShape(
        condyle_radius_mm=uniform(23, 26.5),
        condyle_elongation=uniform(1.04, 1.18),
        shaft_radius_mm=uniform(13, 16),
        cortex_mm=uniform(0.7, 1.0),
        cartilage_mm=uniform(2.2, 3.2),
        cartilage_thinning=uniform(0, 0.25),
        joint_gap_mm=uniform(0.6, 1.4),
        plateau_slope=uniform(-0.02, 0.12),
        notch_half_width_mm=uniform(8.5, 10.5),
        patella_x_mm=uniform(-41.5, -38.5),
        patella_y_mm=uniform(-31, -24),
        patella_radius_mm=uniform(7.5, 9.5),
        patella_height_mm=uniform(15, 19.5),
        patella_tilt_rad=uniform(0, 0.2),
        meniscus_length_mm=uniform(8.5, 11.5),
        meniscus_height_mm=uniform(6.5, 8.5),
        meniscus_degeneration=(_sometimes(0.1, 0.5, rng=rng), _sometimes(0.1, 0.5, rng=rng)),
        acl_radius_mm=uniform(2.9, 3.9),
        acl_course_mm=uniform(-2, 2),
        acl_mucoid=_sometimes(0.05, 0.3, rng=rng),
        subcutaneous_mm=uniform(4, 12),
        half_width_mm=uniform(51, 56),
        muscle_scale=uniform(0.88, 1.1),
        muscle_fat=uniform(0.02, 0.09),
        film_mm=uniform(0.4, 0.9),
        pouch_mm=uniform(0.6, 3.6),
        trabecular_contrast=uniform(0.015, 0.045),
    )


def _sometimes(low: float, high: float, *, rng: np.random.Generator) -> float:
    """Draw a degenerative change: uniform in 40 % of knees, none in the rest."""
    return float(rng.uniform(low, high)) if rng.random() < 0.4 else 0.0


@dataclass(frozen=True)
class Surfaces:
    """Signed distances on a window, each broadcastable to (n_subslices, rows, columns)."""

    femur: FloatArray
    notch: FloatArray
    tibia: FloatArray
    plateau_y: FloatArray
    tibia_side: FloatArray


def femur_distance(shape: KneeShape, x: FloatArray, y: FloatArray, z: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Distance to the distal femur, and to the intercondylar notch cut from it."""
    radius = shape.condyle_radius_mm
    long_radius = radius * shape.condyle_elongation
    medial = solids.ellipsoid(x, y, z, (0.5, -1.3 - radius, -COMPARTMENT_Z_MM), (long_radius, radius, 19.0))
    lateral = solids.ellipsoid(x, y, z, (0.5, -1.6 - radius, COMPARTMENT_Z_MM), (long_radius * 1.02, radius, 18.5))
    trochlea = solids.ellipsoid(x, y, np.abs(z), (-14.0, -37.0, 13.0), (15.5, 19.0, 17.0))
    flare = np.clip((y + 92) / 58, 0, 1) ** 1.25
    shaft = solids.column(
        x, z, -5.0 + 1.5 * flare, 0.0, shape.shaft_radius_mm + 7 * flare, shape.shaft_radius_mm + 1 + 21 * flare
    )
    shaft = solids.smooth_intersection(shaft, y + 27, 6)
    body = solids.smooth_union(solids.smooth_union(np.minimum(medial, lateral), trochlea, 6), shaft, 9)
    width = shape.notch_half_width_mm
    notch = np.minimum(
        solids.ellipsoid(x, y, z, (14.0, -10.0, 0.0), (21.0, 15.5, width), -0.45),
        solids.ellipsoid(x, y, z, (27.0, -16.0, 0.0), (16.0, 19.0, width + 1.5), -0.3),
    )
    return solids.smooth_intersection(body, -notch, 2.5), notch


def plateau_height(shape: KneeShape, x: FloatArray, z: FloatArray) -> FloatArray:
    """Height y of the tibial plateau: concave medially, convex laterally, with the two intercondylar tubercles."""
    lateral = 1 / (1 + np.exp(-z / 5))
    dish = 1.8 - 0.0034 * (x * x + (z + COMPARTMENT_Z_MM) ** 2)
    dome = 0.3 + 0.0016 * x * x
    spine = 7.5 * np.exp(-(((np.abs(z) - 5) / 4.5) ** 2) - ((x - 2) / 11) ** 2)
    base = 2.2 + shape.cartilage_mm * 0.85 + shape.joint_gap_mm + shape.plateau_slope * x
    return base + dish * (1 - lateral) + dome * lateral - spine


def tibia_distance(
    shape: KneeShape, x: FloatArray, y: FloatArray, z: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Distance to the proximal tibia, the height of its plateau, and the distance to its side wall."""
    taper = 1 - (1 - np.clip((y - 7) / 72, 0, 1)) ** 2
    radius_x, radius_z = 25 - 10 * taper, 39 - 18 * taper
    p, t = ((x + 1.5 + 3 * taper) / radius_x) ** 2, (z / radius_z) ** 2
    side = (np.sqrt(np.sqrt(p * p + t * t + 1e-9)) - 1) * radius_x
    top = plateau_height(shape, x, z)
    body = solids.smooth_intersection(side, top - y, 4.5)
    tuberosity = solids.ellipsoid(x, y, z, (-19.0, 27.0, 1.0), (7.0, 13.0, 10.0))
    return solids.smooth_union(body, tuberosity, 10), top, side


def surfaces(shape: KneeShape, window: Window) -> Surfaces:
    """Femur, notch and tibia on a window."""
    femur, notch = femur_distance(shape, window.x, window.y, window.z)
    tibia, plateau_y, side = tibia_distance(shape, window.x, window.y, window.z)
    return Surfaces(femur, notch, tibia, plateau_y, side)


def fibula_distance(window: Window) -> FloatArray:
    """Distance to the head and neck of the fibula."""
    head = solids.ellipsoid(window.x, window.y, window.z, (19.0, 25.0, 31.0), (7.5, 9.5, 8.0))
    shaft = solids.smooth_intersection(solids.column(window.x, window.z, 19.0, 32.0, 5.5, 5.5), 26 - window.y, 4)
    return solids.smooth_union(head, shaft, 5)


def patella_distance(shape: KneeShape, window: Window, shift_mm: float = 0.0) -> FloatArray:
    """Distance to the patella; `shift_mm` moves it backwards, which makes its cartilage."""
    centre = (shape.patella_x_mm + shift_mm, shape.patella_y_mm, 2.0)
    # The posterior face is a wedge: the median ridge points backwards.
    ridge = window.x + 0.16 * np.abs(window.z - 4)
    return solids.ellipsoid(
        ridge,
        window.y,
        window.z,
        centre,
        (shape.patella_radius_mm, shape.patella_height_mm, 21.0),
        shape.patella_tilt_rad,
    )


def femoral_cartilage_zone(window: Window, notch: FloatArray) -> FloatArray:
    """Negative where the femur bears cartilage: condyles and trochlea, not the shaft, the flanks or the notch."""
    above = -45 + 0.28 * window.x - window.y
    flank = np.abs(window.z) - 36
    return np.maximum(np.maximum(above, flank), 2.5 - notch)


def leg_distance(shape: KneeShape, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """Distance to the skin."""
    fat = shape.subcutaneous_mm
    front = (
        -46.5
        - 6 * np.exp(-(((y + 27) / 17) ** 2))
        - 1.8 * np.exp(-(((y - 25) / 12) ** 2))
        + 0.05 * np.maximum(y, 0)
        - 0.5 * fat
    )
    back = 49 + 0.0010 * (y - 5) ** 2 - 3 * np.exp(-(((y + 2) / 14) ** 2)) + 0.45 * fat
    half_width = (
        shape.half_width_mm + 0.35 * fat + 3 * np.exp(-(((y + 32) / 22) ** 2)) - 2 * np.exp(-(((y - 10) / 14) ** 2))
    )
    p, t = ((x - (front + back) / 2) / ((back - front) / 2)) ** 2, (z / half_width) ** 2
    # Half way between an ellipse and a rounded square: thighs are neither.
    return (np.sqrt(0.5 * (p + t) + 0.5 * np.sqrt(p * p + t * t + 1e-9)) - 1) * 50
