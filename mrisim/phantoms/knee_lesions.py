"""Graded lesions of the knee: what is drawn for a subject, and the fastMRI+ label each one carries.

Conspicuity c in [0.08, 1] scales size and contrast together; small c is hard on purpose. Confounders (mucoid ligament,
meniscal degeneration, thin cartilage, physiological fluid) belong to the healthy knee and carry no label.

References
----------
Labels: Annotations/knee.csv of github.com/microsoft/fastmri-plus, exact strings ('Joint Effusion ' ends in a space).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mrisim.phantoms.knee_anatomy import COMPARTMENT_Z_MM, KneeShape

LABELS = (
    "Meniscus Tear",
    "Ligament - ACL Low Grade sprain",
    "Ligament - ACL High Grade Sprain",
    "Cartilage - Partial Thickness loss/defect",
    "Cartilage - Full Thickness loss/defect",
    "Joint Effusion ",
    "Periarticular cysts",
    "Bone- Subchondral edema",
    "Bone-Fracture/Contusion/dislocation",
)
TearPattern = Literal["horizontal", "oblique", "vertical", "blunted"]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class MeniscusTear:
    """A cleft in one meniscus; `angle_rad` along its rim, 0 = mid-body, positive towards the posterior horn."""

    conspicuity: float
    lateral: bool
    pattern: TearPattern
    angle_rad: float
    half_extent_rad: float

    @property
    def label(self) -> str:
        return "Meniscus Tear"


@dataclass(frozen=True)
class AclTear:
    """A sprained or torn anterior cruciate ligament; `gap` is a fluid-filled interruption."""

    conspicuity: float
    gap: bool
    gap_position: float
    horizontal: bool

    @property
    def label(self) -> str:
        high = self.gap or self.conspicuity > 0.65
        return "Ligament - ACL High Grade Sprain" if high else "Ligament - ACL Low Grade sprain"


@dataclass(frozen=True)
class CartilageDefect:
    """A crater in one cartilage, filled with fluid to `depth` of its thickness, longer along z by `elongation_z`."""

    conspicuity: float
    site: Literal["femur", "tibia", "patella"]
    centre_mm: Point
    diameter_mm: float
    elongation_z: float = 1.6

    @property
    def depth(self) -> float:
        return min(0.75 + 0.50 * self.conspicuity, 1.0)

    @property
    def label(self) -> str:
        return (
            "Cartilage - Full Thickness loss/defect"
            if self.depth > 0.95
            else "Cartilage - Partial Thickness loss/defect"
        )


@dataclass(frozen=True)
class Effusion:
    """Joint fluid beyond the physiological film."""

    conspicuity: float

    @property
    def label(self) -> str:
        return "Joint Effusion "


@dataclass(frozen=True)
class Cyst:
    """A fluid-filled cyst with a thin wall behind the joint."""

    conspicuity: float
    centre_mm: Point
    radius_mm: float

    @property
    def label(self) -> str:
        return "Periarticular cysts"


@dataclass(frozen=True)
class MarrowEdema:
    """Water in the subchondral marrow; with `fracture`, a dark impaction line crosses it."""

    conspicuity: float
    centre_mm: Point
    radius_mm: float
    fracture: bool

    @property
    def label(self) -> str:
        return "Bone-Fracture/Contusion/dislocation" if self.fracture else "Bone- Subchondral edema"


Lesion = MeniscusTear | AclTear | CartilageDefect | Effusion | Cyst | MarrowEdema


def draw_conspicuity(*, rng: np.random.Generator) -> float:
    """Draw Beta(3, 1.6), clipped to [0.08, 1]."""
    return float(np.clip(rng.beta(3, 1.6), 0.08, 1))


def draw_lesions(shape: KneeShape, *, rng: np.random.Generator) -> tuple[Lesion, ...]:
    """Draw one subject's lesions: meniscus 70 %, ACL 50 %, cartilage 65 %, one other 60 %, each on its own."""
    lesions: list[Lesion] = []
    if rng.random() < 0.70:
        lesions.append(draw_meniscus_tear(rng=rng))
    if rng.random() < 0.50:
        lesions.append(draw_acl_tear(rng=rng))
    if rng.random() < 0.65:
        lesions.append(draw_cartilage_defect(shape, rng=rng))
    if rng.random() < 0.60:
        lesions.append(draw_other(shape, rng=rng))
    return tuple(lesions)


