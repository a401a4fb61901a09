"""The experiment's script: what it plans, that it skips what is there, and that its tables say what the runs say."""

import csv
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from diagnose.evaluation.request import EvaluationRequest
from diagnose.run_folder import DataLocation
from diagnose.segmentation.brats_releases import CLASSES
from diagnose.segmentation.dice_table import read_dice_table
from diagnose.segmentation.evaluate import evaluate
from diagnose.segmentation.request import SegmentationSpec
from diagnose.segmentation.testing import SMALL, write_heads
from diagnose.train import fit
from diagnose.training.spec import make_spec

FOLDER = Path(__file__).parents[1] / "experiments" / "layer_norm_segmentation"
SETTINGS = {
    "name": "small", "reference": "none", "seeds": [0, 1],
    "arms": {"common": {"lr": 1e-2, "norms": ["none", "ln"]}, "high": {"lr": 3e-2, "norms": ["none", "ln"]}},
    "train": {**SMALL, "patch_shape": [8, 8, 8]},
    "evaluation": {"arms": ["common"], "kinds": ["noise"], "levels": [0, 5], "seed": 0},
}  # fmt: skip


def load(name):
    specification = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script():
    load("tables")
    try:
        yield load("run")
    finally:
        del sys.modules["run"], sys.modules["tables"]


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MRISIM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.parametrize("name", ["laptop", "paper"])
def test_every_planned_run_is_a_request_that_can_be_meant(script, name):
    settings = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    runs = script.planned_runs(settings)
    assert len({run.name for run in runs}) == len(runs) >= 18
    for run in runs:
        spec = make_spec({**settings["train"], "norm": run.norm, "lr": run.lr}, [], SegmentationSpec)
        assert spec.lr == run.lr and spec.patience == spec.epochs


def test_the_tables_say_what_the_runs_say(script, tmp_path, monkeypatch):
    heads = write_heads(tmp_path / "heads", n_patients={"train": 2, "val": 1, "test": 3})
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(SETTINGS))))
    planned = script.planned_runs(SETTINGS)
    for run in planned:
        spec = SegmentationSpec(**{**SETTINGS["train"], "norm": run.norm, "seed": run.seed, "lr": run.lr})
        fit(spec, DataLocation(heads), tmp_path / "runs" / run.name)
    folders = [tmp_path / "runs" / run.name for run in planned if run.arm == "common"]
    evaluate(folders, EvaluationRequest(("noise",), (0, 5)), tmp_path / "runs" / "evaluation", data=DataLocation(heads))
    monkeypatch.setattr(sys, "argv", ["run.py", str(tmp_path / "settings.yaml"), "--runs", str(tmp_path / "runs"),
                                      "--data", str(heads), "--out", str(tmp_path / "results")])  # fmt: skip
    monkeypatch.setattr(script.subprocess, "run", lambda *_, **__: pytest.fail("a finished run was trained again"))
    assert script.main() == 0
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert names == {"gains.csv", "shifted.csv", "curves.csv", "baselines.csv", "claims.json", "loss_curves.png",
                     "dice.csv.gz"}  # fmt: skip
    blocks = {
        (block.cell.run, block.cell.kind): block.dice for block in read_dice_table(tmp_path / "results/dice.csv.gz")
    }
    means = {
        norm: np.mean([blocks[f"common-{norm}-seed{seed}", "clean"][:, 1] for seed in (0, 1)])
        for norm in ("none", "ln")
    }
    with (tmp_path / "results" / "gains.csv").open() as text:
        rows = list(csv.DictReader(text))
    assert {(row["arm"], row["condition"]) for row in rows} >= {("common", "artifacts"), ("high", "clean")}
    assert not any(row["arm"] == "high" and row["condition"] == "artifacts" for row in rows)
    rows = [row for row in rows if (row["arm"], row["condition"], row["class"]) == ("common", "clean", CLASSES[1])]
    assert {row["norm"]: float(row["dice"]) for row in rows} == pytest.approx(means, rel=1e-4)
    assert float(rows[1]["gain"]) == pytest.approx(means["ln"] - means["none"], abs=1e-5)
    claims = json.loads((tmp_path / "results" / "claims.json").read_text())["claims"]
    assert [claim["paper"] for claim in claims][1] == {"dice": 0.74, "relative_gain": 0.125}
    assert len(claims) in (2 * 5, 3 * 5) and claims[1]["measured"]["gain"] == pytest.approx(means["ln"] - means["none"])


def test_a_verdict_follows_the_interval(script):
    verdict = sys.modules["tables"].verdict
    assert verdict(0.01, 0.05, expected_sign=1) == "reproduced in direction"
    assert verdict(-0.01, 0.05, expected_sign=1) == "not reproduced: the interval holds zero"
    assert verdict(-0.05, -0.01, expected_sign=1) == "not reproduced: the opposite sign"
    assert verdict(-0.05, -0.01, expected_sign=-1) == "reproduced in direction"
    assert verdict(None, None, expected_sign=1) == "no interval: no statement"
