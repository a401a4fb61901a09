"""A procedural three-dimensional knee: subjects, sagittal and coronal slices, graded lesions with labels and boxes.

A subject is continuous geometry in millimetres, so slices of any plane, position, thickness, matrix and field of view
show the same knee. Signals come from tissue fractions through `signal.turbo_spin_echo` with the cited values of
`tissue`.

Limits
------
A caricature at the resolution of clinical 2-D imaging: no cruciate bundles, nerves beyond one, no osteophytes, no bone
rotation between femur and tibia, no magic angle, no inflow. Every number measured on it is a simulation result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mrisim.phantoms import knee_bones as bones
from mrisim.phantoms import knee_cartilage as cartilage
from mrisim.phantoms import knee_ligaments as ligaments
from mrisim.phantoms import knee_soft_tissue as soft_tissue
from mrisim.phantoms import signal, tissue
from mrisim.phantoms.canvas import Canvas, Deformation, Plane
from mrisim.phantoms.knee_anatomy import ROI_BONES, KneeShape, draw_shape, surfaces
from mrisim.phantoms.knee_lesions import CartilageDefect, Effusion, Lesion, MeniscusTear, draw_lesions
from mrisim.phantoms.knee_scene import TISSUES, Scene

Contrast = Literal["pd", "pdfs"]
FloatArray = NDArray[np.floating]

CENTRE_MM = (-2.0, -9.0, 0.0)  # centre of the field of view in scanner coordinates
HALF_EXTENT_MM = {"sagittal": 36.0, "coronal": 27.0}


@dataclass(frozen=True)
class Protocol:
    """A turbo-spin-echo protocol; `saturation_flip_deg` of None means no fat saturation."""

    tr_ms: float
    te_ms: float
    echo_spacing_ms: float
    echo_train_length: int
    saturation_flip_deg: float | None
    saturation_delay_ms: float


# TR and TE as public code quotes them from fastMRI knee headers (2-D TSE, TR 2750-3120 ms, TE 27-33 ms; index id
# 66877627336). Train length, echo spacing and the saturation pulse are assumptions; TE is the third echo.
PROTOCOLS: dict[Contrast, Protocol] = {
    "pd": Protocol(2750, 27, 9.0, 4, None, 0.0),
    "pdfs": Protocol(3120, 33, 11.0, 4, 90.0, 12.0),
}


@dataclass(frozen=True)
class Subject:
    """One knee: healthy shape, smooth deformation, tissue jitter, texture offset, lesions.

    Attributes
    ----------
    relaxation_jitter : factor on (T1, T2, proton density) per tissue of `TISSUES`.
    """

    shape: KneeShape
    lesions: tuple[Lesion, ...]
    deformation: Deformation
    relaxation_jitter: tuple[tuple[float, float, float], ...]
    texture_offset: tuple[float, float, float]
    slice_offset: float
    laterality: Literal["left", "right"]

    def without_lesions(self) -> Subject:
        """Return the healthy twin: everything equal, no lesion."""
        return replace(self, lesions=())

    def with_lesions(self, *lesions: Lesion) -> Subject:
        """Return the same knee with these lesions instead of its own."""
        return replace(self, lesions=lesions)


@dataclass(frozen=True)
class Finding:
    """A labelled box in pixels of the rendered slice: x, y of its upper left corner (column, row), width, height."""

    label: str
    x: int
    y: int
    width: int
    height: int
    conspicuity: float


@dataclass(frozen=True)
class KneeSlice:
    """One rendered slice; rows run superior to inferior.

    Attributes
    ----------
    water, fat : (rows, columns) float32, signal of the two pools; their sum is the image without chemical shift.
    tissue_fractions : (n_tissues, rows, columns) float32 in the order of `tissues`.
    """

    water: FloatArray
    fat: FloatArray
    findings: tuple[Finding, ...]
    tissue_fractions: FloatArray
    tissues: tuple[str, ...] = TISSUES


def draw_subject(*, rng: np.random.Generator) -> Subject:
    """Draw a subject; each part consumes `rng` in a fixed order, so a seed fixes the knee."""
    shape = draw_shape(rng=rng)
    lesions = draw_lesions(shape, rng=rng)
    jitter = np.exp(rng.normal(0, (0.04, 0.05, 0.03), (len(TISSUES), 3)))
    deformation = draw_deformation(rng=rng)
    offset_x, offset_y, offset_z = rng.uniform(0, 64, 3).tolist()
    return Subject(
        shape=shape,
        lesions=lesions,
        deformation=deformation,
        relaxation_jitter=tuple((t1, t2, density) for t1, t2, density in jitter.tolist()),
        texture_offset=(offset_x, offset_y, offset_z),
        slice_offset=float(rng.uniform(-0.5, 0.5)),
        laterality="left" if rng.random() < 0.5 else "right",
    )


def draw_deformation(*, rng: np.random.Generator) -> Deformation:
    """Draw a pose (rotations up to 0.05 rad, scale 0.94-1.06, shift 4 mm) and six plane waves of about 1 mm in all."""
    a, b, c = rng.uniform(-0.05, 0.05, 3)
    rotation = np.eye(3) + np.array([[0, -a, b], [a, 0, -c], [-b, c, 0]])
    matrix = rotation * (1 / rng.uniform((0.94, 0.94, 0.95), (1.06, 1.06, 1.06)))[:, None]
    n_waves = 6
    directions = rng.normal(size=(n_waves, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = directions * (2 * np.pi / rng.uniform(55, 130, (n_waves, 1)))
    return Deformation(
        matrix, rng.uniform(-4, 4, 3), vectors, rng.uniform(0, 2 * np.pi, n_waves), rng.normal(0, 0.55, (n_waves, 3))
    )


def slice_positions(subject: Subject, n_slices: int, plane: Plane) -> NDArray[np.floating]:
    """Return equally spaced slice positions in mm across the joint, from medial (or anterior) on."""
    half = HALF_EXTENT_MM[plane]
    centre = 0.0 if plane == "sagittal" else 3.0
    spacing = 2 * half / max(n_slices, 1)
    return centre + (np.arange(n_slices) - (n_slices - 1) / 2 + 0.5 * subject.slice_offset) * spacing


def render_slice(
    subject: Subject,
    *,
    plane: Plane,
    position_mm: float,
    thickness_mm: float = 3.0,
    matrix: tuple[int, int] = (320, 320),
    fov_mm: tuple[float, float] = (140.0, 140.0),
    field_strength_t: float = 3.0,
    contrast: Contrast = "pd",
    n_subslices: int = 2,
) -> KneeSlice:
    """Render one slice of a subject.

    Parameters
    ----------
    plane : sagittal (columns anterior to posterior) or coronal (columns patient right to left).
    position_mm : position along z (sagittal, medial negative) or x (coronal, anterior negative).
    thickness_mm : slice thickness; `n_subslices` equally spaced planes are averaged.
    matrix, fov_mm : raster (rows, columns) and its extent; rasterise finer than you sample.
    contrast : protocol of `PROTOCOLS`.

    Raises
    ------
    ValueError : unknown plane or contrast, or no cited tissue value at this field strength.
    """
    if plane not in HALF_EXTENT_MM:
        raise ValueError(f"plane is {plane!r}; expected 'sagittal' or 'coronal'")
    if contrast not in PROTOCOLS:
        raise ValueError(f"contrast is {contrast!r}; expected one of {', '.join(PROTOCOLS)}")
    weights = signal_weights(subject, field_strength_t, contrast)
    canvas = Canvas(
        TISSUES,
        subject.deformation,
        plane=plane,
        position_mm=position_mm,
        thickness_mm=thickness_mm,
        matrix=matrix,
        fov_mm=fov_mm,
        centre_mm=CENTRE_MM,
        mirrored=subject.laterality == "right",
        n_subslices=n_subslices,
    )
    scene = Scene(canvas, subject.shape, subject.lesions, subject.texture_offset)
    paint_knee(scene)
    water, fat = np.tensordot(weights, canvas.fractions, axes=1)
    return KneeSlice(water, fat, find_boxes(scene), canvas.fractions)


def paint_knee(scene: Scene) -> None:
    """Paint everything, front to back."""
    ligaments.paint_cysts(scene)
    centre = scene.canvas.window(ROI_BONES)
    if centre is not None:
        distances = surfaces(scene.shape, centre)
        bones.paint_bones(scene, centre, distances)
        bones.paint_patella(scene)
        cartilage.paint_femoral_cartilage(scene, centre, distances)
        cartilage.paint_tibial_cartilage(scene, centre, distances)
    for lateral in (False, True):
        cartilage.paint_meniscus(scene, lateral)
    ligaments.paint_cruciates(scene)
    ligaments.paint_tendons(scene)
    if centre is not None:
        ligaments.paint_collaterals(scene, centre, distances)
        ligaments.paint_fluid(scene, centre, distances)
    soft_tissue.paint_vessels(scene)
    soft_tissue.paint_soft_tissue(scene)


def find_boxes(scene: Scene) -> tuple[Finding, ...]:
    """Label what is visible: a box around each lesion's footprint where that is large enough in this slice."""
    findings = []
    for index, footprint in sorted(scene.marks.items()):
        lesion = scene.lesions[index]
        threshold, least_mm2 = _visibility(lesion)
        visible = footprint > threshold
        area_mm2 = float(visible.sum()) * scene.canvas.pixel_mm[0] * scene.canvas.pixel_mm[1]
        if area_mm2 < least_mm2:
            continue
        rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
        margin = round(1.0 / scene.canvas.edge_mm)
        y0, x0 = max(rows[0] - margin, 0), max(columns[0] - margin, 0)
        y1, x1 = min(rows[-1] + margin + 1, visible.shape[0]), min(columns[-1] + margin + 1, visible.shape[1])
        findings.append(Finding(lesion.label, int(x0), int(y0), int(x1 - x0), int(y1 - y0), lesion.conspicuity))
    return tuple(findings)


