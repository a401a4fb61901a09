"""The report of an evaluation of segmentation or reconstruction: what stands on the page, from the tables alone."""

import json
import re
from pathlib import Path

import pytest

from diagnose.report.evaluation_report import is_evaluation, write_evaluation_report
from mrisim.errors import DataError


def tables_of(page: Path) -> dict[str, dict]:
    return {table["caption"]: table for table in json.loads((page.parent / "report.json").read_text())["tables"]}


def test_runs_of_one_norm_are_pooled_and_every_number_is_on_the_page(dice_evaluation: Path):
    assert is_evaluation(dice_evaluation)
    page = write_evaluation_report(dice_evaluation)
    assert page == dice_evaluation / "report" / "report.html"
    clean = tables_of(page)["Dice on the clean test volumes, by norm"]
    assert clean["columns"] == ["ln", "none"]
    assert [cell[0] for cell in clean["rows"]["oedema"]] == ["0.700", "0.400"], "(.8 + .6) / 2"
    noise = tables_of(page)["Dice, mean of classes, noise"]
    assert [cell[0] for cell in noise["rows"]["ln"]] == ["0.700", "0.350"]
    text = page.read_text()
    assert "Simulation result." in text and "simulation result" in text
    assert "not seeds" in text and "0.350" in text and text.count("<svg role") == 1
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text), "nothing from elsewhere"


def test_methods_without_a_run_stand_beside_the_networks(quality_evaluation: Path, tmp_path: Path):
    page = write_evaluation_report(quality_evaluation, tmp_path / "elsewhere")
    ssim = tables_of(page)["SSIM on the clean test volumes of each distribution"]
    assert ssim["columns"] == ["knee", "brain"]
    assert {name: [cell[0] for cell in cells] for name, cells in ssim["rows"].items()} == {
        "unet-xsmall: knee": ["0.900", "0.700"],
        "unet-xsmall: knee + brain": ["0.800", "0.850"],
        "zero-filled": ["0.600", "0.500"],
    }
    text = page.read_text()
    assert "Origin unknown." in text and "clean volumes alone" in text and text.count("<img") == 1
    assert "data:image/png;base64," in text


def test_equal_evaluations_give_equal_pages_and_damage_is_named(dice_evaluation: Path, tmp_path: Path, diagnose):
    first = write_evaluation_report(dice_evaluation).read_bytes()
    assert write_evaluation_report(dice_evaluation).read_bytes() == first
    done = diagnose("report", str(dice_evaluation), "--out", "page", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout == "report page/report.html\n", done.stderr
    assert (tmp_path / "page" / "report.html").read_bytes() == first
    (dice_evaluation / "runs.json").write_text("[]")
    with pytest.raises(DataError, match=r"runs\.json in dice is damaged"):
        write_evaluation_report(dice_evaluation)
    (dice_evaluation / "runs.json").unlink()
    with pytest.raises(DataError, match=r"dice has no runs\.json"):
        write_evaluation_report(dice_evaluation)
    (dice_evaluation / "request.json").write_text(json.dumps({"kinds": []}))
    assert not is_evaluation(dice_evaluation), "that of diagnosis has the report of its study"
