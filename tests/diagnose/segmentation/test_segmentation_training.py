"""Training a segmentation: what norm and seed move, stopping and going on, what a run leaves, what is refused first."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from diagnose.cli import EVALUATIONS
from diagnose.norms import VOLUME_NORMS
from diagnose.run_folder import DataLocation, read_spec, task_of
from diagnose.segmentation.brats_releases import CLASSES
from diagnose.segmentation.dice_table import read_dice_table
from diagnose.segmentation.request import SegmentationSpec, VolumeArchitecture, architecture_of
from diagnose.segmentation.testing import SMALL, write_head, write_heads, write_nifti
from diagnose.tasks.segmentation import estimate, lines_of, load_data, prepare
from diagnose.train import fit
from diagnose.training.distributed import ProcessGroup
from diagnose.training.loop import Interrupted, Watch
from diagnose.training.spec import make_spec
from diagnose.training.task import TASKS, task_module
from mrisim.errors import ConfigError, DataError

REPRODUCED = ("model.safetensors", "model.json", "predictions.csv.gz", "results.json", "metrics.jsonl")


def small_spec(**changes):
    return SegmentationSpec(**{**SMALL, "epochs": 3, "norm": "bn", **changes})


def fit_small(heads, folder, watch=None, **changes):
    return fit(small_spec(**changes), DataLocation(heads), folder, watch=watch)


def assert_same_run(one, other):
    assert one.name == other.name
    for name in REPRODUCED:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_a_run_leaves_what_it_promises(segmentation_run, heads):
    assert task_of(segmentation_run) == "segmentation" and task_module("segmentation").SPEC is SegmentationSpec
    assert set(EVALUATIONS) <= set(TASKS)
    assert read_spec(segmentation_run, SegmentationSpec) == small_spec()
    with pytest.raises(DataError, match="is a run of segmentation"):
        read_spec(segmentation_run)
    history = [json.loads(line) for line in (segmentation_run / "metrics.jsonl").read_text().splitlines()]
    assert [set(entry["val_dice"]) for entry in history] == [set(CLASSES)] * 3
    assert all(0 < entry["val_loss"] < 1 for entry in history)
    blocks = {
        (block.cell.run, block.cell.split): block for block in read_dice_table(segmentation_run / "predictions.csv.gz")
    }
    assert set(blocks) == {("run", "val"), ("run", "test"), ("all-background", "test"), ("threshold", "test")}
    results = json.loads((segmentation_run / "results.json").read_text())
    best = max(history, key=lambda entry: entry["val_dice_mean"])
    np.testing.assert_allclose(blocks["run", "val"].dice.mean(), best["val_dice_mean"])
    test = blocks["run", "test"]
    assert test.reference_voxels.min() > 0 and not blocks["all-background", "test"].dice.any()
    for index, name in enumerate(CLASSES):
        assert results["dice"][name]["dice"] == pytest.approx(test.dice[:, index].mean())
        gain = results["baselines"]["threshold"][name]["gain"]
        expected = (test.dice - blocks["threshold", "test"].dice)[:, index].mean()
        assert gain["difference"] == pytest.approx(expected) and gain["low"] <= expected <= gain["high"]
    assert results["dice"]["mean"]["dice"] == pytest.approx(test.dice.mean())
    assert len(lines_of(results)) == 2 + len(CLASSES) + 1
    log = [line.split(" ", 2)[1] for line in (segmentation_run / "train.log").read_text().splitlines()]
    first = ["note:", "training", "epoch", "epoch", "epoch", "finished"]
    assert log[: len(first)] == first and len(log) == len(first) + len(lines_of(results))
    for path in segmentation_run.iterdir():
        if path.suffix in (".json", ".yaml", ".jsonl", ".csv"):
            assert str(heads) not in path.read_text(), f"{path.name} holds an absolute path"


def test_a_step_takes_everything_to_the_device(heads, step_off_the_cpu):
    data = load_data(small_spec(), DataLocation(heads))
    step_off_the_cpu(prepare(small_spec(), data, None, n_threads=1, group=ProcessGroup()))


@pytest.mark.parametrize(
    ("stop_after", "where"),
    [(3, "at 3 of 4 cases"), (16, "in epoch 1"), (20, "in epoch 1"), (28, "in epoch 2"), (49, "in the final pred")],
)
def test_stopped_and_resumed_is_bit_identical(segmentation_run, heads, tmp_path, stop_after, where):
    """It asks between cases, then ten times an epoch: before it, after its three batches, in validation."""
    calls = iter(range(1000))
    with pytest.raises(Interrupted, match=f"stopped {where}.*the same command goes on"):
        fit_small(heads, tmp_path / "run", Watch(stop=lambda: next(calls) == stop_after - 1))
    assert not (tmp_path / "run" / "DONE").exists()
    assert_same_run(fit_small(heads, tmp_path / "run").folder, segmentation_run)


def test_killed_and_resumed_is_bit_identical(segmentation_run, heads, tmp_path):
    settings = {name: value for name, value in SMALL.items() if name != "epochs"}
    command = [
        sys.executable, "-m", "diagnose.cli", "train", "--task", "segmentation", "--norm", "bn", "--data", str(heads),
        "--epochs", "3", "--out", "run", "--threads", "1",
        *(f"--set={name}={list(value) if isinstance(value, tuple) else value}" for name, value in settings.items()),
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    assert any(line.startswith("epoch 1/3") for line in process.stderr)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "run" / "DONE").exists()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "resuming" in done.stderr and "epoch 1/3" not in done.stderr and "clean test Dice" in done.stdout
    assert_same_run(tmp_path / "run", segmentation_run)


def test_a_run_with_the_name_of_a_baseline_is_refused(heads, tmp_path):
    with pytest.raises(ConfigError, match="--out threshold is the name of a method"):
        fit(SegmentationSpec(**SMALL), DataLocation(heads), tmp_path / "threshold")


def test_all_norms_start_from_the_same_weights_and_see_the_same_patches(heads, tmp_path, monkeypatch):
    starts, patches = {}, {}
    build = VolumeArchitecture.build
    for norm in VOLUME_NORMS:
        seen, weights = [], {}

        def watched(self, seed=0, seen=seen, weights=weights):
            network = build(self, seed)
            convolutions = {n: p for n, p in network.named_parameters() if p.ndim > 1}
            weights |= {name: parameter.detach().clone() for name, parameter in convolutions.items()}
            network.register_forward_pre_hook(
                lambda module, inputs: seen.append(inputs[0].clone()) if torch.is_grad_enabled() else None
            )
            return network

        monkeypatch.setattr(VolumeArchitecture, "build", watched)
        fit_small(heads, tmp_path / norm, norm=norm, epochs=1, seed=4)
        starts[norm], patches[norm] = weights, seen
    assert len(starts["none"]) == 7 and len(patches["none"]) == 3
    for norm in VOLUME_NORMS[1:]:
        assert all(torch.equal(starts[norm][name], starts["none"][name]) for name in starts["none"])
        assert all(torch.equal(*pair) for pair in zip(patches[norm], patches["none"], strict=True))
    other = architecture_of(small_spec(seed=5)).build(5).state_dict()
    assert not torch.equal(other["head.weight"], starts["none"]["head.weight"])


# ---------------------------------------------------------------- refused before a run folder exists


def refused(root, message, **changes):
    with pytest.raises((DataError, ConfigError), match=message):
        fit(small_spec(**changes), DataLocation(root), root.parent / "run")
    assert not (root.parent / "run").exists()


@pytest.fixture
def few(tmp_path):
    return write_heads(tmp_path / "few", n_patients={"train": 2, "val": 1, "test": 1})


def of(root, role, number=0):
    return root / "TrainingData" / f"BraTS-GLI-{number:05d}-000" / f"BraTS-GLI-{number:05d}-000-{role}.nii.gz"


def test_a_missing_modality_is_refused(few):
    of(few, "t2w").unlink()
    refused(few, "BraTS-GLI-00000-000 lacks t2w")


def test_mismatched_shapes_and_affines_are_refused(few):
    image = nibabel.load(of(few, "t1n"))
    array = np.asarray(image.dataobj)
    write_nifti(of(few, "t1n"), array[:-1])
    refused(few, "expected one shape in a case")
    nibabel.save(nibabel.Nifti1Image(array, image.affine + np.diag([0.5, 0, 0, 0])), of(few, "t1n"))
    refused(few, "expected one grid in a case")


def test_an_empty_mask_an_unknown_label_and_a_large_patch_are_refused(few):
    labels = np.asarray(nibabel.load(of(few, "seg")).dataobj)
    write_nifti(of(few, "seg"), np.zeros_like(labels))
    refused(few, "is empty; expected some tumour")
    write_nifti(of(few, "seg"), np.where(labels == 3, 4, labels).astype(np.uint8))
    refused(few, "set release=2024")
    write_nifti(of(few, "seg"), labels)
    refused(few, "expected at least the patch", patch_shape=(8, 8, 16))


def test_a_split_without_a_class_and_incomplete_kspace_are_refused(few):
    labels = np.asarray(nibabel.load(of(few, "seg", 3)).dataobj)
    write_nifti(of(few, "seg", 3), np.where(labels == 3, 0, labels).astype(np.uint8))
    refused(few, "enhancing is in none of the 1 cases of test")
    write_nifti(of(few, "seg", 3), labels)
    (few / "multicoil_test" / "file_t2_3.h5").unlink()
    refused(few, "00003-000 has no k-space of t2")


def test_settings_that_cannot_be_meant_are_refused():
    with pytest.raises(ConfigError, match="norm is 'layer'; expected one of none, ln, ln-channel"):
        make_spec({}, ["norm=layer"], SegmentationSpec)
    with pytest.raises(ConfigError, match="multiples of 4"):
        make_spec({}, ["patch_shape=[32,32,30]"], SegmentationSpec)
    with pytest.raises(ConfigError, match="no such setting"):
        make_spec({}, ["depht=3"], SegmentationSpec)


def test_a_patch_cannot_have_more_tumour_than_there_is(few):
    with pytest.raises(DataError, match=r"lower min_tumour_fraction"):
        fit_small(few, few.parent / "run", min_tumour_fraction=0.9)


def test_without_kspace_the_split_is_drawn_by_patient_and_a_stored_one_is_kept(tmp_path, heads):
    root = write_heads(tmp_path / "stranger", n_patients={"all": 14}, with_kspace=False)
    drawn = load_data(small_spec(split_seed=1), DataLocation(root))
    assert not drawn.kspace and any("split by patient, seed 1" in note for note in drawn.notes)
    stored = tmp_path / "split.csv"
    stored.write_text(drawn.split_csv())
    kept = load_data(small_spec(split_seed=2), DataLocation(root, split=stored))
    assert kept.splits == drawn.splits and kept.identity == drawn.identity
    write_head(root, 14, "")
    with pytest.raises(DataError, match=r"1 cases are not in split\.csv, the first is BraTS-GLI-00014-000"):
        load_data(small_spec(), DataLocation(root, split=stored))
    with pytest.raises(ConfigError, match="no --labels"):
        load_data(small_spec(), DataLocation(root, labels=stored))
    of_folders = load_data(small_spec(), DataLocation(heads))
    assert [len(of_folders.of_split(split)) for split in ("train", "val", "test")] == [4, 2, 11]


def test_the_identity_follows_the_content_of_an_image(few):
    before = load_data(small_spec(), DataLocation(few)).identity
    shutil.copytree(few, few.parent / "copy")
    assert load_data(small_spec(), DataLocation(few.parent / "copy")).identity == before
    image = np.asarray(nibabel.load(of(few, "t2f")).dataobj).copy()
    image[9, 8, 4] += 1e-3
    write_nifti(of(few, "t2f"), image)
    assert load_data(small_spec(), DataLocation(few)).identity != before


def test_an_estimate_writes_nothing(heads, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = estimate(small_spec(norm="none"), DataLocation(heads)).record
    assert record["train"] == "4 patients, 4 cases" and record["scaled_volumes"].startswith("1 MB")
    network = architecture_of(small_spec(norm="none")).build()
    assert record["parameters"] == f"{sum(p.numel() for p in network.parameters()):,}"
    assert not list(Path().iterdir())
