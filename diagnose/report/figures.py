"""Figures of the report: lines over a dose, differences with intervals, and the runs of each seed, as SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diagnose.report.svg import INK, MUTED, Style, bare, new_figure, style_of, svg_text


@dataclass(frozen=True)
class Line:
    """One norm in a panel; missing values are NaN."""

    name: str
    x: Sequence[float]
    y: Sequence[float] | np.ndarray
    low: Sequence[float] | np.ndarray | None = None
    high: Sequence[float] | np.ndarray | None = None
    style: Style | None = None


@dataclass(frozen=True)
class Axes:
    """What a panel shows."""

    x_label: str
    y_label: str
    y_limits: tuple[float, float]
    alt: str
    """What a reader who does not see the figure must know."""
    level: float | None = None
    """A horizontal line, such as chance."""
    level_name: str = ""
    x_ticks: Sequence[float] | None = None
    label_share: float = 0.15
    """Of the width, for the names at the right ends."""


def line_panel(lines: Sequence[Line], axes: Axes) -> str:
    """Return lines with bands and markers, each labelled at its right end.

    Parameters
    ----------
    lines : sequence of Line
    axes : Axes

    Returns
    -------
    str
        An ``svg`` element for HTML, 3.6 x 2.6 inches, which scales with its container.
    """
    figure = new_figure(3.6, 2.6)
    panel = figure.add_axes((0.15, 0.18, 0.84 - axes.label_share, 0.78))
    bare(panel)
    if axes.level is not None:
        panel.axhline(axes.level, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
        panel.annotate(
            axes.level_name,
            (0.01, axes.level),
            xycoords=("axes fraction", "data"),
            fontsize=8.5,
            color=MUTED,
            va="bottom",
        )
    for position, line in enumerate(lines):
        style = line.style or style_of(line.name, position)
        if line.low is not None and line.high is not None:
            panel.fill_between(line.x, line.low, line.high, color=style.colour, alpha=0.13, linewidth=0)
        panel.plot(
            line.x,
            line.y,
            color=style.colour,
            linestyle=style.dashes,
            linewidth=1.8,
            marker=style.marker,
            markersize=4.2,
            markeredgewidth=0,
        )
    panel.set(xlabel=axes.x_label, ylabel=axes.y_label, ylim=axes.y_limits)
    if axes.x_ticks is not None:
        panel.set_xticks(list(axes.x_ticks))
    _label_ends(panel, lines, axes)
    return svg_text(figure, axes.alt)


@dataclass(frozen=True)
class Difference:
    """One row of `difference_plot`; without an interval, a hollow point."""

    name: str
    value: float
    low: float | None
    high: float | None


def difference_plot(rows: Sequence[Difference], *, reference: str, alt: str) -> str:
    """Return differences to the reference with their intervals, one row each, and a line at zero.

    Parameters
    ----------
    rows : sequence of Difference
    reference : str
        Name on the line at zero.
    alt : str

    Returns
    -------
    str
        An ``svg`` element for HTML.
    """
    figure = new_figure(4.6, 0.85 + 0.36 * len(rows))
    inches = figure.get_figheight()
    panel = figure.add_axes((0.12, 0.5 / inches, 0.84, 1 - 0.78 / inches))
    bare(panel, grid="x")
    panel.axvline(0, color=INK, linewidth=1)
    edges = [bound for row in rows for bound in (row.low, row.high, row.value) if bound is not None]
    reach = 1.15 * max(1e-3, *(abs(edge) for edge in edges))
    for place, row in enumerate(rows):
        style = style_of(row.name.split()[0], place)
        if row.low is not None and row.high is not None:
            panel.plot([row.low, row.high], [place, place], color=style.colour, linewidth=2.4, solid_capstyle="butt")
        filled = style.colour if row.low is not None else "none"
        panel.plot(
            [row.value],
            [place],
            marker=style.marker,
            markersize=7,
            color=style.colour,
            markerfacecolor=filled,
            linestyle="none",
        )
    panel.set(xlim=(-reach, reach), ylim=(len(rows) - 0.5, -0.5), xlabel=f"AUROC, difference to {reference}")
    panel.locator_params(axis="x", nbins=5)
    panel.set_yticks(range(len(rows)), [row.name for row in rows])
    panel.tick_params(axis="y", length=0)
    for text, x, side in (
        (f"\N{LEFTWARDS ARROW} {reference} better", 0.0, "left"),
        (f"better than {reference} \N{RIGHTWARDS ARROW}", 1.0, "right"),
    ):
        panel.annotate(text, (x, 1.02), xycoords="axes fraction", fontsize=8.5, color=MUTED, ha=side, va="bottom")
    return svg_text(figure, alt)


def _label_ends(panel, lines: Sequence[Line], axes: Axes) -> None:
    """Write each name beside the last point of its line, moved apart where two would meet."""
    ends = []
    for position, line in enumerate(lines):
        known = np.flatnonzero(np.isfinite(np.asarray(line.y, float)))
        if known.size:
            style = line.style or style_of(line.name, position)
            ends.append((float(line.y[known[-1]]), float(line.x[known[-1]]), line.name, style.colour))
    low, high = axes.y_limits
    places = spread([end[0] for end in ends], gap=0.065 * (high - low), low=low, high=high)
    for (y, x, name, colour), place in zip(ends, places, strict=True):
        panel.annotate(
            name,
            (x, y),
            xytext=(1.035, (place - low) / (high - low)),
            textcoords="axes fraction",
            fontsize=9.5,
            fontweight="bold",
            color=colour,
            va="center",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 3},
            annotation_clip=False,
        )


def spread(values: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Return positions in the order of the values, at least `gap` apart where there is room, inside the limits."""
    order = np.argsort(np.asarray(values, float), kind="stable")
    gap = min(gap, (high - low) / max(len(order) - 1, 1))
    placed = np.clip(np.asarray(values, float)[order], low, high)
    for index in range(1, len(placed)):
        placed[index] = max(placed[index], placed[index - 1] + gap)
    # What was pushed above the top comes down, and pushes what lies below it.
    ceiling = high
    for index in range(len(placed) - 1, -1, -1):
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - gap
    result = np.empty(len(placed))
    result[order] = placed
    return result.tolist()


