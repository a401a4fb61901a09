"""A three-dimensional head: procedural subjects, slices of any plane, BraTS-like volumes, labelled lesions.

A subject is continuous geometry in millimetres, so slices of any plane, position, thickness, matrix and field of view
show the same head; a real anatomy (`anatomy_file.anatomy_from_file`) can stand in for the procedural one, and lesions
are painted on either. Signals come from tissue fractions through the closed forms of `signal` with cited values.

Limits
------
Primary sulci other than the Sylvian fissure are not placed: folding is random with the right spacing and depth. No
vessels but the dural sinuses, no cranial nerves, a rough face and neck, one lesion biology. Every number measured on
it is a simulation result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mrisim.phantoms import brain_labels as labels
from mrisim.phantoms import brain_lesions, brain_signal
from mrisim.phantoms.brain_anatomy import INDEX, TISSUES, draw_shape
from mrisim.phantoms.brain_lesions import Anatomy, Lesion
from mrisim.phantoms.brain_signal import CONTRASTS, PROTOCOLS, Contrast
from mrisim.phantoms.canvas import Deformation
from mrisim.phantoms.knee import Finding

FloatArray = NDArray[np.floating]
Axes = tuple[FloatArray, FloatArray, FloatArray]
Plane = Literal["axial", "sagittal", "coronal"]
LesionMix = Literal["random", "none", "glioma", "white_matter"]

# Row and column axis of each plane and the sign along them: rows run anterior to posterior (axial) or superior to
# inferior, columns patient right to left (axial, coronal) or anterior to posterior.
_ROWS_COLUMNS = {"axial": ((1, -1), (0, -1)), "sagittal": ((2, -1), (1, -1)), "coronal": ((2, -1), (0, -1))}
_THROUGH = {"axial": 2, "sagittal": 0, "coronal": 1}
CENTRE_MM = (0.0, -17.0, 5.0)
EXTENT_MM: dict[Plane, tuple[float, float]] = {
    "axial": (-35.0, 60.0),
    "sagittal": (-52.0, 52.0),
    "coronal": (-80.0, 45.0),
}
"""First and last useful slice position of each plane, in head coordinates."""
INTRACRANIAL = ("csf", "grey_matter", "white_matter", "oedema", "necrosis", "enhancing", "gliosis")
_POINTS_AT_ONCE = 400_000  # keeps a volume's working set near 100 MB


@dataclass(frozen=True)
class BrainSubject:
    """One head: anatomy, lesions, pose and smooth deformation, tissue jitter.

    Attributes
    ----------
    relaxation_jitter : factor on (T1, T2, proton density) per tissue of `TISSUES`.
    """

    anatomy: Anatomy
    lesions: tuple[Lesion, ...]
    deformation: Deformation
    relaxation_jitter: tuple[tuple[float, float, float], ...]
    slice_offset: float

    def without_lesions(self) -> BrainSubject:
        """Return the healthy twin: everything equal, no lesion and no mass effect."""
        return replace(self, lesions=())

    def with_lesions(self, *lesions: Lesion) -> BrainSubject:
        """Return the same head with these lesions instead of its own."""
        return replace(self, lesions=lesions)


@dataclass(frozen=True)
class BrainSlice:
    """One rendered slice.

    Attributes
    ----------
    water, fat : (rows, columns) float32, signed signal of the two pools.
    segmentation : (rows, columns) uint8, BraTS 2023 labels.
    tissue_fractions : (n_tissues, rows, columns) float32 in the order of `tissues`.
    """

    water: FloatArray
    fat: FloatArray
    segmentation: NDArray[np.uint8]
    findings: tuple[Finding, ...]
    tissue_fractions: FloatArray
    tissues: tuple[str, ...] = TISSUES


@dataclass(frozen=True)
class BrainVolume:
    """Contrasts and labels on one grid.

    Attributes
    ----------
    images : magnitude per contrast, (x, y, z) float32. segmentation : (x, y, z) uint8, BraTS 2023 labels.
    affine : (4, 4), voxel indices to RAS mm; first two axes run to the left and to the back, as in BraTS.
    volumes_ml : volume of each tissue in the grid, before skull stripping.
    """

    images: dict[Contrast, FloatArray]
    segmentation: NDArray[np.uint8]
    affine: NDArray[np.float64]
    volumes_ml: dict[str, float]


def draw_subject(
    *, rng: np.random.Generator, lesions: LesionMix = "random", anatomy: Anatomy | None = None
) -> BrainSubject:
    """Draw a subject; each part consumes `rng` in a fixed order, so a seed fixes the head.

    Parameters
    ----------
    lesions : "random" is nothing, white-matter lesions, a glioma, or both (.3 .25 .3 .15); the rest as named.
    anatomy : a real anatomy in place of the procedural shape; only pose, jitter and lesions are then drawn.

    Raises
    ------
    ValueError : unknown `lesions`.
    """
    if lesions not in ("random", "none", "glioma", "white_matter"):
        raise ValueError(f"lesions is {lesions!r}; expected 'random', 'none', 'glioma' or 'white_matter'")
    shape = draw_shape(rng=rng)
    chosen: Anatomy = shape if anatomy is None else anatomy
    deformation = draw_deformation(rng=rng)
    spread = np.full((len(TISSUES), 3), (0.03, 0.04, 0.02))
    spread[INDEX["csf"]] = 0.005  # an inversion time nulls everybody's fluid
    jitter = np.exp(rng.normal(0, spread))
    slice_offset = float(rng.uniform(-0.5, 0.5))
    chance = rng.random()
    glioma = lesions == "glioma" or (lesions == "random" and chance < 0.45)
    foci = lesions == "white_matter" or (lesions == "random" and 0.30 <= chance < 0.70)
    drawn: tuple[Lesion, ...] = (brain_lesions.draw_glioma(chosen, rng=rng),) if glioma else ()
    if foci:
        n_foci = 1 + int(rng.poisson(3 + 9 * shape.atrophy))
        drawn += brain_lesions.draw_white_matter_lesions(chosen, n_foci, rng=rng)
    return BrainSubject(
        anatomy=chosen,
        lesions=drawn,
        deformation=deformation,
        relaxation_jitter=tuple((t1, t2, density) for t1, t2, density in jitter.tolist()),
        slice_offset=slice_offset,
    )


def draw_deformation(*, rng: np.random.Generator) -> Deformation:
    """Draw a pose (rotations of 3 degrees, scale 0.92-1.03, shift 3 mm) and eight plane waves of about 2 mm in all."""
    a, b, c = rng.normal(0, 0.045, 3)
    rotation = np.eye(3) + np.array([[0, -a, b], [a, 0, -c], [-b, c, 0]])
    matrix = rotation * (1 / rng.uniform(0.92, 1.03, 3))[:, None]
    n_waves = 8
    directions = rng.normal(size=(n_waves, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = directions * (2 * np.pi / rng.uniform(80, 180, (n_waves, 1)))
    return Deformation(
        matrix, rng.uniform(-3, 3, 3), vectors, rng.uniform(0, 2 * np.pi, n_waves), rng.normal(0, 0.85, (n_waves, 3))
    )


def slice_positions(subject: BrainSubject, n_slices: int, plane: Plane = "axial") -> NDArray[np.floating]:
    """Return equally spaced slice positions in mm over `EXTENT_MM`, from inferior, left or posterior on."""
    first, last = EXTENT_MM[plane]
    spacing = (last - first) / max(n_slices, 1)
    return first + (np.arange(n_slices) + 0.5 + 0.5 * subject.slice_offset) * spacing


def render_slice(
    subject: BrainSubject,
    *,
    plane: Plane = "axial",
    position_mm: float,
    thickness_mm: float = 5.0,
    matrix: tuple[int, int] = (320, 320),
    fov_mm: tuple[float, float] = (240.0, 240.0),
    field_strength_t: float = 3.0,
    contrast: Contrast = "t2",
    n_subslices: int = 2,
) -> BrainSlice:
    """Render one slice of a subject.

    Parameters
    ----------
    position_mm : position along z (axial), x (sagittal, right positive) or y (coronal, anterior positive).
    thickness_mm : slice thickness; `n_subslices` equally spaced planes are averaged; with two
        of 5 mm sulci show double at fine rasters, four cost twice the time and do not.
    matrix, fov_mm : raster (rows, columns) and its extent; rasterise finer than you sample.
    contrast : protocol of `PROTOCOLS`.

    Raises
    ------
    ValueError : unknown plane or contrast, or no cited tissue value at this field strength.
    """
    if plane not in _THROUGH:
        raise ValueError(f"plane is {plane!r}; expected 'axial', 'sagittal' or 'coronal'")
    weights = _weights(subject, contrast, field_strength_t)
    (row_axis, row_sign), (column_axis, column_sign) = _ROWS_COLUMNS[plane]
    axes: list[FloatArray] = [np.zeros(1)] * 3
    axes[row_axis] = row_sign * _pixel_centres(matrix[0], fov_mm[0]) + CENTRE_MM[row_axis]
    axes[column_axis] = column_sign * _pixel_centres(matrix[1], fov_mm[1]) + CENTRE_MM[column_axis]
    axes[_THROUGH[plane]] = position_mm + _pixel_centres(n_subslices, thickness_mm)
    pixel_mm = (fov_mm[0] / matrix[0], fov_mm[1] / matrix[1])
    order = (0, 1 + row_axis, 1 + column_axis, 1 + _THROUGH[plane])
    fractions, marks = _on_grid(subject, (axes[0], axes[1], axes[2]), float(np.mean(pixel_mm)))
    fractions = np.ascontiguousarray(fractions.transpose(order).mean(3))
    flat = {key: mark[None].transpose(order).mean(3)[0] for key, mark in marks.items()}
    water, fat = np.tensordot(weights, fractions, axes=1)
    return BrainSlice(
        water, fat, labels.segment(flat, matrix), labels.find_boxes(subject.lesions, flat, pixel_mm), fractions
    )


def render_volume(
    subject: BrainSubject,
    *,
    shape: tuple[int, int, int] = (240, 240, 155),
    voxel_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    field_strength_t: float = 3.0,
    contrasts: tuple[Contrast, ...] = CONTRASTS,
    skull_stripped: bool = True,
) -> BrainVolume:
    """Render contrasts and labels on one grid centred on the head.

    Parameters
    ----------
    shape, voxel_mm : of the grid, (x, y, z). One sample a voxel, edges antialiased over it.
    skull_stripped : keep brain, its lesions and the fluid around it only, as BraTS does.

    Raises
    ------
    ValueError : unknown contrast, or no cited value at this field strength.
    """
    weights = {contrast: _weights(subject, contrast, field_strength_t) for contrast in contrasts}
    x, y, z = (_pixel_centres(n, n * step) + c for n, step, c in zip(shape, voxel_mm, CENTRE_MM, strict=True))
    x, y = x[::-1], y[::-1]  # towards left and posterior
    images = {contrast: np.empty(shape, np.float32) for contrast in contrasts}
    segmentation = np.empty(shape, np.uint8)
    sums = np.zeros(len(TISSUES))
    inside = [INDEX[name] for name in INTRACRANIAL]
    n_planes = max(1, _POINTS_AT_ONCE // (shape[0] * shape[1]))
    for start in range(0, shape[2], n_planes):
        at = slice(start, start + n_planes)
        fractions, marks = _on_grid(subject, (x, y, z[at]), float(np.mean(voxel_mm)))
        sums += fractions.sum((1, 2, 3), dtype=np.float64)
        kept = fractions[inside].sum(0) if skull_stripped else np.float32(1)
        for contrast in contrasts:
            images[contrast][:, :, at] = np.abs(np.tensordot(weights[contrast].sum(0), fractions, axes=1)) * kept
        segmentation[:, :, at] = labels.segment(marks, fractions.shape[1:])
    affine = np.diag((-voxel_mm[0], -voxel_mm[1], voxel_mm[2], 1.0))
    affine[:3, 3] = x[0], y[0], z[0]
    millilitres = sums * float(np.prod(voxel_mm)) / 1000
    return BrainVolume(images, segmentation, affine, dict(zip(TISSUES, millilitres.tolist(), strict=True)))


def _pixel_centres(n: int, extent_mm: float) -> FloatArray:
    return (np.arange(n) - (n - 1) / 2) * (extent_mm / n)


def _weights(subject: BrainSubject, contrast: Contrast, field_strength_t: float) -> NDArray[np.float32]:
    if contrast not in PROTOCOLS:
        raise ValueError(f"contrast is {contrast!r}; expected one of {', '.join(PROTOCOLS)}")
    return brain_signal.signal_weights(contrast, field_strength_t, np.array(subject.relaxation_jitter).T)


def _on_grid(subject: BrainSubject, axes: Axes, edge_mm: float) -> tuple[FloatArray, dict[tuple[int, str], FloatArray]]:
    """Tissue fractions (n_tissues, x, y, z) and lesion shares (x, y, z) on a grid in scanner coordinates."""
    shape = tuple(len(axis) for axis in axes)
    x, y, z = (values.ravel() for values in _head_coordinates(subject.deformation, axes))
    healthy_x, healthy_y, healthy_z = brain_lesions.push(subject.lesions, x, y, z)
    fractions = subject.anatomy.fractions(healthy_x, healthy_y, healthy_z, edge_mm)
    marks = brain_lesions.paint_lesions(subject.lesions, fractions, x, y, z, edge_mm)
    return fractions.reshape(-1, *shape), {key: mark.reshape(shape) for key, mark in marks.items()}


def _head_coordinates(warp: Deformation, axes: Axes) -> list[FloatArray]:
    """Apply a deformation on a grid; plane waves are products of one factor per axis."""
    moved = [axis - shift for axis, shift in zip(axes, warp.shift_mm, strict=True)]
    factors = [np.exp(1j * np.outer(axis, k)) for axis, k in zip(moved, warp.wave_vectors.T, strict=True)]
    factors[0] = factors[0] * np.exp(1j * warp.wave_phases)
    plane = factors[0][:, None, :] * factors[1][None, :, :]  # (x, y, waves)
    coordinates = []
    for weights, amplitudes in zip(warp.matrix, warp.wave_amplitudes_mm.T, strict=True):
        value = ((plane * amplitudes) @ factors[2].T).imag
        value += (weights[0] * moved[0])[:, None, None] + (weights[1] * moved[1])[:, None] + weights[2] * moved[2]
        coordinates.append(value.astype(np.float32))
    return coordinates
