"""`diagnose drift` as a user meets it: text, JSON, a dry run, and one line for an error."""

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from diagnose.cli import main
from diagnose.run_folder import DataLocation
from diagnose.testing import SMALL
from diagnose.train import fit
from diagnose.training.spec import TrainSpec

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = TrainSpec(**{**SMALL, "norm": "bn", "epochs": 1})
    return fit(spec, DataLocation(cohort), tmp_path_factory.mktemp("runs") / "bn").folder


@pytest.fixture
def drift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command in an empty folder; exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["diagnose", "drift", *map(str, arguments), "--threads", "1"])
        with pytest.raises(SystemExit) as end:
            main()
            raise SystemExit(0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        return int(end.value.code or 0), *capsys.readouterr()

    return command


def test_a_run_gives_tables_text_and_json(drift: Command, run: Path, tmp_path: Path):
    options = (run, "--kind", "noise", "--levels", "0,4", "--slices", 20, "--swap-layers", "none")
    code, text, log = drift(*options)
    assert code == 0 and "gain x3" in text and "noise 4" in text and "first-" not in text
    assert "note: statistics of 20 of 60 slices of the split test" in log and str(tmp_path) not in text
    (folder,) = (tmp_path / "drift").iterdir()
    assert folder.name.startswith("bn__") and {path.name for path in folder.iterdir()} == {
        "cells", "drift.csv", "swap.csv", "drift.json", "request.json",
    }  # fmt: skip
    code, text, _ = drift(*options, "--json")
    record = json.loads(text)
    assert code == 0 and record["out"] == f"drift/{folder.name}" and len(record["drift"]) == 5 * 16 * 3
    assert {row["swap"] for row in record["swap"]} == {
        "frozen", "mean", "variance", "both", "mean-transplanted", "variance-transplanted",
    }  # fmt: skip
    assert str(tmp_path) not in (folder / "drift.json").read_text()


def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(drift: Command, run: Path, tmp_path: Path):
    code, text, _ = drift(run, "--kind", "noise", "--levels", "4", "--split", "val", "--dry-run")
    assert code == 0 and "split: val: 10 patients, 30 slices" in text and "analysis: " in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--split", "train"), 2, "--split is 'train'; expected test or val"),
        (("--swap-layers", "two"), 2, "--swap-layers is 'two'; expected numbers of layers as 2,8, or none"),
        (("--swap-layers", "16"), 3, "a swap of 16 layers in a network with 16 batch norms; expected 1 to 15"),
        (("--kind", "fog"), 3, "fog"),
        (("--levels", "6"), 2, "expected levels from 0 to 5"),
    ],
)
def test_a_bad_request_is_one_line(
    drift: Command, run: Path, tmp_path: Path, options: tuple[str, ...], code: int, message: str
):
    found, text, log = drift(run, *options)
    assert (found, text) == (code, "") and message in log and len(log.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_run_is_bad_data(drift: Command, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    code, _, log = drift(tmp_path / "empty")
    assert code == 4 and "empty has no config.yaml; expected a run folder of `diagnose train`" in log
