"""One knee slice being painted: the canvas, the subject's shape and lesions, and what each lesion has covered so far.

Painters take the `Scene` and give tissue fractions to its canvas; where a lesion shares a part, the painted share of
the lesion is noted in `Scene.marks`, from which labels and boxes follow. Texture acts by mixing tissues (trabeculae in
marrow, fat between muscle fibres, septa in fat), never by scaling pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mrisim.phantoms.canvas import Canvas, Window
from mrisim.phantoms.knee_anatomy import KneeShape
from mrisim.phantoms.knee_lesions import Lesion

FloatArray = NDArray[np.floating]
Kind = TypeVar("Kind")

TISSUES = (
    "fat",
    "marrow",
    "cortical_bone",
    "cartilage",
    "meniscus",
    "tendon",
    "acl",
    "pcl",
    "muscle",
    "synovial_fluid",
    "blood",
    "skin",
)


@dataclass
class Scene:
    """One slice being painted: the canvas, the subject's shape and lesions, and what each lesion has covered so far."""

    canvas: Canvas
    shape: KneeShape
    lesions: tuple[Lesion, ...]
    texture_offset: tuple[float, float, float]
    marks: dict[int, FloatArray] = field(default_factory=dict)

    def of(self, kind: type[Kind]) -> Iterator[tuple[int, Kind]]:
        """Yield the lesions of one kind with their index."""
        return ((i, lesion) for i, lesion in enumerate(self.lesions) if isinstance(lesion, kind))

    def mark(self, index: int, window: Window, painted: FloatArray) -> None:
        """Add a painted share (n_subslices, rows, columns) to a lesion's footprint."""
        footprint = self.marks.setdefault(index, np.zeros(self.canvas.fractions.shape[1:], np.float32))
        footprint[window.rows, window.columns] += painted.mean(0)

    def texture(self, window: Window, scale_mm: tuple[float, float, float], shift: float = 0.0) -> FloatArray:
        """Texture of the subject on a window; `shift` separates the textures of different tissues."""
        x, y, z = self.texture_offset
        return self.canvas.texture(window, scale_mm, (x + shift, y + 2.3 * shift, z + 3.7 * shift))
