"""Sections of the report on single cases and on layers: worst flips, and how activations drift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from diagnose.evaluation.shift_results import MEAN
from diagnose.report.panels import layer_panels, legend_of
from diagnose.report.pictures import Pictures
from diagnose.report.study_folder import StudyRecord
from diagnose.report.tables import Cell, Record, Table
from diagnose.report.wording import interval, number, sentence, signed, stopped
from diagnose.slice_images import CLEAN

Section = dict[str, Any]
FROZEN = "frozen"


def flips_section(analysis: Record, pictures: Pictures) -> Section:
    """Return the worst flips, clean beside corrupted where pictures were drawn."""
    shape = pictures.sheet.shape if pictures.sheet is not None else (0, 0)
    flips = []
    for position, flip in enumerate(analysis["worst_flips"]["flips"]):
        clean, shifted = pictures.flips.get(position, ("", ""))
        place = f"{flip['kind']} level {flip['level']}"
        flips.append(
            {
                "title": f"{flip['norm']}: {flip['finding']} under {place}",
                "story": _story(flip),
                "clean": clean,
                "shifted": shifted,
                "height": shape[0],
                "width": shape[1],
                "clean_alt": f"Slice {flip['item']}, clean",
                "shifted_alt": f"Slice {flip['item']}, {place}, same window",
            }
        )
    text = analysis["worst_flips"]["text"]
    if not flips:
        text += ". None: no decision on a learnt finding turned"
    return {"text": sentence(text), "flips": flips, "no_pictures": pictures.missing if flips else ""}


def _story(flip: Record) -> str:
    """Return what happened to one slice, in words; the scores are means over the seeds that turned."""
    truth, called = ("present", "absent") if flip["label"] else ("absent", "present")
    seeds = f"{flip['n_seeds_flipped']} of {flip['n_seeds_right_on_clean']} seeds"
    return (
        f"Slice {flip['item']}, {flip['finding']} {truth}: called {called} by {seeds} that were right on the clean "
        "image. Their mean score (difference of the logits, higher means present): "
        f"{number(flip['clean_score'], 2)} clean, {number(flip['shifted_score'], 2)} corrupted."
    )


def drift_section(record: StudyRecord) -> Section:
    """Return how far activations drift behind each norm layer, and which frozen statistics of batch norm matter."""
    drift = record.drift
    if drift is None:
        return {
            "missing": "Not computed. These commands do it, from the folder that holds the study as STUDY:",
            "command": "diagnose drift STUDY/runs/* --out STUDY/drift\ndiagnose report STUDY",
        }
    plan = record.spec.inference
    rows = [row for row in drift["drift"] if (row["scaling"], row["recon"]) == (plan.scaling, plan.reconstruction)]
    norms = [norm for norm in record.spec.all_norms if norm in {row["norm"] for row in rows}]
    swaps = [
        row
        for row in drift["swap"]
        if (row["scaling"], row["recon"]) == (plan.scaling, plan.reconstruction) and row["finding"] == MEAN
    ]
    return {
        "legend": legend_of(norms),
        "mean_panels": layer_panels(rows, norms, "mean_shift", "|mean shift| / SD"),
        "variance_panels": layer_panels(rows, norms, "log_variance_ratio", "ln variance ratio"),
        "swaps": [_swap_table(swaps)] if swaps else [],
        "runs": [_run_swaps(swaps, run) for run in dict.fromkeys(row["run"] for row in swaps)],
        "gain": _gain_text(rows, norms),
        "notes": [stopped(note) for note in drift["notes"]],
    }


def _swap_table(swaps: Sequence[Record]) -> Table:
    """Return what a swap changes, averaged over levels and runs: without an interval, for the pattern only."""
    names = list(dict.fromkeys(row["swap"] for row in swaps if row["swap"] != FROZEN))
    rows = []
    for kind in dict.fromkeys(row["kind"] for row in swaps):
        mine = [row for row in swaps if row["kind"] == kind]
        frozen = _mean([row["auroc"] for row in mine if row["swap"] == FROZEN])
        cells = [Cell(signed(_mean([row["minus_frozen"] for row in mine if row["swap"] == name]))) for name in names]
        rows.append((kind, (Cell(number(frozen)), *cells)))
    return Table(
        "AUROC with frozen statistics, and the change when they are replaced by those of the shifted images; mean over "
        "levels and runs",
        "kind",
        ("frozen", *names),
        tuple(rows),
    )


def _run_swaps(swaps: Sequence[Record], run: str) -> Table:
    mine = [row for row in swaps if row["run"] == run and row["kind"] != CLEAN]
    names = list(dict.fromkeys(row["swap"] for row in mine))
    rows = []
    for place in dict.fromkeys((row["kind"], row["level"], row["gain"]) for row in mine):
        of_swap = {row["swap"]: row for row in mine if (row["kind"], row["level"], row["gain"]) == place}
        cells = []
        for name in names:
            row = of_swap[name]
            if name == FROZEN:
                cells.append(Cell(number(row["auroc"]), interval(row["low"], row["high"])))
            else:
                cells.append(
                    Cell(signed(row["minus_frozen"]), interval(row["minus_frozen_low"], row["minus_frozen_high"]))
                )
        title = f"{place[0]} {place[1]}" if place[1] else f"{place[0]} x {place[2]:g}"
        rows.append((title, tuple(cells)))
    return Table(f"{run}: intervals over patients, of this one trained model", "shift", tuple(names), tuple(rows))


def _gain_text(rows: Sequence[Record], norms: Sequence[str]) -> str:
    """Return the largest drift under a pure gain: a control that the input scaling decides, not a finding."""
    parts = []
    for norm in norms:
        values = [
            value
            for row in rows
            if row["norm"] == norm and row["kind"] == "gain" and (row["side"], row["reference"]) == ("after", CLEAN)
            for value in row["mean_shift"]
            if value is not None
        ]
        if values:
            parts.append(f"{norm} {max(values):.3f}")
    return (
        f"Control, a pure gain on the image: largest |mean shift| / SD of any layer {', '.join(parts)}."
        if parts
        else ""
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
