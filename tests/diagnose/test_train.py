"""Training: what the seed moves and what it does not, stopping and going on, bad requests, labels without signal."""

import json
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from diagnose.checkpoint import Architecture, load_model
from diagnose.dataset import DataRequest, load_slice_table
from diagnose.evaluation.prediction_table import read_table
from diagnose.norms import NORMS
from diagnose.run_folder import DataLocation, read_spec
from diagnose.slice_images import ImageStore, Shift, image_store, make_images, split_images
from diagnose.tasks.classification import lines_of
from diagnose.tasks.findings import loss
from diagnose.testing import SMALL, read_rows, write_cohort, write_labels
from diagnose.train import fit
from diagnose.training.execution import Execution, channels_last_is_safe, choose_execution, deterministic_kernels
from diagnose.training.loop import Interrupted, Watch
from diagnose.training.run_log import logged
from diagnose.training.sampling import (
    draw_train_shift,
    epoch_order,
    epoch_translations,
    sampling_weights,
    shifted_epoch,
    translate,
)
from diagnose.training.spec import TrainSpec, make_spec
from mrisim.errors import ConfigError, DataError
from mrisim.seeding import stream

REPRODUCED = ("model.safetensors", "model.json", "predictions.csv.gz", "results.json", "metrics.jsonl")


def small_spec(**changes: object) -> TrainSpec:
    return TrainSpec(**{**SMALL, **changes})


def fit_small(cohort: Path, folder: Path, watch: Watch | None = None, **changes: object):
    return fit(small_spec(**changes), DataLocation(cohort), folder, watch=watch)


def assert_same_run(one: Path, other: Path) -> None:
    """All that a run computes is equal; its name, which is in the predictions, too."""
    assert one.name == other.name
    for name in REPRODUCED:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.fixture(scope="module")
def finished(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    return fit_small(cohort, tmp_path_factory.mktemp("plain") / "run", epochs=3).folder


def test_a_run_leaves_what_it_promises(finished: Path, cohort: Path):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "config.yaml", "data.lock.json", "split.csv", "env.json", "identity.txt", "location.json", "last.ckpt",
        "metrics.jsonl", "progress.png", "model.safetensors", "model.json", "predictions.csv.gz", "results.json",
        "DONE", "train.log",
    }  # fmt: skip
    assert read_spec(finished) == small_spec(epochs=3)
    lock = json.loads((finished / "data.lock.json").read_text())
    assert lock["files"][0]["size_bytes"] == (cohort / lock["files"][0]["path"]).stat().st_size
    history = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    best = max(history, key=lambda entry: entry["val_auroc_mean"])
    assert load_model(finished)[1].epoch == best["epoch"]
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    for path in finished.iterdir():
        if path.suffix in (".json", ".yaml", ".jsonl", ".csv", ".log"):
            assert str(cohort) not in path.read_text(), f"{path.name} holds an absolute path"


def test_the_log_holds_what_is_said_whatever_ends_the_run_and_how_often_it_is_resumed(cohort: Path, tmp_path: Path):
    folder, said = tmp_path / "run", []
    with pytest.raises(Interrupted) as stopped:
        fit_small(cohort, folder, Watch(said.append, stop=lambda: any(text.startswith("epoch 1") for text in said)))
    said.append(str(stopped.value))
    fit_small(cohort, folder, Watch(said.append))
    stamps, texts = zip(*(line.split(" ", 1) for line in (folder / "train.log").read_text().splitlines()), strict=True)
    assert list(stamps) == sorted(stamps)
    assert all(datetime.fromisoformat(stamp).utcoffset() == timedelta(0) for stamp in stamps)
    assert list(texts[: len(said)]) == [text.replace(str(folder), "run") for text in said]
    assert [text.split(" ")[0] for text in said] == ["training", "epoch", "stopped", "resuming", "epoch"]
    results = json.loads((folder / "results.json").read_text())
    assert list(texts[len(said) :]) == ["finished", *lines_of(results)]
    before = (folder / "train.log").read_bytes()
    assert fit_small(cohort, folder).was_done and (folder / "train.log").read_bytes() == before


