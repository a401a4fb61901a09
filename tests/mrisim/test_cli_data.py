"""`mrisim cohort`, `mrisim cache` and `mrisim data` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mrisim.cli_cohort import cache_app, cohort_app
from mrisim.cli_data import data_app
from mrisim.errors import ConfigError, DataError, UsageError

SMALL = ["knee", "--patients", "1/1/0", "--slices", "1", "--matrix", "32", "--coils", "2", "--workers", "1"]


def run(app: typer.Typer, *arguments: str | Path, fails_with: type[Exception] | None = None) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if fails_with is None:
        assert result.exception is None, result.exception
        return result.stdout
    assert isinstance(result.exception, fails_with), result.exception
    return f"{result.stdout}{result.exception}"


@pytest.fixture(scope="module")
def knees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "knees"
    text = run(cohort_app, *SMALL, "--contrast", "pd", "--contrast", "pdfs", "--seed", "3", "--out", folder)
    assert text.startswith("2 patients made: ")
    return folder


def test_cohort_says_what_it_costs_first_and_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "c"
    text = run(cohort_app, "knee", "--out", out, "--dry-run", "--workers", "2")
    assert "480 / 60 / 100 patients" in text and "1913 MB in" in text and "on 2 workers" in text
    record = json.loads(run(cohort_app, "knee", "--out", out, "--dry-run", "--json"))
    assert record["n_files"] == 640 and 1.5e9 < record["n_bytes"] < 2.2e9 and record["spec"]["anatomy"] == "knee"
    assert json.loads(run(cohort_app, "brain", "--dry-run", "--json"))["spec"]["plane"] == "axial"
    assert not out.exists()


def test_a_complete_cohort_is_left_alone(knees: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in knees.rglob("*")}
    again = run(cohort_app, *SMALL, "--contrast", "pd", "--contrast", "pdfs", "--seed", "3", "--out", knees)
    assert again.startswith("nothing to do, the cohort is complete")
    assert {path: path.stat().st_mtime_ns for path in knees.rglob("*")} == before
    assert "holds another cohort" in run(cohort_app, *SMALL, "--out", knees, fails_with=DataError)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--patients", "0"], "at least one patient"),
        (["--patients", "two"], "expected a number"),
        (["--field", "7"], "no virtual scanner at 7 T"),
        (["--contrast", "t2"], "none of the knee"),
        (["--plane", "axial"], "sagittal or coronal"),
        (["--matrix", "3"], "matrix"),
        (["--coils", "0"], "n_coils"),
        (["--slices", "0"], "n_slices"),
        (["--seed", "-1"], "seed"),
        (["--lesions", "glioma"], "random or none for the knee"),
        (["--workers", "0"], "workers"),
    ],
)
def test_impossible_cohorts_are_refused(arguments: list[str], message: str, tmp_path: Path) -> None:
    text = run(cohort_app, "knee", *arguments, "--out", tmp_path / "c", fails_with=ConfigError)
    assert message in text
    assert not (tmp_path / "c").exists()


def test_cache_is_listed_and_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRISIM_CACHE", str(tmp_path))
    assert "0 cohorts" in run(cache_app, "info")
    assert "nothing was removed" in run(cache_app, "clear")
    (tmp_path / "cohorts" / "knee-abc").mkdir(parents=True)
    (tmp_path / "cohorts" / "knee-abc" / "file1.h5").write_bytes(b"x" * 1000)
    record = json.loads(run(cache_app, "info", "--json"))
    assert record["cohorts"] == [{"name": "knee-abc", "n_bytes": 1000, "complete": False}]
    assert "unfinished" in run(cache_app, "info")
    (tmp_path / "mine.txt").write_text("kept")
    assert "removed 1 cohorts" in run(cache_app, "clear")
    assert (tmp_path / "mine.txt").exists() and not (tmp_path / "cohorts" / "knee-abc").exists()


def test_data_list_and_describe() -> None:
    names = [entry["name"] for entry in json.loads(run(data_app, "list", "--json"))["datasets"]]
    assert {"fastmri_knee_multicoil", "brats2023_gli", "phantom_knee"} <= set(names)
    assert all(name in run(data_app, "list") for name in names)
    text = run(data_app, "describe", "fastmri_knee_multicoil")
    assert "MRISIM_DATA_FASTMRI_KNEE_MULTICOIL" in text and "not known here: " in text and "1811.08839" in text
    record = json.loads(run(data_app, "describe", "fastmri_plus", "--json"))
    assert record["unknown"] and record["known_bad"]
    assert "no data set 'fastmri'" in run(data_app, "describe", "fastmri", fails_with=ConfigError)


def test_data_verify_lock_and_split_on_a_cohort(knees: Path, tmp_path: Path) -> None:
    assert "is as its manifest says" in run(data_app, "verify", "phantom_knee", "--root", knees)
    lock = tmp_path / "lock.json"
    assert "locked 6 files" in run(data_app, "lock", "phantom_knee", "--root", knees, "--out", lock)
    assert "and its lock says" in run(data_app, "verify", "phantom_knee", "--root", knees, "--lock", lock, "--deep")
    first = json.loads(run(data_app, "split", "phantom_knee", "--root", knees, "--out", tmp_path / "s.csv", "--json"))
    again = json.loads(run(data_app, "split", "phantom_knee", "--root", knees, "--out", tmp_path / "t.csv", "--json"))
    assert first["sha256"] == again["sha256"] and first["n_files"] == 4 and sum(first["n_patients"].values()) == 2
    kept = run(data_app, "split", "phantom_knee", "--root", knees, "--out", tmp_path / "u.csv", "--keep-distributor")
    assert "1 train, 1 val" in kept
    inside = run(data_app, "lock", "phantom_knee", "--root", knees, "--out", knees / "lock.json", fails_with=DataError)
    assert "inside the data folder" in inside


@pytest.mark.parametrize("command", ["lock", "split"])
def test_a_lock_or_a_split_replaces_no_file_unasked(command: str, knees: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("mine")
    request = (command, "phantom_knee", "--root", knees, "--out", table)
    assert "labels.csv exists; use --overwrite or another name" in run(data_app, *request, fails_with=UsageError)
    assert table.read_text() == "mine"
    run(data_app, *request, "--overwrite")
    assert "multicoil_train" in table.read_text()


def test_data_verify_names_what_is_wrong(knees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, copy = tmp_path / "lock.json", tmp_path / "copy"
    for path in knees.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(knees)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(knees)).write_bytes(path.read_bytes())
    run(data_app, "lock", "phantom_knee", "--root", copy, "--out", lock)
    victim = sorted(copy.glob("multicoil_train/*.h5"))[0]
    victim.write_bytes(victim.read_bytes()[:5000])
    monkeypatch.setenv("MRISIM_DATA_PHANTOM_KNEE", str(copy))
    text = run(data_app, "verify", "phantom_knee", "--lock", lock, fails_with=DataError)
    assert "cannot be read as hdf5" in text and "has 5000 bytes; the lock says" in text and str(copy) not in text
    victim.unlink()
    text = run(data_app, "verify", "phantom_knee", "--allow-partial")
    assert "is as its manifest says, but for the " in text.splitlines()[-1]
    monkeypatch.delenv("MRISIM_DATA_PHANTOM_KNEE")
    assert "where is phantom_knee?" in run(data_app, "verify", "phantom_knee", fails_with=ConfigError)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no file of phantom_knee" in run(data_app, "verify", "phantom_knee", "--root", empty, fails_with=DataError)
    assert "expected the existing folder" in run(
        data_app, "verify", "phantom_knee", "--root", tmp_path / "none", fails_with=DataError
    )