def _visibility(lesion: Lesion) -> tuple[float, float]:
    """Footprint threshold and least area in mm2 from which a reader would mark the slice."""
    if isinstance(lesion, MeniscusTear):
        return 0.5 * (0.35 + 0.60 * lesion.conspicuity), 5.0
    if isinstance(lesion, CartilageDefect):
        return 0.4, 12.0
    if isinstance(lesion, Effusion):
        return 0.5, 60.0
    return 0.4, 25.0


def signal_weights(subject: Subject, field_strength_t: float, contrast: Contrast) -> FloatArray:
    """Signal of pure tissues, (2, n_tissues): water and fat pool."""
    base = _reference_values(field_strength_t)
    protocol = PROTOCOLS[contrast]
    jitter = np.array(subject.relaxation_jitter).T
    result = np.zeros((2, len(TISSUES)))
    for pool in (0, 1):
        t1, t2, density = base[pool] * jitter
        result[pool] = signal.turbo_spin_echo(
            t1,
            t2,
            density,
            tr_ms=protocol.tr_ms,
            te_ms=protocol.te_ms,
            echo_spacing_ms=protocol.echo_spacing_ms,
            echo_train_length=protocol.echo_train_length,
        )
    if protocol.saturation_flip_deg is not None:
        result[1] *= signal.saturated_fraction(
            base[1][0] * jitter[0], delay_ms=protocol.saturation_delay_ms, flip_deg=protocol.saturation_flip_deg
        )
    return result.astype(np.float32)


@lru_cache(maxsize=16)
def _reference_values(field_strength_t: float) -> NDArray[np.float64]:
    """Cited (T1, T2, pool density) of the water and fat pool per tissue, (2, 3, n_tissues)."""
    rows = np.zeros((2, 3, len(TISSUES)))
    for i, name in enumerate(TISSUES):
        density = tissue.value(name, "proton_density")
        lipid = tissue.value(name, "fat_fraction") if name in ("fat", "marrow") else 0.0
        # The water of adipose tissue and marrow relaxes like marrow water; the tissue's own values are its fat pool's.
        water = "marrow_water" if lipid else name
        fat = name if lipid else "fat"
        rows[0, :, i] = (
            tissue.value(water, "t1_ms", field_strength_t),
            tissue.value(water, "t2_ms", field_strength_t),
            density * (1 - lipid),
        )
        rows[1, :, i] = (
            tissue.value(fat, "t1_ms", field_strength_t),
            tissue.value(fat, "t2_ms", field_strength_t),
            density * lipid,
        )
    return rows
