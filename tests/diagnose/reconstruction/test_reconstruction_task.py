"""Learned reconstruction as a task: its loss and masks, what a run leaves, resuming, refusals before training."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from diagnose.checkpoint import epoch_folder, load_network
from diagnose.reconstruction.architectures import ReconstructionModel
from diagnose.reconstruction.masks import draw_mask, training_mask_stream
from diagnose.reconstruction.quality_table import ZERO_FILLED, mean_quality, read_quality
from diagnose.reconstruction.request import ReconstructionSpec
from diagnose.run_folder import DataLocation
from diagnose.tasks import reconstruction
from diagnose.train import fit
from diagnose.training.distributed import ProcessGroup
from diagnose.training.execution import Execution
from diagnose.training.loop import Interrupted, Watch
from mrisim.errors import ConfigError, DataError
from mrisim.fourier import centred_ifft
from mrisim.quality import rss
from mrisim.seeding import stream

DISC, SQUARE = "acquisition=DISC", "acquisition=SQUARE"
REPRODUCED = ("model.safetensors", "model.json", "quality.csv.gz", "results.json", "metrics.jsonl")


def small_spec(**changes) -> ReconstructionSpec:
    return ReconstructionSpec(**{"train_on": (DISC,), "epochs": 3, "batch": 1, "lr": 1e-2, **changes})


def fit_small(root: Path, folder: Path, watch: Watch | None = None, **changes):
    return fit(small_spec(**changes), DataLocation(root), folder, watch=watch)


def opened(root: Path, **changes) -> reconstruction.Reconstruction:
    spec = small_spec(**changes)
    data = reconstruction.load_data(spec, DataLocation(root))
    return reconstruction.prepare(spec, data, None, n_threads=1, group=ProcessGroup())


def assert_same_run(one: Path, other: Path) -> None:
    for name in REPRODUCED:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    weights = [path.relative_to(one) for path in sorted((one / "epochs").rglob("*")) if path.is_file()]
    assert len(weights) == 2 * 3
    for name in weights:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.fixture(scope="module")
def finished(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    return fit_small(pairs, tmp_path_factory.mktemp("plain") / "run").folder


class Identity(torch.nn.Module):
    """Returns its input; the parameter lets a gradient pass."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(()))

    def forward(self, images):
        return self.gain * images


def expected_loss(task: reconstruction.Reconstruction, row: int, epoch: int) -> float:
    """Return 1 - SSIM of the zero-filled slice, by NumPy and scikit-image, from the file itself."""
    paired, index = task.items[row]
    with h5py.File(paired.volume.path) as file:
        kspace, target = file["kspace"][index], file["reconstruction_rss"][()]
    rng = training_mask_stream(paired.volume.file, index, epoch, seed=0)
    kept = draw_mask(np.ones(kspace.shape[-1], bool), 4, rng=rng)
    image = rss(centred_ifft(np.where(kept, kspace, 0)[None]))[0]
    rows, columns = (np.array(image.shape) - target.shape[1:]) // 2
    image = image[rows : rows + target.shape[1], columns : columns + target.shape[2]]
    return 1 - structural_similarity(
        image.astype(float), target[index].astype(float), win_size=7, data_range=float(target.max())
    )


