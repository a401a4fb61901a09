"""Lesions of the brain: glioma-like masses and small white-matter lesions, drawn for any anatomy and painted on it.

BraTS 2023 labels: 1 necrotic or non-enhancing core, 2 oedema, 3 enhancing tumour; 1 and 3 are nested in 2's hull.
Conspicuity c in [0.08, 1] scales size and contrast together; small c is hard on purpose.

References
----------
Labels: fastMRI+ brain strings 'Mass', 'Edema', 'Nonspecific white matter lesion' as public readers of
Annotations/brain.csv (github.com/microsoft/fastmri-plus) list them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mrisim.phantoms import brain_folding as folding
from mrisim.phantoms.brain_anatomy import INDEX, TISSUES

FloatArray = NDArray[np.floating]
Point = tuple[float, float, float]
LABELS = ("Mass", "Edema", "Nonspecific white matter lesion")
BRATS_LABELS = {"necrosis": 1, "oedema": 2, "enhancing": 3}
_BRAIN = [INDEX["grey_matter"], INDEX["white_matter"]]


class Anatomy(Protocol):
    """What lesions are placed in: tissue fractions at points in head coordinates."""

    def fractions(self, x: FloatArray, y: FloatArray, z: FloatArray, edge_mm: float) -> FloatArray:
        """Return (n_tissues, n_points)."""
        ...


@dataclass(frozen=True)
class Glioma:
    """A mass with a necrotic or non-enhancing core, an irregular enhancing rim, and oedema along white matter.

    Attributes
    ----------
    radii_mm : of the tumour core. rim_mm : mean thickness of the rim; 0 for a tumour that does not enhance.
    oedema_mm : mean reach of the oedema beyond the core. fluid : share of free fluid in the core.
    mass_effect : 0 to 0.5, how far the surroundings are pushed away. seed_offset : where the noise is read.
    """

    conspicuity: float
    centre_mm: Point
    radii_mm: Point
    rim_mm: float
    oedema_mm: float
    fluid: float
    mass_effect: float
    seed_offset: float


@dataclass(frozen=True)
class WhiteMatterLesion:
    """A small focus of gliosis, periventricular or deep."""

    conspicuity: float
    centre_mm: Point
    radii_mm: Point
    seed_offset: float

    label = "Nonspecific white matter lesion"


Lesion = Glioma | WhiteMatterLesion


def draw_glioma(anatomy: Anatomy, *, rng: np.random.Generator) -> Glioma:
    """Draw one glioma centred in supratentorial white matter."""
    conspicuity = float(np.clip(rng.beta(2.4, 1.6), 0.08, 1))
    mean_radius = 7 + 14 * conspicuity * float(rng.uniform(0.6, 1.1))
    radii = mean_radius * np.exp(rng.normal(0, 0.14, 3))
    enhancing = rng.random() < 0.8
    rim = float(rng.uniform(0.24, 0.5)) * mean_radius if enhancing else 0.0
    oedema = float(rng.uniform(0.3, 1.3)) * mean_radius if enhancing else float(rng.uniform(0.1, 0.6)) * mean_radius
    a, b, c = radii.tolist()
    return Glioma(
        conspicuity=conspicuity,
        centre_mm=_place(anatomy, mean_radius, rng=rng),
        radii_mm=(a, b, c),
        rim_mm=rim,
        oedema_mm=oedema,
        fluid=float(rng.uniform(0.4, 0.9)) if enhancing else float(rng.uniform(0.0, 0.25)),
        mass_effect=float(rng.uniform(0.15, 0.45)),
        seed_offset=float(rng.uniform(0, 64)),
    )


def draw_white_matter_lesions(
    anatomy: Anatomy, n_lesions: int, *, rng: np.random.Generator
) -> tuple[WhiteMatterLesion, ...]:
    """Draw small lesions; about half of them lie within a few millimetres of the ventricles."""
    lesions = []
    for _ in range(n_lesions):
        conspicuity = float(np.clip(rng.beta(2.6, 1.4), 0.08, 1))
        radius = 1.1 + 2.6 * conspicuity * float(rng.uniform(0.6, 1.2))
        a, b, c = (radius * np.exp(rng.normal(0, 0.22, 3))).tolist()
        centre = _place(anatomy, radius + 1, rng=rng, near_fluid=bool(rng.random() < 0.5))
        lesions.append(WhiteMatterLesion(conspicuity, centre, (a, b, c), float(rng.uniform(0, 64))))
    return tuple(lesions)


def _place(anatomy: Anatomy, radius_mm: float, *, rng: np.random.Generator, near_fluid: bool = False) -> Point:
    """Return a point of white matter whose surroundings are brain; the best of 96 candidates, with some chance."""
    n_candidates = 96
    candidates = rng.uniform((-50, -80, -2), (50, 50, 58), (n_candidates, 3))
    directions = np.vstack([np.zeros(3), np.eye(3), -np.eye(3)])
    probes = (candidates[:, None] + radius_mm * directions).astype(np.float32)
    found = _fractions_at(anatomy, probes)
    found = found.reshape(len(TISSUES), n_candidates, len(directions))
    brain, white = found[_BRAIN].sum(0), found[INDEX["white_matter"]]
    score = 2 * white[:, 0] + brain[:, 1:].mean(1) + 0.5 * white[:, 1:].mean(1) + 0.3 * rng.random(n_candidates)
    if near_fluid:
        further = (candidates[:, None] + (radius_mm + 5) * directions[1:]).astype(np.float32)
        fluid = _fractions_at(anatomy, further)
        central = (np.abs(candidates[:, 0]) < 34) & (candidates[:, 2] > 0) & (candidates[:, 2] < 32)
        score += 1.2 * central * fluid[INDEX["csf"]].reshape(n_candidates, -1).max(1)
    x, y, z = candidates[int(np.argmax(score))].tolist()
    return x, y, z


def _fractions_at(anatomy: Anatomy, points: FloatArray) -> FloatArray:
    """Tissue fractions at points (..., 3), flattened."""
    x, y, z = np.ascontiguousarray(points.reshape(-1, 3).T)
    return anatomy.fractions(x, y, z, 1.0)


def push(
    lesions: tuple[Lesion, ...], x: FloatArray, y: FloatArray, z: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mass effect: for points of the diseased head, return where they lay in the healthy one.

    r -> r (1 - m exp(-(r/s)^2)) about each mass, s twice its mean radius, fading out towards the skull, which stays.
    """
    for lesion in lesions:
        if not isinstance(lesion, Glioma):
            continue
        cx, cy, cz = lesion.centre_mm
        reach = 2.0 * float(np.mean(lesion.radii_mm))
        u, v, w = x - cx, y - cy, z - cz
        inside = np.clip((1 - np.sqrt((x / 70) ** 2 + ((y + 17) / 90) ** 2 + ((z - 10) / 69) ** 2)) / 0.25, 0, 1)
        amount = lesion.mass_effect * inside * np.exp(-(u * u + v * v + w * w) / np.float32(reach**2))
        x, y, z = x - amount * u, y - amount * v, z - amount * w
    return x, y, z


