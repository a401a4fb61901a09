"""The first paper's image-domain artifacts: each law in closed form, the severities, and that they stay apart."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage, stats

from diagnose.dataset import DataRequest, load_slice_table
from diagnose.evaluate import evaluate
from diagnose.evaluation.prediction_table import read_table
from diagnose.evaluation.released_artifacts import (
    FIELD_POWERS,
    LEVELS,
    add_rice,
    apply_released,
    ghost,
    move,
    multiply_field,
    released_table_version,
    severity,
    spike,
)
from diagnose.evaluation.request import EvaluationRequest
from diagnose.run_folder import DataLocation
from diagnose.slice_images import ImageStore, Shift, check_kinds, make_images, split_images
from diagnose.testing import SMALL
from diagnose.train import fit
from diagnose.trained_model import level_table_version
from diagnose.training.spec import TrainSpec
from mrisim.artifacts import KINDS
from mrisim.errors import ConfigError
from mrisim.seeding import stream

MODULE = "diagnose.evaluation.released_artifacts"
ROWS, COLUMNS = 33, 40


@pytest.fixture
def image() -> np.ndarray:
    """A smooth object off the centre on a floor of 0.1, with some texture."""
    y, x = np.indices((ROWS, COLUMNS))
    blob = np.exp(-((y - 14) ** 2) / 30 - (x - 23) ** 2 / 60)
    return (0.1 + blob + 0.05 * stream(3, "texture").random((ROWS, COLUMNS)))[None].astype(np.float32)


def test_every_kind_is_the_identity_at_p_0_and_leaves_its_input(image: np.ndarray):
    before = image.copy()
    for kind in LEVELS:
        same = apply_released(image, kind, 0, rng=stream(0, kind))
        assert np.array_equal(same, image) and same.dtype == np.float32 and same is not image
        made = apply_released(image, kind, 3, rng=stream(0, kind))
        assert made.shape == image.shape and made.dtype == np.float32
        assert np.abs(made - image).max() > 1e-3
        assert np.array_equal(image, before)
        assert np.array_equal(made, apply_released(image, kind, 3, rng=stream(0, kind)))


def test_rice_has_the_moments_of_rice():
    """E y^2 = x^2 + 2 s^2; where there is no signal, Rayleigh: mean s sqrt(pi / 2); s is a share of the maximum."""
    flat = np.zeros((1, 200, 300), np.float32)
    flat[:, 100:] = 4.0
    made = apply_released(flat, "madaan-rice", 10, rng=stream(0, "rice")).astype(float)
    s, n = 0.4, 100 * 300
    background, signal = made[0, :100], made[0, 100:]
    assert background.mean() == pytest.approx(s * np.sqrt(np.pi / 2), abs=5 * s * np.sqrt((2 - np.pi / 2) / n))
    # var(y^2) = 4 s^2 x^2 + 4 s^4
    error = 5 * np.sqrt((4 * s**2 * 16 + 4 * s**4) / n)
    assert (signal**2).mean() == pytest.approx(16 + 2 * s**2, abs=error)
    assert stats.kstest(signal.ravel(), stats.rice(4 / s, scale=s).cdf).pvalue > 1e-3
    assert stats.kstest(background.ravel(), stats.rayleigh(scale=s).cdf).pvalue > 1e-3


def test_rice_shares_its_draws_between_severities(image: np.ndarray):
    noise = stream(0, "n").standard_normal((2, ROWS, COLUMNS))
    expected = np.abs(image + 0.25 * image.max() * (noise[0] + 1j * noise[1]))
    np.testing.assert_allclose(apply_released(image, "madaan-rice", 25, rng=stream(0, "n")), expected, rtol=1e-6)
    np.testing.assert_allclose(add_rice(image, 25, noise), expected, rtol=1e-6)


def test_motion_is_one_rigid_move_by_scipy(image: np.ndarray):
    """The whole output is one affine resampling of the input: no second pose is mixed in, so there is no ghost."""
    p, rng = 4, stream(7, "motion")
    turn, *shift = rng.uniform(-1, 1, size=3)
    angle, shift_px = np.deg2rad(5 * p * turn), 2 * p * np.array(shift)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([(ROWS - 1) / 2, (COLUMNS - 1) / 2])
    expected = ndimage.affine_transform(
        image[0].astype(float), matrix, centre - matrix @ centre + shift_px, order=1, cval=float(image.min())
    )
    made = apply_released(image, "madaan-motion", p, rng=stream(7, "motion"))
    assert abs(turn) > 0.1 and np.abs(shift).min() > 0.1
    np.testing.assert_allclose(made[0], expected, atol=1e-6)


def test_a_move_in_closed_form(image: np.ndarray):
    floor = image.min()
    moved = move(image, 0.0, (2.0, -3.0))[0]
    np.testing.assert_allclose(moved[:-2, 3:], image[0, 2:, :-3], rtol=1e-6)
    assert (moved[-2:] == floor).all() and (moved[:, :3] == floor).all()
    square = image[:, :, :ROWS]
    # A quarter turn: the pixel at (row, column) shows what was at (-column, row). The rim may fall outside.
    turned, inner = move(square, 90.0, (0.0, 0.0))[0], slice(1, -1)
    np.testing.assert_allclose(turned[inner, inner], square[0, ::-1].T[inner, inner], rtol=1e-4)


def test_motion_draws_are_uniform_within_5_degrees_and_2_pixels_per_p(image: np.ndarray, monkeypatch):
    seen = []
    monkeypatch.setattr(f"{MODULE}.move", lambda image, turn, shift: seen.append((turn, *shift)))
    rng = stream(0, "many")
    for _ in range(2000):
        apply_released(image, "madaan-motion", 3, rng=rng)
    for values, reach in zip(np.array(seen).T, (15, 6, 6), strict=True):
        assert stats.kstest(values, stats.uniform(-reach, 2 * reach).cdf).pvalue > 1e-3


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("p", [1, 2, 5])
def test_ghosting_scales_every_seventh_line_and_keeps_the_centre(image: np.ndarray, axis: int, p: int):
    n = image.shape[1 + axis]
    weight = np.ones(n)
    weight[[0, 7, 14, 21, 28]] = 1 - p
    weight[35:36] = 1 - p
    assert n // 2 not in (0, 7, 14, 21, 28, 35)
    # The same sum in the image: a convolution along the axis with the transform of the weights.
    k = np.arange(n) - n // 2
    kernel = (weight * np.exp(2j * np.pi * np.outer(np.arange(n), k) / n)).sum(axis=1) / n
    circulant = np.array([[kernel[(i - j) % n] for j in range(n)] for i in range(n)])
    expected = np.apply_along_axis(lambda line: (circulant @ line).real, 1 + axis, image.astype(float))
    np.testing.assert_allclose(ghost(image, p, axis), expected, atol=2e-6)


def test_ghosting_restores_a_centre_line_that_is_a_seventh():
    """With 28 lines the centre is number 14; the mean of the image must stay what it was."""
    image = 1 + stream(0, "g").random((1, 28, 30), np.float32)
    made = ghost(image, 5, 0)
    assert made.mean() == pytest.approx(image.mean(), rel=1e-6)
    assert np.abs(made - image).max() > 0.1


def test_both_axes_of_ghosting_are_drawn_equally_often(image: np.ndarray, monkeypatch):
    seen = []
    monkeypatch.setattr(f"{MODULE}.ghost", lambda image, p, axis: seen.append((p, axis)))
    rng = stream(0, "many")
    for _ in range(1000):
        apply_released(image, "madaan-ghosting", 4, rng=rng)
    assert {p for p, _ in seen} == {4}, "the severity is p itself, not drawn up to p"
    assert stats.binomtest(sum(axis for _, axis in seen), 1000).pvalue > 1e-3


def test_a_spike_is_one_plane_wave_of_the_images_mean(image: np.ndarray):
    row, column, strength = 5, 31, -0.7
    y, x = np.indices((ROWS, COLUMNS))
    phase = 2 * np.pi * ((row - ROWS // 2) * y / ROWS + (column - COLUMNS // 2) * x / COLUMNS)
    expected = image + strength * image.mean(dtype=float) * np.cos(phase)
    np.testing.assert_allclose(spike(image, strength, (row, column)), expected, atol=2e-6)


def test_the_spikes_maximum_is_lexicographic_not_of_moduli():
    """A grating without mean: the largest real part is that of its cosine, though its sine is the larger."""
    y = np.arange(12)
    line = 1.0 * np.cos(2 * np.pi * 2 * y / 12) + 3.0 * np.sin(2 * np.pi * 3 * y / 12)
    image = np.repeat(line[:, None], 10, axis=1)[None]
    made = spike(image, 1.0, (6, 5))
    np.testing.assert_allclose(made - image, 0.5, atol=1e-6)


def test_spikes_are_anywhere_with_strengths_up_to_p(image: np.ndarray, monkeypatch):
    seen = []
    monkeypatch.setattr(
        f"{MODULE}.spike",
        lambda image, strength, position: seen.append((strength, *position)),
    )
    rng = stream(0, "many")
    for _ in range(4000):
        apply_released(image, "madaan-spike", 2, rng=rng)
    strengths, rows, columns = np.array(seen).T
    assert stats.kstest(strengths, stats.uniform(-2, 4).cdf).pvalue > 1e-3
    for values, n in ((rows, ROWS), (columns, COLUMNS)):
        assert stats.chisquare(np.bincount(values.astype(int), minlength=n)).pvalue > 1e-3


def test_the_field_is_the_exponential_of_a_cubic_with_its_constant(image: np.ndarray):
    terms = {(0, 0): 0.3, (1, 0): -0.2, (0, 2): 0.5, (2, 1): 0.7, (0, 3): -0.4}
    coefficients = np.array([terms.get(powers, 0.0) for powers in FIELD_POWERS])
    made = multiply_field(image, coefficients)
    for row, column in ((0, 0), (ROWS - 1, COLUMNS - 1), (16, 3), (7, 39)):
        x, y = 2 * row / (ROWS - 1) - 1, 2 * column / (COLUMNS - 1) - 1
        exponent = 0.3 - 0.2 * x + 0.5 * y**2 + 0.7 * x**2 * y - 0.4 * y**3
        assert made[0, row, column] == pytest.approx(image[0, row, column] * np.exp(exponent), rel=1e-5)
    assert sorted(FIELD_POWERS) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (3, 0)]


def test_the_drawn_field_is_uniform_in_each_coefficient():
    """The logarithm of the field is linear in the coefficients: solve for them."""
    ones = np.ones((1, 12, 15), np.float32)
    x, y = np.linspace(-1, 1, 12), np.linspace(-1, 1, 15)
    design = np.stack([np.outer(x**i, y**j).ravel() for i, j in FIELD_POWERS], axis=1)
    rng = stream(0, "many")
    fields = np.stack([np.log(apply_released(ones, "madaan-field", 2, rng=rng)).ravel() for _ in range(300)], axis=1)
    coefficients = np.linalg.lstsq(design, fields.astype(float), rcond=None)[0]
    np.testing.assert_allclose(design @ coefficients, fields, atol=1e-4)
    assert stats.kstest(coefficients.ravel(), stats.uniform(-2, 4).cdf).pvalue > 1e-3


def test_severities_are_those_of_the_table():
    assert severity("madaan-rice", 0) == 0
    assert [severity("madaan-rice", level) for level in range(1, 6)] == [2, 5, 10, 15, 25]
    for kind, table in LEVELS.items():
        assert list(table) == sorted(set(table)) and kind.startswith("madaan-")
    for kind, level, message in (("madaan-blur", 1, "expected one of madaan-rice"), ("madaan-rice", 6, "0 to 5")):
        with pytest.raises(ConfigError, match=message):
            severity(kind, level)
    for p, shape, message in ((-1, (1, 4, 4), "0 or more"), (1.5, (1, 4, 4), "an integer"), (1, (4, 4), "rows, col")):
        with pytest.raises(ConfigError, match=message):
            apply_released(np.ones(shape), "madaan-rice", p, rng=stream(0, "x"))  # type: ignore[arg-type]


def test_they_are_never_taken_for_the_kinds_of_the_simulator():
    assert check_kinds(["all"]) == list(KINDS) and not set(KINDS) & set(LEVELS)
    assert check_kinds(["madaan", "madaan-rice"]) == list(LEVELS)
    assert check_kinds(["noise", "madaan-field"]) == ["noise", "madaan-field"]
    with pytest.raises(ConfigError, match=r"kind is 'madaan-blur'; expected one of madaan-rice, .* or madaan for all"):
        check_kinds(["madaan-blur"])
    with pytest.raises(ConfigError, match="kind is 'rice'"):
        check_kinds(["rice"])
    assert released_table_version().startswith("madaan-1-")
    assert level_table_version("madaan-rice") == released_table_version() != level_table_version("noise")


def test_images_take_the_artifact_after_the_crop_by_file_slice_and_kind(cohort: Path, tmp_path: Path):
    table = load_slice_table(DataRequest(cohort)).of_split("test")
    volume = table.volumes[0]
    clean = make_images(volume, Shift(), crop=24)
    for kind in LEVELS:
        made = make_images(volume, Shift(kind, 4, seed=9), crop=24)
        p = LEVELS[kind][3]
        for number in range(len(clean)):
            rng = stream(9, volume.stem, kind, number)
            assert np.array_equal(made[number], apply_released(clean[number][None], kind, p, rng=rng)[0])
        assert np.array_equal(make_images(volume, Shift(kind, 4, seed=9), crop=24, slices=[2])[0], made[2])
        assert np.array_equal(make_images(volume, Shift(kind, 0), crop=24), clean)
    other = make_images(volume, Shift("madaan-rice", 4, seed=9), crop=24, item_id="other")
    assert not np.array_equal(other, make_images(volume, Shift("madaan-rice", 4, seed=9), crop=24))


def test_kept_images_do_not_outlive_the_code(cohort: Path, tmp_path: Path, monkeypatch):
    table, store = load_slice_table(DataRequest(cohort)).of_split("val"), ImageStore(tmp_path)
    for _ in range(2):
        split_images(table, Shift("madaan-rice", 2), store)
    assert len(list(tmp_path.rglob("*.npy"))) == 1
    monkeypatch.setattr("diagnose.slice_images.released_code_hash", lambda: "corrected")
    split_images(table, Shift("madaan-rice", 2), store)
    monkeypatch.setitem(LEVELS, "madaan-rice", (2, 6, 10, 15, 25))
    split_images(table, Shift("madaan-rice", 2), store)
    assert len(list(tmp_path.rglob("*.npy"))) == 3


def test_an_evaluation_names_them_and_their_table(cohort: Path, tmp_path: Path):
    run = fit(TrainSpec(**SMALL), DataLocation(cohort), tmp_path / "run").folder
    request = EvaluationRequest(tuple(check_kinds(["noise", "madaan"])), (0, 2))
    result = evaluate([run], request, tmp_path / "out")
    cells = [block.cell for block in read_table(result.folder / "predictions.csv.gz") if block.cell.split == "test"]
    assert {(cell.kind, cell.level) for cell in cells} == {
        ("clean", 0), ("noise", 2), *((kind, 2) for kind in LEVELS)
    }  # fmt: skip
    for cell in cells:
        expected = released_table_version() if cell.kind in LEVELS else level_table_version()
        assert cell.level_table == expected
    assert request.record()["released_levels"] == released_table_version()
    assert "released_levels" not in EvaluationRequest(("noise",), (1,)).record()
