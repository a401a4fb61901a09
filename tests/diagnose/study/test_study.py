"""A study as a whole: queue, failures, kills at random moments, and the tables that must not depend on any of it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from diagnose.evaluation.prediction_table import read_table
from diagnose.run_folder import DataLocation, read_spec
from diagnose.study import engine
from diagnose.study.engine import StudyResult, run_study
from diagnose.study.spec import StudySpec, make_study, read_study
from diagnose.study.state import is_worked_on, locked, study_state
from diagnose.testing import SMALL
from diagnose.trained_model import level_table_version
from mrisim.errors import ConfigError

FINAL = (
    "evaluation/predictions.csv.gz", "evaluation/results.csv", "evaluation/request.json", "analysis.json",
    "drift/drift.csv", "drift/swap.csv", "drift/drift.json",
)  # fmt: skip
RUNS = ("bn__z-score__seed0", "gn__z-score__seed0")


def tiny_study(**changes: object) -> StudySpec:
    return make_study({
        "name": "tiny", "question": "Is gn more robust than bn?", "norms": ["bn", "gn"], "seeds": [0],
        "train": {**SMALL, "epochs": 6},
        "evaluation": {"kinds": ["noise"], "levels": [0, 2, 5], "adaptations": ["frozen", "precise-bn"]},
        **changes,
    })  # fmt: skip


def assert_same_tables(one: Path, other: Path) -> None:
    for name in (*FINAL, *(f"runs/{run}/model.safetensors" for run in RUNS)):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@contextmanager
def started(folder: Path, cohort: Path, *settings: str, n_workers: int = 2) -> Iterator[subprocess.Popen[str]]:
    """Start the command in a process group of its own, of which nothing is left at the end."""
    file = folder.with_suffix(".yaml")
    file.write_text(tiny_study().yaml_text())
    command = [sys.executable, "-m", "diagnose.cli", "study", str(file), "--data", str(cohort), "--out", str(folder),
               "--workers", str(n_workers), *(f"--set={setting}" for setting in settings)]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # Tests that run in the background of a shell have ctrl-C ignored, and would hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def finished(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyResult, float]:
    """A study that nothing stopped, with one worker, and its seconds."""
    folder, started = tmp_path_factory.mktemp("plain") / "study", time.monotonic()
    return run_study(tiny_study(), DataLocation(cohort), folder), time.monotonic() - started


def test_a_study_leaves_what_it_promises(finished: tuple[StudyResult, float], cohort: Path):
    result, folder = finished[0], finished[0].folder
    assert (result.n_runs, result.n_finished, result.failures) == (2, 2, [])
    assert read_study(folder) == tiny_study()
    assert {path.name for path in (folder / "runs").iterdir()} == set(RUNS)
    specs = [read_spec(folder / "runs" / run) for run in RUNS]
    assert [(spec.norm, spec.scaling, spec.seed) for spec in specs] == [("bn", "z-score", 0), ("gn", "z-score", 0)]
    cells = {(b.cell.run, b.cell.adaptation, b.cell.kind, b.cell.level)
             for b in read_table(folder / "evaluation" / "predictions.csv.gz") if b.cell.split == "test"}  # fmt: skip
    shifts = (("clean", 0), ("noise", 2), ("noise", 5))
    assert cells == {
        (run, adaptation, *shift)
        for run in RUNS
        for adaptation in (("frozen", "precise-bn") if run.startswith("bn") else ("frozen",))
        for shift in shifts
    }
    assert result.analysis is not None and result.report is not None and result.report.is_file()
    drift = json.loads((folder / "drift" / "drift.json").read_text())
    assert {(row["run"], row["kind"], row["level"]) for row in drift["swap"]} == {
        (RUNS[0], *shift) for shift in (("clean", 0), ("noise", 5), ("gain", 0))
    }
    assert {row["run"] for row in drift["drift"]} == set(RUNS)
    assert "Not computed" not in result.report.read_text()
    times = json.loads((folder / "timing.json").read_text())
    assert times["training"] > 0 and times["total"] == pytest.approx(sum(times.values()) - times["total"], abs=0.1)
    for path in (*folder.glob("*.*"), *folder.glob("logs/*"), *folder.glob("evaluation/*.json")):
        if path.name != "location.json" and path.is_file():
            text = path.read_text(errors="replace")
            assert str(cohort) not in text and str(folder) not in text, f"{path.name} holds an absolute path"


def test_kinds_in_k_space_and_on_images_stand_side_by_side_from_training_to_report(cohort: Path, tmp_path: Path):
    """Their levels are of two tables, by design; only those in k-space are the endpoint."""
    spec = tiny_study(evaluation={"kinds": ["noise", "madaan-rice"], "levels": [0, 4]})
    result = run_study(spec, DataLocation(cohort), tmp_path / "study", n_workers=2)
    versions = [level_table_version("noise"), level_table_version("madaan-rice")]
    assert result.analysis is not None and result.analysis["data"]["level_tables"] == versions
    assert result.analysis["plan"]["kinds"] == ["noise"] and result.analysis["kinds"] == ["noise", "madaan-rice"]
    assert len(result.analysis["primary"]["comparisons"]) == 1 and result.report is not None
    for name in ("report.html", "model_card.md", "checklist.md"):
        assert "; ".join(versions) in (result.report.parent / name).read_text(), name
    assert json.loads((result.report.parent / "report.json").read_text())["level_tables"] == versions


def test_its_state_is_told_from_files(finished: tuple[StudyResult, float], tmp_path: Path):
    state = study_state(finished[0].folder, tiny_study())
    assert [run.state for run in state.runs] == ["finished"] * 2 and not state.worked_on
    assert {(run.epoch, run.n_epochs) for run in state.runs} == {(6, 6)}
    assert (state.evaluation, state.analysis, state.report) == ("finished", True, True)
    for run in state.runs:
        model = json.loads((finished[0].folder / "runs" / run.run / "model.json").read_text())
        assert run.validation_auroc == model["validation_auroc"]
    waiting = study_state(tmp_path / "nowhere", tiny_study())
    assert [run.state for run in waiting.runs] == ["waiting"] * 2 and waiting.evaluation == "waiting"


def test_a_finished_study_is_not_run_again(finished: tuple[StudyResult, float], cohort: Path):
    folder = finished[0].folder
    places = [folder / "runs" / RUNS[0] / "model.safetensors", folder / "evaluation" / "predictions.csv.gz"]
    before = [place.stat().st_mtime_ns for place in places]
    assert run_study(tiny_study(), DataLocation(cohort), folder).n_finished == 2
    assert [place.stat().st_mtime_ns for place in places] == before
    with pytest.raises(ConfigError, match="holds another study"):
        run_study(tiny_study(seeds=[1]), DataLocation(cohort), folder)
    with pytest.raises(ConfigError, match="lies in the data folder"):
        run_study(tiny_study(), DataLocation(cohort), cohort / "study")


@pytest.fixture
def copied(finished: tuple[StudyResult, float], tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished[0].folder, tmp_path / "study"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def diverging(folder: Path) -> None:
    """Make a file of a study of which every run's loss is infinite."""
    folder.with_suffix(".yaml").write_text(tiny_study(train={**SMALL, "epochs": 1, "lr": 1e20}).yaml_text())