def paint_lesions(
    lesions: tuple[Lesion, ...], fractions: FloatArray, x: FloatArray, y: FloatArray, z: FloatArray, edge_mm: float
) -> dict[tuple[int, str], FloatArray]:
    """Replace tissue by lesions in place; return the share of each point that each (lesion, label) took."""
    marks: dict[tuple[int, str], FloatArray] = {}
    for index, lesion in enumerate(lesions):
        radius = max(lesion.radii_mm)
        reach = radius * 1.6 + 4 + (2.2 * lesion.oedema_mm if isinstance(lesion, Glioma) else 0)
        cx, cy, cz = lesion.centre_mm
        near = np.flatnonzero((np.abs(x - cx) < reach) & (np.abs(y - cy) < reach) & (np.abs(z - cz) < reach))
        if not near.size:
            continue
        part = fractions[:, near]
        paint = _paint_glioma if isinstance(lesion, Glioma) else _paint_focus
        for label, share in paint(lesion, part, x[near], y[near], z[near], edge_mm).items():  # type: ignore[arg-type]
            mark = np.zeros(x.size, np.float32)
            mark[near] = share
            marks[index, label] = mark
        fractions[:, near] = part
    return marks


def _distance(lesion: Lesion, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """First-order distance to the lesion's ellipsoid, before roughening."""
    u, v, w = (p - c for p, c in zip((x, y, z), lesion.centre_mm, strict=True))
    a, b, c = lesion.radii_mm
    radius = np.sqrt((u / a) ** 2 + (v / b) ** 2 + (w / c) ** 2 + 1e-6)
    return ((radius - 1) * np.sqrt(u * u + v * v + w * w + 1e-6) / radius).astype(np.float32)


def _replace(part: FloatArray, share: FloatArray, mixture: dict[str, FloatArray | float]) -> None:
    """Give `share` (of everything at a point) to a mixture, taken evenly from what is there."""
    part *= 1 - share
    for name, weight in mixture.items():
        part[INDEX[name]] += share * weight


def _paint_glioma(
    lesion: Glioma, part: FloatArray, x: FloatArray, y: FloatArray, z: FloatArray, edge_mm: float
) -> dict[str, FloatArray]:
    size = float(np.mean(lesion.radii_mm))
    coarse = folding.noise(x, y, z, size / 2.4, lesion.seed_offset, smooth=True)
    fine = folding.noise(x, y, z, size / 7, lesion.seed_offset + 17, smooth=True)
    distance = _distance(lesion, x, y, z)
    core = distance + size * (0.20 * coarse + 0.08 * fine)
    # Oedema follows white matter: it takes little of the cortex and none of the fluid.
    spread = distance - lesion.oedema_mm * np.clip(1 + 0.75 * coarse + 0.2 * fine, 0.05, 2.2)
    white, grey = part[INDEX["white_matter"]], part[INDEX["grey_matter"]]
    wet = np.clip(0.5 - spread / 7.0, 0, 1) * (0.75 + 0.25 * lesion.conspicuity)
    taken_white, taken_grey = white * wet * 0.95, grey * wet * 0.12
    part[INDEX["white_matter"]] -= taken_white
    part[INDEX["grey_matter"]] -= taken_grey
    part[INDEX["oedema"]] += taken_white + taken_grey
    # The core displaces all soft tissue inside the skull, but no bone.
    soft = part[[INDEX[name] for name in ("csf", "grey_matter", "white_matter", "oedema", "gliosis")]].sum(0)
    hard = 1 - np.clip(soft, 0, 1)
    tumour = np.clip(0.5 - core / max(edge_mm, 1.0), 0, 1) * (hard < 0.5)
    rim_mm = lesion.rim_mm * np.clip(1 + 0.55 * fine + 0.35 * coarse, 0.0, 2.2)
    viable = np.clip(0.5 + (core + rim_mm) / max(edge_mm, 1.2), 0, 1) if lesion.rim_mm else np.zeros_like(core)
    viable = np.where(rim_mm < 0.15 * lesion.rim_mm, 0, viable) if lesion.rim_mm else viable
    enhancing, dead = tumour * viable, tumour * (1 - viable)
    fluid = np.clip(lesion.fluid * (1 + 0.5 * fine) * np.clip(-core / (0.5 * size), 0, 1), 0, 0.95)
    live = 0.7 + 0.3 * lesion.conspicuity
    _replace(part, tumour, {})
    part[INDEX["enhancing"]] += enhancing * live
    part[INDEX["necrosis"]] += dead * (1 - fluid) + enhancing * (1 - live)
    part[INDEX["csf"]] += dead * fluid
    oedema = (taken_white + taken_grey) * (1 - tumour)
    return {"enhancing": enhancing, "necrosis": dead, "oedema": oedema}


def _paint_focus(
    lesion: WhiteMatterLesion, part: FloatArray, x: FloatArray, y: FloatArray, z: FloatArray, edge_mm: float
) -> dict[str, FloatArray]:
    size = float(np.mean(lesion.radii_mm))
    rough = folding.noise(x, y, z, max(size / 2.5, 0.8), lesion.seed_offset, smooth=True)
    cover = np.clip(0.5 - (_distance(lesion, x, y, z) + 0.18 * size * rough) / max(edge_mm, 1.5), 0, 1)
    white = part[INDEX["white_matter"]]
    taken = white * cover * (0.35 + 0.6 * lesion.conspicuity)
    part[INDEX["white_matter"]] = white - taken
    part[INDEX["gliosis"]] += taken
    return {"gliosis": taken}
