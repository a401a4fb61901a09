"""Painting a procedural head at points: scalp, skull, orbits and nose, then everything inside the inner table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mrisim.phantoms import brain_anatomy as anatomy
from mrisim.phantoms import brain_cortex as cortex
from mrisim.phantoms import solids
from mrisim.phantoms.brain_anatomy import INDEX, TISSUES, HeadShape

FloatArray = NDArray[np.floating]
TABLE_MM = 1.5
"""Thickness of each compact table of the vault."""


class Layers:
    """Tissue fractions at points, painted front to back: what is painted first covers what comes later."""

    def __init__(self, n_points: int, edge_mm: float) -> None:
        self.edge_mm = edge_mm
        self.fractions = np.zeros((len(TISSUES), n_points), np.float32)
        self.remaining: FloatArray = np.ones(n_points, np.float32)

    def cover(self, distance: FloatArray, softness_mm: float = 0.0) -> FloatArray:
        """Antialiased occupancy of a signed distance."""
        return np.clip(0.5 - distance / np.float32(max(self.edge_mm, softness_mm)), 0, 1)

    def paint(self, cover: FloatArray, mixture: str | dict[str, FloatArray | float]) -> None:
        """Give `cover` of what remains to a tissue or a mixture; weight missing from one stays without signal."""
        painted = self.remaining * cover
        self.remaining = self.remaining - painted
        for name, weight in ({mixture: 1.0} if isinstance(mixture, str) else mixture).items():
            self.fractions[INDEX[name]] += painted * weight


def paint_head(shape: HeadShape, x: FloatArray, y: FloatArray, z: FloatArray, edge_mm: float) -> FloatArray:
    """Return tissue fractions (n_tissues, n_points) at points (n_points,) in head coordinates."""
    fractions = np.zeros((len(TISSUES), x.size), np.float32)
    egg = anatomy.main_ellipsoid(shape, x, y, z)
    skin = _skin(shape, egg, x, y, z)
    inside = np.flatnonzero(skin < edge_mm)
    if not inside.size:
        return fractions
    x, y, z, egg, skin = (values[inside] for values in (x, y, z, egg, skin))
    vault = _inner_table(shape, egg, x, y, z)
    layers = Layers(x.size, edge_mm)
    intracranial = np.flatnonzero(vault < edge_mm)
    if intracranial.size:
        at = (x[intracranial], y[intracranial], z[intracranial])
        content = _paint_brain(shape, *at, edge_mm)
        share = layers.cover(vault[intracranial])
        layers.fractions[:, intracranial] = content * share
        layers.remaining[intracranial] -= share
    _paint_sagittal_sinus(layers, vault, x, y, z)
    _paint_orbits(layers, np.abs(x), y, z, skin)
    _paint_skull(shape, layers, vault, x, y, z)
    _paint_scalp(shape, layers, skin, x, y, z)
    fractions[:, inside] = layers.fractions
    return fractions


def _inner_table(shape: HeadShape, egg: FloatArray, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """Distance to the inside of the skull: the brain's hulls grown by the subarachnoid space, without sulci."""
    ax = np.abs(x)
    room = shape.csf_mm
    vault = solids.smooth_intersection(egg - room, -24 - z, 6.0)
    temporal = solids.ellipsoid(ax, y, z, (43.0, -17.0, -21.0), (24.0 + 0.3 * room, 40.0 + 0.3 * room, 22.5))
    fossa = solids.ellipsoid(ax, y, z, (0.0, -62.0, -38.0), (57.0, 32.0, 25.0))
    clivus = solids.ellipsoid(ax, y, z, (0.0, -28.0, -30.0), (22.0, 18.5, 21.0))
    canal = np.maximum(solids.column(x, y, 0.0, -34 + 0.25 * (z + 50), 12.5, 11.0), z + 30)
    base = np.minimum(np.minimum(solids.smooth_union(fossa, clivus, 6.0), canal), temporal)
    return solids.smooth_union(vault, np.maximum(base, egg - room), 5.0)


