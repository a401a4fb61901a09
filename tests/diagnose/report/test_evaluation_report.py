"""The report of an evaluation of segmentation or reconstruction: what stands on the page, from the tables alone."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diagnose.reconstruction.quality_table import QualityRow, write_quality
from diagnose.report.evaluation_report import is_evaluation, write_evaluation_report
from diagnose.segmentation.dice_table import DiceBlock, DiceCell, write_dice_table
from diagnose.segmentation.shifted_dice import dice_results, write_dice_results
from mrisim.errors import DataError

PATIENTS = tuple(f"p{number:02d}" for number in range(12))
CLASSES = ("oedema", "non-enhancing", "enhancing")


def described(folder: Path, task: str, configs: dict[str, dict], kinds: list[str], simulated: bool | None) -> None:
    request = {
        "task": task, "kinds": kinds, "levels": [0, 3], "seed": 0, "level_table": "1-abc", "runs": list(configs),
        "weights_sha256": ["ab" * 32] * len(configs),
    }  # fmt: skip
    (folder / "request.json").write_text(json.dumps(request))
    runs = [{"run": name, "config": config} for name, config in configs.items()]
    (folder / "runs.json").write_text(json.dumps({"runs": runs, "simulated": simulated}))


@pytest.fixture
def segmentation(tmp_path: Path) -> Path:
    """Two norms, ln with two seeds: Dice is .8 or .6 for ln, .4 for none; noise takes a half."""
    folder = tmp_path / "dice"
    folder.mkdir()
    dice = {"ln0": 0.8, "ln1": 0.6, "none0": 0.4}
    blocks = [
        DiceBlock(
            DiceCell(run, "test", kind, level, "1-abc"), PATIENTS, PATIENTS, CLASSES,
            np.full((len(PATIENTS), 3), value * factor), np.ones((len(PATIENTS), 3), int),
        )
        for run, value in dice.items()
        for kind, level, factor in (("clean", 0, 1.0), ("noise", 3, 0.5))
    ]  # fmt: skip
    write_dice_table(folder / "predictions.csv.gz", blocks)
    write_dice_results(folder / "results.csv", dice_results(blocks))
    configs = {run: {"norm": run.rstrip("01"), "seed": int(run[-1])} for run in dice}
    described(folder, "segmentation", configs, ["noise"], True)
    return folder


@pytest.fixture
def reconstruction(tmp_path: Path) -> Path:
    """Two networks on two distributions, and zero-filling; clean only, with one picture."""
    folder = tmp_path / "quality"
    folder.mkdir()
    ssim = {"a": (0.9, 0.7), "b": (0.8, 0.85), "zero-filled": (0.6, 0.5)}
    rows = [
        QualityRow(f"{patient}-{name}", patient, "test", run, None, name, "clean", 0, "output", value, 30.0, 0.1)
        for run, values in ssim.items()
        for name, value in zip(("knee", "brain"), values, strict=True)
        for patient in PATIENTS
    ]
    write_quality(folder / "quality.csv.gz", rows)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "curves.png")
    configs = {
        name: {"network": "unet-xsmall", "train_on": train_on, "selection": "joint", "fraction": None, "seed": 0}
        for name, train_on in (("a", ["knee"]), ("b", ["knee", "brain"]))
    }
    described(folder, "reconstruction", configs, [], None)
    return folder


def tables_of(page: Path) -> dict[str, dict]:
    return {table["caption"]: table for table in json.loads((page.parent / "report.json").read_text())["tables"]}


def test_runs_of_one_norm_are_pooled_and_every_number_is_on_the_page(segmentation: Path):
    assert is_evaluation(segmentation)
    page = write_evaluation_report(segmentation)
    assert page == segmentation / "report" / "report.html"
    clean = tables_of(page)["Dice on the clean test volumes, by norm"]
    assert clean["columns"] == ["ln", "none"]
    assert [cell[0] for cell in clean["rows"]["oedema"]] == ["0.700", "0.400"], "(.8 + .6) / 2"
    noise = tables_of(page)["Dice, mean of classes, noise"]
    assert [cell[0] for cell in noise["rows"]["ln"]] == ["0.700", "0.350"]
    text = page.read_text()
    assert "Simulation result." in text and "simulation result" in text
    assert "not seeds" in text and "0.350" in text and text.count("<svg role") == 1
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text), "nothing from elsewhere"


def test_methods_without_a_run_stand_beside_the_networks(reconstruction: Path, tmp_path: Path):
    page = write_evaluation_report(reconstruction, tmp_path / "elsewhere")
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


def test_equal_evaluations_give_equal_pages_and_damage_is_named(segmentation: Path, tmp_path: Path, diagnose):
    first = write_evaluation_report(segmentation).read_bytes()
    assert write_evaluation_report(segmentation).read_bytes() == first
    done = diagnose("report", str(segmentation), "--out", "page", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout == "report page/report.html\n", done.stderr
    assert (tmp_path / "page" / "report.html").read_bytes() == first
    (segmentation / "runs.json").write_text("[]")
    with pytest.raises(DataError, match=r"runs\.json in dice is damaged"):
        write_evaluation_report(segmentation)
    (segmentation / "runs.json").unlink()
    with pytest.raises(DataError, match=r"dice has no runs\.json"):
        write_evaluation_report(segmentation)
    (segmentation / "request.json").write_text(json.dumps({"kinds": []}))
    assert not is_evaluation(segmentation), "that of diagnosis has the report of its study"
