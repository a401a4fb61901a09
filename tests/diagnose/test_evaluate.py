"""Shifted evaluation: from run to table to numbers, the clean level, resuming, a stranger's table, bad input."""

import csv
import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from diagnose.adapt import parse_adaptation
from diagnose.checkpoint import load_model
from diagnose.evaluate import OpenEvaluation, estimate, evaluate, evaluate_predictions
from diagnose.evaluation.prediction_table import Cell, PredictionBlock, read_table, write_table
from diagnose.evaluation.request import EvaluationRequest
from diagnose.evaluation.shift_report import result_lines
from diagnose.evaluation.shift_results import MEAN, ShiftResult, shift_results
from diagnose.run_folder import DataLocation
from diagnose.statistics.bootstrap import bootstrap_auroc_interval
from diagnose.statistics.metrics import operating_point
from diagnose.tasks.findings import predict, scores
from diagnose.testing import SMALL, write_cohort
from diagnose.train import fit
from diagnose.trained_model import level_table_version
from diagnose.training.spec import TrainSpec
from mrisim import formats
from mrisim.artifacts import KINDS
from mrisim.corrupt import corrupt
from mrisim.errors import ConfigError, DataError
from mrisim.reconstruct import crop_to_recon, reconstruct
from mrisim.seeding import stream

REQUEST = EvaluationRequest(("noise", "motion"), (0, 3, 5), ("rss", "adjoint"))


