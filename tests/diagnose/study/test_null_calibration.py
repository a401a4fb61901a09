"""All splits of ten runs into two pretended norms: the script that checks the paired test on real runs."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from diagnose.analysis.analyse import analyse
from diagnose.analysis.arms import AnalysisPlan, Protocol
from diagnose.analysis.planted_study import PlantedStudy
from diagnose.evaluation.prediction_table import write_table
from diagnose.training.spec import TrainSpec
from mrisim.errors import DataError, UsageError

SCRIPT = Path(__file__).parents[3] / "experiments" / "null_calibration" / "seed_splits.py"
_spec = importlib.util.spec_from_file_location("seed_splits", SCRIPT)
seed_splits = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(seed_splits)

TEN = PlantedStudy(norms=("bn",), n_seeds=10, n_patients=40, n_slices=2, levels=(2,))


def test_a_null_is_rejected_about_as_often_as_it_should_be():
    rates = []
    for seed in range(8):
        study = replace(TEN, seed=seed)
        record = seed_splits.split_rejections(study.blocks(), study.runs)
        assert record["n_splits"] == 126 and record["n_rejected"] == round(126 * record["rejection_rate"])
        rates.append(record["rejection_rate"])
    assert 0.01 < np.mean(rates) < 0.10


def test_a_split_is_what_the_primary_analysis_says_of_two_norms(monkeypatch):
    monkeypatch.setattr(seed_splits, "combinations", lambda *_: [(0, 2, 3, 7, 9)])
    record = seed_splits.split_rejections(TEN.blocks(), TEN.runs)
    first, second = (0, 2, 3, 7, 9), (1, 4, 5, 6, 8)
    runs = {
        name: replace(run, norm=norm, seed=group.index(run.seed))
        for name, run in TEN.runs.items()
        for norm, group in (("bn", first), ("gn", second))
        if run.seed in group
    }
    plan = AnalysisPlan("bn", ("gn",), Protocol("z-score", "", "rss"), levels=(2,), n_draws=101)
    (row,) = analyse(TEN.blocks(), runs, plan)["primary"]["comparisons"]
    assert record["p_quantiles"]["0.5"] == pytest.approx(row["p"], rel=1e-5)


def test_ten_runs_of_one_protocol_are_needed(tmp_path: Path):
    with pytest.raises(DataError, match="9 runs of bn; expected 10"):
        study = replace(TEN, n_seeds=9)
        seed_splits.split_rejections(study.blocks(), study.runs)
    mixed = {name: replace(run, scaling="raw" if run.seed else "z-score") for name, run in TEN.runs.items()}
    with pytest.raises(DataError, match="the bn runs have 2 protocols; expected one"):
        seed_splits.split_rejections(TEN.blocks(), mixed)
    with pytest.raises(UsageError, match="is no study; expected --runs"):
        seed_splits.main([str(tmp_path)])


def test_the_script_reads_an_evaluation_and_prints_json(tmp_path: Path, capsys):
    write_table(tmp_path / "evaluation" / "predictions.csv.gz", TEN.blocks())
    for name, run in TEN.runs.items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        config = TrainSpec(norm=run.norm, scaling=run.scaling, seed=run.seed).model_dump()
        (tmp_path / "runs" / name / "config.yaml").write_text(yaml.safe_dump(config))
    seed_splits.main([str(tmp_path / "evaluation"), "--runs", str(tmp_path / "runs")])
    record = json.loads(capsys.readouterr().out)
    assert record["rejection_rate"] == seed_splits.split_rejections(TEN.blocks(), TEN.runs)["rejection_rate"]
    assert str(tmp_path) not in json.dumps(record)
