"""An evaluation that is stopped: what is done is kept bit for bit, and nothing foreign is taken for it."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diagnose.adapt import parse_adaptation, predict_adapted
from diagnose.dataset import DataRequest, load_slice_table
from diagnose.evaluate import PARTS, OpenEvaluation, evaluate, is_evaluated
from diagnose.evaluation.parts import read_part, write_part
from diagnose.evaluation.prediction_table import Cell, PredictionBlock, read_table
from diagnose.evaluation.request import EvaluationRequest
from diagnose.run_folder import DataLocation
from diagnose.slice_images import Shift, image_store, split_images
from diagnose.tasks.findings import scores
from diagnose.testing import SMALL
from diagnose.train import fit
from diagnose.trained_model import TrainedModel
from diagnose.training.loop import Watch
from diagnose.training.spec import TrainSpec
from mrisim.errors import DataError

ADAPTATIONS = tuple(parse_adaptation(text) for text in ("frozen", "precise-bn", "prediction-time:exam:3"))
REQUEST = EvaluationRequest(("noise", "spikes"), (0, 2, 5), adaptations=ADAPTATIONS)
FILES = ("predictions.csv.gz", "results.csv", "request.json")


@pytest.fixture(scope="module")
def runs(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("runs")
    return [
        fit(TrainSpec(**{**SMALL, "norm": norm, "epochs": 3}), DataLocation(cohort), root / norm).folder
        for norm in ("bn", "gn")
    ]


@pytest.fixture(scope="module")
def whole(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation that nothing stopped."""
    return evaluate(runs, REQUEST, tmp_path_factory.mktemp("whole") / "out").folder


def assert_same(one: Path, other: Path) -> None:
    for name in FILES:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_stopped_and_taken_up_is_the_same_and_no_shift_is_made_twice(runs: list[Path], whole: Path, tmp_path: Path):
    class Stop(Exception):
        pass

    said: list[str] = []

    def say(text: str) -> None:
        if len(said) == 4:
            raise Stop
        said.append(text)

    out = tmp_path / "out"
    with pytest.raises(Stop):
        evaluate(runs, REQUEST, out, watch=Watch(say))
    assert len(list((out / PARTS).iterdir())) == 4 and not (out / "predictions.csv.gz").exists()
    assert not is_evaluated(runs, REQUEST, out)
    rest: list[str] = []
    evaluate(runs, REQUEST, out, watch=Watch(rest.append))
    assert len(rest) == 6 - 4 and not set(rest) & set(said)
    assert_same(out, whole)
    assert not (out / PARTS).exists() and is_evaluated(runs, REQUEST, out)


def test_a_part_of_other_simulator_code_is_made_anew(
    runs: list[Path], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    evaluation = OpenEvaluation.begin(runs, REQUEST, tmp_path / "out")
    evaluation.make_parts(Watch())
    first = evaluation.parts[0][0]
    monkeypatch.setattr("diagnose.evaluate.simulator_hash", lambda: "before a correction")
    older = OpenEvaluation.begin(runs, REQUEST, tmp_path / "out")
    with pytest.raises(DataError, match="is of another evaluation"):
        older.finish()
    write_part(first, read_part(first, evaluation.splits["val"], evaluation.key), older.key)
    said: list[str] = []
    evaluation.make_parts(Watch(said.append))
    assert len(said) == 1, "the others are kept"
    evaluation.finish()
    assert_same(tmp_path / "out", whole)


def test_shares_of_several_processes_make_the_whole(runs: list[Path], whole: Path, tmp_path: Path):
    evaluation = OpenEvaluation.begin(runs, REQUEST, tmp_path / "out")
    counts = []
    for shard in range(4):
        said: list[str] = []
        evaluation.make_parts(Watch(said.append), shard=shard, n_shards=4)
        counts.append(len(said))
    assert counts == [2, 2, 1, 1]
    evaluation.finish()
    assert_same(tmp_path / "out", whole)


def test_another_request_or_other_runs_are_not_evaluated_yet(runs: list[Path], whole: Path, tmp_path: Path):
    assert is_evaluated(runs, REQUEST, whole)
    left = Path(shutil.copytree(whole, tmp_path / "left"))
    (left / PARTS).mkdir()
    assert not is_evaluated(runs, REQUEST, left), "killed while it tidied up"
    assert not is_evaluated(runs[:1], REQUEST, whole)
    assert not is_evaluated(runs, replace(REQUEST, seed=1), whole)


def test_statistics_estimated_once_are_those_estimated_for_each_shift(runs: list[Path], whole: Path, cohort: Path):
    """Against the slow way: estimate and predict anew under one shift."""
    table = load_slice_table(DataRequest(cohort))
    train, test = table.of_split("train"), table.of_split("test")
    model = TrainedModel.load(runs[0])
    images = split_images(test, Shift("noise", 5), image_store())
    logits = predict_adapted(
        model.network, images, model.description.scaling.apply, ADAPTATIONS[1],
        exams=np.array([item.rsplit("/", 1)[0] for item in test.items]),
        train_images=split_images(train, Shift(), image_store()),
    )  # fmt: skip
    cells = {b.cell.adaptation: b for b in read_table(whole / "predictions.csv.gz")
             if (b.cell.run, b.cell.kind, b.cell.level) == ("bn", "noise", 5)}  # fmt: skip
    assert np.array_equal(cells["precise-bn"].scores.astype(np.float32), scores(logits))
    assert not np.array_equal(cells["precise-bn"].scores, cells["frozen"].scores)


def test_a_part_gives_its_numbers_back_bit_for_bit_and_refuses_others(cohort: Path, tmp_path: Path):
    table = load_slice_table(DataRequest(cohort)).of_split("test")
    rng = np.random.default_rng(0)
    blocks = [
        PredictionBlock(
            Cell(run, "test", "noise", 2, "rss", "frozen", "v1"), tuple(table.items), table.patients, table.findings,
            rng.normal(size=table.labels.shape).astype(np.float32), table.labels,
            rng.normal(size=table.labels.shape).astype(np.float32),
        )
        for run in ("a", "b")
    ]  # fmt: skip
    file = tmp_path / "part.npz"
    write_part(file, blocks, "key")
    for block, found in zip(blocks, read_part(file, table, "key"), strict=True):
        assert found.cell == block.cell and found.items == block.items
        assert found.scores.dtype == np.float32 and np.array_equal(found.scores, block.scores)
        assert found.logits_present is not None and np.array_equal(found.logits_present, block.logits_present)
    with pytest.raises(DataError, match=r"part.npz is of another evaluation"):
        read_part(file, table, "another key")
    with pytest.raises(DataError, match=r"part.npz is of another evaluation"):
        read_part(file, load_slice_table(DataRequest(cohort)).of_split("val"), "key")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match=r"part.npz cannot be read"):
        read_part(file, table, "key")