def _skin(shape: HeadShape, egg: FloatArray, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """Distance to the outer surface of the head."""
    ax = np.abs(x)
    cranium = egg - (shape.csf_mm + shape.skull_mm + shape.scalp_mm)
    # The temporal muscle rounds out the temples; the occiput carries less.
    cranium = cranium - 2.5 * np.exp(-(((z + 12) / 28) ** 2) - ((y - 20) / 30) ** 2)
    face = solids.ellipsoid(ax, y, z, (0.0, 38.0, -62.0), (60.0, 50.0, 62.0))
    nose = solids.ellipsoid(ax, y, z, (0.0, 88.0, -60.0), (14.0, 18.0, 24.0))
    neck = solids.column(x, y, 0.0, -28.0, 62.0, 68.0)
    neck = np.maximum(neck, z + 25)
    return solids.smooth_union(solids.smooth_union(solids.smooth_union(cranium, face, 12.0), nose, 8.0), neck, 20.0)


def _paint_brain(shape: HeadShape, x: FloatArray, y: FloatArray, z: FloatArray, edge_mm: float) -> FloatArray:
    """Fill the intracranial space: ventricles, nuclei, cortex and white matter, stem, cerebellum; fluid elsewhere."""
    layers = Layers(x.size, edge_mm)
    ax = np.abs(x)
    grain = anatomy.noise(shape, x, y, z, 2.2, 3)
    wobble = 1.2 * anatomy.noise(shape, x, y, z, 6.0, 10)
    ventricle = anatomy.ventricles(shape, ax + 0.6 * wobble, y, z - wobble)
    layers.paint(layers.cover(ventricle), "csf")
    pial = cortex.pial_distance(shape, x, y, z)
    ribbon = cortex.cortical_ribbon(shape, pial, ax, y, z)
    cerebrum = layers.cover(pial)
    for distance, grey in anatomy.deep_grey(ax + wobble, y - wobble, z):
        mixed = np.clip(grey + 0.05 * grain, 0, 1)
        layers.paint(cerebrum * layers.cover(distance, 1.2), {"grey_matter": mixed, "white_matter": 1 - mixed})
    white = layers.cover(ribbon + 0.25 * grain, 1.4)
    # Myelination is not even: a few per cent of either tissue in the other.
    white = 0.03 + 0.94 * white + 0.02 * grain
    layers.paint(cerebrum, {"white_matter": np.clip(white, 0, 1), "grey_matter": 1 - np.clip(white, 0, 1)})
    stem = np.clip(0.72 + 0.08 * grain, 0, 1)
    layers.paint(layers.cover(anatomy.brain_stem(ax, y, z), 1.0), {"white_matter": stem, "grey_matter": 1 - stem})
    distance, tree, fluid = cortex.cerebellum(shape, x, y, z)
    tree = tree * (1 - fluid)
    layers.paint(layers.cover(distance), {"white_matter": tree, "grey_matter": 1 - tree - fluid, "csf": fluid})
    layers.paint(np.ones_like(x), "csf")
    return layers.fractions


def _paint_sagittal_sinus(layers: Layers, vault: FloatArray, x: FloatArray, y: FloatArray, z: FloatArray) -> None:
    """The superior sagittal sinus along the inside of the vault, and the transverse sinuses behind the tentorium."""
    superior = np.hypot(x / 1.6, vault + 1.5) - 3.0
    superior = np.maximum(superior, -12 - z)
    layers.paint(layers.cover(np.where(y < 55, superior, 9.0)), "blood")
    ring = np.hypot(vault + 1.0, z + 13 + 0.1 * np.abs(x)) - 3.2
    layers.paint(layers.cover(np.where(y < -45, ring, 9.0)), "blood")


def _paint_orbits(layers: Layers, ax: FloatArray, y: FloatArray, z: FloatArray, skin: FloatArray) -> None:
    """Globes, optic nerves, muscles and fat of the orbits; air of the nose and its sinuses."""
    globe = solids.ellipsoid(ax, y, z, (32.0, 63.0, -33.0), (12.0, 12.0, 12.0))
    lens = solids.ellipsoid(ax, y, z, (32.0, 72.5, -33.0), (4.6, 2.2, 4.6))
    layers.paint(layers.cover(lens), {"muscle": 0.8})
    layers.paint(layers.cover(globe + 1.2), "vitreous")
    layers.paint(layers.cover(globe), {"muscle": 0.7})
    nerve, _ = solids.polyline(ax, y, z, ((32.0, 52.0, -33.0), (22.0, 34.0, -30.0), (10.0, 18.0, -22.0)))
    layers.paint(layers.cover(nerve - 2.2), {"muscle": 0.7, "fat": 0.3})
    cone = solids.ellipsoid(ax, y, z, (30.0, 50.0, -33.0), (16.0, 26.0, 16.0))
    rectus = np.abs(np.hypot((ax - 31) - 0.25 * (y - 50), z + 33) - 11.5 + 0.12 * np.abs(y - 52)) - 1.5
    in_orbit = layers.cover(np.maximum(cone, skin + 4))
    layers.paint(in_orbit * layers.cover(np.where(y < 62, rectus, 9.0)), "muscle")
    layers.paint(in_orbit, "fat")
    ethmoid = solids.ellipsoid(ax, y, z, (5.0, 52.0, -38.0), (7.0, 24.0, 16.0))
    frontal = solids.ellipsoid(ax, y, z, (7.0, 77.0, -16.0), (9.0, 5.0, 11.0))
    maxillary = solids.ellipsoid(ax, y, z, (32.0, 52.0, -65.0), (13.0, 15.0, 15.0))
    sphenoid = solids.ellipsoid(ax, y, z, (6.0, 18.0, -36.0), (8.0, 10.0, 9.0))
    mastoid = solids.ellipsoid(ax, y, z, (52.0, -42.0, -42.0), (8.0, 12.0, 14.0))
    air = np.minimum(np.minimum(ethmoid, frontal), np.minimum(maxillary, np.minimum(sphenoid, mastoid)))
    air = np.maximum(air, skin + 6)
    layers.paint(layers.cover(air + 0.8), {})
    layers.paint(layers.cover(air), {"muscle": 0.7})  # mucosa


def _paint_skull(
    shape: HeadShape, layers: Layers, vault: FloatArray, x: FloatArray, y: FloatArray, z: FloatArray
) -> None:
    """Inner table, marrow, outer table; the temporal squama is thin and the base irregular."""
    wave = anatomy.noise(shape, x, y, z, 8.0, 4)
    squama = np.exp(-(((z + 5) / 25) ** 2) - ((y - 5) / 35) ** 2) * np.clip(np.abs(x) / 40 - 0.5, 0, 1)
    thickness = shape.skull_mm * (1 + 0.12 * wave) * (1 - 0.45 * squama)
    base = np.clip((-22 - z) / 10, 0, 1) * np.clip(1 + (y + 10) / 30, 0, 1)
    thickness = thickness + 8 * base
    marrow = thickness * shape.diploe_fraction * np.clip(1 + 0.5 * wave, 0.2, 1.5) * (1 - 0.8 * squama)
    centre = np.abs(vault - 0.5 * thickness) - 0.5 * np.minimum(marrow, thickness - 2 * TABLE_MM)
    grain = anatomy.noise(shape, x, y, z, 0.9, 5)
    bone = layers.cover(vault - thickness)
    fatty = np.clip(0.66 + 0.12 * grain + 0.08 * wave, 0.05, 1)
    layers.paint(bone * layers.cover(centre, 1.2), {"marrow": fatty, "cortical_bone": 1 - fatty})
    layers.paint(bone, "cortical_bone")


def _paint_scalp(
    shape: HeadShape, layers: Layers, skin: FloatArray, x: FloatArray, y: FloatArray, z: FloatArray
) -> None:
    """Skin, subcutaneous fat with septa, and muscle: temporal at the sides, neck behind, face in front."""
    layers.paint(layers.cover(skin) * layers.cover(-(skin + 1.9), 0.8), "skin")
    ax = np.abs(x)
    septa = anatomy.noise(shape, x, y, z, 1.8, 6)
    fibres = anatomy.noise(shape, x, y, z, 2.6, 7)
    dark = 0.25 * np.exp(-((septa / 0.25) ** 2))
    subcutaneous = 4.2 + 1.5 * np.clip((-20 - z) / 30, 0, 1)
    layers.paint(
        layers.cover(skin) * layers.cover(-(skin + subcutaneous), 0.8), {"fat": 1 - dark, "muscle": 0.6 * dark}
    )
    galea = np.clip(0.5 + (z - 45) / 20, 0, 1)
    temporal = np.exp(-((((y - 12) / 38) ** 2) ** 2)) * np.clip(ax / 30 - 1.0, 0, 1) * np.clip((38 - z) / 18, 0, 1)
    muscle = np.clip(np.maximum(temporal * 1.6, np.clip((-18 - z) / 12, 0, 1)), 0, 1) * (1 - galea)
    muscle = np.clip(muscle * (0.92 + 0.10 * fibres), 0, 1)
    # Deep to the face lie palate, tongue, skull base and fasciae: mostly muscle and bone, little fat.
    deep = layers.cover(skin + 13, 4.0) * np.clip((-8 - z) / 6, 0, 1)
    grain = np.clip(0.5 + 0.5 * septa, 0, 1)
    layers.paint(deep, {"muscle": 0.62, "cortical_bone": 0.30 * grain, "fat": 0.16 * (1 - grain)})
    layers.paint(layers.cover(skin), {"muscle": muscle, "fat": (1 - muscle) * (1 - dark)})
