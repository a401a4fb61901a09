"""What the report of an evaluation shows of any task: tables of clean images, curves over the dose, pictures, facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diagnose.evaluation.shift_results import MEAN
from diagnose.report.panels import Panel, dose_panels, legend_of
from diagnose.report.tables import Cell, Record, Table
from diagnose.report.wording import interval, number
from diagnose.slice_images import CLEAN
from diagnose.statistics.clustered_auc import Estimate

POOLED = (
    "Means over the seeds of a group and over volumes; 95 % intervals draw patients, not seeds: they hold for these "
    "trained networks and other patients, and say nothing of a norm or of a training set."
)


@dataclass(frozen=True)
class TaskResults:
    """The part of a page that depends on the task."""

    question: str
    facts: tuple[tuple[str, str], ...]
    clean: tuple[Table, ...]
    legend: list[dict[str, str]]
    panels: list[Panel]
    numbers: tuple[Table, ...]
    """Of the panels."""
    figures: tuple[tuple[str, str], ...] = ()
    """File of the evaluation's folder, and what it shows."""
    files: tuple[str, ...] = ()
    """That the page was made from."""


def estimate_cell(estimate: Estimate, note: str = "") -> Cell:
    """Return a mean with its interval, or why there is none."""
    below = interval(estimate.low, estimate.high) or "no interval"
    return Cell(number(estimate.value), f"{below} {note}".strip())


def dose_results(
    estimates: Mapping[tuple[str, str, int], Estimate], groups: Sequence[str], measure: str
) -> tuple[list[dict[str, str]], list[Panel], tuple[Table, ...]]:
    """Return legend, panels and tables of a measure by (group, kind, level); level 0 of `CLEAN` is for every kind."""
    kinds = list(dict.fromkeys(kind for _, kind, _ in estimates if kind != CLEAN))
    levels = sorted({level for _, _, level in estimates if level > 0})
    if not kinds:
        return [], [], ()
    rows: list[Record] = [
        {
            "arm": group, "kind": kind, "level": level, "finding": MEAN,
            "value": one.value, "low": one.low, "high": one.high,
        }
        for (group, kind, level), one in estimates.items()
    ]  # fmt: skip
    panels = dose_panels(rows, {group: group for group in groups}, kinds, levels, y_label=measure, chance=False)
    tables = []
    for kind in kinds:
        body = []
        for group in groups:
            places = [(group, CLEAN, 0), *((group, kind, level) for level in levels)]
            body.append((group, tuple(estimate_cell(estimates[place]) for place in places if place in estimates)))
        columns = ("clean", *(f"level {level}" for level in levels))
        tables.append(Table(f"{measure}, {kind}", "group", columns, tuple(body)))
    return legend_of(groups), panels, tuple(tables)


def listed_seeds(configs: Sequence[Mapping[str, Any]]) -> str:
    """Return the seeds of a group of runs as text."""
    return ", ".join(str(config["seed"]) for config in configs)
