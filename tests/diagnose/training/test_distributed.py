"""Training in two processes: the same steps as in one, one writer, one voice, stopping and going on."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diagnose.checkpoint import Architecture
from diagnose.dataset import DataRequest, load_slice_table
from diagnose.input_scaling import InputScaling
from diagnose.run_folder import DataLocation, recall_execution
from diagnose.slice_images import ImageStore, Shift, split_images
from diagnose.testing import SMALL
from diagnose.train import fit
from diagnose.training.distributed import EndedByFirst, ProcessGroup, is_first_process, n_processes_here, process_group
from diagnose.training.sampling import epoch_order
from diagnose.training.spec import TrainSpec
from mrisim.errors import ConfigError

REPRODUCED = ("model.safetensors", "model.json", "predictions.csv.gz", "results.json", "metrics.jsonl")
ODD = {**SMALL, "batch": 7, "lr": 2e-4, "schedule": "constant"}
"""42 slices in batches of 7: they do not divide by two."""
BN = {**ODD, "batch": 40, "norm": "bn", "epochs": 1, "max_shift_px": 0, "lr": 1e-9}
SHIFTED = {**ODD, "batch": 41, "train_shift": "noise:2", "epochs": 1}
"""The last batch has one slice for two processes."""

WORKER = """
import json, sys
from pathlib import Path
from diagnose.run_folder import DataLocation
from diagnose.train import fit
from diagnose.training.spec import TrainSpec
from diagnose.training.loop import Watch
from mrisim.errors import MrisimError

from diagnose.training.distributed import process_group

def run(group, folder, spec, stop_after):
    said, calls = [], iter(range(1000))
    # The second process alone is asked to stop.
    stop = (lambda: False) if group.is_first else (lambda: next(calls) == stop_after - 1)
    try:
        fit(TrainSpec(**spec), DataLocation(cohort), Path(folder) / "run", watch=Watch(said.append, stop=stop))
        ended = ["done", 0, ""]
    except MrisimError as error:
        ended = [type(error).__name__, error.exit_code, str(error)]
    return {"ended": ended, "said": said}

cohort = Path(sys.argv[1])
with process_group() as group:
    report = {name: run(group, *scenario) for name, scenario in json.loads(sys.argv[2]).items()}
