"""Pictures: grey values, and proportions as on a scanner's console."""

import numpy as np
import pytest
from PIL import Image

from mrisim.preview import picture_of, save_comparison, to_grey


@pytest.mark.parametrize(
    ("voxel_mm", "size"),
    [((1, 1), (20, 30)), ((0.5, 1.0), (40, 30)), ((3.0, 2.0), (20, 45)), ((1.0, 1.01), (20, 30)), ((1, 90), (160, 30))],
)
def test_a_picture_has_the_proportions_of_the_field_of_view(voxel_mm, size):
    image = np.add.outer(np.linspace(0, 1, 30), np.linspace(0, 1, 20))
    picture = picture_of(image, 2.0, voxel_mm)
    assert picture.size == size  # columns, rows
    grey = np.asarray(picture, float)
    ideal = np.add.outer(np.linspace(0, 1, size[1]), np.linspace(0, 1, size[0])) / 2 * 255
    assert np.abs(grey - ideal).max() < 6
    if size == (20, 30):
        np.testing.assert_array_equal(grey, to_grey(image, 2.0))


def test_a_comparison_is_three_such_pictures(tmp_path):
    clean = np.zeros((16, 60))
    clean[4:12, 10:50] = 1.0
    corrupted = clean.copy()
    corrupted[:, 0] = 0.2
    save_comparison(tmp_path / "a.png", clean, corrupted, "spikes", (2.0, 1.0))
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    step = (sheet.shape[1] + 4) // 3
    panels = [sheet[-32:, step * index : step * index + 60] for index in range(2)]
    assert all((panel[10:22, 12:48] == 255).all() for panel in panels)
    assert not panels[0][:, :5].any() and (panels[1][:, 0] > 40).all()
