"""PNG: one grey slice of 8 or 16 bits, without geometry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrisim.errors import DataError
from mrisim.formats.guards import reading, selected, writing
from mrisim.formats.magnitude import MagnitudeVolume, require_shape
from mrisim.scan import Scan


def read(path: Path, slices: slice | Sequence[int] | None) -> MagnitudeVolume:
    """Read one grey image as one slice of 1 mm pixels."""
    plane = _grey_plane(path)
    chosen = selected(1, slices)
    known: dict[str, Any] = {
        "fov_mm": (float(plane.shape[0]), float(plane.shape[1])),
        "readout_oversampling": 1.0,
        "assumed": ("phase_encode_axis", "fov_mm"),
    }
    return MagnitudeVolume(plane[None].astype(np.float32), known, chosen, 1)


def _grey_plane(path: Path) -> np.ndarray:
    """Return the grey values of a PNG, uint8 or uint16."""
    from PIL import Image

    with reading(path, "a complete PNG file"), Image.open(path) as image:
        mode = image.mode
        pixels = np.asarray(image.convert("RGBA") if mode in ("P", "PA") else image)
    if mode == "1":
        raise DataError(f"{path.name} has one bit a pixel; expected a grey image of 8 or 16 bits")
    if pixels.ndim == 3:
        colours, opacity = pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., :1], pixels[..., 3:4]
        if pixels.shape[2] == 2:
            opacity = pixels[..., 1:]
        if (colours != colours[..., :1]).any() or (opacity != 255).any():
            raise DataError(f"{path.name} has colours or transparency (mode {mode}); expected a grey image")
        pixels = colours[..., 0]
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.uint16)


def write(path: Path, scan: Scan, image: np.ndarray, source: Path, description: str) -> None:
    """Write the first slice in the grey scale of the source."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    original = _grey_plane(source)
    require_shape(image, original.shape, source)
    # The grey scale of the input is the window: nothing is stretched, what is brighter than white is white.
    pixels = np.clip(np.rint(image[0]), 0, np.iinfo(original.dtype).max).astype(original.dtype)
    text = PngInfo()
    text.add_text("Description", description or "Simulated MR artifact")
    with writing(path) as part, part.open("wb") as file:
        Image.fromarray(pixels).save(file, format="PNG", pnginfo=text)
