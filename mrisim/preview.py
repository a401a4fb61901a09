"""Pictures of a corruption on one fixed window, that of the clean image: PNG, contact sheet, GIF, HTML."""

import base64
import io
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mrisim.files import write_text, written_whole

WINDOW_PERCENTILE = 99.5
"""The window runs from 0 to this percentile of the clean image: an artifact must not choose its own window."""
MOST_STRETCHED = 8.0
"""Voxels longer than that many times their shorter side are a projection: as a picture they would be a strip."""
_MARGIN, _TEXT_HEIGHT = 4, 16


def window_of(clean: np.ndarray) -> float:
    """Return the upper end of the display window of a clean magnitude image."""
    return float(np.percentile(clean, WINDOW_PERCENTILE)) or 1.0


def to_grey(magnitude: np.ndarray, window: float) -> np.ndarray:
    """Return a magnitude image as 8-bit grey, 0 to `window`."""
    return np.clip(np.abs(magnitude) / window * 255 + 0.5, 0, 255).astype(np.uint8)


def picture_of(magnitude: np.ndarray, window: float, voxel_mm: tuple[float, float]) -> Image.Image:
    """Return a magnitude image in grey, stretched along the longer side of its voxels: no head looks squashed."""
    picture = Image.fromarray(to_grey(magnitude, window))
    sides = [min(side / min(voxel_mm), MOST_STRETCHED) for side in voxel_mm]
    height, width = (round(n * side) for n, side in zip(magnitude.shape, sides, strict=True))
    return picture if picture.size == (width, height) else picture.resize((width, height), Image.Resampling.BILINEAR)


def save_comparison(
    path: Path, clean: np.ndarray, corrupted: np.ndarray, title: str, voxel_mm: tuple[float, float]
) -> None:
    """Write clean, corrupted and absolute difference (three times as bright) of one slice side by side."""
    window = window_of(clean)
    windows = ((clean, window), (corrupted, window), (np.abs(corrupted - clean), window / 3))
    panels = [picture_of(image, end, voxel_mm) for image, end in windows]
    _save_png(path, _grid([panels], columns=["clean", title, "difference x 3"], rows=None))


def save_contact_sheet(
    path: Path, rows: Mapping[str, Sequence[np.ndarray]], window: float, voxel_mm: tuple[float, float]
) -> None:
    """Write a sheet with kinds in rows and levels in columns.

    Parameters
    ----------
    path : Path
    rows : dict
        Magnitude images of each kind, from level 0 upwards: (rows, columns) each.
    window : float
    voxel_mm : (float, float)
        Size of a pixel along rows and columns of an image.
    """
    panels = [[picture_of(image, window, voxel_mm) for image in images] for images in rows.values()]
    columns = [f"level {level}" for level in range(len(panels[0]))]
    _save_png(path, _grid(panels, columns=columns, rows=list(rows)))


def save_animation(
    path: Path, rows: Mapping[str, Sequence[np.ndarray]], window: float, voxel_mm: tuple[float, float]
) -> None:
    """Write a GIF that runs through the levels, all kinds side by side."""
    panels = [[picture_of(image, window, voxel_mm) for image in images] for images in rows.values()]
    frames = [
        _grid([[images[level] for images in panels]], columns=[f"{kind} {level}" for kind in rows], rows=None)
        for level in range(len(panels[0]))
    ]
    with written_whole(path) as partial:
        frames[0].save(partial, format="GIF", save_all=True, append_images=frames[1:], duration=700, loop=0)


def save_page(
    path: Path,
    rows: Mapping[str, Sequence[np.ndarray]],
    window: float,
    caption: str,
    voxel_mm: tuple[float, float],
) -> None:
    """Write one self-contained HTML page with a level slider: no network, opens from a mail."""
    cards = []
    for kind, images in rows.items():
        sources = "".join(
            f'<img alt="{kind}, level {level}" data-level="{level}" src="data:image/png;base64,{_png(picture)}">'
            for level, picture in enumerate(picture_of(image, window, voxel_mm) for image in images)
        )
        cards.append(f"<figure>{sources}<figcaption>{kind}</figcaption></figure>")
    template = files("mrisim").joinpath("templates", "preview.html").read_text(encoding="utf-8")
    n_levels = len(next(iter(rows.values()))) - 1
    page = (
        template.replace("{{cards}}", "\n".join(cards))
        .replace("{{last}}", str(n_levels))
        .replace("{{caption}}", caption)
    )
    write_text(path, page)


def _png(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _save_png(path: Path, sheet: Image.Image) -> None:
    with written_whole(path) as partial:
        sheet.save(partial, format="PNG", compress_level=1)  # 7 ms instead of 11, for a twentieth more bytes


def _grid(panels: list[list[Image.Image]], *, columns: list[str], rows: list[str] | None) -> Image.Image:
    width, height = panels[0][0].size
    font = ImageFont.load_default(size=12)
    left = 0 if rows is None else int(max(font.getlength(name) for name in rows)) + 2 * _MARGIN
    # a panel is at least as wide as its heading
    step_x = max(width, *(int(font.getlength(name)) + 2 for name in columns)) + _MARGIN
    step_y = height + _MARGIN
    size = (left + len(columns) * step_x - _MARGIN, _TEXT_HEIGHT + len(panels) * step_y - _MARGIN)
    sheet = Image.new("L", size, 0)
    draw = ImageDraw.Draw(sheet)
    for column, name in enumerate(columns):
        draw.text((left + column * step_x + 2, 1), name, fill=255, font=font)
    for row, images in enumerate(panels):
        top = _TEXT_HEIGHT + row * step_y
        if rows is not None:
            draw.text((_MARGIN, top + height // 2 - 8), rows[row], fill=255, font=font)
        for column, image in enumerate(images):
            sheet.paste(image, (left + column * step_x, top))
    return sheet
