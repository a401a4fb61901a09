"""`diagnose study` and `diagnose demo` as a user meets them."""

import json
from pathlib import Path

import pytest

from diagnose.study.timing import PhaseTimes
from diagnose.testing import SMALL

SETTINGS = [
    *(f"--set=train.{name}={value}" for name, value in SMALL.items()),
    "--set=norms=[bn,gn]", "--set=evaluation.kinds=[noise,spikes]", "--set=evaluation.levels=[0,3]",
]  # fmt: skip


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def demo(diagnose, cohort: Path, workplace: Path):
    return diagnose("demo", "--data", str(cohort), "--workers", "2", *SETTINGS, cwd=workplace)


@pytest.fixture(scope="module")
def folder(demo, workplace: Path) -> Path:
    assert demo.returncode == 0, demo.stderr
    (found,) = (workplace / "studies").iterdir()
    return found


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text("name: small\nquestion: Is it?\nnorms: [bn, gn]\nseeds: [0, 1]\n")
    return file


def test_the_demo_goes_from_data_to_report_in_one_command(demo, folder: Path):
    assert folder.name.startswith("demo__")
    assert (folder / "report" / "report.html").is_file() and (folder / "analysis.json").is_file()
    assert "2 of 2 runs finished; 1 seed: exploratory" in demo.stdout
    assert "one seed: no statement about norms" in demo.stdout
    assert f"report studies/{folder.name}/report/report.html" in demo.stdout
    times = json.loads((folder / "timing.json").read_text())
    assert set(times) == {"cohort", "training", "evaluation", "drift", "analysis", "report", "total"}
    lines = demo.stderr.splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith("1/2 "))
    assert any(line.startswith("total: at most") for line in lines[:first]), "what it costs is said first"
    assert sum(" finished in " in line for line in lines) == 2, "one line a run"


def test_the_folder_of_a_study_goes_on_and_says_how_far_it_is(diagnose, folder: Path, workplace: Path):
    done = diagnose("study", str(folder), "--json", cwd=workplace)
    record = json.loads(done.stdout)
    assert done.returncode == 0 and (record["runs"], record["finished"], record["failed"]) == (2, 2, [])
    assert record["report"].endswith("report/report.html") and record["note"] == "1 seed: exploratory"
    assert not any(" finished in " in line for line in done.stderr.splitlines())
    status = diagnose("study", str(folder), "--status", cwd=workplace)
    assert status.returncode == 0 and "no process works on it" in status.stdout
    assert "runs: 2 finished" in status.stdout and "evaluation: finished" in status.stdout
    record = json.loads(diagnose("study", str(folder), "--status", "--json", cwd=workplace).stdout)
    assert [(run["state"], run["epoch"], run["n_epochs"]) for run in record["runs"]] == [("finished", 2, 2)] * 2


def test_a_dry_run_counts_what_will_be_done_and_does_nothing(diagnose, study_file: Path, cohort: Path, tmp_path: Path):
    before = sorted(tmp_path.rglob("*"))
    settings = [f"--set=train.{name}={value}" for name, value in SMALL.items()]
    tuned = "--set=tuning={lr: [1e-3, 1e-4], weight_decay: [0.1], seed: 9}"
    done = diagnose(
        "study", str(study_file), "--data", str(cohort), "--dry-run", "--json", tuned, *settings, cwd=tmp_path
    )
    record = json.loads(done.stdout)
    assert record["out"].startswith("studies/small__")
    assert record["runs"] == "4 (2 norms x 1 scalings x 1 training shifts x 2 seeds), and 4 of the tuning grid"
    assert record["shifts"].startswith("31 ") and "2 seeds: exploratory" in record["comparison"]
    assert record["seconds"] > 0 and record["n_bytes"] > 1e6 and "GB" in record["memory"]
    text = diagnose("study", str(study_file), "--data", str(cohort), "--dry-run", tuned, *settings, cwd=tmp_path).stdout
    assert f"disk in all: {record['n_bytes'] / 1e6:.0f} MB" in text.splitlines() and "n bytes" not in text
    assert sorted(tmp_path.rglob("*")) == before