@pytest.mark.parametrize(
    ("error", "line"), [(ConfigError("lr is 9; expected less"), "lr is 9; expected less"), (KeyError("x"), "KeyError")]
)
def test_the_log_ends_with_what_went_wrong(tmp_path: Path, error: Exception, line: str):
    (tmp_path / "train.log").write_text("before\n")
    with pytest.raises(type(error)), logged(tmp_path, Watch()) as watch:
        watch.say(f"training gn, in {tmp_path}")
        raise error
    before, said, last = (tmp_path / "train.log").read_text().splitlines()
    assert before == "before" and said.endswith(f"+00:00 training gn, in {tmp_path.name}") and last.endswith(line)


def test_the_caller_hears_of_every_batch(cohort: Path, tmp_path: Path):
    heard: list[tuple[int, int, int, float]] = []
    run = fit_small(cohort, tmp_path / "run", Watch(batch=lambda *progress: heard.append(progress))).folder
    assert [progress[:3] for progress in heard] == [(epoch, done, 6) for epoch in (1, 2) for done in range(1, 7)]
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [heard[5][3], heard[11][3]] == [entry["train_loss"] for entry in history]


def test_the_same_request_is_not_trained_twice_and_another_is_refused(finished: Path, cohort: Path):
    before = (finished / "model.safetensors").stat().st_mtime_ns
    again = fit_small(cohort, finished, epochs=3)
    assert again.was_done and (finished / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="holds another run"):
        fit_small(cohort, finished, epochs=3, seed=1)


def test_an_interrupted_run_that_overwrites_goes_on_and_the_earlier_one_is_kept(
    finished: Path, cohort: Path, tmp_path: Path
):
    run, calls, said = Path(shutil.copytree(finished, tmp_path / "run")), iter(range(100)), []
    request, data = small_spec(epochs=3, seed=1), DataLocation(cohort)
    with pytest.raises(Interrupted):
        fit(request, data, run, overwrite=True, watch=Watch(said.append, stop=lambda: next(calls) == 9))
    assert said[-1] == f"the earlier run is kept in {run / '.replaced'} until this one is finished"
    assert_same_run(Path(shutil.copytree(run / ".replaced", tmp_path / "aside" / "run")), finished)
    with pytest.raises(ConfigError, match=r"of this request is kept in run/\.replaced: --overwrite brings it back"):
        fit_small(cohort, run, epochs=3)
    said.clear()
    fit(request, data, run, overwrite=True, watch=Watch(said.append))
    assert said[0].startswith("resuming") and not (run / ".replaced").exists()
    assert_same_run(run, fit(request, data, tmp_path / "plain" / "run").folder)


def test_two_runs_of_one_request_are_equal_bit_for_bit(finished: Path, cohort: Path, tmp_path: Path):
    assert_same_run(fit_small(cohort, tmp_path / "run", epochs=3).folder, finished)


@pytest.mark.parametrize(
    ("stop_after", "where"),
    [(1, "epoch 1"), (7, "epoch 1"), (8, "epoch 1"), (12, "epoch 2"), (26, "the final predictions")],
)
def test_stopped_and_resumed_is_bit_identical(
    finished: Path, cohort: Path, tmp_path: Path, stop_after: int, where: str
):
    """An epoch asks before its first batch, after each of its six, and in validation; the last asks are of the test."""
    calls = iter(range(1000))
    with pytest.raises(Interrupted, match=f"stopped in {where}; .*saved, the same command goes on") as caught:
        fit_small(cohort, tmp_path / "run", Watch(stop=lambda: next(calls) == stop_after - 1), epochs=3)
    assert caught.value.exit_code == 6
    assert not (tmp_path / "run" / "DONE").exists()
    assert_same_run(fit_small(cohort, tmp_path / "run", epochs=3).folder, finished)


