"""The `diagnose` program as a user meets it: commands, exit codes, one line for an error."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from diagnose.checkpoint import load_model, save_model
from diagnose.cli import main, parse_levels
from diagnose.norms import NORMS
from diagnose.testing import SMALL, read_rows, write_cohort, write_labels
from mrisim.errors import UsageError

SETTINGS = [f"--set={name}={value}" for name, value in SMALL.items() if name != "epochs"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def trained(diagnose, cohort: Path, workplace: Path) -> dict[str, object]:
    """The record of a run, trained by the command."""
    done = diagnose(
        "train",
        "--norm",
        "gn",
        "--data",
        str(cohort),
        "--epochs",
        "8",
        "--json",
        "--threads",
        "1",
        *SETTINGS,
        cwd=workplace,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_train_then_evaluate_gives_a_table_with_intervals(diagnose, trained: dict[str, object], workplace: Path):
    assert str(trained["run"]).startswith("runs/gn__seed0__")
    done = diagnose(
        "evaluate", str(trained["run"]), "--kind", "all", "--levels", "0,3", "--threads", "1", cwd=workplace
    )
    assert done.returncode == 0, done.stderr
    for kind in ("noise", "motion", "ghosting", "spikes", "undersampling", "bias-field"):
        (line,) = [text for text in done.stdout.splitlines() if text.strip().startswith(kind)]
        assert line.count("[") == 1 and "," in line
    assert "retained" in done.stdout and "simulation results" in done.stdout
    assert "evaluations/gn__seed0__" in done.stdout


def test_a_finished_run_is_reported_not_trained(diagnose, trained: dict[str, object], cohort: Path, workplace: Path):
    again = diagnose(
        "train", "--data", str(cohort), "--epochs", "8", "--json", "--threads", "1", *SETTINGS, cwd=workplace
    )
    assert json.loads(again.stdout) == trained and "finished run" in again.stderr


def test_dry_runs_say_what_would_be_done_and_do_nothing(
    diagnose, trained: dict[str, object], cohort: Path, tmp_path: Path, workplace: Path
):
    dry = diagnose("train", "--norm", "bn", "--data", str(cohort), "--dry-run", "--json", *SETTINGS, cwd=tmp_path)
    record = json.loads(dry.stdout)
    assert record["train"] == "14 patients, 14 files, 42 slices" and "epochs" in record["training"]
    assert not list(tmp_path.iterdir())
    before = sorted(workplace.rglob("*"))
    dry = diagnose("evaluate", str(trained["run"]), "--dry-run", cwd=workplace)
    assert dry.returncode == 0 and "shifts: 31" in dry.stdout and sorted(workplace.rglob("*")) == before


def test_norms_are_listed(diagnose, tmp_path: Path):
    rows = json.loads(diagnose("norms", "--json", cwd=tmp_path).stdout)["norms"]
    assert [row["name"] for row in rows] == list(NORMS) and {row["eps"] for row in rows[:4]} == {1e-5}
    assert diagnose("norms", "--width", "3", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "--norm", "layer"], 3, "expected one of bn, gn, ln, in, none"),
        (["train", "--set", "momentum=0.9"], 3, "no such setting"),
        (["train", "--data", "nowhere"], 4, "nowhere is not a folder"),
        (["train", "--train-shift", "noise"], 3, "expected KIND:LEVEL"),
        (["train", "--epochs", "many"], 2, "--epochs"),
        (["train", "--task", "regression"], 2, "task is 'regression'; expected one of classification"),
        (["train", "--train-on", "knee"], 2, "--train-on has no meaning for classification"),
        (["evaluate"], 2, "expected run folders, or --predictions CSV; got neither"),
        (["evaluate", "nowhere"], 4, "nowhere holds no model.safetensors"),
        (["evaluate", "--predictions", "none.csv"], 4, "none.csv does not exist"),
        (["evaluate", "--predictions", "x.csv", "--dry-run"], 2, "--dry-run has no meaning with --predictions"),
        (["evaluate", "--predictions", "x.csv", "--levels", "5"], 2, "--levels has no meaning with --predictions"),
        (["evaluate", "x", "--kind", "blur"], 3, "kind is 'blur'; expected one of noise"),
        (["evaluate", "x", "--levels", "0..9"], 2, "expected levels from 0 to 5"),
        (["evaluate", "x", "--recon", "rss,grappa"], 2, "--recon names 'grappa'; expected some of rss"),
        (["evaluate", "x", "--adapt", "tent"], 3, "expected frozen, precise-bn"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(diagnose, tmp_path: Path, arguments: list[str], code: int, message: str):
    done = diagnose(*arguments, cwd=tmp_path)
    assert done.returncode == code and message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not done.stdout
    if code > 2:
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "--labels", "none.csv"], 4, "none.csv is not there; expected the label table"),
        (["train", "--labels", "odd.csv"], 4, "odd.csv has columns ['what']"),
        (["train", "--split", "none.csv"], 4, "none.csv is not there; expected a stored split"),
        (["train", "--set", "label_map=knees"], 3, "no label map 'knees'"),
        (["train", "--out", "precious", "--overwrite"], 3, "precious holds files that are no run; expected an empty"),
        (["train", "--out", "odd.csv"], 4, "odd.csv is a file; expected a folder"),
        (["train", "--task", "segmentation", "--labels", "odd.csv"], 3, "expected no --labels"),
        (["train", "--task", "segmentation", "--split", "none.csv"], 4, "none.csv is not there"),
        (["train", "--task", "reconstruction", "--labels", "odd.csv"], 3, "expected no --labels"),
        (["train", "--task", "reconstruction", "--split", "none.csv"], 4, "none.csv is not there"),
        (["study", "small.yaml", "--labels", "none.csv"], 4, "none.csv is not there; expected the label table"),
        (["study", "small.yaml", "--split", "none.csv"], 4, "none.csv is not there; expected a stored split"),
        (["study", "small.yaml", "--out", "precious", "--overwrite"], 3, "precious holds files that are no study"),
        (["demo", "--out", "precious", "--overwrite"], 3, "precious holds files that are no study"),
        (["evaluate", "x", "--labels", "odd.csv"], 2, "--labels odd.csv has no effect without --data"),
        (["evaluate", "x", "--data", ".", "--labels", "none.csv"], 4, "none.csv is not there"),
        (["drift", "x", "--labels", "odd.csv"], 2, "--labels odd.csv has no effect without --data"),
    ],
)
def test_what_no_data_could_make_right_is_said_before_a_cohort_is_made(
    diagnose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, message: str
):
    def too_late(*_: object, **__: object) -> Path:
        raise AssertionError("a cohort is made")

    monkeypatch.setattr("mrisim.cohort_cache.default_cohort", too_late)
    (tmp_path / "odd.csv").write_text("what\n")
    (tmp_path / "small.yaml").write_text("name: small\nquestion: Is it?\nnorms: [bn, gn]\nseeds: [0]\n")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    before = sorted(tmp_path.rglob("*"))
    done = diagnose(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "") and message in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1 and sorted(tmp_path.rglob("*")) == before


def test_a_run_that_is_overwritten_is_there_until_the_new_one_is_finished(diagnose, cohort: Path, tmp_path: Path):
    def train(*options: str):
        options = ("--data", str(cohort), "--epochs", "1", "--out", "run", "--threads", "1", *SETTINGS, *options)
        return diagnose("train", *options, cwd=tmp_path)

    def files() -> dict[str, bytes]:
        return {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in (tmp_path / "run").rglob("*")}

    assert train().returncode == 0
    before = files()
    failed = train("--set=lr=1e30", "--overwrite")
    assert failed.returncode == 3 and "the loss of epoch 1 is not finite" in failed.stderr
    assert "nothing of it is finished: the earlier run is back in run" in failed.stderr
    assert files() == before and "finished run" in train().stderr
    assert train("--seed=1", "--overwrite").returncode == 0
    assert files().keys() == before.keys() and files()["run/model.safetensors"] != before["run/model.safetensors"]


def test_bad_data_end_a_training_with_4_and_a_line_that_names_them(diagnose, tmp_path: Path):
    cohort = write_cohort(tmp_path / "cohort")
    with h5py.File(cohort / "multicoil_train" / "file_train_001.h5", "r+") as file:
        kspace = file["kspace"][1, 0, 3, 3]
        file["kspace"][1, 0, 3, 3] = np.nan
    command = ["train", "--data", str(cohort), "--epochs", "1", "--out", "run", "--threads", "1", *SETTINGS]
    done = diagnose(*command, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (4, "")
    first, last = done.stderr.splitlines()
    assert first.startswith("training gn, seed 0")
    assert last.startswith("diagnose: multicoil_train/file_train_001.h5: slice 1 holds NaN, Inf or nothing; expected")
    with h5py.File(cohort / "multicoil_train" / "file_train_001.h5", "r+") as file:
        file["kspace"][1, 0, 3, 3] = kspace
    assert diagnose(*command, cwd=tmp_path).returncode == 0, "the same command, once the file is mended"
    rows = [tuple(row) for row in read_rows(cohort) if not (row[0].startswith("file_val") and "ACL" in row[7])]
    write_labels(cohort, rows, [path.stem for path in cohort.rglob("*.h5")])
    done = diagnose("train", "--data", str(cohort), "--epochs", "1", "--out", "other", *SETTINGS, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (4, "") and not (tmp_path / "other").exists()
    assert done.stderr == "diagnose: acl is absent from all 30 slices of val; expected both classes there\n"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["model.safetensors"], r"the weights are of another architecture: \S+ is .*; expected .* in preact-resnet-18"),
        (
            ["model.safetensors", "model.json"],
            r"the weights in run are of another architecture: norm is 'bn'; expected 'gn', as in its config\.yaml",
        ),
    ],
    ids=["weights", "weights and description"],
)
def test_a_checkpoint_of_another_architecture_is_not_evaluated(
    diagnose, trained: dict[str, object], cohort: Path, workplace: Path, tmp_path: Path, files: list[str], message: str
):
    """Weights under a description that is not theirs, and both of them in a run that asked for another norm."""
    run = Path(shutil.copytree(workplace / str(trained["run"]), tmp_path / "run"))
    description = load_model(run)[1]
    other = description.architecture.model_copy(update={"norm": "bn"})
    save_model(tmp_path / "other", other.build(), description.model_copy(update={"architecture": other}))
    for name in files:
        shutil.copy(tmp_path / "other" / name, run / name)
    done = diagnose("evaluate", "run", "--data", str(cohort), "--kind", "noise", "--levels", "3", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (4, "") and re.fullmatch(f"diagnose: {message}.*\n", done.stderr)
    assert not (tmp_path / "evaluations").exists()


def test_levels():
    assert parse_levels("0..5") == (0, 1, 2, 3, 4, 5)
    assert parse_levels("5,1..2") == (1, 2, 5)
    for text in ("", "3..1", "-1", "six"):
        with pytest.raises(UsageError):
            parse_levels(text)


def test_help_answers_at_once_and_imports_nothing_heavy(tmp_path: Path):
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "diagnose.cli", "--help"], cwd=tmp_path, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    code = "import sys, diagnose.cli; print(*sys.modules, sep='\\n')"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=os.getcwd(), check=True
    ).stdout
    assert not {"torch", "numpy", "sigpy", "scipy", "h5py"} & set(loaded.split())
    assert min(seconds) < 0.5  # processor time: what else a machine does at the moment says nothing


def test_memory_that_runs_out_is_one_line(diagnose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("diagnose.norms.describe_norms", lambda _width: torch.empty(1 << 50))
    done = diagnose("norms", cwd=tmp_path)
    assert done.returncode == 4
    assert re.fullmatch(
        r"diagnose: this machine is out of memory: .* 4503599627370496 bytes.*; "
        r"try a smaller --set batch=N, or less data\n",
        done.stderr,
    )


def test_ctrl_c_is_one_line_and_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def interrupted(_width: int):
        raise KeyboardInterrupt

    monkeypatch.setattr("diagnose.norms.describe_norms", interrupted)
    monkeypatch.setattr(sys, "argv", ["diagnose", "norms"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    assert capsys.readouterr().err == "diagnose: stopped by ctrl-C; the same command resumes\n"
