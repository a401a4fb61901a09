"""Pictures: one window, that of the clean image, and the pixels that the evaluation corrupts."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diagnose.report.pictures import clean_and_shifted, contact_sheet, slices_of_test_split
from diagnose.slice_images import Shift, make_images
from mrisim.errors import DataError
from mrisim.preview import WINDOW_PERCENTILE

RUN = "bn__z-score__seed1"


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))))


def test_the_sheet_is_one_slice_on_the_window_of_its_clean_image(study: Path):
    table = slices_of_test_split(study / "runs" / RUN)
    sheet = contact_sheet(table, ["noise", "motion"], [0, 1, 4], recon="rss", seed=0, crop=None)
    volume, index = table.volumes[0], table.volumes[0].n_slices // 2
    assert sheet.item == f"{volume.stem}/{index:03d}" and sheet.shape == (32, 32)
    clean = make_images(volume, Shift(), slices=[index])[0]
    window = np.percentile(clean, WINDOW_PERCENTILE)
    assert sheet.window == pytest.approx(window)
    for kind in ("noise", "motion"):
        for level in (0, 1, 4):
            shift = Shift(kind, level) if level else Shift()
            expected = make_images(volume, shift, slices=[index])[0] / window * 255
            shown = pixels(sheet.pictures[kind][level])
            assert np.abs(shown - np.clip(expected, 0, 255)).max() <= 0.5 + 1e-3
    assert sheet.pictures["noise"][0] == sheet.pictures["motion"][0]
    assert (pixels(sheet.pictures["noise"][4]) == 255).mean() > 0.03, "noise above the window is cut off, not rescaled"


def test_a_flip_is_shown_as_it_was_predicted(study: Path):
    table = slices_of_test_split(study / "runs" / RUN)
    item = table.items[7]
    clean, shifted = clean_and_shifted(table, item, Shift("motion", 4), None)
    volume = table.volumes[table.volume_of_slice[7]]
    images = [
        make_images(volume, shift, slices=[table.index_in_volume[7]])[0] for shift in (Shift(), Shift("motion", 4))
    ]
    window = np.percentile(images[0], WINDOW_PERCENTILE)
    for uri, image in zip((clean, shifted), images, strict=True):
        assert np.abs(pixels(uri) - np.clip(image / window * 255, 0, 255)).max() <= 0.5 + 1e-3
    with pytest.raises(DataError, match="no test file has the slice other/003"):
        clean_and_shifted(table, "other/003", Shift("motion", 4), None)


def test_changed_data_are_not_shown(study: Path, tmp_path: Path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.yaml", "split.csv"):
        (run / name).write_bytes((study / "runs" / RUN / name).read_bytes())
    (run / "location.json").write_text(json.dumps({"root": str(study.parent / "cohort")}))
    lock = json.loads((study / "runs" / RUN / "data.lock.json").read_text())
    (run / "data.lock.json").write_text(json.dumps(lock | {"labels_sha256": "0" * 64}))
    with pytest.raises(DataError, match="have changed since it was trained"):
        slices_of_test_split(run)
