"""Segmentation under shifts: level 0 is clean, a shift is that of the k-space, rows are those that a run predicts."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

import diagnose.segmentation.evaluate as evaluation
from diagnose.adapt import Adaptation
from diagnose.evaluation.request import EvaluationRequest
from diagnose.report.evaluation_report import write_evaluation_report
from diagnose.run_folder import DataLocation
from diagnose.segmentation.brats import find_cases, load_images
from diagnose.segmentation.dice_table import DiceBlock, DiceCell, read_dice_table, write_dice_table
from diagnose.segmentation.evaluate import estimate, evaluate
from diagnose.segmentation.kspace_files import find_kspace
from diagnose.segmentation.scaled_volumes import scaled
from diagnose.segmentation.shifted_dice import dice_results
from diagnose.segmentation.shifted_volumes import ShiftedCase
from diagnose.segmentation.testing import SMALL, write_heads
from diagnose.segmentation.volume_scaling import brain_mask
from diagnose.slice_images import Shift
from diagnose.tasks.segmentation import SegmentationSpec
from diagnose.train import fit
from diagnose.training.loop import Watch
from mrisim import formats
from mrisim.artifacts import spec_class
from mrisim.corrupt import corrupt
from mrisim.errors import ConfigError, DataError
from mrisim.reconstruct import reconstruct

REQUEST = EvaluationRequest(("noise",), (0, 5))


@pytest.fixture(scope="module")
def evaluated(segmentation_run, tmp_path_factory):
    return evaluate([segmentation_run], REQUEST, tmp_path_factory.mktemp("evaluation") / "out")


@pytest.fixture(scope="module")
def shifted(heads):
    cases = find_cases(heads)
    return ShiftedCase(cases[0], find_kspace(heads, cases)[cases[0].name])


@pytest.mark.parametrize("kind", ["motion", "ghosting", "noise", "undersampling", "bias-field", "spikes"])
def test_level_0_is_clean_bit_for_bit(shifted, kind):
    np.testing.assert_array_equal(
        shifted.images(Shift(kind, 0), "brain"), shifted.images(Shift(), "brain"), strict=True
    )


def test_clean_is_what_the_network_was_trained_on(shifted):
    images = load_images(shifted.case)
    trained_on = scaled(images, "brain", brain_mask(images))
    np.testing.assert_allclose(shifted.images(Shift(), "brain"), trained_on, atol=1e-5)


def test_each_contrast_is_its_own_kspace_corrupted_with_its_own_draw_in_the_clean_brain(heads, shifted):
    images = shifted.images(Shift("noise", 4, seed=3), "brain")
    brain = brain_mask(load_images(shifted.case))
    for index, channel in enumerate(("flair", "t1", "t1ce", "t2")):
        scan = formats.read(heads / "multicoil_train" / f"file_{channel}_0.h5")
        artifact = spec_class("noise").at_level(4, n_coils=scan.n_coils)
        corrupted = corrupt(scan, [artifact], seed=3, item_id=f"file_{channel}_0").scan
        expected = reconstruct(corrupted, "rss").magnitude.transpose(2, 1, 0)
        inside = expected[brain].astype(np.float64)
        np.testing.assert_allclose(images[index][brain], (inside - inside.mean()) / inside.std(), atol=1e-5)
        assert not images[index][~brain].any()


def test_the_table_has_a_row_for_each_case_class_and_shift_and_clean_is_that_of_the_run(evaluated, segmentation_run):
    blocks = {
        (block.cell.kind, block.cell.level): block for block in read_dice_table(evaluated.folder / "predictions.csv.gz")
    }
    assert set(blocks) == {("clean", 0), ("noise", 5)}
    (of_run,) = (
        block
        for block in read_dice_table(segmentation_run / "predictions.csv.gz")
        if (block.cell.run, block.cell.split) == ("run", "test")
    )
    clean = blocks["clean", 0]
    np.testing.assert_array_equal(clean.dice, of_run.dice)
    assert (clean.cases, clean.patients, clean.classes) == (of_run.cases, of_run.patients, of_run.classes)
    assert len(clean.cases) == 11 and blocks["noise", 5].cell.table_version
    assert not np.array_equal(blocks["noise", 5].dice, clean.dice)
    assert not (evaluated.folder / "parts").exists()


def test_results_are_means_and_paired_differences_of_the_table(evaluated):
    blocks = {block.cell.kind: block for block in read_dice_table(evaluated.folder / "predictions.csv.gz")}
    found = {(row.kind, row.class_name): row for row in evaluated.results}
    assert len(found) == 2 * 4
    row = found["noise", "enhancing"]
    assert row.dice == pytest.approx(blocks["noise"].dice[:, 2].mean())
    assert row.difference == pytest.approx((blocks["noise"].dice - blocks["clean"].dice)[:, 2].mean())
    assert row.low <= row.dice <= row.high and row.difference_low <= row.difference <= row.difference_high
    assert found["clean", "mean"].difference == found["clean", "mean"].difference_high == 0
    assert any("simulation results" in line for line in evaluated.lines)
    assert any(note.startswith("corrupted is the multi-coil k-space") for note in evaluated.notes)


def test_a_stopped_evaluation_goes_on_to_the_same_bytes(evaluated, segmentation_run, tmp_path, monkeypatch):
    predict, said = evaluation._predicted, []

    def stopped(models, cases, volumes, shift, n_threads):
        if shift.kind == "noise":
            raise KeyboardInterrupt
        return predict(models, cases, volumes, shift, n_threads)

    monkeypatch.setattr(evaluation, "_predicted", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate([segmentation_run], REQUEST, tmp_path / "out")
    monkeypatch.setattr(evaluation, "_predicted", predict)
    evaluate([segmentation_run], REQUEST, tmp_path / "out", watch=Watch(said.append))
    assert said == ["1/1 test noise-level5-seed0-rss"]
    for name in ("predictions.csv.gz", "results.csv", "request.json"):
        assert (tmp_path / "out" / name).read_bytes() == (evaluated.folder / name).read_bytes()


def test_parts_made_from_kspace_are_not_taken_for_magnitudes(heads, segmentation_run, tmp_path, monkeypatch):
    """The images of the cases, and with them the data of the run, are the same."""
    bare = Path(shutil.copytree(heads, tmp_path / "bare", ignore=shutil.ignore_patterns("*.h5")))
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "write_dice_table", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            evaluate([segmentation_run], REQUEST, tmp_path / "out")
    said: list[str] = []
    evaluate([segmentation_run], REQUEST, tmp_path / "out", data=DataLocation(bare), watch=Watch(said.append))
    assert said == ["1/2 test clean-rss", "2/2 test noise-level5-seed0-rss"]


def test_a_damaged_part_is_said(segmentation_run, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "_predicted", lambda *_: np.zeros((1, 11, 3)))
    monkeypatch.setattr(evaluation, "write_dice_table", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        evaluate([segmentation_run], REQUEST, tmp_path / "out")
    (tmp_path / "out" / "parts" / "0000-clean-rss.json").write_text("{")
    with pytest.raises(DataError, match=r"0000-clean-rss\.json cannot be read"):
        evaluate([segmentation_run], REQUEST, tmp_path / "out")


def test_magnitude_volumes_go_through_the_one_rule_and_it_is_said(tmp_path):
    root = write_heads(tmp_path / "stranger", n_patients={"all": 16}, with_kspace=False)
    run = fit(SegmentationSpec(**SMALL), DataLocation(root), tmp_path / "run").folder
    result = evaluate([run], EvaluationRequest(("ghosting",), (3,)), tmp_path / "out", data=DataLocation(root))
    assert any("phase and coils are synthesised" in note for note in result.notes)
    assert {(row.kind, row.level) for row in result.results} == {("clean", 0), ("ghosting", 3)}
    page = write_evaluation_report(result.folder)
    assert "The data are magnitudes alone: phase and coils are synthesised" in page.read_text()
    limits = json.loads((page.parent / "report.json").read_text())["limits"]
    assert any("coils are synthesised" in line for line in limits)
    case = find_cases(root)[0]
    shifted = ShiftedCase(case, {})
    np.testing.assert_array_equal(shifted.images(Shift("motion", 0), "brain"), shifted.images(Shift(), "brain"))
    images = load_images(case)
    np.testing.assert_allclose(shifted.images(Shift(), "brain"), scaled(images, "brain", brain_mask(images)), atol=1e-4)


def test_kspace_of_another_head_is_refused(heads, tmp_path):
    cases = find_cases(heads)
    files = find_kspace(heads, cases)
    with pytest.raises(DataError, match=r"file_flair_1\.h5 differs from BraTS-GLI-00000-000-t2f"):
        ShiftedCase(cases[0], files[cases[1].name])


def test_data_that_have_changed_are_refused(heads, segmentation_run, tmp_path):
    shutil.copytree(heads, tmp_path / "heads")
    path = tmp_path / "heads" / "TrainingData" / "BraTS-GLI-00000-000" / "BraTS-GLI-00000-000-t1n.nii.gz"
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj) * 2, image.affine), path)
    with pytest.raises(DataError, match="run was trained on other data"):
        evaluate([segmentation_run], REQUEST, tmp_path / "out", data=DataLocation(tmp_path / "heads"))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (EvaluationRequest(("noise",), (1,), ("sense",)), "evaluated on rss"),
        (EvaluationRequest(("noise",), (1,), adaptations=(Adaptation("precise-bn"),)), "precise-bn has no meaning"),
        (EvaluationRequest(("noise",), (1,), validation_shifts=True), "shifted validation has no meaning"),
        (EvaluationRequest(("madaan-rice",), (1,)), "madaan-rice acts on slices"),
    ],
)
def test_what_segmentation_has_not_is_refused(tmp_path, segmentation_run, request_, message):
    with pytest.raises(ConfigError, match=message):
        evaluate([segmentation_run], request_, tmp_path / "out")
    assert not (tmp_path / "out").exists(), "refused before anything is written"


def test_labels_and_a_place_in_the_data_are_refused(heads, segmentation_run, tmp_path):
    with pytest.raises(ConfigError, match="expected no --labels"):
        evaluate([segmentation_run], REQUEST, tmp_path / "out", data=DataLocation(heads, tmp_path / "knee.csv"))
    with pytest.raises(ConfigError, match="--out mine lies in the data folder"):
        evaluate([segmentation_run], REQUEST, heads / "mine")
    assert not (tmp_path / "out").exists() and not (heads / "mine").exists()


def test_the_command_tells_the_task_from_the_run(segmentation_run, evaluated, tmp_path):
    command = [sys.executable, "-m", "diagnose.cli", "evaluate", str(segmentation_run), "--kind", "noise",
               "--levels", "0,5", "--out", "out", "--threads", "1"]  # fmt: skip
    cost = subprocess.run([*command, "--dry-run"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert cost.returncode == 0 and "11 patients, 11 cases" in cost.stdout and not list(tmp_path.iterdir())
    done = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["results"]) == 8
    written, expected = tmp_path / "out" / "predictions.csv.gz", evaluated.folder / "predictions.csv.gz"
    assert written.read_bytes() == expected.read_bytes()


def test_an_estimate_counts_the_predictions(segmentation_run):
    assert estimate([segmentation_run], REQUEST).record["predictions"] == "22 volumes through 1 networks"


def test_a_table_is_read_back_exactly_and_an_incomplete_one_is_refused(tmp_path):
    dice = np.random.default_rng(0).random((3, 2))
    block = DiceBlock(DiceCell("r", "test"), ("a", "b", "c"), ("p", "p", "q"), ("x", "y"), dice, np.ones((3, 2), int))
    write_dice_table(tmp_path / "t.csv.gz", [block])
    (read,) = read_dice_table(tmp_path / "t.csv.gz")
    np.testing.assert_array_equal(read.dice, dice)
    assert (read.cell, read.cases, read.patients, read.classes) == (
        block.cell, block.cases, block.patients, block.classes,
    )  # fmt: skip
    assert all(row.low is None for row in dice_results([read]))  # two patients carry no interval
    import gzip

    lines = gzip.decompress((tmp_path / "t.csv.gz").read_bytes()).splitlines()
    (tmp_path / "short.csv.gz").write_bytes(gzip.compress(b"\n".join(lines[:-1])))
    with pytest.raises(DataError, match="expected every class of every case once"):
        read_dice_table(tmp_path / "short.csv.gz")
