"""Sections of the report on scores: for each the words, tables and figures that its template shows.

A section is a dict with ``id`` (the template is ``section_<id>.html``), ``title``, and either ``missing`` (one line:
why there is nothing to show) or what the template names.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from diagnose.analysis.comparisons import DESCRIPTIVE
from diagnose.report import tables
from diagnose.report.arms import FROZEN, Arms, protocol_title
from diagnose.report.figures import Difference, difference_plot, paired_plot
from diagnose.report.panels import dose_panels, legend_of
from diagnose.report.svg import style_of
from diagnose.report.tables import Cell, Record, Table, comparison_table
from diagnose.report.wording import adaptation_words, number, sentence, short_adaptation, signed, stopped

Section = dict[str, Any]
ADAPTED = "reference with "
"""What the names of the descriptive tables begin with that set the reference's statistics at test time."""


def clean_section(analysis: Record, arms: Arms) -> Section:
    """Return the clean performance: a finding that a norm has not learnt says nothing about robustness."""
    return {
        "min_auroc": number(analysis["plan"]["min_auroc"], 2),
        "tables": [tables.clean_table(analysis, arms.shown)],
        "others": [
            replace(tables.clean_table(analysis, group), caption=title) for title, group in arms.other_protocols.items()
        ],
        "runs": [_learnt_table(analysis)],
    }


def _learnt_table(analysis: Record) -> Table:
    findings = [entry["finding"] for entry in analysis["data"]["findings"]]
    rows: dict[str, dict[str, Cell]] = {}
    for row in analysis["learnt"]:
        mark = "" if row["learnt"] else "unlearnt"
        below = (
            "" if row["used"] else ("not learnt" if not row["learnt"] else "left out: another norm has not learnt it")
        )
        rows.setdefault(row["run"], {})[row["finding"]] = Cell(number(row["clean_auroc"]), below, mark)
    empty = Cell("\N{EN DASH}")
    return Table(
        "Clean AUROC of every run",
        "run",
        tuple(findings),
        tuple((run, tuple(cells.get(name, empty) for name in findings)) for run, cells in rows.items()),
    )


def dose_section(analysis: Record, arms: Arms) -> Section:
    """Return dose-response curves of the primary protocol; of the others in folds."""
    kinds, levels, rows = analysis["kinds"], analysis["levels"], analysis["dose_response"]
    return {
        "text": "AUROC averaged over the learnt findings, against the dose; mean over seeds. Bands are 95 % intervals, "
        "each for one point and not for the whole curve. A level is a physical dose, not a grade of ugliness.",
        "numbers": "AUROC, interval, drop and retained discrimination",
        "legend": legend_of([arm["label"] for arm in arms.shown]),
        "panels": dose_panels(rows, labels_of(arms.shown), kinds, levels),
        "tables": [tables.dose_table(analysis, arms.shown, kind) for kind in kinds],
        "others": [
            {"title": title, "panels": dose_panels(rows, {arm["id"]: arm["norm"] for arm in group}, kinds, levels)}
            for title, group in arms.other_protocols.items()
        ],
    }


def primary_section(analysis: Record, arms: Arms) -> Section:
    """Return the confirmatory comparison, and what is descriptive apart from it."""
    primary = analysis["primary"]
    endpoints = {row["arm"]: row for row in primary["endpoints"]}
    shown = [arm for arm in arms.shown if arm["id"] in endpoints]
    rows = tuple(
        (arm["label"], (tables.estimate_cell(endpoints[arm["id"]]), _spread(endpoints[arm["id"]]))) for arm in shown
    )
    reference = analysis["plan"]["reference"]
    return {
        "text": sentence(primary["text"]),
        "table": comparison_table(
            "The primary comparison: difference of the endpoint, with 95 % intervals",
            primary["comparisons"],
            confirmatory=True,
        ),
        "adaptation_text": stopped(analysis["adaptation_text"]),
        "seed_figure": _seed_figure(shown, endpoints),
        "endpoints": Table("The endpoint of each norm, mean over seeds", "norm", ("AUROC", "SD over seeds"), rows),
        "reference": reference,
        "errors": tables.error_table(
            analysis, [*arms.reference_variants, *arms.shown[1:]], "Corruption error; lower is better"
        ),
        "other_errors": [tables.error_table(analysis, group, title) for title, group in arms.other_protocols.items()],
        "descriptive": [
            {
                "title": _title(entry["name"]),
                "text": _described(entry),
                "open": entry["name"] == "clean AUROC",
                "table": comparison_table("AUROC over paired seeds, with 95 % intervals", entry["comparisons"]),
            }
            for entry in [*analysis["descriptive"], *_matched(analysis)]
            if not entry["name"].startswith(ADAPTED)
        ],
        "notes": [stopped(note) for note in analysis["notes"]],
    }