def test_a_study_that_is_overwritten_comes_back_where_nothing_of_the_new_one_is_finished(
    diagnose, copied: Path, cohort: Path, tmp_path: Path
):
    before = files_of(copied)
    diverging(copied)
    new = ["study", "study.yaml", "--data", str(cohort), "--out", "study", "--workers", "2"]
    done = diagnose(*new, "--overwrite", cwd=tmp_path)
    assert done.returncode == 5 and "0 of 2 runs finished" in done.stdout
    assert "nothing of it is finished: the earlier study is back in study" in done.stderr
    assert files_of(copied) == before and run_study(tiny_study(), DataLocation(cohort), copied).n_finished == 2


def test_a_study_that_is_overwritten_is_kept_until_the_new_one_is_finished(
    copied: Path, cohort: Path, monkeypatch: pytest.MonkeyPatch
):
    before, said = files_of(copied), []
    new, data = tiny_study(seeds=[1], train={**SMALL, "epochs": 1}, drift=None), DataLocation(cohort)

    def unlucky(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(engine.OpenEvaluation, "begin", unlucky)
        run_study(new, data, copied, overwrite=True, say=said.append)
    assert said[-1] == f"the earlier study is kept in {copied / '.replaced'} until this one is finished"
    assert files_of(copied / ".replaced") == before
    with pytest.raises(ConfigError, match=r"of this request is kept in study/\.replaced: --overwrite brings it back"):
        run_study(tiny_study(), data, copied)
    aside = Path(shutil.copytree(copied, copied.with_name("aside")))
    run_study(tiny_study(), data, aside, overwrite=True)
    assert {name: files_of(aside).get(name) for name in FINAL} == {name: before[name] for name in FINAL}
    result = run_study(new, data, copied, overwrite=True)
    assert result.n_finished == 2 and result.report is not None and not (copied / ".replaced").exists()


def test_a_study_that_is_worked_on_is_not_overwritten(copied: Path, cohort: Path):
    before = files_of(copied)
    with locked(copied, print), pytest.raises(ConfigError, match="a process works on the study in study; expected it"):
        run_study(tiny_study(seeds=[1]), DataLocation(cohort), copied, overwrite=True)
    assert files_of(copied) == before


def test_a_study_whose_setting_aside_was_killed_is_taken_up_from_its_folder(diagnose, copied: Path, tmp_path: Path):
    """The mark is aside, study.yaml is, and the rest is not yet."""
    (copied / ".replaced").mkdir()
    for name in ("identity.txt", "study.yaml"):
        (copied / name).rename(copied / ".replaced" / name)
    done = diagnose("study", "study", "--json", cwd=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["finished"] == 2, done.stderr
    assert (copied / "study.yaml").is_file() and not (copied / ".replaced").exists()


def test_a_run_that_fails_is_listed_the_rest_go_on_and_it_is_tried_again(
    finished: tuple[StudyResult, float], cohort: Path, tmp_path: Path
):
    folder, bad = tmp_path / "study", RUNS[1]
    (folder / "runs" / bad).mkdir(parents=True)
    run_folder = folder / "runs" / bad / "notes.txt"
    # The study's folder must be one before something foreign can lie in it.
    said: list[str] = []
    for name in ("identity.txt", "study.yaml"):
        (folder / name).write_bytes((finished[0].folder / name).read_bytes())
    run_folder.write_text("not a run")
    result = run_study(tiny_study(), DataLocation(cohort), folder, n_workers=2, say=said.append)
    assert (result.n_runs, result.n_finished) == (2, 1)
    (failure,) = [json.loads(line) for line in (folder / "failures.jsonl").read_text().splitlines()]
    assert (failure["run"], failure["stage"], failure["exit_code"]) == (bad, "runs", 3)
    assert "holds files that are no run" in failure["reason"] and result.failures == [failure]
    assert any(line.split()[1:3] == [bad, "failed:"] for line in said)
    assert {run.run: run.state for run in study_state(folder, tiny_study()).runs}[bad] == "failed"
    evaluated = {block.cell.run for block in read_table(folder / "evaluation" / "predictions.csv.gz")}
    assert evaluated == set(RUNS) - {bad}
    run_folder.unlink()
    again = run_study(tiny_study(), DataLocation(cohort), folder, n_workers=2)
    assert again.failures == [] and not (folder / "failures.jsonl").exists()
    assert_same_tables(folder, finished[0].folder)


@pytest.mark.parametrize("n_kills", [3, pytest.param(12, marks=pytest.mark.slow)])
def test_killed_at_random_moments_and_resumed_gives_the_same_tables(
    finished: tuple[StudyResult, float], cohort: Path, tmp_path: Path, n_kills: int
):
    """SIGKILL in turn of the whole group and of the study alone, whose workers must then end by themselves."""
    folder, rng, killed = tmp_path / "study", np.random.default_rng(n_kills), 0
    for attempt in range(n_kills):
        with started(folder, cohort) as process:
            try:
                process.communicate(timeout=rng.uniform(0.1, 0.4) * finished[1])
            except subprocess.TimeoutExpired:
                killed += 1
                if attempt % 2:
                    process.kill()
                    wait_for(lambda: not is_worked_on(folder))
    assert killed >= 2, "the study was over before it could be killed"
    with started(folder, cohort) as process:
        _, log = process.communicate(timeout=300)
    assert process.returncode == 0, log
    assert_same_tables(folder, finished[0].folder)
    assert not list(folder.rglob("*.part")) and not (folder / "evaluation" / "parts").exists()


def test_workers_of_a_killed_study_save_their_state_and_end(cohort: Path, tmp_path: Path):
    folder, endless = tmp_path / "study", {"epochs": 500, "patience": 500}
    spec = tiny_study(train={**SMALL, **endless})
    settings = [f"train.{name}={value}" for name, value in endless.items()]
    with started(folder, cohort, *settings, n_workers=1) as process:
        wait_for((folder / "runs" / RUNS[0] / "last.ckpt").exists)
        assert is_worked_on(folder)
        state = study_state(folder, spec)
        assert [run.state for run in state.runs] == ["running", "waiting"]
        assert state.runs[0].epoch >= 1 and state.runs[0].n_epochs == 500 and state.runs[0].validation_auroc
        process.kill()
        wait_for(lambda: not is_worked_on(folder))
    log = (folder / "logs" / f"{RUNS[0]}.log").read_text()
    assert "the state is saved" in log.splitlines()[-1]
    assert [run.state for run in study_state(folder, spec).runs] == ["stopped", "waiting"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 6), (signal.SIGINT, 130)])
