"""`compare`: a study's own table, clean AUROCs of runs by hand, and what cannot be compared."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from diagnose.evaluation.prediction_table import read_table
from diagnose.report.comparison import compare
from mrisim.errors import DataError, UsageError


def runs_of(study: Path) -> list[Path]:
    return sorted((study / "runs").iterdir())


def test_a_study_is_compared_as_it_was_planned(study: Path):
    analysis = json.loads((study / "analysis.json").read_text())
    result = compare([study])
    assert result.planned and result.comparisons == analysis["primary"]["comparisons"]
    assert "the first table was fixed before training" in "\n".join(result.lines)
    turned = compare([study], reference="gn")
    assert not turned.planned and turned.reference == "gn"
    assert turned.comparisons[0]["difference"] == pytest.approx(-result.comparisons[0]["difference"], abs=1e-6)
    assert "descriptive" in turned.lines[-2]


def test_an_evaluation_and_its_runs_give_the_same_table(study: Path, tmp_path: Path):
    planned = compare([study]).comparisons
    assert compare([study / "evaluation"]).comparisons == planned, "runs beside it are found"
    alone = Path(shutil.copytree(study / "evaluation", tmp_path / "alone"))
    assert compare([alone, *runs_of(study)]).comparisons == planned
    with pytest.raises(
        DataError, match="names the run bn__z-score__seed1, which is not found; expected its run folder"
    ):
        compare([alone])


def test_image_domain_kinds_alone_are_compared_as_k_space_kinds_are(study: Path, tmp_path: Path, diagnose):
    """README: evaluate with --kind madaan, then compare."""
    runs = [str(run) for run in runs_of(study)]
    done = diagnose(
        "evaluate", *runs, "--kind", "madaan", "--levels", "2", "--threads", "1", "--out", "released", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    done = diagnose("compare", "released", *runs, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads(done.stdout)["comparisons"]
    areas: dict[str, dict[str, np.ndarray]] = {}
    for block in read_table(tmp_path / "released" / "predictions.csv.gz"):
        if block.cell.split == "test":
            of_findings = [
                roc_auc_score(labels, scores) for labels, scores in zip(block.labels.T, block.scores.T, strict=True)
            ]
            areas.setdefault(block.cell.run, {})[block.cell.kind] = np.array(of_findings)
    differences = []
    for seed in (1, 2):
        bn, gn = (areas[f"{norm}__z-score__seed{seed}"] for norm in ("bn", "gn"))
        learnt = (bn.pop("clean") >= 0.8) & (gn.pop("clean") >= 0.8)
        assert len(bn) == 5 and learnt.any()
        differences.append(np.mean([(gn[kind] - bn[kind])[learnt].mean() for kind in bn]))
    assert entry["difference"] == pytest.approx(np.mean(differences), abs=1e-6) and entry["n_seeds"] == 2


def test_runs_alone_are_compared_on_clean_images(study: Path):
    result = compare(runs_of(study))
    (entry,) = result.comparisons
    areas = {}
    for run in runs_of(study):
        (block,) = [b for b in read_table(run / "predictions.csv.gz") if b.cell.split == "test"]
        areas[run.name] = np.array(
            [roc_auc_score(labels, scores) for labels, scores in zip(block.labels.T, block.scores.T, strict=True)]
        )
    differences = []
    for seed in (1, 2):
        bn, gn = (areas[f"{norm}__z-score__seed{seed}"] for norm in ("bn", "gn"))
        learnt = (bn >= 0.8) & (gn >= 0.8)
        differences.append(gn[learnt].mean() - bn[learnt].mean())
    assert entry["difference"] == pytest.approx(np.mean(differences), abs=1e-12)
    assert (entry["norm"], entry["reference_norm"], entry["n_seeds"]) == ("gn", "bn", 2)
    assert result.flag == "simulation result" and result.lines[-1] == result.flag


def test_one_seed_has_no_test_and_runs_without_a_pair_are_named(study: Path):
    result = compare([run for run in runs_of(study) if run.name != "gn__z-score__seed2"])
    (entry,) = result.comparisons
    assert entry["p"] is None and entry["message"] == "one seed: no statement about norms"
    assert result.notes == ["bn__z-score__seed2 has no pair in every norm: not compared"]


def test_evaluations_of_other_tasks_are_named(dice_evaluation: Path, quality_evaluation: Path):
    for folder in (dice_evaluation, quality_evaluation):
        with pytest.raises(DataError, match=f"{folder.name} is an evaluation of segmentation or reconstruction"):
            compare([folder])


def test_what_cannot_be_compared_is_refused(study: Path, tmp_path: Path):
    bn1, bn2, gn1, gn2 = runs_of(study)
    with pytest.raises(DataError, match="all runs have the norm bn"):
        compare([bn1, bn2])
    with pytest.raises(DataError, match="no seed was trained with each of bn, gn"):
        compare([bn1, gn2])
    with pytest.raises(UsageError, match="given twice"):
        compare([bn1, gn1, study / "runs" / "." / bn1.name])
    with pytest.raises(DataError, match="no run has the norm 'ln'"):
        compare([bn1, gn1], reference="ln")
    with pytest.raises(DataError, match=r"neither config\.yaml nor predictions"):
        compare([tmp_path])
    other = Path(shutil.copytree(gn1, tmp_path / gn1.name))
    lock = json.loads((other / "data.lock.json").read_text())
    (other / "data.lock.json").write_text(json.dumps(lock | {"split_sha256": "0" * 64}))
    with pytest.raises(DataError, match="were trained on different data"):
        compare([bn1, other])
    (other / "DONE").unlink()
    with pytest.raises(DataError, match="gn__z-score__seed1 is not finished"):
        compare([bn1, other])