def _described(entry: Record) -> str:
    """Return what a table shows, without the warning that stands above all of them."""
    return sentence(entry["text"].removesuffix(DESCRIPTIVE).rstrip(". "))


def _title(name: str) -> str:
    """Return the heading of a descriptive table."""
    if name.startswith(ADAPTED):
        return f"Against the reference with {adaptation_words(name.removeprefix(ADAPTED))}"
    if name.startswith("protocol: "):
        return f"The endpoint elsewhere: {protocol_title(*name.removeprefix('protocol: ').split('/'))}"
    return {"apart": "Norms that stand apart"}.get(name, f"Difference in {name}")


def _matched(analysis: Record) -> list[dict[str, Any]]:
    """Return the comparison at matched clean AUROC, where it can be made."""
    matched = analysis["matched"]
    if "comparisons" not in matched:
        return []
    return [
        {"name": "the endpoint at matched clean AUROC", "text": matched["text"], "comparisons": matched["comparisons"]}
    ]


def _spread(endpoint: Record) -> Cell:
    return Cell(
        number(endpoint["seed_sd"]), f"{len(endpoint['seeds'])} seeds" if len(endpoint["seeds"]) > 1 else "one seed"
    )


def _seed_figure(shown: list[Record], endpoints: dict[str, Record]) -> str:
    seeds = sorted({seed for arm in shown for seed in endpoints[arm["id"]]["seeds"]})
    values = []
    for arm in shown:
        known = dict(zip(endpoints[arm["id"]]["seeds"], endpoints[arm["id"]]["seed_values"], strict=True))
        values.append([float("nan") if known.get(seed) is None else known[seed] for seed in seeds])
    if not seeds:
        return ""
    told = "; ".join(f"{arm['label']} {number(endpoints[arm['id']]['value'])}" for arm in shown)
    alt = f"The endpoint of every run, one line a seed ({len(seeds)} seeds). Means: {told}."
    return paired_plot([arm["label"] for arm in shown], values, seeds, alt=alt)


def answer_figure(analysis: Record) -> str:
    """Return the primary differences with their intervals."""
    rows = [
        Difference(row["norm"], row["difference"], row["low"], row["high"])
        for row in analysis["primary"]["comparisons"]
        if row["difference"] is not None
    ]
    if not rows:
        return ""
    told = "; ".join(f"{row.name} {signed(row.value)}" for row in rows)
    reference = analysis["plan"]["reference"]
    return difference_plot(rows, reference=reference, alt=f"Difference of the primary endpoint to {reference}: {told}.")


def heat_section(analysis: Record, arms: Arms) -> Section:
    """Return where the difference lies: kinds by levels, marked where the simultaneous band leaves out zero."""
    heat = analysis["heat_map"]
    shown = [arm for arm in arms.known(heat["arms"])]
    maps = [tables.heat_table(analysis, arm) for arm in shown]
    reference = arms.label(heat["reference"])
    return {
        "text": sentence(heat["text"]),
        "reference": reference,
        "mark_text": "the simultaneous 95 % band leaves out zero"
        if not heat["reason"]
        else "marked cell: none, see below",
        "tables": maps,
        "numbers": [_without_shade(table) for table in maps],
        "reason": sentence(heat["reason"]),
    }


def _without_shade(table: Table) -> Table:
    rows = tuple(
        (name, tuple(Cell(cell.text, cell.below, "key" if cell.mark else "") for cell in cells))
        for name, cells in table.rows
    )
    return replace(table, rows=rows)


def adaptation_section(analysis: Record, arms: Arms) -> Section:
    """Return what other statistics at test time do to the reference: without them a difference is no finding."""
    entries = [entry for entry in analysis["descriptive"] if entry["name"].startswith(ADAPTED)]
    section: Section = {
        "names": [],
        "panels": [],
        "warning": "" if entries else stopped(analysis["adaptation_text"]),
        "tables": [
            {
                "title": _title(entry["name"]),
                "text": _described(entry),
                "table": comparison_table("AUROC over paired seeds, with 95 % intervals", entry["comparisons"]),
            }
            for entry in entries
        ],
    }
    if len(arms.reference_variants) > 1:
        names = {arm["id"]: short_adaptation(arm["adaptation"]) for arm in arms.reference_variants}
        section["names"] = [
            f"{short_adaptation(arm['adaptation'])}: {adaptation_words(arm['adaptation'])}"
            for arm in arms.reference_variants
        ]
        section["panels"] = dose_panels(
            analysis["dose_response"],
            names,
            analysis["kinds"],
            analysis["levels"],
            styles={FROZEN: style_of(analysis["plan"]["reference"])},
        )
    return section


def labels_of(arms: list[Record]) -> dict[str, str]:
    """Return the names of arms by their ids."""
    return {arm["id"]: arm["label"] for arm in arms}