@pytest.fixture(scope="module")
def runs(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of bn and one of gn, with the same seed."""
    root = tmp_path_factory.mktemp("runs")
    return {
        norm: fit(TrainSpec(**{**SMALL, "norm": norm, "epochs": 10}), DataLocation(cohort), root / norm).folder
        for norm in ("bn", "gn")
    }


@pytest.fixture(scope="module")
def evaluated(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evaluate(list(runs.values()), REQUEST, tmp_path_factory.mktemp("evaluation") / "out").folder


def find(results: list[ShiftResult], **wanted: object) -> ShiftResult:
    (found,) = [row for row in results if all(getattr(row, name) == value for name, value in wanted.items())]
    return found


def stranger_blocks(n_patients: int = 60, n_slices: int = 2) -> list[PredictionBlock]:
    """Scores with a known AUROC under two shifts; validation on the same scale."""
    rng = np.random.default_rng(5)
    blocks = []
    for split in ("val", "test"):
        patients = np.repeat([f"{split}{number}" for number in range(n_patients)], n_slices)
        labels = (rng.random((len(patients), 2)) < 0.4).astype(np.int8)
        noise = rng.normal(size=labels.shape)
        items = tuple(f"{patient}/{index % n_slices}" for index, patient in enumerate(patients))
        for kind, level, separation in (("clean", 0, 2.5), ("fog", 1, 1.0), ("fog", 2, 0.0)):
            if split == "test" or kind == "clean":
                scores = noise + separation * labels * [1.0, 0.2]
                blocks.append(
                    PredictionBlock(Cell("model", split, kind, level), items, patients, ("a", "b"), scores, labels)
                )
    return blocks


def test_clean_rows_are_those_of_the_run_itself(evaluated: Path, runs: dict[str, Path]):
    """The same images, network and code: what training wrote at its end comes out again bit for bit."""
    blocks = read_table(evaluated / "predictions.csv.gz")
    for name, run in runs.items():
        for own in read_table(run / "predictions.csv.gz"):
            (found,) = [b for b in blocks if b.cell == replace(own.cell, level_table=level_table_version())]
            assert own.cell.run == name and np.array_equal(found.scores, own.scores)
            assert found.items == own.items and np.array_equal(found.labels, own.labels)


def test_table_has_every_slice_finding_shift_and_run_once(evaluated: Path):
    with gzip.open(evaluated / "predictions.csv.gz", "rt") as text:
        rows = list(csv.DictReader(text))
    n_test, n_val, n_cells = 20 * 3, 10 * 3, 2 * (1 + 2 * 2)
    assert len(rows) == 2 * 4 * (n_test * n_cells + n_val)
    keys = {(r["run"], r["split"], r["item"], r["kind"], r["level"], r["recon"], r["finding"]) for r in rows}
    assert len(keys) == len(rows)
    assert {row["level_table"] for row in rows} == {level_table_version()}


def test_evaluating_again_gives_the_same_bytes(evaluated: Path, runs: dict[str, Path], tmp_path: Path):
    again = evaluate(list(runs.values()), REQUEST, tmp_path / "out", n_threads=2).folder
    for name in ("results.csv", "predictions.csv.gz", "request.json"):
        assert (again / name).read_bytes() == (evaluated / name).read_bytes()


def evaluation_of(runs: dict[str, Path], out: Path, cache: Path) -> subprocess.Popen[str]:
    """Start the program's command for the evaluation of `evaluated`."""
    shifts = [f"--kind={kind}" for kind in REQUEST.kinds] + ["--levels=0,3,5", "--recon=rss,adjoint"]
    command = ["evaluate", *map(str, runs.values()), *shifts, "--out", str(out), "--threads", "1"]
    return subprocess.Popen(
        [sys.executable, "-m", "diagnose.cli", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "MRISIM_CACHE": str(cache)},
    )  # fmt: skip


@pytest.mark.parametrize(("n_kills", "latest"), [(3, 3), pytest.param(20, 11, marks=pytest.mark.slow)])
def test_killed_at_random_moments_and_resumed_gives_the_same_bytes(
    evaluated: Path, runs: dict[str, Path], tmp_path: Path, n_kills: int, latest: int
):
    """SIGKILL soon after one of the eleven shifts is begun: images are made then, networks predict, files are written.

    The cache is empty at first, so that images are broken off too; after the last shift, the table and the results.
    """
    out, cache, rng, n_killed = tmp_path / "out", tmp_path / "cache", stream(0, "moments"), 0
    for _ in range(n_kills):
        with evaluation_of(runs, out, cache) as process:
            assert process.stderr is not None
            n_said = sum(1 for _ in islice(process.stderr, int(rng.integers(1, latest, endpoint=True))))
            time.sleep(rng.uniform(0, 0.3))
            n_killed += process.poll() is None
            process.kill()
        assert n_said > 0
    assert n_killed >= 2
    n_kept = len(list((out / "parts").glob("*.npz")))
    with evaluation_of(runs, out, cache) as process:
        _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert said.count("/11 ") == 11 - n_kept, "what was done is not done again"
    for name in ("results.csv", "predictions.csv.gz", "request.json"):
        assert (out / name).read_bytes() == (evaluated / name).read_bytes()
    assert {path.name for path in out.iterdir()} == {path.name for path in evaluated.iterdir()}


def test_a_shift_does_not_depend_on_what_else_is_asked_for(evaluated: Path, runs: dict[str, Path], tmp_path: Path):
    alone = evaluate([runs["gn"]], EvaluationRequest(("motion",), (5,)), tmp_path / "out")
    whole = shift_results(read_table(evaluated / "predictions.csv.gz"))
    for row in alone.results:
        assert row == find(whole, run="gn", recon="rss", kind=row.kind, level=row.level, finding=row.finding)


def sense_scores(run: Path, cohort: Path, level: int) -> tuple[str, np.ndarray]:
    """What the network says of the first test file: k-space, noise, SENSE, crop, and no cache."""
    (path, *_) = sorted((cohort / "multicoil_test").glob("*.h5"))
    network, description = load_model(run)
    scan = formats.read(path)
    artifacts = [KINDS["noise"].at_level(level, n_coils=scan.n_coils)] if level else []
    corrupted = corrupt(scan, artifacts, seed=0, item_id=path.stem).scan
    images = crop_to_recon(reconstruct(corrupted, "sense").magnitude, scan.acquisition)
    return path.stem, scores(predict(network, images, description.scaling.apply))


def test_networks_are_shown_sense_images_where_sense_is_asked_for(
    diagnose, runs: dict[str, Path], cohort: Path, tmp_path: Path
):
    asked = ["--kind", "noise", "--levels", "0,3", "--threads", "1"]
    folders = {}
    for recon, out in (("sense", "alone"), ("rss,sense", "both")):
        done = diagnose("evaluate", *map(str, runs.values()), *asked, "--recon", recon, "--out", out, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert all(f"{norm}  (sense, frozen)" in done.stdout for norm in runs)
        folders[out] = {block.cell: block for block in read_table(tmp_path / out / "predictions.csv.gz")}
    assert {(cell.split, cell.kind, cell.level, cell.recon) for cell in folders["alone"]} == {
        ("val", "clean", 0, "rss"), ("test", "clean", 0, "sense"), ("test", "noise", 3, "sense"),
    }  # fmt: skip
    for cell, block in folders["alone"].items():
        assert np.array_equal(folders["both"][cell].scores, block.scores), "whatever else is asked for"
        if cell.recon == "sense":
            stem, expected = sense_scores(runs[cell.run], cohort, cell.level)
            rows = [row for row, item in enumerate(block.items) if stem in item]
            np.testing.assert_allclose(block.scores[rows], expected, rtol=1e-4, atol=1e-4)
            other = folders["both"][replace(cell, recon="rss")].scores
            assert np.abs(block.scores[rows] - other[rows]).max() > 1e-2, "no mere copy of the rss images"
    compared = diagnose("compare", "alone", *map(str, runs.values()), "--json", cwd=tmp_path)
    (entry,) = json.loads(compared.stdout)["comparisons"]
    assert entry["arm"] == "gn/z-score/clean/frozen/sense" and entry["difference"] is not None, compared.stderr


def test_results_are_made_of_the_table_alone(evaluated: Path, tmp_path: Path):
    result = evaluate_predictions(evaluated / "predictions.csv.gz", tmp_path / "again")
    assert (result.folder / "results.csv").read_bytes() == (evaluated / "results.csv").read_bytes()


def test_numbers_agree_with_scikit_learn_and_with_their_definitions():
    blocks = stranger_blocks()
    results = shift_results(blocks)
    val, clean, fog1 = blocks[0], blocks[1], blocks[2]
    row = find(results, kind="fog", level=1, finding="a")
    area, clean_area = (roc_auc_score(block.labels[:, 0], block.scores[:, 0]) for block in (fog1, clean))
    assert row.auroc == pytest.approx(area) and row.clean_auroc == pytest.approx(clean_area)
    assert row.drop == pytest.approx(clean_area - area)
    assert row.retained == pytest.approx((area - 0.5) / (clean_area - 0.5))
    threshold = operating_point(val.scores[:, 0], val.labels[:, 0])
    called, present = fog1.scores[:, 0] > threshold, fog1.labels[:, 0] == 1
    assert row.sensitivity == pytest.approx(called[present].mean())
    assert row.balanced_accuracy == pytest.approx((called[present].mean() + (~called[~present]).mean()) / 2)
    alone = bootstrap_auroc_interval(fog1.scores[:, 0], fog1.labels[:, 0], fog1.patients, rng=np.random.default_rng(1))
    assert alone.low is not None and alone.high is not None
    assert (row.low, row.high) == (pytest.approx(alone.low, abs=0.015), pytest.approx(alone.high, abs=0.015))
    assert row.drop_low is not None and row.drop_low > 0, "a drop of this size is no chance"


def test_a_finding_that_is_not_learnt_is_marked_and_leaves_the_mean():
    results = shift_results(stranger_blocks())
    assert find(results, kind="clean", finding="a").learnt and not find(results, kind="clean", finding="b").learnt
    for level in (1, 2):
        mean, learnt = (find(results, kind="fog", level=level, finding=name) for name in (MEAN, "a"))
        assert mean.auroc == pytest.approx(learnt.auroc) and mean.drop_low == pytest.approx(learnt.drop_low)
    text = "\n".join(result_lines(results))
    assert "not learnt" in text and "no statement about norms" in text


def test_clean_against_itself_has_no_drop():
    blocks = stranger_blocks()
    same = replace(blocks[1], cell=Cell("model", "test", "identity", 3))
    row = find(shift_results([*blocks, same]), kind="identity", finding="a")
    assert (row.drop, row.drop_low, row.drop_high, row.retained) == (0, 0, 0, 1)


def test_few_patients_get_no_interval_and_the_reason():
    row = find(shift_results(stranger_blocks(n_patients=9)), kind="fog", level=1, finding="a")
    assert row.low is None and row.drop_low is None and "at least 10 are needed" in row.no_interval


@pytest.mark.parametrize("present", [0, 1])
@pytest.mark.parametrize("n_patients", [0, 9, 10])
def test_few_validation_patients_refuse_the_interval_of_decisions_alone(present: int, n_patients: int):
    """Their threshold is an estimate too; with one class in validation there is none."""
    blocks = stranger_blocks()
    labels = blocks[0].labels.copy()
    labels[:, 0] = 1 - present
    labels[: 2 * n_patients : 2, 0] = present  # one of a patient's two slices
    results = shift_results([replace(blocks[0], labels=labels), *blocks[1:]])
    row, mean = (find(results, kind="fog", level=1, finding=name) for name in ("a", MEAN))
    reason = f"{n_patients} {('negative', 'positive')[present]} patients of validation: at least 10 are needed"
    assert row.no_interval == "" and row.low is not None and row.drop_low is not None
    assert row.no_decision_interval == (f"{reason} for an interval" if n_patients < 10 else "")
    assert (row.balanced_accuracy is None) == (n_patients == 0)
    assert (row.balanced_accuracy_low is None) == (row.balanced_accuracy_high is None) == (n_patients < 10)
    assert (mean.balanced_accuracy, mean.no_decision_interval) == (None, "")
    few = find(shift_results(stranger_blocks(n_patients=9)), kind="fog", level=1, finding="a")
    assert few.no_decision_interval == few.no_interval != "", "too few test patients are said first"


def test_the_order_of_rows_does_not_matter(tmp_path: Path):
    blocks = stranger_blocks()
    write_table(tmp_path / "table.csv", blocks)
    with gzip.open(tmp_path / "table.csv", "rt") as text:
        header, *lines = text.read().splitlines()
    np.random.default_rng(0).shuffle(lines)
    (tmp_path / "shuffled.csv").write_text("\n".join([header, *lines]) + "\n")
    key = ("kind", "level", "finding")
    plain, shuffled = (
        {
            tuple(getattr(row, name) for name in key): row.auroc
            for row in evaluate_predictions(tmp_path / name, tmp_path / f"of-{name}").results
        }
        for name in ("table.csv", "shuffled.csv")
    )
    assert plain == shuffled


def test_only_required_columns_are_needed(tmp_path: Path):
    lines = ["item,patient,kind,level,finding,score,label"]
    rng = np.random.default_rng(0)
    for level in (0, 2):
        lines += [f"i{n},p{n},haze,{level},a,{rng.normal() + n % 2:.3f},{n % 2}" for n in range(40)]
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    results = evaluate_predictions(tmp_path / "table.csv", tmp_path / "out").results
    assert {(row.kind, row.level) for row in results} >= {("haze", 0), ("haze", 2)}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: [lines[0].replace("score", "points"), *lines[1:]], "lacks the columns score"),
        (lambda lines: [*lines[:-1]], "expected each finding once for each item"),
        (lambda lines: [*lines, lines[-1]], "expected each finding once for each item"),
        (lambda lines: [lines[0], lines[1].replace(",0,a", ",zero,a"), *lines[2:]], "line 2: .*expected numbers"),
        (lambda lines: [line for line in lines if ",0,a" not in line and ",0,b" not in line], "has no clean test rows"),
        (lambda lines: lines[:1], "has no row"),
        (lambda lines: [*lines[:3], lines[3].replace(",p1,", ",,"), *lines[4:]], "line 4 has no patient"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, damage, message: str):
    lines = ["item,patient,kind,level,finding,score,label"]
    for level in (0, 2):
        lines += [f"i{n},p{n},haze,{level},{finding},{n * 7 % 11},{n % 2}" for n in range(12) for finding in "ab"]
    (tmp_path / "table.csv").write_text("\n".join(damage(lines)) + "\n")
    with pytest.raises(DataError, match=message):
        evaluate_predictions(tmp_path / "table.csv", tmp_path / "out")


def stranger_table(path: Path, *, seed: int = 0, splits: tuple[str, ...] = ("test",)) -> Path:
    """A table of 40 patients, the same ones in each split."""
    rng, lines = np.random.default_rng(seed), ["item,patient,split,kind,level,finding,score,label"]
    for split in splits:
        lines += [f"i{n},p{n},{split},clean,0,a,{rng.normal() + n % 2:.3f},{n % 2}" for n in range(40)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_results_of_another_table_are_not_overwritten_unasked(tmp_path: Path, evaluated: Path, monkeypatch):
    first, second = (stranger_table(tmp_path / f"model.v{n}.csv", seed=n) for n in (1, 2))
    monkeypatch.chdir(tmp_path)
    folders = [evaluate_predictions(path).folder for path in (first, second)]
    assert [folder.name for folder in folders] == ["model.v1-results", "model.v2-results"]
    kept = (folders[0] / "results.csv").read_bytes()
    evaluate_predictions(first)
    for folder in (folders[0], evaluated):
        with pytest.raises(ConfigError, match="holds another analysis"):
            evaluate_predictions(second, folder)
    assert (folders[0] / "results.csv").read_bytes() == kept
    evaluate_predictions(second, folders[0], overwrite=True)
    assert (folders[0] / "results.csv").read_bytes() == (folders[1] / "results.csv").read_bytes() != kept


def test_patients_that_set_the_threshold_they_are_judged_by_are_named(tmp_path: Path):
    path = stranger_table(tmp_path / "table.csv", splits=("val", "test"))
    (note,) = evaluate_predictions(path, tmp_path / "out").notes
    assert note.startswith("40 patients are in val and in test")
    assert evaluate_predictions(stranger_table(tmp_path / "test.csv"), tmp_path / "other").notes == ()


def test_adaptations_stand_beside_frozen_and_idle_ones_are_named(runs: dict[str, Path], tmp_path: Path):
    both = tuple(parse_adaptation(text) for text in ("frozen", "precise-bn", "prediction-time:exam:3"))
    request = EvaluationRequest(("noise",), (4,), adaptations=both)
    result = evaluate(list(runs.values()), request, tmp_path / "out")
    assert {(row.run, row.adaptation) for row in result.results} == {
        ("bn", "frozen"), ("bn", "precise-bn"), ("bn", "prediction-time-exam-batch3-pseudo0"), ("gn", "frozen"),
    }  # fmt: skip
    assert result.notes == ("gn: no batch norm, so only frozen is evaluated",)
    with pytest.raises(ConfigError, match="gn has no batch norm: precise-bn has no effect"):
        evaluate([runs["gn"]], replace(request, adaptations=both[1:]), tmp_path / "other")


def test_another_request_does_not_overwrite(evaluated: Path, runs: dict[str, Path]):
    with pytest.raises(ConfigError, match="out holds another analysis"):
        evaluate([runs["gn"]], REQUEST, evaluated)


def test_a_place_in_the_data_is_refused(runs: dict[str, Path], cohort: Path):
    with pytest.raises(ConfigError, match="--out mine lies in the data folder"):
        evaluate(list(runs.values()), EvaluationRequest(("noise",), (1,)), cohort / "mine")
    assert not (cohort / "mine").exists()


def test_what_is_overwritten_is_kept_until_the_new_is_finished(runs: dict[str, Path], tmp_path: Path, monkeypatch):
    out, clean = tmp_path / "out", EvaluationRequest(("noise",), (1,))
    evaluate([runs["gn"]], clean, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    other = replace(clean, levels=(2,))

    def fails(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(OpenEvaluation, "make_parts", fails)
        with pytest.raises(KeyboardInterrupt):
            evaluate([runs["gn"]], other, out, overwrite=True)
    assert {path.name: path.read_bytes() for path in (out / ".replaced").iterdir()} == before
    with pytest.raises(ConfigError, match=r"kept in out/\.replaced: --overwrite brings it back"):
        evaluate([runs["gn"]], clean, out)
    evaluate([runs["gn"]], other, out)
    assert not list(out.glob(".*")) and json.loads((out / "request.json").read_text())["levels"] == [2]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "request.json").write_text('{"years": "of work"}')
    with pytest.raises(ConfigError, match="mine holds files that are no analysis"):
        evaluate([runs["gn"]], clean, tmp_path / "mine", overwrite=True)


def test_estimate_counts_what_will_be_done(runs: dict[str, Path]):
    record = estimate([runs["gn"]], REQUEST).record
    assert record["shifts"].startswith("10 ") and record["predictions"].startswith("600 ")


def test_changed_data_unfinished_runs_and_bare_weights_are_refused(runs: dict[str, Path], cohort: Path, tmp_path: Path):
    other = write_cohort(tmp_path / "cohort", n_patients={"train": 14, "val": 10, "test": 19})
    with pytest.raises(DataError, match="gn was trained on other data"):
        evaluate([runs["gn"]], REQUEST, tmp_path / "out", data=DataLocation(other))
    copy = tmp_path / "moved"
    shutil.copytree(runs["gn"], copy)
    (copy / "location.json").unlink()
    with pytest.raises(DataError, match="does not say where its data are; expected --data"):
        evaluate([copy], REQUEST, tmp_path / "out")
    moved = evaluate([copy], EvaluationRequest(("noise",), (1,)), tmp_path / "out", data=DataLocation(cohort))
    assert json.loads((moved.folder / "request.json").read_text())["runs"] == ["moved"]
    (copy / "DONE").unlink()
    with pytest.raises(DataError, match="moved is not finished"):
        evaluate([copy], REQUEST, tmp_path / "out2")
    with pytest.raises(DataError, match="is a weights file; expected its run folder"):
        evaluate([runs["gn"] / "model.safetensors"], REQUEST, tmp_path / "out2")
    with pytest.raises(DataError, match="is a pickle"):
        evaluate([runs["gn"] / "last.ckpt"], REQUEST, tmp_path / "out2")
