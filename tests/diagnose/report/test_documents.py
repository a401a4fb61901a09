"""Beside the page: report.json for programs, the model card's sections, and a checklist that claims nothing."""

import json
import re
from pathlib import Path

import yaml

from diagnose.report.page import TITLES
from mrisim.files import sha256_of_file


def test_report_json_holds_state_result_and_hashes(page: Path, study: Path):
    record = json.loads((page.parent / "report.json").read_text())
    analysis = json.loads((study / "analysis.json").read_text())
    assert record["finished"] and record["runs"] == {"finished": 4, "planned": 4} and not record["one_seed"]
    (entry,) = record["primary"]
    assert {key: entry[key] for key in entry if key != "verdict"} == analysis["primary"]["comparisons"][0]
    assert [section["id"] for section in record["sections"]] == list(TITLES)
    assert record["sha256"]["analysis.json"] == sha256_of_file(study / "analysis.json")
    assert record["flag"].startswith("simulation result")
    assert record["pictures"]["n_flips"] == len(analysis["worst_flips"]["flips"])


def test_the_model_card_has_the_usual_sections_and_parsable_front_matter(page: Path):
    text = (page.parent / "model_card.md").read_text()
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "pytorch"
    for title in (
        "Model details",
        "Uses",
        "Bias, risks and limitations",
        "How to get started",
        "Training details",
        "Evaluation",
        "Environmental impact",
        "Technical specifications",
        "Citation and contact",
    ):
        assert f"\n## {title}\n" in body
    assert "(simulation result)" in body and "Out of scope: any use on patients" in body
    assert "Does <gn>" not in body or "&lt;" not in body, "Markdown is not escaped as HTML"


def test_the_checklist_claims_no_compliance_and_leaves_the_authors_rows_open(page: Path):
    text = (page.parent / "checklist.md").read_text()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ") and "topic" not in line]
    assert {row[0].removeprefix("| ") for row in rows} == {"CLAIM", "FUTURE-AI"} and all(len(row) == 3 for row in rows)
    open_rows = [row for row in rows if "author to complete" in row[2]]
    assert len(open_rows) >= 12 and any("ethics" in row[1] for row in open_rows) and len(rows) - len(open_rows) >= 15
    assert "It claims no compliance" in " ".join(text.split())
    assert not re.search(r"(?<!no )complian(ce|t)", text)
    record = json.loads((page.parent / "report.json").read_text())
    assert sum(not row["filled"] for row in record["checklist"]) == len(open_rows)