def test_the_state_of_a_study_that_was_not_begun(diagnose, study_file: Path, tmp_path: Path):
    done = diagnose("study", str(study_file), "--status", cwd=tmp_path)
    assert done.returncode == 0 and "runs: 4 waiting" in done.stdout and "evaluation: waiting" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def test_failed_runs_are_said_and_the_code_is_5(diagnose, study_file: Path, cohort: Path, tmp_path: Path):
    """A run that diverges in every seed: nothing is left to evaluate, and that is said too."""
    settings = [f"--set=train.{name}={value}" for name, value in (SMALL | {"lr": 1e20, "epochs": 1}).items()]
    done = diagnose(
        "study", str(study_file), "--data", str(cohort), "--out", "out", "--set=norms=[bn]", "--set=seeds=[0]",
        *settings, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 5, done.stderr
    assert "0 of 1 runs finished" in done.stdout and "no run finished: nothing to report" in done.stdout
    assert "failed: bn__z-score__seed0: the loss of epoch 1 is not finite" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["study"], 2, "Missing argument"),
        (["study", "nowhere.yaml"], 4, "nowhere.yaml is not there; expected a study file"),
        (["study", "small.yaml", "--set", "norms=[layer]"], 3, "expected one of bn, gn, ln, in, none"),
        (["study", "small.yaml", "--set", "colour=red"], 3, "colour: Extra inputs"),
        (["study", "small.yaml", "--data", "nowhere"], 4, "nowhere is not a folder"),
        (["study", "small.yaml", "--workers", "0"], 2, "--workers"),
        (["study", ".", "--out", "there"], 4, "study.yaml is not there"),
        (["demo", "--set", "seeds=[]"], 3, "seeds: .*at least 1 item"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    diagnose, study_file: Path, tmp_path: Path, arguments: list[str], code: int, message: str
):
    import re

    done = diagnose(*arguments, cwd=tmp_path)
    assert done.returncode == code and re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr and not done.stdout
    if code > 2:
        assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def test_a_study_that_has_learnt_nothing_ends_with_its_report(diagnose, study_file: Path, cohort: Path, tmp_path: Path):
    settings = [f"--set=train.{name}={value}" for name, value in (SMALL | {"epochs": 1}).items()]
    command = [
        "study", str(study_file), "--data", str(cohort), "--out", "out", "--set=seeds=[0]", "--set=drift=null",
        "--set=evaluation.kinds=[noise]", "--set=evaluation.levels=[0,3]", "--set=inference.learnt_auroc=0.9999",
    ]  # fmt: skip
    done = diagnose(*command, *settings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "  gn - bn: not available; no seed has a finding that is learnt" in done.stdout
    assert "report out/report/report.html" in done.stdout
    done = diagnose(*command, *settings, "--json", cwd=tmp_path)
    (one,) = json.loads(done.stdout)["primary"]["comparisons"]
    assert done.returncode == 0 and one["difference"] is None


def test_a_folder_and_another_out_are_refused(diagnose, folder: Path, workplace: Path):
    done = diagnose("study", str(folder), "--out", "other", cwd=workplace)
    assert done.returncode == 2 and "expected one of them" in done.stderr


def test_no_room_is_said_before_anything_is_written(
    diagnose, study_file: Path, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import shutil
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))
    settings = [f"--set=train.{name}={value}" for name, value in SMALL.items()]
    done = diagnose("study", str(study_file), "--data", str(cohort), *settings, cwd=tmp_path)
    assert done.returncode == 4 and "are free; expected room for it" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def test_phases_add_up_over_the_times_that_a_study_was_taken_up(tmp_path: Path):
    PhaseTimes(tmp_path).add("training", 2.5)
    times = PhaseTimes(tmp_path)
    times.add("cohort", 1.0)
    times.add("training", 4.0)
    assert json.loads((tmp_path / "timing.json").read_text()) == {"cohort": 1.0, "training": 6.5, "total": 7.5}
    with pytest.raises(ValueError, match="phase is 'lunch'"):
        times.add("lunch", 1)