def draw_meniscus_tear(*, rng: np.random.Generator) -> MeniscusTear:
    """Draw a tear: posterior horn 75 %, medial 60 %; horizontal 35, oblique 30, vertical 20, blunted tip 15 %."""
    patterns: tuple[TearPattern, ...] = ("horizontal", "oblique", "vertical", "blunted")
    posterior = rng.random() < 0.75
    return MeniscusTear(
        draw_conspicuity(rng=rng),
        lateral=bool(rng.random() < 0.4),
        pattern=patterns[int(rng.choice(4, p=(0.35, 0.30, 0.20, 0.15)))],
        angle_rad=float(rng.uniform(0.5, 1.0) if posterior else rng.uniform(-0.9, 0.2)),
        half_extent_rad=float(rng.uniform(0.4, 0.75)),
    )


def draw_acl_tear(*, rng: np.random.Generator) -> AclTear:
    """Draw a sprain: 35 % with a gap, 20 % with a horizontal course."""
    return AclTear(
        draw_conspicuity(rng=rng),
        gap=bool(rng.random() < 0.35),
        gap_position=float(rng.uniform(0.4, 0.7)),
        horizontal=bool(rng.random() < 0.2),
    )


def draw_cartilage_defect(shape: KneeShape, *, rng: np.random.Generator) -> CartilageDefect:
    """Draw a defect: femur 50, tibia 20, patella 30 %."""
    c = draw_conspicuity(rng=rng)
    diameter = float(rng.uniform(12, 20) * (0.8 + 0.5 * c))
    kind = int(rng.choice(3, p=(0.5, 0.2, 0.3)))
    side = float(rng.choice((-1, 1)) * rng.uniform(0.65, 1.25) * COMPARTMENT_Z_MM)
    if kind == 0:
        angle, radius = float(rng.uniform(-0.7, 0.8)), shape.condyle_radius_mm + shape.cartilage_mm / 2
        x = 0.5 + radius * shape.condyle_elongation * math.sin(angle)
        y = -1.4 - shape.condyle_radius_mm + radius * math.cos(angle)
        return CartilageDefect(c, "femur", (x, y, side), diameter)
    if kind == 1:
        return CartilageDefect(c, "tibia", (float(rng.uniform(-9, 11)), 4.5 + shape.joint_gap_mm, side), diameter)
    x = shape.patella_x_mm + shape.patella_radius_mm + 1.5
    y, z = shape.patella_y_mm + float(rng.uniform(-6, 6)), float(rng.uniform(-9, 11))
    return CartilageDefect(c, "patella", (x, y, z), diameter)


def draw_other(shape: KneeShape, *, rng: np.random.Generator) -> Lesion:
    """Draw one other abnormality: effusion 55, popliteal cyst 15, marrow oedema 18, fracture 12 %."""
    c = draw_conspicuity(rng=rng)
    kind = int(rng.choice(4, p=(0.55, 0.15, 0.18, 0.12)))
    if kind == 0:
        return Effusion(c)
    if kind == 1:
        return Cyst(
            c,
            (float(rng.uniform(34, 37)), float(rng.uniform(-6, 10)), float(rng.uniform(-24, -14))),
            float(3.0 + 5 * c),
        )
    side = float(rng.choice((-1, 1)) * rng.uniform(0.6, 1.2) * COMPARTMENT_Z_MM)
    y = float(rng.uniform(-9, -4)) if kind == 2 and rng.random() < 0.5 else float(rng.uniform(10, 15))
    return MarrowEdema(c, (float(rng.uniform(-12, 14)), y, side), float(6 + 7 * c), fracture=kind == 3)