report["threads"] = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
print(json.dumps(report))
"""
SCENARIOS: dict[str, tuple[str, dict[str, Any], int]] = {
    "gn": ("gn", ODD, 0),
    "stopped": ("resumed", ODD, 8),
    "resumed": ("resumed", ODD, 0),
    "bn": ("bn", BN, 0),
    "small part": ("small", {**BN, "batch": 20}, 0),
    "shifted": ("shifted", SHIFTED, 0),
    "diverged": ("diverged", {**ODD, "lr": 1e30}, 0),
    "too deep": ("deep", {**ODD, "stem_stride": 4}, 0),
}


def start_two(arguments: list[str], cwd: Path) -> list[subprocess.CompletedProcess[str]]:
    """Start what torchrun would start; its own start takes longer than these trainings."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(2):
        environment = {
            **os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        command = [sys.executable, *arguments]
        processes.append(
            subprocess.Popen(
                command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        )
    done = []
    for process in processes:
        out, error = process.communicate(timeout=600)
        done.append(subprocess.CompletedProcess(process.args, process.returncode, out, error))
    return done


def settings(values: dict[str, Any]) -> list[str]:
    return [f"--set={name}={value}" for name, value in values.items()]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def reports(cohort: Path, place: Path) -> list[dict[str, Any]]:
    """What each of the two processes went through, scenario by scenario."""
    done = start_two(["-c", WORKER, str(cohort), json.dumps(SCENARIOS)], place)
    assert [process.returncode for process in done] == [0, 0], done[0].stderr + done[1].stderr
    return [json.loads(process.stdout.splitlines()[-1]) for process in done]


def test_no_thread_of_the_group_outlives_it(reports):
    """One that does may ask for the interpreter while that ends, and abort a process that is done."""
    assert not [name for report in reports for name in report["threads"] if "gloo" in name or "tcpstore" in name]


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "last.ckpt", weights_only=True)["network"]


def furthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


def untrained(spec: TrainSpec) -> torch.nn.Module:
    return Architecture(
        norm=spec.norm, depth=18, width=spec.width, stem_stride=1, pooled_size=spec.pooled_size, n_heads=4
    ).build(0)  # fmt: skip


@pytest.mark.parametrize(("name", "values"), [("gn", ODD), ("shifted", SHIFTED)])
def test_two_processes_take_the_steps_of_one(reports, place: Path, cohort: Path, tmp_path: Path, name: str, values):
    """The parts of a batch unequal, or one empty: the same weights but for rounding, after two or twelve steps."""
    assert reports[0][name]["ended"][0] == reports[1][name]["ended"][0] == "done"
    run = fit(TrainSpec(**values), DataLocation(cohort), tmp_path / "run").folder
    alone, two = weights_of(run), weights_of(place / name / "run")
    assert furthest(alone, untrained(TrainSpec(**values)).state_dict()) > 3e-4
    assert furthest(alone, two) < 1e-5
    losses = [
        [json.loads(line)["train_loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (run, place / name / "run")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_batch_norm_keeps_the_statistics_of_its_own_part(reports, place: Path, cohort: Path, tmp_path: Path):
    """With a rate of almost zero: the running statistics are those of the first process's slices, pass by pass."""
    spec = TrainSpec(**BN)
    table = load_slice_table(DataRequest(cohort)).of_split("train")
    images = split_images(table, Shift(), ImageStore(tmp_path))
    order = epoch_order(table.labels, seed=0, epoch=0)
    scaled = torch.from_numpy(InputScaling(name="z-score").apply(np.asarray(images)[order]))[:, None]
    found = weights_of(place / "bn" / "run")
    apart = {}
    for who, passes in {
        "first": ((0, 20), (40, 41)),
        "second": ((20, 40), (41, 42)),
        "both": ((0, 40), (40, 42)),
    }.items():
        network = untrained(spec).train()
        with torch.no_grad():
            for start, stop in passes:
                network(scaled[start:stop])
        apart[who] = max(
            float((tensor - found[name]).abs().max() / tensor.abs().max())
            for name, tensor in network.state_dict().items()
            if "running" in name
        )
    assert apart["first"] < 1e-4 < 1e-2 < min(apart["second"], apart["both"]), apart


def test_a_small_part_of_batch_norm_is_said(reports):
    assert not any("warning" in line for name in ("bn", "gn") for line in reports[0][name]["said"])
    (warning,) = [line for line in reports[0]["small part"]["said"] if "warning" in line]
    assert "batch norm sees 10 items at a time" in warning and "--set batch=32" in warning


def test_stopped_in_one_process_and_resumed_is_bit_identical(reports, place: Path):
    """Only the second process was asked: both stop after the same batch, and the first saves."""
    stopped = [report["stopped"]["ended"] for report in reports]
    assert stopped[0] == ["Interrupted", 6, "stopped in epoch 2; the state is saved, the same command goes on"]
    assert stopped[1] == ["EndedByFirst", 6, ""]
    assert reports[0]["resumed"]["said"][0].startswith("resuming gn")
    for name in REPRODUCED:
        assert (place / "resumed" / "run" / name).read_bytes() == (place / "gn" / "run" / name).read_bytes(), name


def test_the_first_process_speaks_and_the_parts_are_recorded(reports, place: Path):
    assert not any(reports[1][name]["said"] for name in SCENARIOS) and reports[0]["gn"]["said"]
    log = [line.split(" ")[1] for line in (place / "gn" / "run" / "train.log").read_text().splitlines()]
    assert log[:4] == ["training", "epoch", "epoch", "finished"] and "stopped" not in log, "one process writes"
    results = json.loads((place / "gn" / "run" / "results.json").read_text())
    assert (results["n_processes"], results["batch_per_process"]) == (2, 3)
    execution = recall_execution(place / "gn" / "run")
    assert execution is not None and execution.n_processes == 2


def test_an_error_is_said_by_the_first_and_ends_all_with_its_code(reports):
    for name, message in (("diverged", "is not finite"), ("too deep", "do not fit the network")):
        kind, code, text = reports[0][name]["ended"]
        assert (kind, code) == ("ConfigError", 3) and message in text
        assert reports[1][name]["ended"] == ["EndedByFirst", 3, ""]


def test_another_number_of_processes_is_refused(reports, place: Path, cohort: Path):
    with pytest.raises(ConfigError, match="was begun with 2 processes, now there are 1; expected as many"):
        fit(TrainSpec(**ODD), DataLocation(cohort), place / "gn" / "run")


def test_torchrun_runs_the_program_itself(reports, place: Path, cohort: Path, tmp_path: Path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m",
               "diagnose.cli", "train", "--data", str(cohort), "--out", "run", "--threads", "1"]  # fmt: skip
    done = subprocess.run([*command, *settings(ODD)], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("clean test AUROC") == 1 and done.stderr.count("epoch 2/2") == 1
    for name in REPRODUCED:
        assert (tmp_path / "run" / name).read_bytes() == (place / "gn" / "run" / name).read_bytes(), name


def test_the_program_says_an_error_once(cohort: Path, tmp_path: Path):
    done = start_two(["-m", "diagnose.cli", "train", "--data", str(tmp_path / "nowhere")], tmp_path)
    assert [process.returncode for process in done] == [4, 4]
    assert done[0].stderr == (
        "diagnose: nowhere is not a folder; expected one with fastMRI HDF5 files (multicoil_train/*.h5)\n"
    )
    assert done[1].stderr == "" and done[0].stdout == done[1].stdout == ""


def test_parts_are_disjoint_in_order_and_equal_but_for_one():
    for n, n_processes in ((32, 2), (7, 2), (10, 4), (1, 3), (33, 5)):
        parts = [ProcessGroup(rank, n_processes).part(100, 100 + n) for rank in range(n_processes)]
        places = [place for part in parts for place in range(part.start, part.stop)]
        assert places == list(range(100, 100 + n))
        sizes = [part.stop - part.start for part in parts]
        assert max(sizes) - min(sizes) <= 1


def test_alone_nothing_is_exchanged(monkeypatch: pytest.MonkeyPatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with process_group() as group:
        assert group == ProcessGroup() and group.is_first
        assert group.first(lambda: 5) == 5 and group.totals(1.5, 2.0) == (1.5, 2.0)
    assert is_first_process() and n_processes_here() == 1
    monkeypatch.setenv("RANK", "1")  # of some scheduler, not of torchrun
    assert is_first_process()
    assert str(EndedByFirst(4)) == "" and EndedByFirst(4).exit_code == 4


def test_a_batch_smaller_than_the_processes_are_many_is_refused(cohort: Path, tmp_path: Path, monkeypatch):
    from contextlib import nullcontext

    many = ProcessGroup(0, 3)
    monkeypatch.setattr(ProcessGroup, "first", lambda self, action: action())
    monkeypatch.setattr("diagnose.train.process_group", lambda: nullcontext(many))
    with pytest.raises(ConfigError, match="batch is 2; expected at least one item for each of the 3 processes"):
        fit(TrainSpec(**{**SMALL, "batch": 2}), DataLocation(cohort), tmp_path / "run")
    assert not (tmp_path / "run").exists()
