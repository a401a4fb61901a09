"""Labels of a rendered head: the BraTS segmentation and the boxes a reader would draw, from the shares lesions took."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mrisim.phantoms.brain_lesions import BRATS_LABELS, Glioma, Lesion
from mrisim.phantoms.knee import Finding

FloatArray = NDArray[np.floating]
Marks = dict[tuple[int, str], FloatArray]
"""Share of each sample that a (lesion index, part) took."""
_MASS_BOX_MM2, _FOCUS_BOX_MM2 = 30.0, 4.0


def segment(marks: Marks, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """BraTS labels: the tumour core where it has more than half, split by its larger part; oedema from 0.4 on."""
    share = {name: np.zeros(shape, np.float32) for name in BRATS_LABELS}
    for (_, name), mark in marks.items():
        if name in share:
            share[name] += mark
    core = share["enhancing"] + share["necrosis"]
    labels = np.where(share["oedema"] + core > 0.4, BRATS_LABELS["oedema"], 0)
    inner = np.where(
        share["enhancing"] > share["necrosis"],
        BRATS_LABELS["enhancing"],
        BRATS_LABELS["necrosis"],
    )
    return np.where(core > 0.5, inner, labels).astype(np.uint8)


def find_boxes(lesions: tuple[Lesion, ...], marks: Marks, pixel_mm: tuple[float, float]) -> tuple[Finding, ...]:
    """Label what is visible: a box round each lesion's footprint where that is large enough in this slice."""
    findings = []
    for index, lesion in enumerate(lesions):
        parts = {name: mark for (i, name), mark in marks.items() if i == index}
        if not parts:
            continue
        if isinstance(lesion, Glioma):
            core = parts["enhancing"] + parts["necrosis"]
            candidates = [("Mass", core > 0.5, _MASS_BOX_MM2), ("Edema", parts["oedema"] > 0.4, 2 * _MASS_BOX_MM2)]
        else:
            visible = parts["gliosis"] > 0.5 * (0.35 + 0.6 * lesion.conspicuity)
            candidates = [(lesion.label, visible, _FOCUS_BOX_MM2)]
        for label, visible, least_mm2 in candidates:
            if float(visible.sum()) * pixel_mm[0] * pixel_mm[1] >= least_mm2:
                findings.append(_box(label, visible, pixel_mm, lesion.conspicuity))
    return tuple(findings)


def _box(label: str, visible: NDArray[np.bool_], pixel_mm: tuple[float, float], conspicuity: float) -> Finding:
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    margin = round(1.0 / float(np.mean(pixel_mm)))
    y0, x0 = max(rows[0] - margin, 0), max(columns[0] - margin, 0)
    y1, x1 = min(rows[-1] + margin + 1, visible.shape[0]), min(columns[-1] + margin + 1, visible.shape[1])
    return Finding(label, int(x0), int(y0), int(x1 - x0), int(y1 - y0), conspicuity)
