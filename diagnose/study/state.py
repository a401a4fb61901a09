"""The folder of a study and how far it is: who works on it, what failed, which run is at which epoch. From files only.

study.yaml identity.txt location.json   the request; where the data lie, seen from here
formats.json tuning.json tuning/        number formats of each norm; what the grid chose, and its runs
runs/ logs/                             run folders of `diagnose train`; what each worker printed
evaluation/ analysis.json report/       the frozen prediction table; the analysis; the report
running.json failures.jsonl timing.json what runs, what failed, seconds of each phase
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diagnose.claimed_folder import IDENTITY, Mark, check_outside, claim, given_up_on_error, settle
from diagnose.run_folder import DONE, LOCATION, DataLocation, has_begun, kept_places
from diagnose.study.spec import EVALUATION, RUNS, STUDY, TUNING_RUNS, StudySpec
from mrisim.errors import ConfigError, DataError
from mrisim.files import write_text

LOCK, RUNNING, FAILURES = "lock", "running.json", "failures.jsonl"
REPORT = Path("report") / "report.html"
STUDY_MARK = Mark("study", unless="config.yaml")


def open_study(
    folder: Path, spec: StudySpec, data_identity: str, location: DataLocation, *, overwrite: bool = False
) -> bool:
    """Make the folder of a study, or find it again; return whether it was there.

    What is overwritten is kept until the new study is finished.

    Raises
    ------
    ConfigError
        If it holds another study and may not be overwritten, or one that is worked on, or lies in the data.
    """
    identity = spec.identity(data_identity)
    check_outside(folder, location.root)
    if overwrite and STUDY_MARK.read(folder) not in ("", identity) and is_worked_on(folder):
        raise ConfigError(f"a process works on the study in {folder.name}; expected it to be stopped, or another --out")
    there = claim(folder, identity, STUDY_MARK, finished=is_finished(folder), overwrite=overwrite)
    with given_up_on_error(folder, STUDY_MARK, lambda: has_trained(folder)):
        write_text(folder / IDENTITY, identity + "\n")
        write_text(folder / STUDY, spec.yaml_text())
        write_text(folder / LOCATION, json.dumps(kept_places(folder, location), indent=2) + "\n")
    return there


def settle_study(folder: Path) -> None:
    """End what a kill has cut short while a study was set aside or brought back: its request is there again."""
    settle(folder, STUDY_MARK, finished=is_finished(folder))


def is_finished(folder: Path) -> bool:
    """Return whether a study ended with a report, and nothing failed."""
    return (folder / REPORT).is_file() and not (folder / FAILURES).exists()


def has_trained(folder: Path) -> bool:
    """Return whether a study has a run, or a point of the grid, with a state that it can be taken up from."""
    return any(has_begun(run) for stage in (RUNS, TUNING_RUNS) for run in (folder / stage).glob("*"))


@contextmanager
def locked(folder: Path, say: Callable[[str], None]) -> Iterator[int]:
    """Keep everybody else out of the folder, and give the lock's file descriptor.

    Workers inherit it: while one of a killed study still writes, the study that resumes waits here. The system frees
    the lock of a process that is gone.
    """
    import fcntl

    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process works on this study, or a worker of it is still saving its state: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def is_worked_on(folder: Path) -> bool:
    """Return whether a process holds the lock of a study."""
    import fcntl

    if not (folder / LOCK).is_file():
        return False
    with (folder / LOCK).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def note_running(folder: Path, names: list[str]) -> None:
    """Write which tasks run now."""
    write_text(folder / RUNNING, json.dumps(names) + "\n")


def note_failure(folder: Path, entry: dict[str, Any]) -> None:
    """Add a line to failures.jsonl."""
    write_text(folder / FAILURES, "".join(json.dumps(line) + "\n" for line in [*failures(folder), entry]))


def failures(folder: Path) -> list[dict[str, Any]]:
    """Return what failed when the study was last run."""
    file = folder / FAILURES
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []


@dataclass(frozen=True)
class RunState:
    """One run, as its files tell."""

    run: str
    stage: str
    state: str
    """waiting, running, stopped, failed or finished."""
    epoch: int
    n_epochs: int
    validation_auroc: float | None
    """The best so far, mean over findings, clean validation."""
    reason: str = ""
    """Why it failed."""


@dataclass(frozen=True)
class StudyState:
    """A study, as its files tell."""

    name: str
    worked_on: bool
    runs: tuple[RunState, ...]
    evaluation: str
    analysis: bool
    report: bool

    @property
    def record(self) -> dict[str, Any]:
        """The state as JSON values."""
        return asdict(self)

    @property
    def lines(self) -> list[str]:
        """The state as text: a line for each run, then what comes after them."""
        lines = [f"{self.name}: {'a process works on it' if self.worked_on else 'no process works on it'}"]
        width = max((len(run.run) for run in self.runs), default=0)
        for run in self.runs:
            epoch = f"epoch {run.epoch}/{run.n_epochs}" if run.epoch else ""
            area = f"best validation AUROC {run.validation_auroc:.3f}" if run.validation_auroc is not None else ""
            parts = [run.run.ljust(width), run.state.ljust(8), epoch.ljust(12), area, run.reason]
            lines.append("  ".join(parts).rstrip())
        counts = {
            state: sum(run.state == state for run in self.runs) for state in dict.fromkeys(r.state for r in self.runs)
        }
        lines.append("runs: " + ", ".join(f"{count} {state}" for state, count in counts.items()))
        yes = {True: "there", False: "waiting"}
        lines.append(f"evaluation: {self.evaluation}; analysis: {yes[self.analysis]}; report: {yes[self.report]}")
        return lines


def study_state(folder: Path, spec: StudySpec) -> StudyState:
    """Return how far a study is; the folder need not exist."""
    from diagnose.study.runs import study_runs, tuning_runs

    worked_on = is_worked_on(folder)
    running_file = folder / RUNNING
    running = json.loads(running_file.read_text(encoding="utf-8")) if worked_on and running_file.is_file() else []
    failed = {entry["run"]: entry["reason"] for entry in failures(folder)}
    runs = tuple(
        _run_state(run.folder(folder), run.stage, run.spec.epochs, run.name in running, failed.get(run.name))
        for run in (*tuning_runs(spec), *study_runs(spec))
    )
    return StudyState(
        spec.name, worked_on, runs, _evaluation_state(folder / EVALUATION, spec),
        (folder / "analysis.json").is_file(), (folder / REPORT).is_file(),
    )  # fmt: skip


def _run_state(folder: Path, stage: str, n_epochs: int, running: bool, failure: str | None) -> RunState:
    epoch, area = 0, None
    if (folder / "model.json").is_file():
        model = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        area = float(model["validation_auroc"])
    if (folder / DONE).exists():
        # One line an epoch, whole at the end of a run.
        epoch = len((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        return RunState(folder.name, stage, "finished", epoch, n_epochs, area)
    epoch = _epochs_done(folder)
    if running:
        state = "running"
    elif failure is not None:
        state = "failed"
    else:
        state = "stopped" if folder.is_dir() else "waiting"
    return RunState(folder.name, stage, state, epoch, n_epochs, area, failure or "" if state == "failed" else "")


def _epochs_done(folder: Path) -> int:
    """Return the number of whole epochs in the saved state of a run that is not finished."""
    from diagnose.training.state import STATE

    if not (folder / STATE).is_file():
        return 0
    import torch

    try:
        return int(torch.load(folder / STATE, weights_only=True, map_location="cpu")["epoch"])
    except Exception as error:
        raise DataError(f"{STATE} of {folder.name} cannot be read ({type(error).__name__})") from None


def _evaluation_state(folder: Path, spec: StudySpec) -> str:
    from diagnose.evaluate import PARTS, RESULTS

    parts = folder / PARTS
    if parts.is_dir():
        n_done = len(list(parts.glob("*.npz")))
        return f"{n_done} of {spec.evaluation.n_parts} shifts"
    return "finished" if (folder / RESULTS).is_file() else "waiting"
