"""Drift analysis from run to tables: controls, references, resuming, another thread count, bad requests."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diagnose.drift.analyse import DriftResult, analyse_drift, estimate
from diagnose.drift.request import DriftRequest, drawn_slices
from diagnose.drift.table import DRIFT_COLUMNS, SWAP_COLUMNS, drift_lines
from diagnose.evaluate import evaluate
from diagnose.evaluation.prediction_table import read_table
from diagnose.evaluation.request import EvaluationRequest
from diagnose.evaluation.shift_results import MEAN, shift_results
from diagnose.run_folder import DataLocation
from diagnose.testing import SMALL
from diagnose.train import fit
from diagnose.training.loop import Watch
from diagnose.training.spec import TrainSpec
from mrisim.errors import ConfigError, DataError

REQUEST = DriftRequest(("noise", "bias-field"), (0, 5), n_slices=40, n_swapped=(2,))
SETTINGS = {"bn": {"norm": "bn", "epochs": 10}, "bn-cohort": {"norm": "bn", "scaling": "cohort"},
            "gn-cohort": {"norm": "gn", "scaling": "cohort"}, "none": {"norm": "none"}}  # fmt: skip


@pytest.fixture(scope="module")
def runs(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished runs: batch norm under both input scalings, group norm, and no norm."""
    root = tmp_path_factory.mktemp("runs")
    return {
        name: fit(TrainSpec(**{**SMALL, **values}), DataLocation(cohort), root / name).folder
        for name, values in SETTINGS.items()
    }