def command_of(cohort: Path, *more: str) -> list[str]:
    """Return the program's command for the finished run, in the folder `run`."""
    options = [f"--set={name}={value}" for name, value in SMALL.items() if name != "epochs"]
    return [sys.executable, "-m", "diagnose.cli", "train", "--data", str(cohort), "--epochs", "3", "--out", "run",
            "--threads", "1", *options, *more]  # fmt: skip


def started(command: list[str], cwd: Path, line: str) -> subprocess.Popen[str]:
    """Start a training and return it once it has said something that begins so."""
    process = subprocess.Popen(command, cwd=cwd, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    for said in process.stderr:
        if said.startswith(line):
            return process
    pytest.fail(f"the program ended without a line {line}")


def test_killed_and_resumed_is_bit_identical(finished: Path, cohort: Path, tmp_path: Path):
    command = command_of(cohort)
    process = started(command, tmp_path, "epoch 1/3")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if (tmp_path / "run" / "DONE").exists():
        pytest.fail("the run ended before it could be killed")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "resuming" in done.stderr and "epoch 1/3" not in done.stderr
    assert_same_run(tmp_path / "run", finished)


@pytest.mark.slow
def test_killed_at_ten_random_moments_is_bit_identical(cohort: Path, tmp_path: Path):
    """Some kills come while the run opens its folder or makes the images of an epoch, others between any two steps."""
    command = command_of(cohort, "--set=train_shift=random")
    (tmp_path / "whole").mkdir()
    subprocess.run(command, cwd=tmp_path / "whole", check=True, capture_output=True)
    rng, n_killed = stream(0, "moments"), 0
    for number in range(10):
        if number % 3:
            process = started(command, tmp_path, "")
        else:
            process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            process.wait(timeout=float(rng.uniform(0, 2 if number % 3 else 4)))
        except subprocess.TimeoutExpired:
            process.kill()
            n_killed += 1
        process.communicate()
    assert n_killed >= 3
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / "run", tmp_path / "whole" / "run")


