"""Figures: where a point lands, names that do not meet, ids of their own, text and colours for the page."""

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnose.report.figures import (
    Axes,
    Difference,
    Line,
    difference_plot,
    line_panel,
    paired_plot,
    spread,
)
from diagnose.report.svg import colour_variables, style_of

AXES = Axes("level", "AUROC", (0.4, 1.0), "the alt text of <this> figure", 0.5, "chance", (0, 1, 2, 3))


def path_of(svg: str, name: str) -> np.ndarray:
    """Return the points of a norm's line, (point, xy), in the SVG's own units."""
    colour = style_of(name).variable
    for match in re.finditer(r'<path d="([^"]+)"[^>]*style="([^"]+)"', svg):
        if f"stroke: var({colour}," in match[2] and "stroke-width: 1.8" in match[2]:
            return np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", match[1]), float)
    raise AssertionError(f"no line of {name}")


def test_points_lie_where_their_values_are():
    """Both lines on one affine map of (level, value): x to the right, y upwards, four labels of the axis."""
    x, first, second = [0, 1, 2, 3], [0.9, 0.8, 0.55, 0.5], [0.95, 0.6, 0.65, 0.45]
    svg = line_panel([Line("bn", x, first), Line("gn", x, second)], AXES)
    points = np.concatenate([path_of(svg, "bn"), path_of(svg, "gn")])
    values = np.array([*first, *second])
    (slope_x, base_x), (slope_y, base_y) = np.polyfit(x * 2, points[:, 0], 1), np.polyfit(values, points[:, 1], 1)
    assert np.allclose(points[:, 0], base_x + slope_x * np.array(x * 2), atol=1e-3) and slope_x > 0
    assert np.allclose(points[:, 1], base_y + slope_y * values, atol=1e-3) and slope_y < 0
    # The panel is 0.78 of 2.6 inches high, 72 units an inch, for limits of 0.6.
    assert slope_y == pytest.approx(-0.78 * 2.6 * 72 / 0.6, rel=1e-6)


def test_a_missing_value_breaks_the_line_and_the_label_stands_at_the_last_known():
    svg = line_panel([Line("bn", [0, 1, 2], [0.9, 0.8, float("nan")])], AXES)
    assert len(path_of(svg, "bn")) == 2 and ">bn</text>" in svg


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_spread_keeps_order_gap_and_limits(values: list[float]):
    placed = spread(values, gap=0.1, low=0, high=1)
    assert min(placed) >= -1e-9 and max(placed) <= 1 + 1e-9
    order = np.argsort(values, kind="stable")
    ranked = [placed[index] for index in order]
    assert all(later - earlier >= 0.1 - 1e-9 for earlier, later in pairwise(ranked))


def test_spread_leaves_alone_what_is_far_apart():
    assert spread([0.9, 0.1, 0.5], gap=0.1, low=0, high=1) == pytest.approx([0.9, 0.1, 0.5])
    assert spread([0.5, 0.5], gap=0.1, low=0, high=1) == pytest.approx([0.5, 0.6])
    assert spread([0.98, 1.0, 1.0], gap=0.1, low=0, high=1) == pytest.approx([0.8, 0.9, 1.0])


def test_figures_fit_into_one_page():
    lines = [Line("bn", [0, 1], [0.9, 0.8], [0.85, 0.7], [0.95, 0.9]), Line("in", [0, 1], [0.7, 0.6])]
    rows = [Difference("gn", 0.02, -0.01, 0.05), Difference("ln", -0.01, None, None)]
    figures = [
        line_panel(lines, AXES), line_panel(lines, Axes("level", "AUROC", (0.4, 1.0), "another")),
        difference_plot(rows, reference="bn", alt="differences"),
        paired_plot(["bn", "gn"], [[0.8, 0.7], [float("nan"), 0.75]], [1, 2], alt="seeds"),
    ]  # fmt: skip
    ids = [name for figure in figures for name in re.findall(r' id="([^"]+)"', figure)]
    assert ids and len(ids) == len(set(ids))
    for figure in figures:
        assert figure.startswith('<svg role="img" aria-label="') and figure.endswith("</svg>")
        assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', figure)) <= set(re.findall(r' id="([^"]+)"', figure))
        assert "<?xml" not in figure and "<metadata" not in figure and "xlink" not in figure
        bare = re.sub(r"var\(--[a-z0-9-]+, (#[0-9a-f]{6})\)", "", figure)
        assert not set(colour_variables()) & set(re.findall(r"#[0-9a-f]{6}", bare)), "every colour follows the theme"
    assert "&lt;this&gt;" in figures[0]
    assert figures[0] == line_panel(lines, AXES), "equal input, equal bytes"


def test_an_interval_spans_its_bounds_and_one_without_is_hollow():
    svg = difference_plot(
        [Difference("gn", 0.02, -0.01, 0.04), Difference("ln", -0.01, None, None)], reference="bn", alt="x"
    )
    (bar,) = re.findall(r'<path d="M ([\d.]+) [\d.]+ \nL ([\d.]+) [\d.]+ \n"[^>]*stroke: var\(--c-gn[^>]*2\.4', svg)
    width = (float(bar[1]) - float(bar[0])) / (0.84 * 4.6 * 72)
    # Limits are 1.15 x the largest modulus on both sides.
    assert width == pytest.approx(0.05 / (2 * 1.15 * 0.04), rel=1e-4)
    assert "stroke: var(--c-ln" in svg and not re.search(r"stroke: var\(--c-ln[^;]+; stroke-width: 2\.4", svg)
