"""Panels of curves, one a kind of artifact: dose-response, operating point, calibration, adaptation, drift by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from diagnose.evaluation.shift_results import MEAN
from diagnose.report.figures import Axes, Line, line_panel
from diagnose.report.svg import Style, style_of
from diagnose.report.tables import Record, by_place
from diagnose.slice_images import CLEAN

Take = Callable[[Record], tuple[float | None, float | None, float | None]]
"""Value, low and high of a row."""
Panel = dict[str, str]


def auroc_of(row: Record) -> tuple[float | None, float | None, float | None]:
    """Take the AUROC of a dose-response row."""
    return row["value"], row["low"], row["high"]


def balanced_accuracy_of(row: Record) -> tuple[float | None, float | None, float | None]:
    """Take the balanced accuracy of an operating-point row."""
    return auroc_of(row["balanced_accuracy"])


def calibration_error_of(row: Record) -> tuple[float | None, float | None, float | None]:
    """Take the corrected ECE of a calibration row, which has no interval."""
    return row["ece"], None, None


def dose_panels(
    rows: Sequence[Record],
    arms: Mapping[str, str],
    kinds: Sequence[str],
    levels: Sequence[int],
    *,
    take: Take = auroc_of,
    y_label: str = "AUROC",
    styles: Mapping[str, Style] | None = None,
    chance: bool = True,
) -> list[Panel]:
    """Return one panel a kind: a value of the mean over learnt findings against the level, one line an arm.

    Parameters
    ----------
    rows : sequence of records with arm, kind, level, finding
    arms : mapping from an arm's id to the name on its line
    kinds : sequence of str
    levels : sequence of int
        Without 0; the clean row stands at 0.
    take : callable
        Gives value, low and high of a row.
    y_label : str
    styles : mapping from name to Style, optional
        Of lines that are no norms.
    chance : bool
        Draw the line at one half, and let the axis begin there or below.
    """
    known = by_place(row for row in rows if row["arm"] in arms and row["finding"] == MEAN)
    taken = [take(row) for row in known.values()]
    limits = _limits([value for value, _, _ in taken], [low for _, low, _ in taken], chance=chance)
    panels = []
    for kind in kinds:
        lines = []
        for position, (arm, name) in enumerate(arms.items()):
            places = [(arm, CLEAN, 0, MEAN), *((arm, kind, level, MEAN) for level in levels)]
            taken = [take(known[place]) if place in known else (None, None, None) for place in places]
            values, lows, highs = (np.array(part, float) for part in zip(*taken, strict=True))
            if np.isfinite(values).any():
                banded = bool(np.isfinite(lows).any())
                style = (styles or {}).get(name) or style_of(name, position)
                lines.append(
                    Line(name, [0, *levels], values, lows if banded else None, highs if banded else None, style)
                )
        alt = f"{y_label} against the level of {kind}. {_told(lines, levels)}"
        longest = max((len(line.name) for line in lines), default=0)
        axes = Axes(
            "level (0 = clean)",
            y_label,
            limits,
            alt,
            0.5 if chance else None,
            "chance" if chance else "",
            [0, *levels],
            0.13 if longest < 5 else 0.26,
        )
        panels.append({"title": kind, "svg": line_panel(lines, axes)})
    return panels


def layer_panels(drift: Sequence[Record], norms: Sequence[str], column: str, y_label: str) -> list[Panel]:
    """Return one panel a kind at its highest level: drift behind each norm layer, averaged over the runs of a norm."""
    rows = [row for row in drift if (row["side"], row["reference"]) == ("after", CLEAN) and row["gain"] == 1]
    kinds = list(dict.fromkeys(row["kind"] for row in rows if row["kind"] != CLEAN))
    top = {kind: max(row["level"] for row in rows if row["kind"] == kind) for kind in kinds}
    chosen = [row for row in rows if row["level"] == top.get(row["kind"])]
    limits = _limits([value for row in chosen for value in row[column]], [], chance=False)
    panels = []
    for kind in kinds:
        lines = []
        for position, norm in enumerate(norms):
            mine = [row for row in chosen if row["kind"] == kind and row["norm"] == norm]
            if mine:
                values = np.array([row[column] for row in mine], float).mean(axis=0)
                lines.append(Line(norm, mine[0]["layer_number"], values, style=style_of(norm, position)))
        ends = "; ".join(
            f"{line.name} {line.y[0]:.2f} at the first layer, {line.y[-1]:.2f} at the last" for line in lines
        )
        axes = Axes(
            "norm layer, from the input", y_label, limits, f"{y_label} by layer, {kind} level {top[kind]}: {ends}.", 0.0
        )
        panels.append({"title": f"{kind}, level {top[kind]}", "svg": line_panel(lines, axes)})
    return panels


def legend_of(names: Sequence[str]) -> list[dict[str, str]]:
    """Return what a legend shows of each norm; the dashes as SVG counts them."""
    entries = []
    for position, name in enumerate(names):
        style = style_of(name, position)
        dashes = "" if isinstance(style.dashes, str) else " ".join(f"{2.2 * part:g}" for part in style.dashes[1])
        entries.append({"name": name, "colour": style.colour, "variable": style.variable, "dashes": dashes})
    return entries


def _limits(values: Sequence[float | None], lows: Sequence[float | None], *, chance: bool) -> tuple[float, float]:
    """Return common limits of all panels; those of an AUROC end at one, and begin at a twentieth below chance.

    A band that reaches far below its line (few seeds) is cut off: it must not flatten all curves.
    """
    known, bands = ([each for each in part if each is not None and math.isfinite(each)] for part in (values, lows))
    if chance:
        lowest = min(known, default=0.5)
        lowest = max(min(bands, default=lowest), lowest - 0.15)
        return min(0.45, math.floor(20 * lowest) / 20), 1.0
    low, high = min(0.0, *known) if known else 0.0, max(known, default=0.1)
    return 1.08 * low, max(1.08 * high, low + 0.05)


def _told(lines: Sequence[Line], levels: Sequence[int]) -> str:
    """Return the ends of the lines in words."""
    if not lines:
        return "No finding is learnt."
    parts = []
    for line in lines:
        known = np.flatnonzero(np.isfinite(np.asarray(line.y, float)))
        parts.append(
            f"{line.name} {line.y[known[0]]:.2f} clean, {line.y[known[-1]]:.2f} at level {line.x[known[-1]]:g}"
        )
    return "; ".join(parts) + "."
