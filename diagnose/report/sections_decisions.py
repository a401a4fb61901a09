"""Sections of the report on what a score is used for: calibration, and decisions at a fixed operating point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diagnose.evaluation.shift_results import MEAN
from diagnose.report.arms import Arms
from diagnose.report.panels import balanced_accuracy_of, calibration_error_of, dose_panels, legend_of
from diagnose.report.sections import labels_of
from diagnose.report.tables import Cell, Record, Table, by_place
from diagnose.report.wording import interval, number, sentence
from diagnose.slice_images import CLEAN

Section = dict[str, Any]


def calibration_section(analysis: Record, arms: Arms) -> Section:
    """Return the calibration by kind and level."""
    rows = analysis["calibration"]["rows"]
    return {
        "text": sentence(analysis["calibration"]["text"]),
        "reason": analysis["calibration"]["reason"],
        "legend": legend_of([arm["label"] for arm in arms.shown]),
        "panels": dose_panels(
            rows,
            labels_of(arms.shown),
            analysis["kinds"],
            analysis["levels"],
            take=calibration_error_of,
            y_label="ECE after correction",
            chance=False,
        ),
        "tables": [calibration_table(rows, arms.shown, places) for places in _places(analysis)],
    }


def operating_section(analysis: Record, arms: Arms) -> Section:
    """Return decisions at the operating point that was fixed on clean validation."""
    point = analysis["operating_point"]
    panels = []
    if any(row["finding"] == MEAN for row in point["clean"]):
        panels = dose_panels(
            point["clean"],
            labels_of(arms.shown),
            analysis["kinds"],
            analysis["levels"],
            take=balanced_accuracy_of,
            y_label="balanced accuracy",
        )
    return {
        "text": f"The operating point is {point['threshold']}.",
        "reason": point["clean_reason"],
        "legend": legend_of([arm["label"] for arm in arms.shown]),
        "panels": panels,
        "tables": [operating_table(point["clean"], arms.shown, places) for places in _places(analysis)],
        "retuned": [operating_table(point["retuned"], arms.shown, places[1:]) for places in _places(analysis)]
        if point["retuned"]
        else [],
        "retuned_reason": point["retuned_reason"],
    }


def _places(analysis: Record) -> list[list[tuple[str, int]]]:
    """Return for each kind clean and its levels."""
    return [[(CLEAN, 0), *((kind, level) for level in analysis["levels"])] for kind in analysis["kinds"]]


def operating_table(rows: Sequence[Record], arms: Sequence[Record], places: Sequence[tuple[str, int]]) -> Table:
    """Return sensitivity and specificity of every learnt finding at some (kind, level), the clean one among them."""
    known = by_place(rows)
    findings = list(dict.fromkeys(row["finding"] for row in rows))
    table = []
    for kind, level in places:
        for finding in findings:
            cells = []
            for arm in arms:
                row = known.get((arm["id"], kind, level, finding))
                if row is None:
                    cells.append(Cell("\N{EN DASH}"))
                    continue
                balanced = row["balanced_accuracy"]
                parts = f"{number(row['sensitivity']['value'], 2)} / {number(row['specificity']['value'], 2)}"
                cells.append(
                    Cell(number(balanced["value"]), f"{interval(balanced['low'], balanced['high'])}\n{parts}".strip())
                )
            table.append((f"{kind} {level}, {finding}" if level else f"{kind}, {finding}", tuple(cells)))
    return Table(
        f"{places[-1][0]}: balanced accuracy with interval; below it sensitivity / specificity",
        "level and finding",
        tuple(arm["label"] for arm in arms),
        tuple(table),
    )


def calibration_table(rows: Sequence[Record], arms: Sequence[Record], places: Sequence[tuple[str, int]]) -> Table:
    """Return ECE and Brier score after correction, raw below, of the mean over findings at some (kind, level)."""
    known = by_place(rows)
    table = []
    for kind, level in places:
        cells = []
        for arm in arms:
            row = known.get((arm["id"], kind, level, MEAN))
            if row is None or row["ece"] is None:
                cells.append(Cell("\N{EN DASH}"))
                continue
            text = f"{number(row['ece'])} / {number(row['brier'])}"
            cells.append(Cell(text, f"raw {number(row['ece_raw'])} / {number(row['brier_raw'])}"))
        table.append((f"{kind} {level}" if level else kind, tuple(cells)))
    return Table(
        f"{places[-1][0]}: ECE / Brier score after correction; raw below",
        "level",
        tuple(arm["label"] for arm in arms),
        tuple(table),
    )
