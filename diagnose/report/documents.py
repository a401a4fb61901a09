"""What lies beside the page: report.json for programs, a model card, and a reporting checklist."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from diagnose.evaluation.shift_results import MEAN
from diagnose.report import sections_plain, sections_reproduce
from diagnose.report.checklist import checklist_rows
from diagnose.report.page import template
from diagnose.report.pictures import Pictures
from diagnose.report.study_folder import StudyRecord
from diagnose.report.wording import verdict, with_interval

SCHEMA = 1


def report_json(record: StudyRecord, page: Mapping[str, Any], pictures: Pictures) -> str:
    """Return what the page shows: state, primary result with its words, sections, pictures, hashes, commands.

    The numbers of all figures and tables are in analysis.json, whose hash is here; only the primary result is repeated.
    """
    analysis = record.analysis
    content = {
        "schema": SCHEMA,
        "study": record.spec.name,
        "question": record.spec.question,
        "version": page["version"],
        "finished": record.is_finished,
        "runs": {"finished": len(record.runs), "planned": record.n_planned},
        "flag": page["flag"],
        "one_seed": page["one_seed"],
        "primary": []
        if analysis is None
        else [{**comparison, "verdict": verdict(comparison)} for comparison in analysis["primary"]["comparisons"]],
        "sections": [
            {"id": section["id"], "title": section["title"], "missing": section["missing"]}
            for section in page["sections"]
        ],
        "pictures": {
            "slice": None if pictures.sheet is None else pictures.sheet.item,
            "window": None if pictures.sheet is None else float(f"{pictures.sheet.window:.7g}"),
            "n_flips": len(pictures.flips),
            "missing": pictures.missing,
        },
        "weights_sha256": {run.name: run.model["weights_sha256"] for run in record.runs},
        "level_tables": sections_reproduce.level_tables(record),
        "sha256": record.hashes,
        "commands": sections_reproduce.commands(record).splitlines(),
        "checklist": [
            {"frame": row.frame, "topic": row.topic, "filled": bool(row.answer)} for row in checklist_rows(record)
        ],
    }
    return json.dumps(content, indent=1) + "\n"


def model_card(record: StudyRecord, page: Mapping[str, Any]) -> str:
    """Return a model card of all networks of the study, in the sections that Hugging Face's template has."""
    reproduce = sections_reproduce.reproduce_section(record)
    asked = dict(sections_plain.asked_section(record)["facts"])
    return template("model_card.md").render(
        page=page,
        record=record,
        spec=record.spec,
        asked=asked,
        facts=reproduce["facts"],
        commands=reproduce["commands"],
        limits=sections_plain.limits_section(record)["lines"],
        clean=_clean_rows(record.analysis),
        primary=_primary(record.analysis),
    )


def checklist(record: StudyRecord, page: Mapping[str, Any]) -> str:
    """Return the reporting checklist."""
    return template("checklist.md").render(page=page, rows=checklist_rows(record))


def _clean_rows(analysis: Mapping[str, Any] | None) -> Sequence[tuple[str, str, str]]:
    """Return (norm, finding, AUROC with interval) of the primary protocol."""
    if analysis is None:
        return []
    shown = {arm["id"]: arm["label"] for arm in analysis["arms"] if arm["role"] in ("primary", "apart")}
    return [
        (shown[row["arm"]], row["finding"], with_interval(row))
        for row in sorted(analysis["clean"], key=lambda row: row["finding"] == MEAN)
        if row["arm"] in shown
    ]


def _primary(analysis: Mapping[str, Any] | None) -> list[str]:
    return [] if analysis is None else [verdict(entry) for entry in analysis["primary"]["comparisons"]]
