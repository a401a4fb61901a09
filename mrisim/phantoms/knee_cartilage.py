"""Hyaline cartilage and menisci of the knee, with defects and tears: what fills them is joint fluid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mrisim.phantoms import knee_anatomy as anatomy
from mrisim.phantoms.canvas import Window
from mrisim.phantoms.knee_lesions import CartilageDefect, MeniscusTear
from mrisim.phantoms.knee_scene import Scene

FloatArray = NDArray[np.floating]


def paint_femoral_cartilage(scene: Scene, window: Window, surfaces: anatomy.Surfaces) -> None:
    """The cartilage shell of condyles and trochlea."""
    slow = scene.texture(window, (11.0, 11.0, 11.0), 3)
    thickness = scene.shape.cartilage_mm * (1 - scene.shape.cartilage_thinning * (0.6 + 0.4 * np.clip(slow, -1, 1)))
    zone = anatomy.femoral_cartilage_zone(window, surfaces.notch)
    thickness = thickness * np.clip(0.2 - zone / 6, 0.05, 1)  # it thins out towards its margins
    distance = np.maximum(surfaces.femur - thickness, zone)
    paint_cartilage(scene, window, scene.canvas.cover(distance), np.maximum(surfaces.femur, 0) / thickness, "femur")


def paint_tibial_cartilage(scene: Scene, window: Window, surfaces: anatomy.Surfaces) -> None:
    """The cartilage on both plateaus, between spine and rim."""
    height = surfaces.plateau_y - window.y
    thickness = scene.shape.cartilage_mm * 0.85 * (1 - 0.7 * scene.shape.cartilage_thinning)
    distance = np.maximum(np.maximum(height - thickness, surfaces.tibia_side + 2.0), 9.5 - np.abs(window.z))
    distance = np.maximum(distance, surfaces.tibia - thickness - 0.5)
    paint_cartilage(scene, window, scene.canvas.cover(distance), np.maximum(height, 0) / thickness, "tibia")


def paint_cartilage(scene: Scene, window: Window, cover: FloatArray, layer: FloatArray, site: str) -> None:
    """Paint one cartilage; `layer` runs from 0 at the bone (darker) to 1 at the surface; defects hold fluid."""
    lost = np.zeros(np.shape(window.x), np.float32)
    own: list[tuple[int, FloatArray]] = []
    for index, lesion in scene.of(CartilageDefect):
        if lesion.site == site:
            u, v, w = (a - b for a, b in zip((window.x, window.y, window.z), lesion.centre_mm, strict=True))
            w = w / lesion.elongation_z
            radius = np.sqrt(u * u + v * v + w * w) - lesion.diameter_mm / 2
            crater = np.clip(0.5 - radius / 1.5, 0, 1) * np.clip((layer - 1 + lesion.depth) * 4 + 0.5, 0, 1)
            crater = crater * (0.85 + 0.15 * lesion.conspicuity)
            own.append((index, crater))
            lost = np.maximum(lost, crater)
    calcified = 0.22 * (1 - np.clip(layer * 2.2, 0, 1))
    painted = scene.canvas.paint(
        window,
        cover,
        {"cartilage": (1 - lost) * (1 - calcified), "cortical_bone": (1 - lost) * calcified, "synovial_fluid": lost},
    )
    for index, crater in own:
        scene.mark(index, window, painted * crater)


def paint_meniscus(scene: Scene, lateral: bool) -> None:
    """One meniscus: a wedge along a C, thick at the rim, open towards the notch; clefts hold fluid."""
    shape, canvas = scene.shape, scene.canvas
    sign = 1.0 if lateral else -1.0
    window = canvas.window((-26, 26, -10, 13, 4, 42) if lateral else (-26, 26, -10, 13, -42, -4))
    if window is None:
        return
    radius_x, radius_z = (20.0, 17.0) if lateral else (23.0, 17.5)
    outward = sign * window.z - anatomy.COMPARTMENT_Z_MM
    p, t = window.x / radius_x, outward / radius_z
    inward = (1 - np.sqrt(p * p + t * t + 1e-9)) * 19  # distance from the rim
    length = shape.meniscus_length_mm * (1 + (0.12 if lateral else 0.26) * np.clip(p, -1, 1))
    floor = anatomy.plateau_height(shape, window.x, window.z)
    level = np.clip(inward / length, 0, 1)
    roof = floor - shape.cartilage_mm * 0.6 - shape.meniscus_height_mm * (1 - level) * 0.95
    opening = np.minimum(13.0 - (outward + anatomy.COMPARTMENT_Z_MM), 12.5 - np.abs(window.x))
    distance = np.maximum(np.maximum(roof - window.y, window.y - floor - 0.5), np.maximum(inward - length, -inward))
    distance = np.maximum(np.maximum(distance, opening), 8 - (outward + anatomy.COMPARTMENT_Z_MM))
    middle = (roof + floor - shape.cartilage_mm * 0.6) / 2
    angle = np.arctan2(p, np.maximum(t, 0) + 0.55)
    clefts = [
        (i, tear_strength(scene, lesion, window.y - middle, inward, length, angle))
        for i, lesion in scene.of(MeniscusTear)
        if lesion.lateral == lateral
    ]
    fluid = np.zeros(np.shape(window.x), np.float32)
    for _, cleft in clefts:
        fluid = np.maximum(fluid, cleft)
    blob = shape.meniscus_degeneration[int(lateral)] * np.exp(
        -((window.y - middle) ** 2) / 2.2 - (level - 0.4) ** 2 / 0.05 - (angle - 0.7) ** 2 / 0.3
    )
    haze = np.clip(0.03 + 0.02 * scene.texture(window, (1.2, 1.2, 1.2), 17), 0, 0.2)
    solid = 1 - fluid
    painted = canvas.paint(
        window,
        canvas.cover(distance),
        {
            "meniscus": solid * (1 - haze - 0.6 * blob),
            "synovial_fluid": fluid + solid * 0.55 * blob,
            "muscle": solid * haze,
        },
    )
    for index, cleft in clefts:
        scene.mark(index, window, painted * cleft)
    capsule = np.maximum(np.abs(inward + 0.6) - 0.6, np.maximum(roof - 1.5 - window.y, window.y - floor - 2))
    capsule = np.maximum(capsule, 15.0 - (outward + anatomy.COMPARTMENT_Z_MM))
    canvas.paint(window, 0.6 * canvas.cover(capsule), "tendon")


def tear_strength(
    scene: Scene, tear: MeniscusTear, height: FloatArray, inward: FloatArray, length: FloatArray, angle: FloatArray
) -> FloatArray:
    """Share of meniscus replaced by fluid in a cleft: a thin sheet through the wedge, or a missing tip."""
    c = tear.conspicuity
    half = 0.60 + 0.70 * c
    mix = 0.35 + 0.60 * c
    along = np.exp(-(((angle - tear.angle_rad) / tear.half_extent_rad) ** 4))
    if tear.pattern == "horizontal":
        sheet = np.abs(height - 0.4) - half
    elif tear.pattern == "oblique":
        sheet = (np.abs(height + 0.85 * (inward - 0.42 * length)) - half * 1.25) * 0.76
    elif tear.pattern == "vertical":
        sheet = np.abs(inward - 0.35 * length + 0.15 * height) - half
    else:
        sheet = length * (1 - 0.15 - 0.5 * c) - inward
        mix = min(1.0, mix + 0.25)
    return mix * along * np.clip(0.5 - sheet / max(scene.canvas.edge_mm, 0.6), 0, 1)
