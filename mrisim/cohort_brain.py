"""The head as a cohort sees it: painted slices, signal weights, labels of BraTS 2023 on the image grid."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from mrisim.cohort_knee import PaintedSlice, box_on_grid
from mrisim.cohort_protocol import CohortSpec
from mrisim.errors import ConfigError
from mrisim.phantoms.anatomy_file import TemplateAnatomy, anatomy_from_file
from mrisim.phantoms.brain import (
    CENTRE_MM,
    INTRACRANIAL,
    BrainSubject,
    draw_subject,
    render_slice,
    slice_positions,
)
from mrisim.phantoms.brain_anatomy import INDEX
from mrisim.phantoms.brain_signal import PROTOCOLS, reference_values, signal_weights

__all__ = ["CENTRE_MM", "PROTOCOLS", "slice_positions"]

RUNS_THROUGH_FOV = False
NOISE_FACTOR = 0.3
"""Noise against the knee's on the same scanner, an assumption: at one matrix a head's voxels are about five times as
large, and its contrasts have a fifth to a half of the proton density signal."""


def draw(spec: CohortSpec, *, rng: np.random.Generator) -> BrainSubject:
    """Draw a subject with random lesions, one kind of them, or none; a real head gives the anatomy if there is one."""
    if spec.template is None and spec.template_sha256:
        raise ConfigError("the cohort was made from a real head; expected its file again (--anatomy)")
    anatomy = None if spec.template is None else _template(spec.template)
    return draw_subject(rng=rng, lesions=cast(Any, spec.lesions), anatomy=anatomy)


@cache
def _template(path: Path) -> TemplateAnatomy:
    """Read the real head once in each process: it takes some ten seconds."""
    return anatomy_from_file(path)


def paint(
    subject: BrainSubject,
    *,
    plane: Any,
    position_mm: float,
    thickness_mm: float,
    raster: tuple[int, int],
    matrix: tuple[int, int],
    fov_mm: tuple[float, float],
    field_strength_t: float,
) -> PaintedSlice:
    """Paint one slice of a subject on a raster, and give boxes, labels and the stripped head on the matrix."""
    head = render_slice(
        subject,
        plane=plane,
        position_mm=position_mm,
        thickness_mm=thickness_mm,
        matrix=raster,
        fov_mm=fov_mm,
        field_strength_t=field_strength_t,
        n_subslices=4,  # with two, sulci show double
    )
    inside = head.tissue_fractions[[INDEX[name] for name in INTRACRANIAL]].sum(0)
    return PaintedSlice(
        head.tissue_fractions,
        tuple(box_on_grid(box, raster, matrix) for box in head.findings),
        _on_grid(head.segmentation, matrix),
        _on_grid(inside, matrix) > 0.5,
    )


def weights(subject: BrainSubject, contrast: Any, field_strength_t: float) -> np.ndarray:
    """Return the signal of pure tissues in one contrast, (2, tissue): water and fat pool."""
    return signal_weights(contrast, field_strength_t, np.array(subject.relaxation_jitter).T)


def _on_grid(values: np.ndarray, matrix: tuple[int, int]) -> np.ndarray:
    """Return the values of a raster at the points of the image grid; both have their centre at N//2."""
    rows, columns = (
        n_fine // 2 + (np.arange(n) - n // 2) * (n_fine // n) for n_fine, n in zip(values.shape, matrix, strict=True)
    )
    return np.ascontiguousarray(values[np.ix_(rows, columns)])


def check_field_strength(field_strength_t: float) -> None:
    """Refuse a field strength at which a tissue of the head, or the contrast agent, has no cited value.

    Raises
    ------
    ConfigError
    """
    try:
        jitter = np.ones(reference_values(field_strength_t).shape[1:])
        for contrast in PROTOCOLS:
            signal_weights(contrast, field_strength_t, jitter)
    except ValueError as error:
        raise ConfigError(str(error)) from None