def test_a_disk_that_fills_up_while_training_is_one_line_and_resumable(finished: Path, cohort: Path, tmp_path: Path):
    """No file may grow beyond 100 kB from the first epoch on: the next state is larger, the last one stays."""
    process = started(command_of(cohort), tmp_path, "epoch 1/3")
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (100_000, 100_000))
    _, rest = process.communicate(timeout=120)
    assert process.returncode == 4, rest
    last = rest.splitlines()[-1]
    assert re.fullmatch(r"diagnose: (last\.ckpt|model\.safetensors) could not be written: no room on the disk", last)
    assert "Traceback" not in rest and not list((tmp_path / "run").glob("*.part"))
    assert not (tmp_path / "run" / "DONE").exists()
    done = subprocess.run(command_of(cohort), cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "resuming" in done.stderr and "epoch 1/3" not in done.stderr
    assert_same_run(tmp_path / "run", finished)


@pytest.mark.parametrize(
    ("settings", "limit", "file"),
    [((), 100_000, "clean-rss-clean.npy"), (("--set=train_shift=noise:3",), 150_000, "shifted-epoch-0.npy")],
)
def test_no_room_for_images_is_one_line_and_leaves_none(
    cohort: Path, tmp_path: Path, settings: tuple[str, ...], limit: int, file: str
):
    """Images of 42 training slices take 172 kB; where a shift wants room for them again, the clean ones are there."""
    cache = tmp_path / "cache" if not settings else Path(os.environ["MRISIM_CACHE"])
    if settings:
        for split in ("train", "val", "test"):
            split_images(load_slice_table(DataRequest(cohort)).of_split(split), Shift(), image_store())

    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        command_of(cohort, *settings), cwd=tmp_path, preexec_fn=limit_file_size, capture_output=True, text=True,
        env={**os.environ, "MRISIM_CACHE": str(cache)},
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    first, last = done.stderr.splitlines()
    assert first.startswith("training gn") and file in last and last.endswith("no room on the disk")
    assert not list(cache.rglob("*.part")) and not list((tmp_path / "cache").rglob("*.npy"))


def test_sigterm_saves_and_exits_with_6(cohort: Path, tmp_path: Path):
    process = started(command_of(cohort, "--epochs=500", "--set=patience=500"), tmp_path, "epoch 2/")
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 6
    assert "the state is saved" in rest and (tmp_path / "run" / "last.ckpt").exists()


def test_sigterm_while_images_are_made_stops_between_volumes(finished: Path, cohort: Path, tmp_path: Path):
    """Long before there is a batch: nothing is trained, and the same command goes on."""
    environment = {**os.environ, "MRISIM_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(
        command_of(cohort), cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None and process.stderr.readline().startswith("training gn")
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 6, rest
    assert re.fullmatch(r"diagnose: stopped at \d+ of 14 images; the same command goes on\n", rest)
    assert not (tmp_path / "run" / "last.ckpt").exists() and not list((tmp_path / "cache").rglob("*.part"))
    assert_same_run(fit_small(cohort, tmp_path / "run", epochs=3).folder, finished)


def test_sigterm_while_the_embedded_cohort_is_made_exits_with_6(tmp_path: Path):
    environment = {**os.environ, "MRISIM_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "diagnose.cli", "train"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None and process.stderr.readline().startswith("simulating a knee cohort")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 6 and not (tmp_path / "runs").exists()


def test_all_norms_start_from_the_same_weights_and_see_the_same_batches(cohort: Path, tmp_path: Path):
    starts, batches = {}, {}
    for norm in NORMS:
        seen: list[torch.Tensor] = []
        weights: dict[str, torch.Tensor] = {}

        def watch_stem(module, inputs, seen=seen):
            if torch.is_grad_enabled():
                seen.append(inputs[0].detach().clone())

        def on_build(network, norm=norm, weights=weights, watch_stem=watch_stem):
            weights |= {
                name: parameter.detach().clone()
                for name, parameter in network.named_parameters()
                if parameter.ndim > 1 or name.startswith("heads")
            }
            network.stem.register_forward_pre_hook(watch_stem)
            return network

        with pytest.MonkeyPatch.context() as patch:
            build = Architecture.build
            patch.setattr(
                Architecture, "build", lambda self, seed=0, build=build, on_build=on_build: on_build(build(self, seed))
            )
            fit_small(cohort, tmp_path / norm, norm=norm, epochs=1, seed=4)
        starts[norm], batches[norm] = weights, seen
    for norm in NORMS[1:]:
        assert starts[norm].keys() == starts["bn"].keys() and len(starts["bn"]) > 20
        assert all(torch.equal(starts[norm][name], starts["bn"][name]) for name in starts["bn"])
        assert len(batches[norm]) == len(batches["bn"]) == 6
        assert all(torch.equal(one, other) for one, other in zip(batches[norm], batches["bn"], strict=True))


def test_the_seed_moves_initialisation_and_order_and_nothing_else(cohort: Path):
    labels = load_slice_table(DataRequest(cohort)).of_split("train").labels
    assert not np.array_equal(epoch_order(labels, seed=0, epoch=0), epoch_order(labels, seed=1, epoch=0))
    assert not np.array_equal(epoch_order(labels, seed=0, epoch=0), epoch_order(labels, seed=0, epoch=1))
    shifts = [draw_train_shift("random", corruption_seed=0, epoch=2, stem="a") for _ in range(2)]
    assert shifts[0] == shifts[1]
    one, other = (small_spec(seed=seed) for seed in (0, 1))
    assert one.data_request(cohort) == other.data_request(cohort)


def test_slices_with_0_1_2_findings_come_equally_often():
    labels = np.zeros((1000, 3), int)
    labels[600:900, 0] = 1
    labels[900:, :2] = 1
    weights = sampling_weights(labels)
    n_findings = labels.sum(axis=1)
    np.testing.assert_allclose([weights[n_findings == n].sum() for n in (0, 1, 2)], 1 / 3)
    drawn = np.concatenate([n_findings[epoch_order(labels, seed=0, epoch=epoch)] for epoch in range(20)])
    assert chisquare(np.bincount(drawn)).pvalue > 1e-3


def test_translation_moves_whole_pixels_and_repeats_the_edge():
    image = np.arange(20.0).reshape(1, 4, 5)
    moved = translate(np.repeat(image, 2, axis=0), np.array([[1, -2], [0, 0]]))
    assert np.array_equal(moved[1], image[0])
    assert np.array_equal(moved[0, 1:, :3], image[0, :3, 2:])
    assert np.array_equal(moved[0, 0, :3], image[0, 0, 2:]) and np.array_equal(moved[0, 1:, 4], image[0, :3, 4])
    moves = epoch_translations(5000, 2, seed=0, epoch=0)
    assert chisquare(np.bincount(moves[:, 0] + 2)).pvalue > 1e-3


def test_loss_is_the_sum_over_heads_of_the_mean_cross_entropy():
    logits, labels = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([[0, 1, 1]] * 5)
    expected = sum(torch.nn.functional.cross_entropy(logits[:, head], labels[:, head]) for head in range(3))
    assert loss(logits, labels).item() == pytest.approx(expected.item(), rel=1e-6)


def test_train_shift_corrupts_the_kspace_of_the_slices_in_use_anew_each_epoch(cohort: Path, tmp_path: Path):
    table = load_slice_table(DataRequest(cohort)).of_split("train")
    store = ImageStore(tmp_path / "store")
    clean = split_images(table, Shift(), store)
    order = np.array([4, 0, 4])
    first, second = (
        shifted_epoch(tmp_path / f"{epoch}.npy", table, clean, order, store, draw=("noise:3", 0, epoch))
        for epoch in (0, 1)
    )
    volume = table.volumes[1]
    expected = make_images(volume, Shift("noise", 3), slices=[1], item_id=f"{volume.stem}/epoch 0")
    assert np.array_equal(first[4], expected[0])
    assert not np.array_equal(first[4], second[4]) and not first[1].any()
    levels = [draw_train_shift("noise:random", corruption_seed=0, epoch=epoch, stem="a").level for epoch in range(600)]
    assert chisquare(np.bincount(levels, minlength=6)).pvalue > 1e-3


def test_training_under_a_shift_runs_and_resumes_bit_identically(cohort: Path, tmp_path: Path):
    request = {"train_shift": "random", "epochs": 2, "norm": "bn"}
    whole = fit_small(cohort, tmp_path / "whole" / "run", **request).folder
    calls = iter(range(1000))
    with pytest.raises(Interrupted):
        fit_small(cohort, tmp_path / "part" / "run", Watch(stop=lambda: next(calls) == 8), **request)
    assert_same_run(fit_small(cohort, tmp_path / "part" / "run", **request).folder, whole)
    assert not list(whole.glob("shifted-epoch*"))


def test_permuted_labels_give_an_auroc_of_one_half(tmp_path: Path):
    """Labels dealt out anew: nothing can be learnt, and what is left is chance within four standard errors."""
    root = write_cohort(tmp_path / "cohort", n_patients={"train": 14, "val": 10, "test": 60})
    rows, files = read_rows(root), [path.stem for path in root.rglob("*.h5")]
    places = [(name, index) for name in sorted(files) for index in range(3)]
    moved = {}
    for split in ("train", "val", "test"):
        own = [place for place in places if f"_{split}_" in place[0]]
        order = stream(0, "permutation", split).permutation(len(own))
        moved |= {place: own[index] for place, index in zip(own, order.tolist(), strict=True)}
    write_labels(root, [(*moved[row[0], int(row[1])], *row[2:]) for row in rows], files)
    folder = fit_small(root, tmp_path / "run", epochs=6).folder
    (test,) = [block for block in read_table(folder / "predictions.csv.gz") if block.cell.split == "test"]
    results = json.loads((folder / "results.json").read_text())
    n_present = test.labels.sum(axis=0)
    n_absent = len(test.labels) - n_present
    # Under no association an AUROC has variance (n1 + n0 + 1) / (12 n1 n0).
    errors = np.sqrt((n_present + n_absent + 1) / (12 * n_present * n_absent))
    areas = np.array([entry["auroc"] for entry in results["clean_auroc"].values()])
    assert (np.abs(areas - 0.5) < 4 * errors).all()
    assert not any(entry["learnt"] for entry in results["clean_auroc"].values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["norm=layer"], "norm is 'layer'; expected one of bn, gn, ln, in, none"),
        (["lr=fast"], "lr: .*valid number"),
        (["learning_rate=1"], "no such setting; expected one of norm, epochs"),
        (["train_shift=blur:3"], "kind is 'blur'; expected one of noise"),
        (["train_shift=noise:7"], r"expected KIND:LEVEL \(0..5\), KIND:random, or random"),
        (["epochs=0"], "epochs: .*greater than or equal to 1"),
        (["scaling"], "expected NAME=VALUE"),
    ],
)
def test_bad_requests_are_refused_by_name(settings: list[str], message: str):
    with pytest.raises(ConfigError, match=message):
        make_spec({}, settings)


def test_a_number_in_scientific_notation_is_a_number():
    assert make_spec({}, ["lr=2e-3"]).lr == 0.002


def test_a_network_too_deep_for_the_image_is_refused(cohort: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="images of 32 x 32 do not fit the network: the last feature map is 1 x 1"):
        fit_small(cohort, tmp_path / "run", stem_stride=4, memory_format="auto")


def test_formats_are_measured_and_the_unsafe_one_is_left_out():
    """Backward through Conv2d(4, 8, 1, stride=2) in channels-last corrupts the heap with torch 2.13: never run it."""
    shape = (2, 1, 32, 32)
    safe, unsafe = (
        Architecture(norm="bn", depth=18, width=width, stem_stride=1, pooled_size=2, n_heads=2).build()
        for width in (16, 4)
    )
    assert channels_last_is_safe(safe) and not channels_last_is_safe(unsafe)
    measured = choose_execution(safe, shape, precision="float32", memory_format="auto").milliseconds
    assert set(measured) == {"float32 contiguous", "float32 channels-last"} and min(measured.values()) > 0
    assert choose_execution(unsafe, shape, precision="float32", memory_format="auto").memory_format == "contiguous"
    with pytest.raises(ConfigError, match="multiple of 16, or memory_format=contiguous"):
        choose_execution(unsafe, shape, precision="float32", memory_format="channels-last")


@pytest.mark.parametrize("norm", ["gn", "bn"])
def test_channels_last_computes_the_same_and_group_norms_keep_it(norm: str):
    architecture = Architecture(norm=norm, depth=18, width=16, stem_stride=1, pooled_size=2, n_heads=2)
    images = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    seen: list[tuple[bool, ...]] = []

    def note(module, inputs, output):
        seen.append(tuple(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in (*inputs, output)))

    results = []
    for layout in ("contiguous", "channels-last"):
        execution = Execution(memory_format=layout)
        network = execution.laid_out(architecture.build())
        if layout == "channels-last":
            for module in network.modules():
                if isinstance(module, torch.nn.GroupNorm):
                    module.register_forward_hook(note)
        logits = network(images.to(memory_format=execution.torch_memory_format))
        logits.square().sum().backward()
        results.append([logits, *(parameter.grad for parameter in network.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * float(one.detach().abs().max()))
    assert seen == [(True, True)] * (16 if norm == "gn" else 0)


def test_the_probe_leaves_the_network_as_it_was():
    network = Architecture(norm="bn", depth=18, width=4, stem_stride=1, pooled_size=2, n_heads=2).build()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    choose_execution(network, (2, 1, 32, 32), precision="auto", memory_format="auto")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_kernels_are_deterministic_for_a_while_and_memory_is_not_filled():
    filled = torch.utils.deterministic.fill_uninitialized_memory
    with pytest.raises(KeyError), deterministic_kernels():
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
        raise KeyError
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory == filled


def test_a_damaged_state_is_refused(finished: Path, cohort: Path, tmp_path: Path):
    calls = iter(range(100))
    with pytest.raises(Interrupted):
        fit_small(cohort, tmp_path / "run", Watch(stop=lambda: next(calls) == 3), epochs=3)
    state = tmp_path / "run" / "last.ckpt"
    state.write_bytes(state.read_bytes()[:500])
    with pytest.raises(DataError, match=r"last.ckpt cannot be taken up"):
        fit_small(cohort, tmp_path / "run", epochs=3)


class _Bomb:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda state, bomb: state.write_bytes(pickle.dumps(bomb)), "no archive of torch: refused unread"),
        (
            lambda state, bomb: torch.save({"bomb": bomb}, state, _use_new_zipfile_serialization=False),
            "no archive of torch: refused unread",
        ),
        (lambda state, bomb: torch.save(bomb, state), "it holds more than tensors and numbers: refused"),
        (
            lambda state, bomb: torch.save(torch.load(state, weights_only=True) | {"history": [bomb]}, state),
            "it holds more than tensors and numbers: refused",
        ),
    ],
    ids=["pickle", "torch before 1.6", "torch", "hidden in a good state"],
)
def test_a_pickle_bomb_is_no_state_and_does_not_go_off(diagnose, cohort: Path, tmp_path: Path, write, reason: str):
    calls = iter(range(100))
    with pytest.raises(Interrupted):
        fit_small(cohort, tmp_path / "run", Watch(stop=lambda: next(calls) == 3), epochs=3)
    state, trace = tmp_path / "run" / "last.ckpt", tmp_path / "exploded"
    write(state, _Bomb(trace))
    done = diagnose(*command_of(cohort)[3:], cwd=tmp_path)
    assert done.returncode == 4 and not done.stdout and not trace.exists()
    first, last = done.stderr.splitlines()
    assert first.startswith("resuming gn") and last.startswith(f"diagnose: last.ckpt cannot be taken up ({reason}")
    assert last.endswith("expected the state of this run, --overwrite or another --out")
    if reason.startswith("it holds"):
        torch.load(state, weights_only=False)  # the bomb would have worked
        assert trace.exists()


def test_a_state_that_lacks_a_part_is_refused(cohort: Path, tmp_path: Path):
    calls = iter(range(100))
    with pytest.raises(Interrupted):
        fit_small(cohort, tmp_path / "run", Watch(stop=lambda: next(calls) == 3), epochs=3)
    state = tmp_path / "run" / "last.ckpt"
    content = torch.load(state, weights_only=True)
    del content["history"]
    torch.save(content, state)
    with pytest.raises(DataError, match=r"last.ckpt cannot be taken up \('history'\)"):
        fit_small(cohort, tmp_path / "run", epochs=3)


def test_the_output_may_not_lie_in_the_data(cohort: Path):
    with pytest.raises(ConfigError, match="lies in the data folder"):
        fit_small(cohort, cohort / "run")
    assert not (cohort / "run").exists()


def test_image_store_is_in_the_cache_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("MRISIM_CACHE", str(tmp_path))
    assert image_store().folder.is_relative_to(tmp_path)
