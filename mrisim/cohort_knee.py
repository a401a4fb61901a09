"""The knee as a cohort sees it: painted slices, signal weights, and boxes in pixels of the image grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrisim.cohort_protocol import CohortSpec
from mrisim.errors import ConfigError
from mrisim.phantoms import tissue
from mrisim.phantoms.knee import (
    CENTRE_MM,
    PROTOCOLS,
    Finding,
    Subject,
    draw_subject,
    render_slice,
    signal_weights,
    slice_positions,
)
from mrisim.phantoms.knee_scene import TISSUES

__all__ = ["CENTRE_MM", "PROTOCOLS", "slice_positions"]

RUNS_THROUGH_FOV = True
"""A limb leaves the field of view along the readout; a head ends in it."""
NOISE_FACTOR = 1.0
"""The scanners' noise is stated for the knee."""


@dataclass(frozen=True)
class PaintedSlice:
    """One slice before any contrast."""

    fractions: np.ndarray
    """(tissue, rows, columns) on the fine raster."""
    findings: tuple[Finding, ...]
    """Boxes on the image grid."""
    segmentation: np.ndarray | None = None
    """(readout, phase_encode) labels of BraTS 2023 on the image grid."""
    stripped: np.ndarray | None = None
    """(readout, phase_encode), bool: what is left of the image where the skull is removed."""


def draw(spec: CohortSpec, *, rng: np.random.Generator) -> Subject:
    """Draw a subject with its random lesions, or its healthy twin."""
    subject = draw_subject(rng=rng)
    return subject.without_lesions() if spec.lesions == "none" else subject


def paint(
    subject: Subject,
    *,
    plane: Any,
    position_mm: float,
    thickness_mm: float,
    raster: tuple[int, int],
    matrix: tuple[int, int],
    fov_mm: tuple[float, float],
    field_strength_t: float,
) -> PaintedSlice:
    """Paint one slice of a subject on a raster, and give its boxes in pixels of the matrix."""
    knee = render_slice(
        subject,
        plane=plane,
        position_mm=position_mm,
        thickness_mm=thickness_mm,
        matrix=raster,
        fov_mm=fov_mm,
        field_strength_t=field_strength_t,
    )
    return PaintedSlice(knee.tissue_fractions, tuple(box_on_grid(box, raster, matrix) for box in knee.findings))


def weights(subject: Subject, contrast: Any, field_strength_t: float) -> np.ndarray:
    """Return the signal of pure tissues in one contrast, (2, tissue): water and fat pool."""
    return signal_weights(subject, field_strength_t, contrast)


def box_on_grid(box: Finding, raster: tuple[int, int], matrix: tuple[int, int]) -> Finding:
    """Return the smallest box of the image grid that holds a box of the raster; both have their centre at N//2."""
    y, height = _interval_on_grid(box.y, box.height, raster[0], matrix[0])
    x, width = _interval_on_grid(box.x, box.width, raster[1], matrix[1])
    return Finding(box.label, x, y, width, height, box.conspicuity)


def _interval_on_grid(start: int, length: int, n_fine: int, n_grid: int) -> tuple[int, int]:
    scale = n_grid / n_fine
    low, high = ((edge - 0.5 - n_fine // 2) * scale + n_grid // 2 + 0.5 for edge in (start, start + length))
    first, end = max(math.floor(low + 1e-9), 0), min(math.ceil(high - 1e-9), n_grid)
    return first, max(end - first, 1)


def check_field_strength(field_strength_t: float) -> None:
    """Refuse a field strength at which a tissue of the knee has no cited value.

    Raises
    ------
    ConfigError
    """
    try:
        for name in (*TISSUES, "marrow_water"):
            for quantity in ("t1_ms", "t2_ms"):
                tissue.value(name, quantity, field_strength_t)
    except ValueError as error:
        raise ConfigError(str(error)) from None
