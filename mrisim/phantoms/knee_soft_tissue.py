"""Vessels, muscles in their fascia, fat with septa, and skin around the knee."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrisim.phantoms import knee_anatomy as anatomy
from mrisim.phantoms import solids
from mrisim.phantoms.canvas import Window
from mrisim.phantoms.knee_scene import Scene

FloatArray = NDArray[np.floating]


def paint_vessels(scene: Scene) -> None:
    """Popliteal artery (flow void), vein and tibial nerve behind the joint."""
    canvas = scene.canvas
    window = canvas.window((22, 44, -92, 92, -8, 14))
    if window is None:
        return
    sway = 1.5 * np.sin(window.y / 21 + scene.texture_offset[0])
    # Spins that left the slice between pulses give no signal: a flow void is tissue without weight.
    canvas.paint(
        window,
        canvas.cover(solids.column(window.x, window.z, 29 + sway, 3.0, 2.6, 2.6)),
        {"blood": 0.08, "tendon": 0.3},
    )
    canvas.paint(window, canvas.cover(solids.column(window.x, window.z, 34.5 + sway, 4.5, 3.1, 3.4)), {"blood": 0.45})
    canvas.paint(
        window,
        canvas.cover(solids.column(window.x, window.z, 40 + 0.6 * sway, 6.5, 1.8, 2.2)),
        {"muscle": 0.6, "fat": 0.4},
    )


@dataclass(frozen=True)
class Muscle:
    """A muscle belly about a straight axis: (x, z) at its upper and lower end, radii at the belly, y range."""

    top: tuple[float, float]
    bottom: tuple[float, float]
    radius_x: float
    radius_z: float
    y_top: float
    y_bottom: float


MUSCLES = (
    Muscle((31, -20), (38, -26), 13.0, 15.0, -150, -2),  # semimembranosus
    Muscle((43, -13), (40, -30), 6.0, 7.0, -140, -20),  # semitendinosus
    Muscle((33, 22), (24, 38), 13.0, 13.0, -150, 16),  # biceps femoris
    Muscle((29, -20), (36, -18), 10.5, 17.0, -38, 150),  # gastrocnemius, medial head
    Muscle((29, 20), (35, 18), 10.0, 17.0, -34, 150),  # gastrocnemius, lateral head
    Muscle((22, 4), (14, -10), 8.0, 19.0, 4, 72),  # popliteus
    Muscle((22, 6), (24, 2), 11.0, 25.0, 16, 160),  # soleus
    Muscle((13, -15), (10, -12), 10.0, 13.0, 22, 180),  # deep flexors
    Muscle((-4, -40), (-12, -36), 23.0, 14.0, -170, -20),  # vastus medialis
    Muscle((-6, 42), (-18, 36), 24.0, 12.0, -170, -38),  # vastus lateralis
    Muscle((-29, 4), (-27, 2), 8.0, 24.0, -190, -52),  # vastus intermedius
    Muscle((-6, 27), (-4, 32), 16.0, 11.0, 10, 180),  # tibialis anterior, extensors
    Muscle((24, -43), (14, -42), 9.0, 6.0, -150, 38),  # sartorius, gracilis
    Muscle((12, 41), (14, 40), 9.0, 8.0, 28, 190),  # peronei
)


def muscle_distance(muscle: Muscle, window: Window, scale: float) -> FloatArray:
    """Distance to a spindle: elliptic sections whose radius falls towards both ends."""
    part = np.clip((window.y - muscle.y_top) / (muscle.y_bottom - muscle.y_top), 0.0, 1.0)
    girth = scale * np.sqrt(np.maximum(4 * part * (1 - part), 0.004))
    radius_x, radius_z = muscle.radius_x * girth, muscle.radius_z * girth
    centre_x = muscle.top[0] + (muscle.bottom[0] - muscle.top[0]) * part
    centre_z = muscle.top[1] + (muscle.bottom[1] - muscle.top[1]) * part
    return solids.column(window.x, window.z, centre_x, centre_z, radius_x, radius_z)


def paint_soft_tissue(scene: Scene) -> None:
    """Skin, muscles in their fascia, and fat with septa and fibrous strands everywhere else inside the leg."""
    canvas, shape = scene.canvas, scene.shape
    full = canvas.everything()
    skin = anatomy.leg_distance(shape, full.x, full.y, full.z)
    canvas.paint(full, 1 - canvas.cover(skin), {})  # air
    canvas.paint(full, canvas.cover(-skin - 1.4), {"skin": 0.55, "tendon": 0.45})  # dermis is half collagen
    layer = 2.0 + 0.75 * shape.subcutaneous_mm
    deep = skin + layer
    for muscle in MUSCLES:
        reach_x, reach_z = muscle.radius_x * 1.15, muscle.radius_z * 1.15
        xs, zs = (muscle.top[0], muscle.bottom[0]), (muscle.top[1], muscle.bottom[1])
        window = canvas.window(
            (
                min(xs) - reach_x,
                max(xs) + reach_x,
                max(muscle.y_top, -100),
                min(muscle.y_bottom, 100),
                min(zs) - reach_z,
                max(zs) + reach_z,
            )
        )
        if window is not None:
            paint_muscle(scene, window, muscle, deep[:, window.rows, window.columns])
    canvas.paint(full, 0.8 * canvas.cover(np.abs(deep + 0.3) - 0.35, 0.7), "tendon")
    paint_fat(scene, full, deep)


def paint_fat(scene: Scene, window: Window, deep: FloatArray) -> None:
    """Fill what remains with fat: broken septa under the skin (`deep` > 0), faint strands and lobules deeper."""
    septa = np.abs(scene.texture(window, (6.0, 2.4, 6.0), 41))
    strands = np.abs(scene.texture(window, (2.2, 3.4, 2.2), 43))
    broken = np.clip(0.4 + 0.7 * scene.texture(window, (3.5, 3.5, 3.5), 37), 0, 1.2)
    lobules = 0.05 + 0.035 * scene.texture(window, (4.0, 4.0, 4.0), 5)
    fibrous = broken * np.where(
        deep > 0, 0.34 * np.exp(-((septa / 0.07) ** 2)), 0.15 * np.exp(-((strands / 0.12) ** 2))
    )
    fibrous = np.clip(fibrous + lobules, 0, 0.6)
    scene.canvas.paint(window, np.ones(1, np.float32), {"fat": 1 - fibrous, "tendon": fibrous})


def paint_muscle(scene: Scene, window: Window, muscle: Muscle, deep: FloatArray) -> None:
    """One muscle with irregular fat between its bundles, in a thin dark fascia."""
    canvas, shape = scene.canvas, scene.shape
    distance = np.maximum(muscle_distance(muscle, window, shape.muscle_scale), deep + 0.8)
    bundles = scene.texture(window, (1.3, 13.0, 1.3), 47 + muscle.radius_x)
    coarse = scene.texture(window, (3.6, 20.0, 3.6), 53 + muscle.radius_z)
    # Marbling gathers along irregular sheets between bundles, not on a comb.
    sheets = np.exp(-(((bundles + 0.5 * coarse) / 0.14) ** 2)) * np.clip(0.5 + 0.8 * coarse, 0, 1.5)
    fat = np.clip(shape.muscle_fat * (0.8 + 0.6 * coarse + 0.3 * bundles + 3.0 * sheets), 0, 0.7)
    canvas.paint(window, canvas.cover(distance, 0.8), {"muscle": 1 - fat, "fat": fat})
    canvas.paint(window, 0.5 * canvas.cover(distance - 0.7), "tendon")
