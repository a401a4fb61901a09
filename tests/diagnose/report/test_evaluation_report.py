"""The report of an evaluation of segmentation or reconstruction: what stands on the page, from the tables alone."""

import html
import json
import re
import shlex
from pathlib import Path

import pytest

from diagnose.reconstruction.quality_table import read_quality, write_quality
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


def change_configs(folder: Path, **changes: dict) -> None:
    runs = json.loads((folder / "runs.json").read_text())
    for entry in runs["runs"]:
        entry["config"] |= changes.get(entry["run"], {})
    (folder / "runs.json").write_text(json.dumps(runs))


def test_norms_of_one_network_and_training_set_are_not_pooled_as_seeds(quality_evaluation: Path):
    both = ["knee", "brain"]
    change_configs(quality_evaluation, a={"norm": "bn", "train_on": both}, b={"norm": "gn", "train_on": both})
    ssim = tables_of(write_evaluation_report(quality_evaluation))["SSIM on the clean test volumes of each distribution"]
    assert {name: [cell[0] for cell in cells] for name, cells in ssim["rows"].items()} == {
        "unet-xsmall: knee + brain, norm bn": ["0.900", "0.700"],
        "unet-xsmall: knee + brain, norm gn": ["0.800", "0.850"],
        "zero-filled": ["0.600", "0.500"],
    }


def test_learning_rates_of_one_norm_are_not_pooled_as_seeds(dice_evaluation: Path):
    change_configs(dice_evaluation, ln0={"lr": 0.01}, ln1={"lr": 0.001}, none0={"lr": 0.01})
    clean = tables_of(write_evaluation_report(dice_evaluation))["Dice on the clean test volumes, by norm"]
    assert clean["columns"] == ["ln, lr 0.01", "ln, lr 0.001", "none"]
    assert [cell[0] for cell in clean["rows"]["oedema"]] == ["0.800", "0.600", "0.400"]


def test_a_table_of_quality_that_was_cut_off_is_refused(quality_evaluation: Path):
    table = quality_evaluation / "quality.csv.gz"
    rows = read_quality(table)
    write_quality(table, [row for row in rows if (row.run, row.patient) != ("b", "p11")])
    with pytest.raises(DataError, match=r"quality\.csv\.gz has 22 test rows of b, 24 of zero-filled"):
        write_evaluation_report(quality_evaluation)
    write_quality(table, [row for row in rows if row.run != "b"])
    with pytest.raises(DataError, match="has 0 test rows of b"):
        write_evaluation_report(quality_evaluation)


def test_a_selection_without_a_fraction_is_named(quality_evaluation: Path):
    change_configs(
        quality_evaluation, a={"selection": "separate"}, b={"selection": "skewed", "fraction": 0.25}
    )  # fmt: skip
    ssim = tables_of(write_evaluation_report(quality_evaluation))["SSIM on the clean test volumes of each distribution"]
    named = {"unet-xsmall: knee (separate)", "unet-xsmall: knee + brain (skewed 0.25)", "zero-filled"}
    assert set(ssim["rows"]) == named


def test_the_command_on_the_page_asks_for_the_same(quality_evaluation: Path):
    request = json.loads((quality_evaluation / "request.json").read_text())
    asked = {"test_on": ["knee", "acquisition=AXT1|acquisition=AXT2"], "every_epoch": True}
    request |= asked | {"reconstructions": ["rss", "l1-wavelet"]}
    (quality_evaluation / "request.json").write_text(json.dumps(request))
    page = html.unescape(write_evaluation_report(quality_evaluation).read_text())
    command = re.search(r"diagnose (evaluate \\\n.*?--out quality)\n", page, re.DOTALL)[1]
    assert shlex.split(command.replace("\\\n", "")) == [
        "evaluate", "a", "b", "--levels", "0,3", "--recon", "rss,l1-wavelet", "--test-on", "knee",
        "--test-on", "acquisition=AXT1|acquisition=AXT2", "--every-epoch", "--seed", "0", "--out", "quality",
    ]  # fmt: skip


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
