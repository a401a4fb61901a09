"""A magnitude volume as NIfTI, DICOM and PNG give it, before phase and coils are synthesised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrisim.errors import DataError


@dataclass(frozen=True)
class MagnitudeVolume:
    """The slices that were asked for, and what their file states."""

    magnitude: np.ndarray
    """(slice, readout, phase_encode), real."""
    known: dict[str, Any]
    """Fields of Acquisition."""
    slice_ids: list[int]
    n_slices: int
    """Slices of the file."""


def require_shape(image: np.ndarray, shape: tuple[int, ...], source: Path) -> None:
    """Refuse an image (slice, rows, columns) of another size than its source."""
    if tuple(image.shape[1:]) != tuple(shape):
        raise DataError(f"the image has shape {image.shape[1:]}; expected {tuple(shape)} as in {source.name}")
