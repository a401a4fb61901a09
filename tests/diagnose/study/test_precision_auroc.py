"""Runs in two number formats, paired by seed: the script that asks whether the format changes the AUROC."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from diagnose.analysis.analyse import analyse
from diagnose.analysis.arms import AnalysisPlan
from diagnose.analysis.planted_study import PlantedStudy
from mrisim.errors import DataError

SCRIPT = Path(__file__).parents[3] / "experiments" / "null_calibration" / "precision_auroc.py"
_spec = importlib.util.spec_from_file_location("precision_auroc", SCRIPT)
precision_auroc = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(precision_auroc)

STUDY = PlantedStudy(norms=("bn", "gn"), n_seeds=5, n_patients=40, n_slices=2, levels=(2,))
FORMATS = {name: {"bn": "float32", "gn": "bfloat16"}[run.norm] for name, run in STUDY.runs.items()}
RUNS = {name: replace(run, norm="ln") for name, run in STUDY.runs.items()}


def test_the_formats_stand_where_an_analysis_has_its_norms():
    record = precision_auroc.compare_formats(STUDY.blocks(), RUNS, FORMATS, simulated=True)
    analysis = analyse(STUDY.blocks(), STUDY.runs, AnalysisPlan.of_runs(STUDY.runs, reference="bn"), simulated=True)
    for got, expected in (
        (record["under_shift"], analysis["primary"]["comparisons"]),
        (record["clean"], analysis["descriptive"][0]["comparisons"]),
    ):
        (got,), (expected,) = got, expected
        assert got["norm"] == "bfloat16" and got["reference"].startswith("float32/")
        # the rows are aligned by name, and a name's place in the draws is its own
        assert got["difference"] == pytest.approx(expected["difference"], abs=1e-12)
        assert (got["low"], got["high"]) == pytest.approx((expected["low"], expected["high"]), abs=1e-6)
    assert record["norm"] == "ln" and record["seeds"] == [0, 1, 2, 3, 4] and record["flag"]


def test_what_is_not_paired_is_refused():
    other = {**RUNS, next(iter(RUNS)): replace(next(iter(RUNS.values())), norm="bn")}
    with pytest.raises(DataError, match="2 norms and protocols; expected one"):
        precision_auroc.compare_formats(STUDY.blocks(), other, FORMATS, simulated=True)
    fewer = dict(list(RUNS.items())[1:])
    with pytest.raises(
        DataError, match=r"seeds \[1, 2, 3, 4\] in float32, \[0, 1, 2, 3, 4\] in bfloat16; expected the same"
    ):
        precision_auroc.compare_formats(STUDY.blocks(), fewer, FORMATS, simulated=True)
