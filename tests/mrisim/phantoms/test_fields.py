"""Off-resonance along the readout: closed forms of displacement, conservation, and the field's statistics."""

import numpy as np
import pytest

from mrisim.phantoms.fields import displaced_along_rows, draw_field
from mrisim.seeding import stream


def _gaussian(n_rows: int, n_columns: int, centre: float) -> np.ndarray:
    return np.exp(-(((np.arange(n_rows) - centre) / 5) ** 2))[:, None] * np.ones(n_columns)


@pytest.mark.parametrize("shift", [0.0, 1.0, -3.0, 0.5, 2.37, -1.21])
def test_uniform_field_moves_along_the_rows_by_its_shift(shift: float) -> None:
    moved = displaced_along_rows(_gaussian(97, 14, 40.0), np.full((97, 14), shift))
    tolerance = 1e-12 if shift == int(shift) else 1e-3  # Catmull-Rom is exact for whole samples only
    np.testing.assert_allclose(moved, _gaussian(97, 14, 40.0 + shift), atol=tolerance)


def test_every_column_keeps_its_sum_under_any_field() -> None:
    rng = stream(1, "field test")
    signal, shift = rng.random((3, 61, 20)), 4 * rng.normal(size=(61, 20))
    moved = displaced_along_rows(signal, shift)
    assert moved.shape == signal.shape
    np.testing.assert_allclose(moved.sum(-2), signal.sum(-2), rtol=1e-12)


def test_signal_piles_up_where_the_field_falls_along_the_readout() -> None:
    """The law: intensity is divided by 1 + d(shift)/d(row)."""
    n_rows, slope = 400, -0.25
    rows = np.arange(n_rows)
    signal = np.ones((n_rows, 3))
    moved = displaced_along_rows(signal, np.broadcast_to((slope * (rows - 200.0))[:, None], (n_rows, 3)))
    np.testing.assert_allclose(moved[150:250].mean(), 1 / (1 + slope), rtol=5e-3)


def test_field_has_the_asked_spread_and_agrees_between_rasters_and_slices() -> None:
    fields = [draw_field(std=20.0, constant=5.0, rng=stream(i, "field")) for i in range(300)]
    values = np.array([field.on_slice((16, 12), (140.0, 120.0), 7.0) for field in fields])
    # each value is 5 waves with independent phases: std 20; 300 draws of it give the spread to about 4 %
    assert abs(values[:, 8, 6].std() / 20 - 1) < 0.15
    assert abs(values[:, 8, 6].mean() - 5) < 4 * 20 / np.sqrt(300)
    fine = fields[0].on_slice((32, 24), (140.0, 120.0), 7.0)
    np.testing.assert_allclose(fine[::2, ::2], values[0], rtol=1e-10)
    assert not np.allclose(values[0], fields[0].on_slice((16, 12), (140.0, 120.0), 40.0))
