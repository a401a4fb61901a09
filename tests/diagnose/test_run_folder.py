"""Where a run's data are: found again when both move together, asked for otherwise, and no path of this machine."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from diagnose.dataset import load_slice_table
from diagnose.run_folder import (
    EMBEDDED,
    DataLocation,
    config_of,
    is_simulated,
    open_run,
    read_location,
    read_lock,
    read_spec,
    recall_execution,
    remember_execution,
)  # fmt: skip
from diagnose.testing import SMALL
from diagnose.training.execution import Execution
from diagnose.training.spec import TrainSpec
from mrisim.cohort_cache import VARIABLE, cached_path
from mrisim.cohort_protocol import default_spec
from mrisim.errors import DataError
from mrisim.files import named

SPEC = TrainSpec(**SMALL)


def opened(run: Path, location: DataLocation) -> str:
    """Return what a run opened there keeps of its location."""
    table = load_slice_table(SPEC.data_request(location.root, location.labels, location.split))
    open_run(run, SPEC, table, location, overwrite=False)
    return (run / "location.json").read_text()


def test_another_run_is_overwritten_where_the_user_stands(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    location = DataLocation(data, data / "Annotations" / "knee.csv")
    table = load_slice_table(SPEC.data_request(location.root, location.labels, location.split))
    run = tmp_path / "run"
    opened(run, location)
    monkeypatch.chdir(run)
    other = TrainSpec(**(SMALL | {"seed": SPEC.seed + 1}))
    assert open_run(named(Path()), other, table, location, overwrite=True) == "new"
    assert Path.cwd() == run and f"seed: {other.seed}" in Path("config.yaml").read_text()


@pytest.fixture
def data(cohort: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cohort, tmp_path / "place" / "data"))


def test_a_run_and_its_data_may_move_together(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path / "place")
    labels = data / "Annotations" / "knee.csv"
    text = opened(Path("runs/a"), DataLocation(Path("data"), labels))
    assert json.loads(text) == {"root": "../../data", "labels": "../../data/Annotations/knee.csv"}
    moved = (tmp_path / "place").rename(tmp_path / "elsewhere")
    assert read_location(moved / "runs" / "a") == DataLocation(
        moved / "data", moved / "data" / "Annotations" / "knee.csv"
    )


def test_a_run_that_moved_alone_asks_for_its_data(data: Path, tmp_path: Path):
    run, labels = tmp_path / "place" / "run", data / "Annotations" / "knee.csv"
    opened(run, DataLocation(data, labels))
    alone = tmp_path / "far" / "away" / "run"
    shutil.copytree(run, alone)
    with pytest.raises(DataError, match=r"the data of run are not at \.\./data, seen from it.*expected --data DIR$"):
        read_location(alone)
    labels.unlink()
    with pytest.raises(DataError, match=r"the labels of run are not at .*knee\.csv.* --data DIR and --labels CSV"):
        read_location(run)


@pytest.mark.parametrize(
    ("file", "text", "read", "message"),
    [
        ("config.yaml", "norm: [", config_of, r"config\.yaml of run is damaged"),
        ("config.yaml", "words", config_of, r"config\.yaml of run is damaged"),
        ("config.yaml", "norm: gn\nlearning: 1\n", read_spec, r"config\.yaml of run: learning: Extra inputs"),
        ("location.json", "{", read_location, r"location\.json of run is damaged"),
        ("data.lock.json", "[]", read_lock, r"data\.lock\.json of run is damaged"),
        ("env.json", "", recall_execution, r"env\.json of run is damaged"),
        ("../data/dataset.json", "{", lambda run: is_simulated([run]), r"dataset\.json of data is damaged"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(data: Path, tmp_path: Path, file: str, text: str, read, message: str):
    run = tmp_path / "place" / "run"
    opened(run, DataLocation(data))
    (run / file).write_text(text)
    with pytest.raises(DataError, match=message):
        read(run)


def test_the_split_may_be_gone(data: Path, tmp_path: Path):
    run = tmp_path / "run"
    opened(run, DataLocation(data))
    split = shutil.copy(run / "split.csv", tmp_path / "mine.csv")
    opened(tmp_path / "other", DataLocation(data, split=Path(split)))
    Path(split).unlink()
    assert read_location(tmp_path / "other") == DataLocation(data, split=tmp_path / "mine.csv")


def test_the_embedded_cohort_goes_by_its_name(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A run made with one cache is evaluated with another: the cohort is found in whichever is in use."""
    for cache in ("one", "two"):
        monkeypatch.setenv(VARIABLE, str(tmp_path / cache))
        shutil.copytree(cohort, cached_path(default_spec()))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "one"))
    run = tmp_path / "run"
    assert json.loads(opened(run, DataLocation(cached_path(default_spec())))) == {"root": EMBEDDED}
    with pytest.raises(DataError, match=r"the embedded cohort, which is not in the cache; expected it there .*--data"):
        read_location(run)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "two"))
    (cached_path(default_spec()) / "dataset.json").write_text("{}")
    assert read_location(run) == DataLocation(cached_path(default_spec()))


def test_a_way_through_a_home_folder_is_not_kept(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Data in /home/jane, run on the scratch disk: `../home/jane/data` would tell whose they are."""
    home = tmp_path / "home" / "jane"
    shutil.copytree(data, home / "data")
    monkeypatch.setenv("HOME", str(home))
    outside, inside = tmp_path / "scratch" / "run", home / "runs" / "a"
    assert json.loads(opened(outside, DataLocation(home / "data"))) == {}
    with pytest.raises(DataError, match="run does not say where its data are; expected --data DIR"):
        read_location(outside)
    assert json.loads(opened(inside, DataLocation(home / "data"))) == {"root": "../../data"}


def test_the_gpu_of_a_run_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: {"cuda:1": "NVIDIA H100 80GB HBM3"}[device])
    for device, name in (("cpu", None), ("cuda:1", "NVIDIA H100 80GB HBM3")):
        remember_execution(tmp_path, Execution(device=device))
        assert json.loads((tmp_path / "env.json").read_text())["gpu"] == name
        assert recall_execution(tmp_path) == Execution(device=device)
