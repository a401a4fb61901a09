"""Ligaments, tendons and joint fluid of the knee, with cruciate tears, effusions and cysts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mrisim.phantoms import knee_anatomy as anatomy
from mrisim.phantoms import solids
from mrisim.phantoms.canvas import Window
from mrisim.phantoms.knee_lesions import AclTear, Cyst, Effusion
from mrisim.phantoms.knee_scene import Scene

FloatArray = NDArray[np.floating]


def paint_cruciates(scene: Scene) -> None:
    """ACL and PCL in the notch; bone was painted first, so they end where bone begins."""
    window = scene.canvas.window((-14, 32, -36, 16, -14, 15))
    if window is None:
        return
    shape, canvas = scene.shape, scene.canvas
    tear = next(((i, lesion) for i, lesion in scene.of(AclTear)), None)
    c = tear[1].conspicuity if tear else 0.0
    lowered = 8 * c if tear and tear[1].horizontal else 0.0
    path = solids.bezier_points(
        (-9.0, 5.0, -1.5), (1.0 + 1.2 * c, -6.5 + shape.acl_course_mm + 2.5 * c, 2.0), (17.0, -25.0 + lowered, 7.5)
    )
    distance, along = solids.polyline(window.x, window.y, window.z, path, 1.6)
    strand = scene.texture(window, (2.4, 2.4, 2.4), 23)
    wavy = 0.5 + 0.5 * np.sin(1.9 * (window.x + window.y) + 1.6 * strand)
    radius = shape.acl_radius_mm * (1 + 0.25 * c) * (1.15 - 0.3 * np.abs(along - 0.1))
    # Fibres are parted by fat and synovium, more so near the tibia; sprain and mucoid change add water.
    parted = np.clip(0.10 + 0.16 * wavy * (1.3 - along), 0, 0.4)
    water = np.clip(
        shape.acl_mucoid * (0.6 + 0.4 * strand) + c * (0.12 + 0.26 * np.clip(0.5 + 0.5 * strand, 0, 1)), 0, 0.75
    )
    gap: FloatArray = np.zeros(1, np.float32)
    if tear and tear[1].gap:
        gap = (0.15 + 0.6 * c) * np.exp(-(((along - tear[1].gap_position + 0.03 * strand) / (0.06 + 0.10 * c)) ** 2))
    fibre = (1 - gap) * (1 - parted) * (1 - water)
    painted = canvas.paint(
        window,
        canvas.cover(distance - radius, 0.9),
        {
            "acl": fibre,
            "fat": (1 - gap) * parted * 0.6,
            "synovial_fluid": gap + (1 - gap) * ((1 - parted) * water + parted * 0.2),
        },
    )
    if tear:
        scene.mark(tear[0], window, painted)
    path = solids.bezier_points((1.0, -15.0, -7.5), (21.0, -25.0, -5.0), (25.5, 11.0, -2.0))
    distance, _ = solids.polyline(window.x, window.y, window.z, path, 1.4)
    canvas.paint(window, canvas.cover(distance - 3.1), {"pcl": 0.95, "muscle": 0.05})


def paint_tendons(scene: Scene) -> None:
    """Quadriceps and patellar tendons: slabs in front of the knee, striped by fat above the patella."""
    shape, canvas = scene.shape, scene.canvas
    px, py = shape.patella_x_mm, shape.patella_y_mm
    window = canvas.window((-52, -14, -92, 36, -22, 24))
    if window is None:
        return
    top, bottom = py - shape.patella_height_mm * 0.9, py + shape.patella_height_mm * 0.85
    flat = np.maximum(np.abs(window.z - 2) - 12, 0) * 0.5
    quadriceps, _ = solids.polyline(
        window.x, window.y, 0 * window.z, [(px - 2, top + 2, 0), (px + 2, top - 14, 0), (px + 8, -95, 0)]
    )
    patellar, _ = solids.polyline(
        window.x,
        window.y,
        0 * window.z,
        solids.bezier_points((px - 4.0, bottom - 4, 0), (px + 3.5, 4, 0), (-26.0, 30, 0), 5),
    )
    prepatellar = np.maximum(np.abs(anatomy.patella_distance(shape, window) - 0.7) - 0.7, window.x - px + 2)
    stripes = 0.18 * (0.5 + 0.5 * np.sin(2.4 * (window.x + 0.1 * window.y)))
    canvas.paint(window, canvas.cover(quadriceps + flat - 3.3), {"tendon": 1 - stripes, "fat": stripes})
    canvas.paint(window, canvas.cover(np.minimum(patellar + flat - 2.4, prepatellar)), "tendon")


def paint_collaterals(scene: Scene, window: Window, surfaces: anatomy.Surfaces) -> None:
    """Medial collateral band along the bones, lateral collateral cord to the fibula, posterior capsule."""
    canvas = scene.canvas
    hull = solids.smooth_union(surfaces.femur, surfaces.tibia, 16)
    if canvas.plane == "coronal" or canvas.depth_axis.mean() < -25:
        medial = np.maximum(
            np.abs(hull - 2.2) - 1.0,
            np.maximum(window.z + 30, np.maximum(np.abs(window.x - 1) - 9, np.abs(window.y - 6) - 32)),
        )
        canvas.paint(window, 0.8 * canvas.cover(medial, 2.0), "tendon")
    cord = canvas.window((-4, 26, -32, 24, 30, 46))
    if cord is not None:
        distance, _ = solids.polyline(
            cord.x, cord.y, cord.z, [(4.0, -26.0, 41.0), (11.0, -4.0, 42.0), (19.0, 19.0, 36.0)]
        )
        canvas.paint(cord, canvas.cover(distance - 1.7), "tendon")
    posterior = np.maximum(
        np.abs(hull - 3.4) - 0.6,
        np.maximum(10 - window.x, np.maximum(np.abs(window.y + 8) - 26, np.abs(window.z) - 34)),
    )
    canvas.paint(window, 0.55 * canvas.cover(posterior), "tendon")


def paint_cysts(scene: Scene) -> None:
    """Popliteal cysts: fluid in a thin wall, pear-shaped."""
    for index, lesion in scene.of(Cyst):
        x0, y0, z0 = lesion.centre_mm
        reach = 2.2 * lesion.radius_mm
        window = scene.canvas.window((x0 - reach, x0 + reach, y0 - reach, y0 + reach, z0 - reach, z0 + reach))
        if window is None:
            continue
        r = lesion.radius_mm
        body = solids.ellipsoid(window.x, window.y, window.z, lesion.centre_mm, (0.62 * r, 1.35 * r, 0.85 * r), 0.15)
        neck = solids.ellipsoid(
            window.x, window.y, window.z, (x0 - 0.5 * r, y0 - 0.9 * r, z0 + 2), (0.55 * r, 0.5 * r, 0.5 * r)
        )
        distance = solids.smooth_union(body, neck, 2) + 0.25 * scene.texture(window, (4.0, 4.0, 4.0), 29)
        fluid = 0.6 + 0.4 * lesion.conspicuity
        painted = scene.canvas.paint(
            window, scene.canvas.cover(distance), {"synovial_fluid": fluid, "muscle": 1 - fluid}
        )
        scene.mark(index, window, painted)
        scene.canvas.paint(window, 0.7 * scene.canvas.cover(distance - 0.8), "tendon")


def paint_fluid(scene: Scene, window: Window, surfaces: anatomy.Surfaces) -> None:
    """Joint fluid: the film between the cartilages, the suprapatellar pouch, the gutters beside the condyles."""
    shape, canvas = scene.shape, scene.canvas
    effusion = next(((i, lesion) for i, lesion in scene.of(Effusion)), None)
    c = effusion[1].conspicuity if effusion else 0.0
    extra = 0.8 + 4.5 * c if effusion else 0.0
    film = np.maximum(
        surfaces.femur - shape.cartilage_mm - shape.film_mm - 0.12 * extra,
        anatomy.femoral_cartilage_zone(window, surfaces.notch) + 5,
    )
    between = np.maximum(surfaces.femur - 6, np.maximum(surfaces.plateau_y - window.y - 5.5, surfaces.tibia_side + 1))
    between = np.maximum(between, 9 - np.abs(window.z))
    canvas.paint(window, 0.9 * canvas.cover(np.minimum(film, between)), "synovial_fluid")
    pouch = pouch_distance(shape, window, 0.5 * (shape.pouch_mm + extra))
    gutter = np.maximum(
        surfaces.femur - 1.0 - 0.30 * extra, np.maximum(np.abs(window.y + 24) - 19, 26 - np.abs(window.z))
    )
    gutter = np.maximum(gutter, window.x - 14)
    recess = np.maximum(
        surfaces.femur - shape.cartilage_mm - 0.4 - 0.32 * extra,
        np.maximum(np.abs(window.x - 26) - 7, np.abs(window.y + 24) - 13),
    )
    recess = np.maximum(recess, np.abs(window.z) - 33)
    space = np.minimum(np.minimum(pouch, gutter), recess) if effusion else pouch
    folds = np.clip(0.1 + 0.08 * scene.texture(window, (2.0, 2.0, 2.0), 31), 0, 0.35)
    painted = canvas.paint(window, canvas.cover(space), {"synovial_fluid": 1 - folds, "muscle": folds})
    if effusion:
        scene.mark(effusion[0], window, painted)


def pouch_distance(shape: anatomy.KneeShape, window: Window, half_thickness_mm: float) -> FloatArray:
    """Distance to the suprapatellar pouch, a tapering slab between the quadriceps tendon and the femur."""
    px, top = shape.patella_x_mm, shape.patella_y_mm - shape.patella_height_mm
    path = [(px + 8.5, top + 10, 0.0), (px + 9.5, top - 3, 0.0), (px + 13, top - 30, 0.0)]
    distance, along = solids.polyline(window.x, window.y, 0 * window.z, path)
    spread = np.abs(window.z) / (15 + 2.2 * half_thickness_mm)
    return (
        distance
        - half_thickness_mm * (1.1 - 0.75 * np.abs(along - 0.5))
        + 3.5 * np.maximum(spread - 0.6, 0) * (1 + half_thickness_mm)
    )