@pytest.fixture(scope="module")
def mixed(pairs: Path, write_pair: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set; the squares have larger k-space than their target, and so another shape than the discs."""
    root = tmp_path_factory.mktemp("mixed") / "data"
    shutil.copytree(pairs, root)
    for path in root.rglob("file_square*.h5"):
        split, number = path.stem.split("_")[2:]
        path.unlink()
        write_pair(path, f"{split}-{int(number)}", "SQUARE", size=40)
        with h5py.File(path, "a") as file:
            cut = file["reconstruction_rss"][:, 4:36, 4:36]
            del file["reconstruction_rss"]
            file["reconstruction_rss"] = cut
            file.attrs["max"] = float(cut.max())
    return root


def test_the_loss_is_that_of_each_slices_own_mask_and_volume_maximum(mixed: Path):
    task = opened(mixed, train_on=(DISC, SQUARE))
    shapes = {paired.kspace_shape for paired, _ in task.items}
    assert shapes == {(2, 32, 32), (2, 40, 40)} and task.n_items == 2 * 8 * 2
    for epoch in (0, 3):
        order = stream(0, "batch order", epoch).permutation(task.n_items)
        places = slice(5, 12)
        loss = task.begin_epoch(epoch, Path(), ProcessGroup())(Identity(), places, Execution())
        expected = np.mean([expected_loss(task, row, epoch) for row in order[places]])
        assert float(loss.detach()) == pytest.approx(expected, abs=2e-6)


def test_a_step_takes_everything_to_the_device(pairs: Path, step_off_the_cpu: Callable[..., None]):
    step_off_the_cpu(opened(pairs, batch=2))


def test_validation_and_test_have_one_mask_a_volume_by_its_name(pairs: Path):
    task, other_seed = opened(pairs), opened(pairs, seed=5)
    volumes = task.data.by_split["val"][DISC]
    masks = [task._mask(paired).numpy() for paired in volumes]
    assert all((one == other_seed._mask(paired).numpy()).all() for one, paired in zip(masks, volumes, strict=True))
    moved = replace(volumes[0], volume=replace(volumes[0].volume, file="elsewhere/" + volumes[0].volume.path.name))
    assert (task._mask(moved).numpy() == masks[0]).all()
    found = {task._mask(paired).numpy().tobytes() for paired in task.data.by_split["test"][DISC]}
    assert len(found) > 1


def test_a_run_leaves_what_it_promises_and_beats_zero_filling(finished: Path):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "config.yaml", "data.lock.json", "split.csv", "env.json", "identity.txt", "location.json", "last.ckpt",
        "metrics.jsonl", "progress.png", "model.safetensors", "model.json", "quality.csv.gz", "results.json", "DONE",
        "epochs", "train.log",
    }  # fmt: skip
    rows = read_quality(finished / "quality.csv.gz")
    own, trivial = ([row for row in rows if row.run == run] for run in (finished.name, ZERO_FILLED))
    assert len(own) == len(trivial) == 11 and {row.split for row in rows} == {"test"}
    results = json.loads((finished / "results.json").read_text())
    gain = results["test"][DISC]["ssim"]["difference"]
    assert gain["low"] > 0.03
    assert gain["mean"] == pytest.approx(mean_quality(own, "ssim", minus=trivial).value, abs=1e-6)
    assert any("difference +" in line for line in reconstruction.lines_of(results))


def test_an_empty_target_is_named_whatever_maximum_the_file_states(pairs: Path, tmp_path: Path):
    root = Path(shutil.copytree(pairs, tmp_path / "data"))
    with h5py.File(root / "multicoil_val" / "file_disc_val_00.h5", "a") as file:
        file.attrs["max"] = 1.0
        file["reconstruction_rss"][...] = 0
    with pytest.raises(DataError, match=r"the target of multicoil_val/file_disc_val_00\.h5 is empty"):
        fit_small(root, tmp_path / "run")


@pytest.mark.parametrize("name", [ZERO_FILLED, "l1-wavelet"])
def test_a_run_with_the_name_of_a_method_is_refused(pairs: Path, tmp_path: Path, name: str):
    with pytest.raises(ConfigError, match=f"--out {name} is the name of a method"):
        fit_small(pairs, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_the_weights_of_every_epoch_are_kept_and_the_best_are_the_runs(finished: Path):
    history = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    best = max(history, key=lambda entry: entry["val_ssim_mean"])["epoch"]
    assert (finished / "model.safetensors").read_bytes() == (
        epoch_folder(finished, best) / "model.safetensors"
    ).read_bytes()
    for entry in history:
        description = load_network(epoch_folder(finished, entry["epoch"]), ReconstructionModel)[1]
        assert description.epoch == entry["epoch"]
        assert description.validation_ssim == pytest.approx(entry["val_ssim"][DISC])


@pytest.mark.parametrize(
    ("stop_after", "where"), [(2, "epoch 1"), (19, "epoch 1"), (25, "epoch 2"), (60, "the final predictions")]
)
def test_stopped_and_resumed_is_bit_identical(finished: Path, pairs: Path, tmp_path: Path, stop_after: int, where: str):
    """It asks before each epoch, after its sixteen batches, for both volumes of validation, then for those of test."""
    calls = iter(range(1000))
    with pytest.raises(Interrupted, match=f"stopped in {where}; .*saved, the same command goes on"):
        fit_small(pairs, tmp_path / "run", Watch(stop=lambda: next(calls) == stop_after - 1))
    assert_same_run(fit_small(pairs, tmp_path / "run").folder, finished)


def test_killed_and_resumed_is_bit_identical(finished: Path, pairs: Path, tmp_path: Path):
    command = [
        sys.executable, "-m", "diagnose.cli", "train", "--task", "reconstruction", "--data", str(pairs),
        "--train-on", DISC, "--epochs", "3", "--set", "batch=1", "--set", "lr=1e-2", "--out", "run", "--threads", "1",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    assert any(line.startswith("epoch 1/3") for line in process.stderr)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "run" / "DONE").exists()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "resuming" in done.stderr and "epoch 1/3" not in done.stderr and "SSIM" not in done.stdout.splitlines()[0]
    assert_same_run(tmp_path / "run", finished)


def test_a_varnet_trains_in_single_precision(pairs: Path, tmp_path: Path):
    result = fit_small(pairs, tmp_path / "run", network="varnet-xsmall", precision="auto", epochs=1)
    execution = json.loads((tmp_path / "run" / "env.json").read_text())["execution"]
    assert execution["precision"] == "float32" and execution["memory_format"] == "contiguous"
    assert 0 < result.results["test"][DISC]["ssim"]["network"]["mean"] < 1
    with pytest.raises(ValueError, match="complex Fourier"):
        small_spec(network="varnet-xsmall", precision="bfloat16")


@pytest.mark.parametrize(
    ("changes", "n_train"),
    [
        ({"train_on": (DISC,), "selection": "separate"}, {DISC: 8}),
        ({"train_on": (DISC, SQUARE)}, {DISC: 8, SQUARE: 8}),
        ({"train_on": (SQUARE, DISC), "selection": "skewed"}, {SQUARE: 8, DISC: 1}),
        ({"train_on": (SQUARE, DISC), "selection": "skewed", "fraction": 0.25}, {SQUARE: 8, DISC: 2}),
        ({"train_on": (DISC, SQUARE), "selection": "subset", "fraction": 0.5}, {DISC: 4, SQUARE: 4}),
    ],
)
def test_selections_reduce_training_patients_only(pairs: Path, changes: dict, n_train: dict):
    data = reconstruction.load_data(small_spec(**changes), DataLocation(pairs))
    assert {name: len(part) for name, part in data.by_split["train"].items()} == n_train
    for split, n in (("val", 2), ("test", 11)):
        assert {name: len(part) for name, part in data.by_split[split].items()} == dict.fromkeys(n_train, n)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_on": (DISC, DISC)}, "named twice"),
        ({"train_on": ("knee",)}, "'knee' is no distribution; expected one of knee-pd-3t"),
        ({"train_on": (DISC,), "selection": "skewed"}, "on 1 distributions; expected two"),
        ({"train_on": (DISC, SQUARE), "selection": "separate"}, "expected one, and a run for each"),
        ({"selection": "subset"}, "no fraction"),
        ({"fraction": 0.5}, "expected skewed or subset"),
        ({"acceleration": 5}, "expected one of 2, 3, 4, 8, 16"),
        ({"network": "unet-tiny"}, "expected one of unet-xsmall"),
        ({"norm": "xn"}, "expected one of published"),
    ],
)
def test_requests_that_make_no_sense_are_refused(changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        small_spec(**changes)


def refused(root: Path, tmp_path: Path, error: type[Exception], message: str, **changes) -> None:
    """See that a run ends before anything of it is written."""
    with pytest.raises(error, match=message):
        fit_small(root, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_filters_that_select_nothing_are_refused_before_training(pairs: Path, tmp_path: Path):
    refused(
        pairs, tmp_path, DataError, "the distribution acquisition=AXT1: no file has", train_on=("acquisition=AXT1",)
    )
    refused(pairs, tmp_path, ConfigError, "no file has an attribute 'anatomy'", train_on=("knee-pd-3t",))
    only = "file=multicoil_val/file_disc_val_00.h5"
    refused(pairs, tmp_path, DataError, "has no file in train", train_on=(only,))
    with pytest.raises(ConfigError, match="expected no --labels"):
        fit(small_spec(), DataLocation(pairs, labels=pairs), tmp_path / "run")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 33, 32), "k-space of 32 x 32 and a target of shape"),
        ((2, 32, 40), "k-space of 32 x 32 and a target of shape"),
        ((1, 32, 32), "2 slices of k-space and 1 of its target"),
    ],
)
def test_kspace_and_target_of_different_shapes_are_refused_before_training(
    pairs: Path, tmp_path: Path, shape: tuple[int, ...], message: str
):
    root = tmp_path / "data"
    shutil.copytree(pairs, root)
    with h5py.File(root / "multicoil_test" / "file_disc_test_03.h5", "a") as file:
        del file["reconstruction_rss"]
        file["reconstruction_rss"] = np.ones(shape, np.float32)
    refused(root, tmp_path, DataError, message)
    fit(small_spec(train_on=(SQUARE,), epochs=1), DataLocation(root), tmp_path / "other")  # the file is not in this one


def test_masks_that_are_too_narrow_are_refused_before_training(pairs: Path, tmp_path: Path):
    refused(pairs, tmp_path, DataError, "32 phase-encode lines, of which .* keeps 1 for calibration", acceleration=8)


def test_files_without_a_target_are_left_out_and_named(pairs: Path, tmp_path: Path):
    root = tmp_path / "data"
    shutil.copytree(pairs, root)
    with h5py.File(root / "multicoil_test" / "file_disc_test_03.h5", "a") as file:
        del file["reconstruction_rss"]
    data = reconstruction.load_data(small_spec(), DataLocation(root))
    assert len(data.by_split["test"][DISC]) == 10 and data.notes == ("1 files have no target: left out",)


def test_the_estimate_counts_parameters_and_what_is_kept(pairs: Path):
    cost = reconstruction.estimate(small_spec(), DataLocation(pairs))
    assert cost.record["parameters"] == "757,501"
    assert cost.record["weights"].startswith("12 MB") and "8 patients, 8 volumes, 16 slices" in cost.record["train"]