@pytest.fixture(scope="module")
def analysed(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> DriftResult:
    return analyse_drift(list(runs.values()), REQUEST, tmp_path_factory.mktemp("drift") / "out")


def rows_of(rows: list[dict[str, Any]], **wanted: object) -> list[dict[str, Any]]:
    found = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    assert found, wanted
    return found


def test_every_layer_side_reference_and_cell_is_there_once(analysed: DriftResult):
    keys = {tuple(row[name] for name in ("run", "kind", "level", "gain", "layer_number", "side", "reference"))
            for row in analysed.drift}  # fmt: skip
    n_cells = 1 + 2 * 1 + 3
    assert len(keys) == len(analysed.drift) == n_cells * 16 * (2 * 3 + 2 * 2), "running statistics: batch norm only"
    assert {row["run"] for row in analysed.drift if row["reference"] == "running"} == {"bn", "bn-cohort"}
    assert {row["n_slices"] for row in analysed.drift} == {40}
    assert {row["n_groups"] for row in rows_of(analysed.drift, run="gn-cohort", layer_number=16)} == {2}


def test_clean_does_not_drift_from_itself(analysed: DriftResult):
    for row in rows_of(analysed.drift, kind="clean", reference="clean"):
        assert (row["mean_shift"], row["log_variance_ratio"]) == (0, 0)
    running = rows_of(analysed.drift, kind="clean", reference="running", run="bn")
    assert all(0 < row["mean_shift"] < 2 for row in running), "training statistics are near, not equal"


def test_gain_is_a_no_op_under_z_score_and_not_under_cohort_scaling(analysed: DriftResult):
    for gain in (0.5, 2.0, 3.0):
        none = rows_of(analysed.drift, kind="gain", gain=gain, reference="clean", run="bn")
        # A power of two is exact in float32; three rounds.
        assert max(row["mean_shift"] for row in none) <= (1e-5 if gain == 3 else 0)
        for run in ("bn-cohort", "gn-cohort"):
            first = rows_of(analysed.drift, kind="gain", gain=gain, run=run, side="before", layer_number=1)
            # Not exactly 2 ln gain: the offset of the scaling does not grow, and the stem pads with zeros.
            expected = pytest.approx(2 * np.log(gain), abs=0.5)
            assert [row["log_variance_ratio"] for row in first if row["reference"] == "clean"] == [expected]
    swap = {
        gain: rows_of(analysed.swap, run="bn", kind="gain", gain=gain, swap="frozen", finding="acl")[0]["auroc"]
        for gain in (0.5, 2.0, 3.0)
    }
    assert set(swap.values()) == {
        rows_of(analysed.swap, run="bn", kind="clean", swap="frozen", finding="acl")[0]["auroc"]
    }


def test_noise_drifts_and_group_norm_removes_part_of_it_where_batch_norm_hands_it_on(analysed: DriftResult):
    def mean(run: str, side: str) -> float:
        rows = rows_of(analysed.drift, run=run, kind="noise", level=5, side=side, reference="clean")
        return float(np.mean([row["mean_shift"] for row in rows]))

    assert min(mean(run, "before") for run in SETTINGS) > 0.05
    assert mean("gn-cohort", "after") < mean("gn-cohort", "before")
    assert mean("bn", "after") == pytest.approx(mean("bn", "before"), rel=1e-3)


def test_frozen_scores_are_those_of_evaluate(analysed: DriftResult, runs: dict[str, Path], tmp_path: Path):
    """The same images, network and learnt findings: the analysis explains those numbers, not others."""
    request = EvaluationRequest(("noise",), (5,))
    table = evaluate([runs["bn"]], request, tmp_path / "out").folder / "predictions.csv.gz"
    for row in shift_results(read_table(table)):
        found = rows_of(
            analysed.swap, run="bn", kind=row.kind, level=row.level, finding=row.finding, swap="frozen", gain=1.0
        )
        assert [(entry["auroc"], entry["low"], entry["learnt"]) for entry in found] == [
            (pytest.approx(row.auroc, abs=1e-6), pytest.approx(row.low, abs=1e-6), row.learnt)
        ]


def test_only_batch_norm_has_swaps_and_each_is_there(analysed: DriftResult):
    assert {row["run"] for row in analysed.swap} == {"bn", "bn-cohort"}
    names = [row["swap"] for row in rows_of(analysed.swap, run="bn", kind="noise", level=5, finding="acl")]
    transplanted = ["mean-transplanted", "variance-transplanted"]
    assert names == ["frozen", "mean", "variance", "both", "first-2", "last-2", *transplanted]
    assert "gn-cohort, none: no batch norm, so there are no statistics to swap" in analysed.notes
    assert "statistics of 40 of 60 slices of the split test" in analysed.notes
    assert any("gain: no change under z-score, by construction" in note for note in analysed.notes)


def test_files_say_what_their_columns_mean(analysed: DriftResult):
    for name, columns, rows in (("drift", DRIFT_COLUMNS, analysed.drift), ("swap", SWAP_COLUMNS, analysed.swap)):
        with (analysed.folder / f"{name}.csv").open(newline="") as text:
            read = list(csv.DictReader(text))
        assert list(read[0]) == list(columns) and len(read) == len(rows)
    summary = json.loads((analysed.folder / "drift.json").read_text())
    assert summary["columns"]["drift"] == DRIFT_COLUMNS
    (record,) = rows_of(summary["drift"], run="gn-cohort", kind="noise", level=5, side="before", reference="clean")
    found = rows_of(analysed.drift, run="gn-cohort", kind="noise", level=5, side="before", reference="clean")
    assert record["layer"] == [row["layer"] for row in found] and len(record["sample_sd_p50"]) == 16
    np.testing.assert_allclose(record["mean_shift"], [row["mean_shift"] for row in found], rtol=1e-5)


def test_text_shows_drift_and_swaps_of_learnt_findings_only(analysed: DriftResult):
    text = "\n".join(drift_lines(analysed.drift, analysed.swap))
    assert "gain x0.5" in text and "noise 5" in text
    learnt = {row["run"] for row in analysed.swap if row["finding"] == MEAN}
    assert "bn" in learnt, "the run of this test has learnt a finding"
    assert text.count("findings: frozen statistics") == len(learnt)
    none = [row | {"learnt": False} for row in analysed.swap if row["finding"] != MEAN]
    assert "no statement about swaps" in "\n".join(drift_lines(analysed.drift, none))


def test_a_stopped_analysis_goes_on_and_ends_in_the_same_bytes(
    analysed: DriftResult, runs: dict[str, Path], tmp_path: Path
):
    class Stop(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("4/"):
            raise Stop

    chosen = [runs[name] for name in SETTINGS]
    with pytest.raises(Stop):
        analyse_drift(chosen, REQUEST, tmp_path / "out", watch=Watch(stop))
    cells = sorted((tmp_path / "out" / "cells").iterdir())
    assert len(cells) == 3 * 4 and not (tmp_path / "out" / "drift.csv").exists()
    times = [cell.stat().st_mtime_ns for cell in cells]
    analyse_drift(chosen, REQUEST, tmp_path / "out")
    assert [cell.stat().st_mtime_ns for cell in cells] == times, "what was there is kept"
    for name in ("drift.csv", "swap.csv", "drift.json", "request.json"):
        assert (tmp_path / "out" / name).read_bytes() == (analysed.folder / name).read_bytes()
    older = json.loads(cells[5].read_text()) | {"simulator": "before a correction", "drift": []}
    cells[5].write_text(json.dumps(older))
    analyse_drift(chosen, REQUEST, tmp_path / "out")
    assert cells[5].read_bytes() == (analysed.folder / "cells" / cells[5].name).read_bytes(), "of other code: made anew"
    cells[0].write_text("{")
    with pytest.raises(DataError, match=r"000-000-clean-rss\.json is damaged"):
        analyse_drift(chosen, REQUEST, tmp_path / "out")


def test_validation_can_be_analysed_and_other_requests_are_refused(
    analysed: DriftResult, runs: dict[str, Path], tmp_path: Path
):
    request = replace(REQUEST, split="val", kinds=("noise",), levels=(5,), swap=False)
    result = analyse_drift([runs["bn"]], request, tmp_path / "out")
    assert {row["split"] for row in result.drift} == {"val"} and not (result.folder / "swap.csv").exists()
    assert {row["n_slices"] for row in result.drift} == {30}, "all that there are"
    with pytest.raises(ConfigError, match="out holds another analysis"):
        analyse_drift([runs["bn"]], REQUEST, analysed.folder)
    with pytest.raises(ConfigError, match="expected 1 to 15"):
        analyse_drift([runs["bn"]], replace(REQUEST, n_swapped=(16,)), tmp_path / "other")
    assert not (tmp_path / "other").exists()
    copy = tmp_path / "bn"
    shutil.copytree(runs["bn"], copy)
    with pytest.raises(ConfigError, match="two runs have one name"):
        analyse_drift([runs["bn"], copy], REQUEST, tmp_path / "other")


def test_a_place_in_the_data_is_refused(runs: dict[str, Path], cohort: Path):
    with pytest.raises(ConfigError, match="--out mine lies in the data folder"):
        analyse_drift(list(runs.values()), REQUEST, cohort / "mine")
    assert not (cohort / "mine").exists()


def test_slices_are_drawn_without_replacement_from_a_fixed_stream():
    drawn = drawn_slices(60, 40)
    assert len(set(drawn.tolist())) == 40 and (np.diff(drawn) > 0).all() and drawn.max() > 45
    assert np.array_equal(drawn, drawn_slices(60, 40)) and np.array_equal(drawn_slices(5, 40), np.arange(5))


def test_estimate_counts_what_will_be_done_and_writes_nothing(runs: dict[str, Path], tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = estimate(list(runs.values()), REQUEST).record
    assert record["cells"].startswith("6 ") and record["split"] == "test: 20 patients, 60 slices"
    assert not list(tmp_path.iterdir())
