"""Evaluation of reconstruction runs: the frozen table, its summaries, resuming, the commands, and what is refused."""

import csv
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from diagnose.reconstruction import classical
from diagnose.reconstruction.evaluate import QualityRequest, estimate, evaluate
from diagnose.reconstruction.measuring import Bench, Corruption
from diagnose.reconstruction.paired_volumes import SliceStore, pair
from diagnose.reconstruction.quality_table import MATCHED, OUTPUT, ZERO_FILLED, mean_quality, read_quality
from diagnose.reconstruction.request import ReconstructionSpec
from diagnose.run_folder import DataLocation
from diagnose.train import fit
from diagnose.training.loop import Watch
from diagnose.volumes import find_volumes
from mrisim.errors import ConfigError, DataError

DISC, SQUARE = "acquisition=DISC", "acquisition=SQUARE"
BOTH = (DISC, SQUARE)
SIZE, ACCELERATION = 56, 2  # 9 calibration lines: coil maps need 8


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as text:
        return list(csv.DictReader(text))


@pytest.fixture(scope="module")
def data(write_pairs: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set, large enough for coil maps from calibration lines, with one finding in a test disc."""
    root = write_pairs(tmp_path_factory.mktemp("boxes") / "data", size=SIZE)
    (root / "Annotations").mkdir()
    (root / "Annotations" / "knee.csv").write_text(
        "file,slice,study_level,x,y,width,height,label\nfile_disc_test_00,1,No,8,2,10,4,Cyst \n"
    )
    return root


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs on discs alone, one on both."""
    place = tmp_path_factory.mktemp("runs")
    asked = {"alone0": ((DISC,), 0), "alone1": ((DISC,), 1), "both": (BOTH, 0)}
    for name, (train_on, seed) in asked.items():
        spec = ReconstructionSpec(train_on=train_on, seed=seed, epochs=2, batch=1, lr=1e-2, acceleration=ACCELERATION)
        fit(spec, DataLocation(data), place / name)
    return [place / name for name in asked]


def request(**changes) -> QualityRequest:
    return QualityRequest(**{"kinds": (), "levels": (0,), "test_on": BOTH, **changes})


@pytest.fixture(scope="module")
def evaluated(runs: list[Path], tmp_path_factory: pytest.TempPathFactory):
    """An evaluation with all there is."""
    asked = request(
        kinds=("noise",), levels=(0, 3), reconstructions=("rss", "l1-wavelet"), every_epoch=True
    )  # fmt: skip
    return evaluate(runs, asked, tmp_path_factory.mktemp("evaluation") / "out")


def test_the_table_holds_every_method_distribution_and_shift(evaluated):
    rows = read_quality(evaluated.folder / "quality.csv.gz")
    methods = {ZERO_FILLED, "l1-wavelet", "alone0", "alone1", "both"}
    clean = [row for row in rows if (row.split, row.kind) == ("test", "clean")]
    keys = {(row.run, row.distribution, row.intensities) for row in clean}
    assert keys == {(run, name, how) for run in methods for name in BOTH for how in (OUTPUT, MATCHED)}
    assert len(clean) == len(keys) * 11
    noisy = [row for row in rows if row.kind == "noise"]
    assert {row.run for row in noisy} == methods - {"l1-wavelet"} and {row.level for row in noisy} == {3}
    epochs = {(row.run, row.epoch) for row in rows if row.split == "val"}
    assert epochs == {(run, epoch) for run in ("alone0", "alone1", "both") for epoch in (0, 1)}
    assert {path.name for path in evaluated.folder.iterdir()} == {
        "request.json", "runs.json", "quality.csv.gz", "matrix.csv", "curves.csv", "effective_robustness.csv",
        "similarity.csv", "regularisation.csv", "findings.csv.gz", "curves.png", "effective_robustness.png",
        "similarity.png",
    }  # fmt: skip


def test_the_summaries_are_those_of_the_table(evaluated):
    rows = read_quality(evaluated.folder / "quality.csv.gz")
    own = [row for row in rows if (row.run, row.distribution, row.kind, row.intensities, row.split)
           == ("both", SQUARE, "clean", OUTPUT, "test")]  # fmt: skip
    trivial = [row for row in rows if (row.run, row.distribution, row.kind, row.intensities)
               == (ZERO_FILLED, SQUARE, "clean", OUTPUT)]  # fmt: skip
    (cell,) = [
        cell for cell in read_csv(evaluated.folder / "matrix.csv")
        if (cell["run"], cell["distribution"], cell["kind"], cell["intensities"], cell["metric"])
        == ("both", SQUARE, "clean", OUTPUT, "nrmse")
    ]  # fmt: skip
    assert float(cell["mean"]) == pytest.approx(mean_quality(own, "nrmse").value, rel=1e-6)
    assert float(cell["gain"]) == pytest.approx(mean_quality(own, "nrmse", minus=trivial).value, rel=1e-4)
    curves = read_csv(evaluated.folder / "curves.csv")
    (point,) = [one for one in curves if (one["run"], one["epoch"], one["distribution"]) == ("alone0", "1", SQUARE)]
    assert point["in_distribution"] == "False"
    val = [
        row.ssim for row in rows if (row.split, row.run, row.epoch, row.distribution) == ("val", "alone0", 1, SQUARE)
    ]
    assert float(point["ssim"]) == pytest.approx(np.mean(val), rel=1e-6)
    text = "\n".join(evaluated.lines)
    assert "l1-wavelet" in text and "gain" in text


def test_matched_intensities_and_noise_move_quality_as_they_must(evaluated):
    rows = [row for row in read_quality(evaluated.folder / "quality.csv.gz") if row.split == "test"]

    def mean(run: str, kind: str, how: str, metric: str) -> float:
        return float(np.mean([getattr(r, metric) for r in rows if (r.run, r.kind, r.intensities) == (run, kind, how)]))

    assert mean(ZERO_FILLED, "noise", OUTPUT, "ssim") < mean(ZERO_FILLED, "clean", OUTPUT, "ssim") - 0.01
    assert mean("alone0", "clean", MATCHED, "nrmse") < mean("alone0", "clean", OUTPUT, "nrmse")


def test_robustness_is_the_distance_from_the_line_of_those_trained_on_p_alone(evaluated):
    curves = {
        (one["run"], int(one["epoch"]), one["distribution"]): float(one["ssim"])
        for one in read_csv(evaluated.folder / "curves.csv")
    }
    (point,) = read_csv(evaluated.folder / "effective_robustness.csv")  # none was trained on squares alone
    assert (point["p"], point["q"], point["run"], point["n_on_line"]) == (DISC, SQUARE, "both", "4")
    line = np.array([(curves[run, e, DISC], curves[run, e, SQUARE]) for run in ("alone0", "alone1") for e in (0, 1)])
    slope, intercept = np.polyfit(*line.T, 1)
    above = float(point["ssim_q"]) - (slope * float(point["ssim_p"]) + intercept)
    assert float(point["effective_robustness"]) == pytest.approx(above, abs=1e-5)


def test_without_q_there_is_no_robustness_to_measure(runs: list[Path], tmp_path: Path):
    result = evaluate(runs, request(test_on=(DISC,)), tmp_path / "out")
    assert not result.tables.robustness and not (tmp_path / "out" / "effective_robustness.csv").exists()


def test_the_finding_is_measured_in_its_box_turned_with_the_image(evaluated, data: Path):
    with gzip.open(evaluated.folder / "findings.csv.gz", "rt") as text:
        rows = list(csv.DictReader(text))
    assert {row["run"] for row in rows} == {ZERO_FILLED, "l1-wavelet", "alone0", "alone1", "both"}
    assert {(row["item"], row["label"], row["small"]) for row in rows} == {("file_disc_test_00", "Cyst", "False")}


def test_similarity_is_highest_where_a_run_was_trained(evaluated):
    rows = {(row["run"], row["distribution"]): float(row["similarity"]) for row in read_csv(
        evaluated.folder / "similarity.csv")}  # fmt: skip
    assert rows["alone0", DISC] == rows["alone1", DISC] > rows["alone0", SQUARE]
    assert rows["both", SQUARE] > rows["alone0", SQUARE] and rows["both", DISC] >= rows["alone0", DISC]
    assert all(0 < value <= 1 + 1e-6 for value in rows.values())


def test_the_classical_regularisation_is_the_best_of_its_grid_on_validation(evaluated):
    rows = read_csv(evaluated.folder / "regularisation.csv")
    for name in BOTH:
        here = [row for row in rows if row["distribution"] == name]
        assert [float(row["regularisation"]) for row in here] == list(classical.GRID)
        best = max(here, key=lambda row: float(row["validation_ssim"]))
        assert [row for row in here if row["chosen"] == "True"] == [best]


def test_an_interrupted_evaluation_goes_on_to_the_same_bytes(evaluated, runs: list[Path], tmp_path: Path):
    asked = request(every_epoch=True)
    whole = evaluate(runs, asked, tmp_path / "whole")

    class Killed(Exception):
        pass

    said: list[str] = []

    def stop(line: str) -> None:
        said.append(line)
        if line == "alone1-epochs":
            raise Killed

    with pytest.raises(Killed):
        evaluate(runs, asked, tmp_path / "again", watch=Watch(say=stop))
    assert (tmp_path / "again" / "parts").is_dir()
    said.clear()
    evaluate(runs, asked, tmp_path / "again", watch=Watch(say=said.append))
    assert said == ["alone1-epochs", "both-epochs", "similarity"]
    for path in whole.folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_a_run_with_the_name_of_a_shift_has_rows_of_its_own(runs: list[Path], data: Path, tmp_path: Path):
    noise = shutil.copytree(runs[0], tmp_path / "noise-2")
    asked = request(kinds=("noise",), levels=(2,))
    results = [evaluate([run], asked, tmp_path / "out" / run.name, data=DataLocation(data)) for run in (noise, runs[0])]
    own, plain = (
        [(row.item, row.kind, row.ssim) for row in result.tables.rows if row.run != ZERO_FILLED] for result in results
    )
    assert own == plain and {kind for _, kind, _ in own} == {"clean", "noise"}


@pytest.mark.parametrize("name", [ZERO_FILLED, classical.METHOD])
def test_a_run_with_the_name_of_a_method_is_refused(runs: list[Path], data: Path, tmp_path: Path, name: str):
    run = shutil.copytree(runs[0], tmp_path / name)
    with pytest.raises(ConfigError, match=f"a run has the name {name}, that of a method"):
        evaluate([run], request(), tmp_path / "out", data=DataLocation(data))


def test_a_corruption_is_one_of_the_whole_kspace_and_level_0_is_none(data: Path):
    volume = next(one for one in find_volumes(data) if one.stem == "file_disc_test_00")
    paired = pair(volume)
    assert Corruption().kspace(paired) is None
    once, again = (Corruption("noise", 3, seed=1).kspace(paired) for _ in range(2))
    assert once is not None and again is not None and (once == again).all() and (once != 0).all()
    store = SliceStore([paired])
    clean, _ = store.slices(paired, [0, 1])
    assert once.shape == clean.shape and not np.allclose(once, clean, rtol=1e-3, atol=0)
    bench = Bench(ReconstructionSpec(), store)
    with h5py.File(volume.path) as file:
        assert (bench.target(paired) == file["reconstruction_rss"][()]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reconstructions": ("tv",)}, "--recon names 'tv'"),
        ({"validation_shifts": True}, "shifted validation has no meaning"),
        ({"kinds": ("madaan-rice",)}, "acts on images"),
        ({"test_on": ("acquisition=X",)}, "the distribution acquisition=X: no file has"),
    ],
)
def test_what_reconstruction_has_not_is_refused(runs: list[Path], tmp_path: Path, changes: dict, message: str):
    with pytest.raises((ConfigError, DataError), match=message):
        evaluate(runs, request(**changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_and_a_place_in_the_data_are_refused(runs: list[Path], data: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="expected no --labels"):
        evaluate(runs, request(), tmp_path / "out", data=DataLocation(data, tmp_path / "knee.csv"))
    with pytest.raises(ConfigError, match="--out mine lies in the data folder"):
        evaluate(runs, request(), data / "mine")


def test_levels_without_a_kind_are_said_to_have_no_effect(runs: list[Path]):
    for asked in (request(levels=(0, 3)), request(kinds=("noise",)), request(kinds=("undersampling",), levels=(3,))):
        assert "no artifact" in estimate(runs, asked).record["notes"]
    assert "no artifact" not in estimate(runs, request(kinds=("noise",), levels=(3,))).record["notes"]


def test_changed_data_and_other_masks_are_refused(runs: list[Path], data: Path, tmp_path: Path):
    root = tmp_path / "data"
    shutil.copytree(data, root)
    with h5py.File(root / "multicoil_train" / "file_disc_train_00.h5", "a") as file:
        file.attrs["norm"] = 2 * file.attrs["norm"]
    with pytest.raises(DataError, match="alone0 was trained on other data"):
        evaluate(runs, request(), tmp_path / "out", data=DataLocation(root))
    spec = ReconstructionSpec(train_on=(DISC,), epochs=1, mask="random", acceleration=ACCELERATION)
    fit(spec, DataLocation(data), tmp_path / "random")
    with pytest.raises(ConfigError, match=r"masks equispaced 2 .* and random 2"):
        evaluate([runs[0], tmp_path / "random"], request(), tmp_path / "out")


def test_the_split_file_may_be_gone_and_the_data_elsewhere(data: Path, tmp_path: Path):
    """Validation and test change places, in a file that is then removed; squares were not trained on."""
    spec = ReconstructionSpec(train_on=(DISC,), epochs=1, batch=8, acceleration=ACCELERATION)
    fit(spec, DataLocation(data), tmp_path / "by-folder")
    with (tmp_path / "by-folder" / "split.csv").open(newline="") as text:
        rows = list(csv.DictReader(text))
    assert len(rows) == 2 * (8 + 2 + 11), "all files, whatever was trained on"
    swapped = {"train": "train", "val": "test", "test": "val"}
    with (tmp_path / "mine.csv").open("w", newline="") as text:
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"split": swapped[row["split"]]} for row in rows)
    fit(spec, DataLocation(data, split=tmp_path / "mine.csv"), tmp_path / "run")
    (tmp_path / "mine.csv").unlink()
    elsewhere = DataLocation(Path(shutil.copytree(data, tmp_path / "elsewhere")))
    for location in (None, elsewhere):
        result = evaluate([tmp_path / "run"], request(), tmp_path / "out", data=location)
        assert {(row.item.rsplit("_", 1)[0], row.split) for row in result.tables.rows} == {
            ("file_disc_val", "test"), ("file_square_val", "test"),
        }  # fmt: skip


def test_the_command_dispatches_by_task_and_says_what_it_would_cost(runs: list[Path], tmp_path: Path, diagnose):
    command = ("evaluate", str(runs[0]), "--test-on", SQUARE)
    dry = diagnose(*command, "--dry-run", "--json", cwd=tmp_path)
    assert json.loads(dry.stdout)["distributions"] == SQUARE
    done = diagnose(*command, "--out", str(tmp_path / "out"), "--json", cwd=tmp_path)
    record = json.loads(done.stdout)
    assert {(one["run"], one["kind"]) for one in record["results"]} == {(ZERO_FILLED, "clean"), ("alone0", "clean")}
    assert str(tmp_path) not in (tmp_path / "out" / "request.json").read_text()


def test_the_estimate_counts_volumes_and_shifts(runs: list[Path]):
    cost = estimate(runs, request(kinds=("noise", "undersampling"), levels=(0, 1, 2)))
    assert cost.record["test"] == "22 volumes under 3 shifts" and cost.record["runs"] == 3
    assert "undersampling is left out" in cost.record["notes"]
