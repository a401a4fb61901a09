"""Tables say what the analysis says: planted effects, marks, drops, and the cell that a number stands in."""

import json
from dataclasses import replace

import pytest

from diagnose.analysis.analyse import analyse
from diagnose.analysis.arms import AnalysisPlan
from diagnose.analysis.planted_study import PlantedStudy
from diagnose.report import tables
from diagnose.report.arms import Arms
from diagnose.report.wording import number, signed


@pytest.fixture(scope="module")
def analysis() -> dict:
    planted = PlantedStudy(norms=("bn", "gn", "none"), n_seeds=3, effect={"gn": 0.4}, adaptations={"precise-bn": 0.1})
    plan = replace(AnalysisPlan.of_runs(planted.runs), n_draws=200)
    return json.loads(json.dumps(analyse(planted.blocks(), planted.runs, plan, simulated=True)))


def row_of(analysis: dict, arm: str, kind: str, level: int) -> dict:
    (row,) = [r for r in analysis["dose_response"] if r["finding"] == "mean of learnt" and r["arm"] == arm
              and (r["kind"], r["level"]) == (kind, level)]  # fmt: skip
    return row


def test_arms_of_the_primary_protocol_stand_in_front(analysis: dict):
    arms = Arms.of(analysis)
    assert [arm["label"] for arm in arms.shown] == ["bn", "gn", "none"]
    assert [arm["adaptation"] for arm in arms.reference_variants] == ["frozen", "precise-bn"]
    assert arms.other_protocols == {}


def test_what_is_not_learnt_is_said_by_the_limit_of_the_plan():
    planted = PlantedStudy(n_seeds=2)
    plan = replace(AnalysisPlan.of_runs(planted.runs), n_draws=200, learnt_auroc=0.99)
    analysis = analyse(planted.blocks(), planted.runs, plan)
    table = tables.clean_table(analysis, Arms.of(analysis).shown)
    said = [cell.below for _, cells in table.rows for cell in cells if "below" in cell.below]
    assert said and all("not learnt (below 0.99)" in text for text in said)


def test_the_dose_table_holds_value_drop_and_share(analysis: dict):
    arms = Arms.of(analysis).shown
    table = tables.dose_table(analysis, arms, "motion")
    assert table.columns == ("clean", "level 1", "level 3")
    for arm, (name, cells) in zip(arms, table.rows, strict=True):
        clean, shifted = (row_of(analysis, arm["id"], *place) for place in (("clean", 0), ("motion", 3)))
        assert name == arm["label"] and cells[0].text == number(clean["value"])
        assert cells[2].text == number(shifted["value"])
        assert signed(shifted["value"] - clean["value"]) in cells[2].below
        share = (shifted["value"] - 0.5) / (clean["value"] - 0.5)
        kept = int(cells[2].below.split(", ")[-1].split("\N{NO-BREAK SPACE}")[0])
        assert kept == pytest.approx(100 * share, abs=1.5)  # a mean of shares, not the share of means


def test_the_heat_map_is_blue_where_the_norm_is_better_and_marks_what_the_band_leaves(analysis: dict):
    arms = Arms.of(analysis)
    (arm,) = arms.known(analysis["heat_map"]["arms"])
    table = tables.heat_table(analysis, arm)
    cells = {(c["kind"], c["level"]): c for c in analysis["heat_map"]["cells"]}
    reach = max(abs(cell["difference"]) for cell in cells.values())
    for kind, row in table.rows:
        for column, cell in zip(table.columns, row, strict=True):
            known = cells[kind, int(column.removeprefix("level "))]
            assert cell.text == signed(known["difference"])
            assert cell.shade == pytest.approx(known["difference"] / reach)
            assert (cell.mark == "flagged") == known["flagged"]
    assert any(cell.shade == 1 for _, row in table.rows for cell in row), "0.4 was planted for gn"


def test_corruption_errors_are_those_of_the_arms_and_the_reference_is_100(analysis: dict):
    arms = Arms.of(analysis)
    table = tables.error_table(analysis, arms.shown, "x")
    assert [cell.text for cell in table.rows[0][1]] == ["100"] * 4
    (row,) = [r for r in analysis["corruption_error"] if r["arm"] == arms.shown[1]["id"]]
    texts = [cell.text for cell in table.rows[1][1]]
    assert texts[0] == number(row["mce"], 1) and float(texts[0]) < 100
    assert texts[2:] == [number(100 * kind["ce"], 1) for kind in row["kinds"]]


def test_comparisons_name_what_differs_and_show_the_corrected_p_only_where_it_was_planned(analysis: dict):
    entry = analysis["primary"]["comparisons"][0]
    table = tables.comparison_table("x", [entry], confirmatory=True)
    assert table.rows[0][0] == "gn − bn" and "p (Holm)" in table.columns
    assert table.rows[0][1][0].text == signed(entry["difference"])
    assert "p (Holm)" not in tables.comparison_table("x", [entry]).columns
    other = entry | {"reference": "bn/cohort/clean/precise-bn/rss", "reference_norm": "bn+precise-bn"}
    assert tables.comparison_table("x", [other]).rows[0][0] == "gn (z-score) − bn+precise"


def test_a_finding_that_is_not_learnt_is_marked(analysis: dict):
    arms = Arms.of(analysis).shown
    changed = json.loads(json.dumps(analysis))
    for row in changed["learnt"]:
        if row["finding"] == "acl":
            row["learnt"] = row["norm"] == "gn" or (row["norm"] == "bn" and row["seed"] == 0)
    table = dict(tables.clean_table(changed, arms).rows)
    assert [cell.mark for cell in table["acl"]] == ["partly", "", "unlearnt"]
    assert "learnt in 1 of 3" in table["acl"][0].below and "not learnt" in table["acl"][2].below
    assert [cell.mark for cell in table["mtear"]] == ["", "", ""]
