"""N of prediction-time batch norm: chosen on validation alone, recorded, and taken by the evaluation."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diagnose.adapt import Adaptation, parse_adaptation
from diagnose.evaluate import evaluate
from diagnose.evaluation.prediction_table import Cell, PredictionBlock, read_table
from diagnose.evaluation.pseudo_count import CRITERION, GRID, choose_n_pseudo, recorded_choice, validation_shifts
from diagnose.evaluation.request import EvaluationRequest
from diagnose.run_folder import DataLocation
from diagnose.slice_images import CLEAN, Shift
from diagnose.statistics.metrics import auroc
from diagnose.testing import SMALL
from diagnose.train import fit
from diagnose.training.spec import TrainSpec
from mrisim.errors import ConfigError, DataError

AUTO = parse_adaptation("prediction-time:random:8:auto")
SHIFTS = tuple(Shift(kind, level, seed=7) for kind in ("fog", "haze") for level in (1, 2))
RNG = np.random.default_rng(0)
LABELS = (RNG.random((400, 2)) < 0.5).astype(np.int8)
NOISE = RNG.normal(size=LABELS.shape)


def block_of(separation: float, of_second: float = 2.5) -> PredictionBlock:
    scores = NOISE + np.array([separation, of_second]) * LABELS
    items = tuple(map(str, range(len(LABELS))))
    return PredictionBlock(Cell("m", "val", "k", 0), items, np.arange(len(LABELS)), ("a", "b"), scores, LABELS)


@pytest.fixture(scope="module")
def run(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = TrainSpec(**{**SMALL, "norm": "bn", "epochs": 6})
    return fit(spec, DataLocation(cohort), tmp_path_factory.mktemp("runs") / "bn").folder


@pytest.fixture(scope="module")
def evaluated(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    request = EvaluationRequest(("noise",), (0, 4), adaptations=(Adaptation(), AUTO), validation_shifts=True)
    return evaluate([run], request, tmp_path_factory.mktemp("evaluation") / "out").folder


def test_auto_is_read_and_keeps_its_name_when_n_is_chosen():
    assert AUTO.auto and AUTO.n_pseudo is None and AUTO.label == "prediction-time-random-batch8-pseudoauto"
    assert replace(AUTO, n_pseudo=16.0).label == AUTO.label
    assert parse_adaptation("prediction-time:random:8:16").label == "prediction-time-random-batch8-pseudo16"
    with pytest.raises(ConfigError, match=r"BATCH\[:N\|auto\]"):
        parse_adaptation("prediction-time:random:auto")


def test_shifts_of_validation_have_a_seed_of_their_own():
    shifts = (Shift(CLEAN, seed=3), *(replace(shift, seed=3) for shift in SHIFTS))
    own = validation_shifts(shifts, 3)
    assert [(shift.kind, shift.level) for shift in own] == [(shift.kind, shift.level) for shift in SHIFTS]
    (seed,) = {shift.seed for shift in own}
    assert seed not in (0, 3) and {shift.seed for shift in validation_shifts(shifts, 4)} != {seed}


def test_the_best_n_of_the_stated_criterion_wins():
    """Clean falls with less N, haze rises, fog stays: values are the mean over kinds of the mean over levels."""
    asked: list[tuple[float | None, str, int]] = []

    def predictor(adaptation: Adaptation, shift: Shift) -> PredictionBlock:
        asked.append((adaptation.n_pseudo, shift.kind, shift.level))
        place = GRID.index(adaptation.n_pseudo) if adaptation.auto else 5
        if shift.kind == CLEAN:
            return block_of(2.0 + 0.1 * place)
        return block_of(1.0 if shift.kind == "fog" else 1.5 - 0.4 * place / shift.level)

    record = choose_n_pseudo(predictor, AUTO, SHIFTS)

    def area(separation: float) -> float:
        of_both = [
            auroc((NOISE + separation * LABELS)[:, 0], LABELS[:, 0]),
            auroc(NOISE[:, 1] + 2.5 * LABELS[:, 1], LABELS[:, 1]),
        ]
        return float(np.mean(of_both))

    expected = [
        (2 * area(2 + 0.1 * place) + 2 * area(1.0) + area(1.5 - 0.4 * place) + area(1.5 - 0.2 * place)) / 6
        for place in range(6)
    ]
    np.testing.assert_allclose(record["values"], expected)
    assert record["n_pseudo"] == GRID[int(np.argmax(expected))] == 0
    assert (record["grid"], record["criterion"], record["seed"]) == (list(GRID), CRITERION, 7)
    assert record["kinds"] == ["fog", "haze"] and record["levels"] == [1, 2]
    assert len(asked) == 1 + 6 * 5 and record["learnt"] == {"a": True, "b": True}


def test_findings_that_are_not_learnt_do_not_count_and_ties_go_to_the_largest_n():
    def predictor(adaptation: Adaptation, shift: Shift) -> PredictionBlock:
        place = 0 if not adaptation.auto else GRID.index(adaptation.n_pseudo)
        return block_of(0.1 + 0.3 * (place == 2) * (shift.kind != CLEAN))

    record = choose_n_pseudo(predictor, AUTO, SHIFTS)
    assert record["learnt"] == {"a": False, "b": True}
    assert len(set(record["values"])) == 1 and record["n_pseudo"] == 256


def test_a_choice_is_made_once_and_belongs_to_its_request(tmp_path: Path):
    made: list[int] = []

    def choose() -> dict[str, Any]:
        made.append(1)
        return {"n_pseudo": 4.0, "grid": [4.0]}

    path = tmp_path / "counts" / "n.json"
    assert [recorded_choice(path, "key", choose) for _ in range(2)] == [4.0, 4.0] and len(made) == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["n.json"]
    with pytest.raises(DataError, match=r"n\.json is damaged or of another evaluation"):
        recorded_choice(path, "other", choose)
    path.write_text("{")
    with pytest.raises(DataError, match=r"n\.json is damaged"):
        recorded_choice(path, "key", choose)


def test_evaluation_takes_the_recorded_n(run: Path, evaluated: Path, tmp_path: Path):
    (file,) = (evaluated / "pseudo-counts").iterdir()
    record = json.loads(file.read_text())
    assert file.name == f"bn-{AUTO.label}.json" and len(record["values"]) == len(GRID) and record["n_slices"] == 30
    fixed = parse_adaptation(f"prediction-time:random:8:{record['n_pseudo']:g}")
    again = evaluate([run], EvaluationRequest(("noise",), (4,), adaptations=(fixed,)), tmp_path / "out").folder
    expected = {(block.cell.split, block.cell.kind): block for block in read_table(again / "predictions.csv.gz")}
    found = [block for block in read_table(evaluated / "predictions.csv.gz") if block.cell.adaptation == AUTO.label]
    assert {(block.cell.split, block.cell.kind) for block in found} == {*expected, ("val", "noise")}
    for block in found:
        if (block.cell.split, block.cell.kind) in expected:
            assert np.array_equal(block.scores, expected[block.cell.split, block.cell.kind].scores)


def test_the_recorded_values_are_those_of_the_validation_rows(evaluated: Path):
    """Recomputed from the prediction table: clean and shifted validation under the N that was chosen."""
    (file,) = (evaluated / "pseudo-counts").iterdir()
    record = json.loads(file.read_text())
    rows = [block for block in read_table(evaluated / "predictions.csv.gz") if block.cell.split == "val"]
    assert {(block.cell.kind, block.cell.adaptation) for block in rows} == {
        (kind, label) for kind in (CLEAN, "noise") for label in ("frozen", AUTO.label)
    }
    columns = [
        column
        for column, learnt in enumerate(record["learnt"].values())
        if learnt or not any(record["learnt"].values())
    ]
    areas = [
        np.mean([auroc(block.scores[:, column], block.labels[:, column]) for column in columns])
        for block in rows
        if block.cell.adaptation == AUTO.label
    ]
    assert record["values"][GRID.index(record["n_pseudo"])] == pytest.approx(np.mean(areas))


def test_results_stand_on_clean_validation_whether_or_not_it_is_shifted_too(run: Path, evaluated: Path, tmp_path: Path):
    plain = evaluate([run], EvaluationRequest(("noise",), (4,)), tmp_path / "out").results
    lines = (evaluated / "results.csv").read_text().splitlines()
    own = (tmp_path / "out" / "results.csv").read_text().splitlines()
    assert [line for line in lines if ",frozen," in line] == own[1:] and len(plain) == len(own) - 1


def test_choosing_without_a_level_is_refused_before_anything_is_written(run: Path, tmp_path: Path):
    for request in (
        EvaluationRequest(("noise",), (0,), adaptations=(AUTO,)),
        EvaluationRequest(("noise",), (0,), validation_shifts=True),
    ):
        with pytest.raises(ConfigError, match="needs shifted validation images; expected a level above 0"):
            evaluate([run], request, tmp_path / "out")
    assert not (tmp_path / "out").exists()