def paired_plot(names: Sequence[str], values: Sequence[Sequence[float]], seeds: Sequence[int], *, alt: str) -> str:
    """Return the endpoint of every run: norms side by side, the runs of one seed joined by a line.

    Parameters
    ----------
    names : sequence of str
        Norms, the reference first.
    values : sequence (norm) of sequences (seed)
        NaN where a seed is left out.
    seeds : sequence of int
    alt : str
    """
    figure = new_figure(4.0, 2.7)
    panel = figure.add_axes((0.15, 0.12, 0.82, 0.84))
    bare(panel)
    table = np.array(values, float)
    for column in range(len(seeds)):
        panel.plot(range(len(names)), table[:, column], color=MUTED, linewidth=0.8, alpha=0.7)
    for place, name in enumerate(names):
        style = style_of(name, place)
        panel.plot(
            [place] * len(seeds), table[place], linestyle="none", marker=style.marker, markersize=6, color=style.colour
        )
        if np.isfinite(table[place]).any():
            panel.plot([place - 0.18, place + 0.18], [np.nanmean(table[place])] * 2, color=style.colour, linewidth=2.4)
    panel.set(ylabel="AUROC, the endpoint", xlim=(-0.75, len(names) - 0.5))
    panel.set_xticks(range(len(names)), list(names))
    low, high = panel.get_ylim()
    known = np.flatnonzero(np.isfinite(table[0])).tolist()
    heights = spread(table[0, known].tolist(), gap=0.05 * (high - low), low=low, high=high)
    for column, height in zip(known, heights, strict=True):
        panel.annotate(f"seed {seeds[column]}", (-0.24, height), fontsize=8, color=MUTED, ha="right", va="center")
    return svg_text(figure, alt)
