"""Image quality where a finding is: SSIM inside the boxes of the annotation tables, as the third paper measures it.

Boxes are of the image flipped up-down, as in fastMRI+. A side shorter than SSIM's window is stretched to it. The data
range is the maximum of the whole target volume.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from diagnose.reconstruction.ssim import WINDOW, ssim_of_slices
from mrisim.errors import DataError

TABLES = "Annotations/*.csv"
NOT_BOXES = ("_file_list.csv", "_conspicuity.csv")
SMALL_SHARE = 0.01
"""Of the image's area: the third paper tells findings up to and above a hundredth of it apart."""


@dataclass(frozen=True)
class Box:
    """A finding in the image as it is, not flipped."""

    slice_index: int
    top: int
    left: int
    height: int
    width: int
    label: str


Boxes = Mapping[str, tuple[tuple[int, tuple[int, int, int, int], str], ...]]
"""Stem of the file -> (slice, (x, y, width, height) in the flipped image, label)."""


def read_boxes(root: Path) -> Boxes:
    """Return the boxes of every annotation table below a data set, by file.

    Raises
    ------
    DataError
        If a table cannot be read.
    """
    from mrisim.datasets.label_map import read_annotations

    found: dict[str, list[tuple[int, tuple[int, int, int, int], str]]] = {}
    for path in sorted(root.rglob(TABLES)):
        if not path.name.endswith(NOT_BOXES):
            for row in read_annotations(path):
                if row.box is not None:
                    found.setdefault(row.file, []).append((row.slice, row.box, row.label))
    return {file: tuple(rows) for file, rows in found.items()}


def boxes_in(boxes: Boxes, stem: str, shape: tuple[int, ...]) -> list[Box]:
    """Return the boxes of a file on its image (slice, rows, columns), cut to it.

    Raises
    ------
    DataError
        If a box lies outside of the image.
    """
    from mrisim.datasets.label_map import box_in_array

    n_slices, n_rows, n_columns = shape
    found = []
    for index, box, label in boxes.get(stem, ()):
        x, y, width, height = box_in_array(box, n_rows)
        top, bottom = max(y, 0), min(y + height, n_rows)
        left, right = max(x, 0), min(x + width, n_columns)
        if index >= n_slices or top >= bottom or left >= right:
            raise DataError(f"the box {box} of {stem}, slice {index}, lies outside of {shape}; expected inside")
        found.append(Box(index, top, left, bottom - top, right - left, label.strip()))
    return found


def crop_ssim(images: np.ndarray, targets: np.ndarray, box: Box) -> float:
    """Return the SSIM inside a box of a volume (slice, rows, columns)."""
    rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
    sides = [max(side, WINDOW) for side in (box.height, box.width)]
    image, target = (
        torch.nn.functional.interpolate(
            torch.from_numpy(np.ascontiguousarray(volume[box.slice_index, rows, columns], np.float64))[None, None],
            size=sides, mode="bilinear", align_corners=False,
        )[0]
        for volume in (images, targets)
    )  # fmt: skip
    return float(ssim_of_slices(image, target, torch.tensor([float(targets.max())], dtype=torch.float64))[0])


def is_small(box: Box, shape: tuple[int, ...]) -> bool:
    """Return whether a box has at most a hundredth of the image's area."""
    return box.height * box.width <= SMALL_SHARE * shape[-2] * shape[-1]