def test_a_signal_saves_every_run_and_ends_with_its_code(
    cohort: Path, tmp_path: Path, number: signal.Signals, code: int
):
    """SIGINT goes to the whole group, as ctrl-C does; SIGTERM to the study alone, which passes it on."""
    folder = tmp_path / "study"
    with started(folder, cohort, "train.epochs=500", "train.patience=500") as process:
        wait_for(lambda: all((folder / "runs" / run / "last.ckpt").exists() for run in RUNS))
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, log = process.communicate(timeout=120)
        assert process.returncode == code and "Traceback" not in log, log
        assert "the same command" in log
        assert not is_worked_on(folder), "no worker outlives the study"
    for run in RUNS:
        assert "the state is saved" in (folder / "logs" / f"{run}.log").read_text().splitlines()[-1]


def test_a_point_of_the_grid_that_diverges_cannot_win_and_no_run_of_the_grid_is_judged(cohort: Path, tmp_path: Path):
    spec = tiny_study(
        norms=["bn"], seeds=[1], train={**SMALL, "epochs": 1},
        tuning={"lr": [1e20, 2e-3], "weight_decay": [0.01], "seed": 0},
        evaluation={"kinds": ["noise"], "levels": [0, 5]}, drift=None,
    )  # fmt: skip
    result = run_study(spec, DataLocation(cohort), tmp_path / "study", n_workers=2)
    record = json.loads((result.folder / "tuning.json").read_text())
    areas = {entry["lr"]: entry["validation_auroc"] for entry in record["grid"]}
    assert areas[1e20] is None and areas[2e-3] is not None
    assert [entry["lr"] for entry in record["chosen"]] == [2e-3]
    assert read_spec(result.folder / "runs" / "bn__z-score__seed1").lr == 2e-3
    evaluated = {block.cell.run for block in read_table(result.folder / "evaluation" / "predictions.csv.gz")}
    assert evaluated == {"bn__z-score__seed1"}, "the runs of the grid are not judged"


def test_the_folder_of_the_drift_is_opened_once_before_its_workers_start(
    finished: tuple[StudyResult, float], cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder, seen, plain = tmp_path / "study", [], engine._Work._in_shares
    shutil.copytree(finished[0].folder, folder)
    shutil.rmtree(folder / "drift")

    def watched(work: engine._Work, action: str, runs: list[Path], out: Path, *rest: object) -> None:
        seen.append((action, (out / "request.json").is_file()))
        plain(work, action, runs, out, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(engine._Work, "_in_shares", watched)
    run_study(tiny_study(), DataLocation(cohort), folder, n_workers=2)
    assert seen == [("drift", True)]
    assert_same_tables(folder, finished[0].folder)
