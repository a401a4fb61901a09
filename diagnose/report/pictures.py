"""Pictures of the report: the same slice clean and corrupted, always on the window of its clean image, as data URIs."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from diagnose.dataset import SliceTable, load_slice_table
from diagnose.report.study_folder import StudyRecord
from diagnose.run_folder import SPLIT, read_location, read_lock, read_spec
from diagnose.slice_images import CLEAN, Shift, make_images
from mrisim.errors import DataError
from mrisim.preview import to_grey, window_of


@dataclass(frozen=True)
class Sheet:
    """One slice under every kind and level."""

    item: str
    window: float
    """Upper end of the display window, of the clean image; in the units of the reconstruction."""
    shape: tuple[int, ...]
    """(rows, columns)"""
    pictures: dict[str, dict[int, str]]
    """PNG data URIs by kind and level; level 0 is clean."""


def png_uri(image: np.ndarray, window: float) -> str:
    """Return a magnitude image (rows, columns) as a grey PNG, 0 to `window`, in a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(to_grey(image, window)).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def slices_of_test_split(run: Path) -> SliceTable:
    """Return the test slices of a run, from its data where they lie now.

    Raises
    ------
    DataError
        If the data are not there, or are not those that the run was trained on.
    """
    location = read_location(run)
    table = load_slice_table(read_spec(run).data_request(location.root, location.labels, run / SPLIT))
    lock = read_lock(run)
    if lock != json.loads(json.dumps(dict(table.lock))):
        raise DataError(f"the data of {run.name} have changed since it was trained; expected the same files")
    return table.of_split("test")


def contact_sheet(
    table: SliceTable, kinds: Sequence[str], levels: Sequence[int], *, recon: str, seed: int, crop: int | None
) -> Sheet:
    """Return the middle slice of the first test file under every kind and level, as the evaluation corrupts it.

    Parameters
    ----------
    table : SliceTable
        The test slices.
    kinds : sequence of str
    levels : sequence of int
        0 is clean.
    recon : str
        Reconstruction.
    seed : int
        Of the corruptions.
    crop : int or None
        Side of the centred square in pixels.
    """
    volume = table.volumes[0]
    index = volume.n_slices // 2
    clean = make_images(volume, Shift(CLEAN, 0, recon, seed), crop=crop, slices=[index])[0]
    window = window_of(clean)
    pictures = {
        kind: {
            level: png_uri(
                clean
                if level == 0
                else make_images(volume, Shift(kind, level, recon, seed), crop=crop, slices=[index])[0],
                window,
            )
            for level in levels
        }
        for kind in kinds
    }
    return Sheet(f"{volume.stem}/{index:03d}", window, clean.shape, pictures)


def clean_and_shifted(table: SliceTable, item: str, shift: Shift, crop: int | None) -> tuple[str, str]:
    """Return one slice clean and corrupted, on the window of the clean image, as data URIs.

    Raises
    ------
    DataError
        If no test file has this slice.
    """
    stem, _, number = item.rpartition("/")
    volume = next((volume for volume in table.volumes if volume.stem == stem), None)
    if volume is None:
        raise DataError(f"no test file has the slice {item}; expected a prediction table of these data")
    clean, shifted = (
        make_images(volume, each, crop=crop, slices=[int(number)])[0]
        for each in (Shift(CLEAN, 0, shift.reconstruction, shift.seed), shift)
    )
    window = window_of(clean)
    return png_uri(clean, window), png_uri(shifted, window)


@dataclass(frozen=True)
class Pictures:
    """All pictures of a report, or why there are none."""

    sheet: Sheet | None = None
    flips: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Clean and corrupted, by the position of the flip in the analysis."""
    missing: str = ""


def draw_pictures(record: StudyRecord) -> Pictures:
    """Draw the contact sheet, and the worst flips where there is an analysis.

    Raises
    ------
    DataError
        If there is no finished run, or its data cannot be read.
    """
    if not record.runs:
        raise DataError("no run is finished; expected one, to know the data")
    table, spec = slices_of_test_split(record.runs[0].folder), record.spec
    recon, seed, crop = spec.inference.reconstruction, spec.evaluation.seed, spec.train["crop"]
    levels = sorted({0, *spec.evaluation.levels})
    sheet = contact_sheet(table, spec.evaluation.kinds, levels, recon=recon, seed=seed, crop=crop)
    flips = [] if record.analysis is None else record.analysis["worst_flips"]["flips"]
    pairs = {
        position: clean_and_shifted(table, flip["item"], Shift(flip["kind"], flip["level"], recon, seed), crop)
        for position, flip in enumerate(flips)
    }
    return Pictures(sheet, pairs)
