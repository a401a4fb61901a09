"""Bones of the knee: marrow with trabeculae and physeal scars in a cortex of varying thickness, oedema, fractures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mrisim.phantoms import knee_anatomy as anatomy
from mrisim.phantoms.canvas import Box, Window
from mrisim.phantoms.knee_cartilage import paint_cartilage
from mrisim.phantoms.knee_lesions import CartilageDefect, MarrowEdema
from mrisim.phantoms.knee_scene import Scene

FloatArray = NDArray[np.floating]


def paint_bones(scene: Scene, window: Window, surfaces: anatomy.Surfaces) -> None:
    """Paint femur, tibia and fibula: trabecular marrow, physeal scars and oedema inside an uneven cortex."""
    x, y, z = window.x, window.y, window.z
    mottle = scene.texture(window, (3.0, 3.0, 3.0), 7)
    marrow = marrow_mixture(scene, window, mottle)
    edema = np.zeros(np.shape(x), np.float32)
    line = np.zeros(np.shape(x), np.float32)
    for _, lesion in scene.of(MarrowEdema):
        blob, crack = edema_strength(scene, window, lesion, mottle)
        edema, line = np.maximum(edema, blob), np.maximum(line, crack)
    for _, defect in scene.of(CartilageDefect):
        if defect.site != "patella" and defect.conspicuity > 0.4:
            squared = sum((a - b) ** 2 for a, b in zip((x, y, z), defect.centre_mm, strict=True))
            halo = np.exp(-squared / (0.75 * defect.diameter_mm) ** 2)
            edema = np.maximum(edema, 0.5 * defect.conspicuity * halo)
    # Shaft cortex is thick, the subchondral plate thin; both vary, or the outline looks drawn with a pen.
    base = scene.shape.cortex_mm
    for bone, scar_y in ((surfaces.femur, -40.0), (surfaces.tibia, 20.0)):
        away = np.clip(np.abs(y - 2) - 42, 0, 45)
        cortex = base * (0.9 + 0.4 * np.clip(mottle, -1.6, 2)) + 0.05 * away * np.clip(1.4 - np.abs(z) / 16, 0, 1)
        scar = 0.45 * np.exp(-(((y - scar_y - 1.3 * mottle - 0.0025 * x * x) / 0.6) ** 2)) * (mottle > -0.9)
        paint_bone(scene, window, bone, cortex, marrow, np.maximum(line, scar), edema)
    small = scene.canvas.window((8, 28, 14, 92, 20, 42))
    if small is not None:
        grain = scene.texture(small, (3.0, 3.0, 3.0), 7)
        zero = np.zeros(np.shape(small.x), np.float32)
        paint_bone(
            scene,
            small,
            anatomy.fibula_distance(small),
            base * (1 + 0.3 * np.clip(grain, -2, 2)),
            marrow_mixture(scene, small, grain),
            zero,
            zero,
        )


def marrow_mixture(scene: Scene, window: Window, mottle: FloatArray) -> FloatArray:
    """Fraction of bone mineral in the marrow space: fine trabeculae over coarse mottling."""
    fine = scene.texture(window, (0.7, 1.1, 0.7), 11)
    slow = scene.texture(window, (9.0, 9.0, 9.0), 13)
    return np.clip(0.12 + scene.shape.trabecular_contrast * (0.8 * fine + 0.6 * mottle + 0.8 * slow), 0, 0.5)


def paint_bone(
    scene: Scene,
    window: Window,
    distance: FloatArray,
    cortex_mm: FloatArray | float,
    mineral: FloatArray,
    dark: FloatArray,
    edema: FloatArray,
) -> None:
    """Paint the marrow space of one bone, then its cortex around it; note the oedema that fell inside."""
    canvas = scene.canvas
    inside = canvas.cover(distance + cortex_mm, 0.8)
    bone = np.clip(mineral + dark, 0, 1)
    soft = 1 - bone
    # Oedema water relaxes between muscle and free fluid; half of each stands for it.
    painted = canvas.paint(
        window,
        inside,
        {
            "marrow": soft * (1 - edema),
            "cortical_bone": bone,
            "muscle": soft * edema * 0.5,
            "synovial_fluid": soft * edema * 0.5,
        },
    )
    canvas.paint(window, canvas.cover(distance), "cortical_bone")
    for index, lesion in scene.of(MarrowEdema):
        own, _ = edema_strength(scene, window, lesion, np.zeros(1, np.float32))
        scene.mark(index, window, painted * own / max(peak_edema(lesion), 1e-6))


def peak_edema(lesion: MarrowEdema) -> float:
    """Share of marrow replaced by water at the centre of an oedema."""
    return 0.18 + 0.50 * lesion.conspicuity


def edema_strength(
    scene: Scene, window: Window, lesion: MarrowEdema, mottle: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Share of marrow water in an oedema with ragged edges, and its fracture line (share of mineral), if it has one."""
    u, v, w = (a - b for a, b in zip((window.x, window.y, window.z), lesion.centre_mm, strict=True))
    radius = np.sqrt(u * u + 1.3 * v * v + w * w) / lesion.radius_mm
    strength = peak_edema(lesion) / (1 + np.exp(np.minimum((radius - 1 + 0.14 * mottle) * 7, 60)))
    if not lesion.fracture:
        return strength, np.zeros(1, np.float32)
    wave = v + 0.3 * u + 1.1 * mottle - 1.0
    line = (0.25 + 0.55 * lesion.conspicuity) * np.exp(-((wave / 0.8) ** 2)) * (radius < 0.95)
    return strength, line.astype(np.float32)


def paint_patella(scene: Scene) -> None:
    """Patella and its cartilage, with defects."""
    shape, canvas = scene.shape, scene.canvas
    box: Box = (
        shape.patella_x_mm - 12,
        shape.patella_x_mm + 17,
        shape.patella_y_mm - 23,
        shape.patella_y_mm + 23,
        -21,
        25,
    )
    window = canvas.window(box)
    if window is None:
        return
    mottle = scene.texture(window, (3.0, 3.0, 3.0), 7)
    bone = anatomy.patella_distance(shape, window)
    zero = np.zeros(np.shape(window.x), np.float32)
    paint_bone(
        scene,
        window,
        bone,
        shape.cortex_mm * (1.1 + 0.35 * np.clip(mottle, -2, 2)),
        marrow_mixture(scene, window, mottle),
        zero,
        zero,
    )
    thickness = shape.cartilage_mm * 1.15 * (1 - shape.cartilage_thinning)
    cover = canvas.cover(
        np.maximum(anatomy.patella_distance(shape, window, thickness), np.abs(window.y - shape.patella_y_mm - 2) - 15)
    )
    paint_cartilage(scene, window, cover, np.maximum(bone, 0) / thickness, "patella")
