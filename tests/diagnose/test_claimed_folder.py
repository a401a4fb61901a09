"""What becomes of a run that is overwritten: kept until it is replaced, whatever ends the new one, kills included."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from diagnose.claimed_folder import Mark, claim, given_up_on_error
from diagnose.run_folder import DONE, RUN, DataLocation, has_begun, open_run
from diagnose.study.state import STUDY_MARK
from diagnose.testing import SMALL
from diagnose.training.spec import TrainSpec
from mrisim.errors import ConfigError, DataError
from mrisim.files import PARTIAL
from mrisim.output_folder import discard

EARLIER, NEW, THIRD = (TrainSpec(**(SMALL | {"seed": seed})) for seed in (1, 2, 3))


@dataclass(frozen=True)
class Data:
    """Data of a run that nothing is read of."""

    identity: str = "0" * 64
    lock: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def split_csv(self) -> str:
        return "file\n"


class Killed(BaseException):
    """SIGKILL: from here on, nothing touches the disk."""


@contextmanager
def killed_at(step: int) -> Iterator[list[int]]:
    """Let so many changes of names and folders happen, and no further one; the list says how many there were."""
    steps = [0]

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if steps[0] >= step:
                raise Killed
            steps[0] += 1
            return change(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("rename", "replace", "unlink", "mkdir", "rmdir"):
            patch.setattr(os, name, counted(getattr(os, name)))
        with suppress(Killed):
            yield steps


def begin(run: Path, spec: TrainSpec, *, overwrite: bool) -> str:
    location = DataLocation(run.parent / "data")
    return open_run(run, spec, Data(), location, overwrite=overwrite)  # type: ignore[arg-type]


def train(run: Path, spec: TrainSpec, *, overwrite: bool = False, error: BaseException | None = None) -> str:
    """Do what `diagnose.train.fit` does with a folder; an error comes before anything is finished."""
    begun = begin(run, spec, overwrite=overwrite)
    if begun != "done":
        with given_up_on_error(run, RUN, lambda: has_begun(run)):
            if error is not None:
                raise error
            for name in ("last.ckpt", "epochs/001/model.safetensors", "model.safetensors", DONE):
                (run / name).parent.mkdir(parents=True, exist_ok=True)
                (run / name).write_text(f"{name} of seed {spec.seed}")
        discard(run)
    return begun


def content(run: Path) -> dict[str, str]:
    """Return name and text of every file, but for those that were being written at a kill."""
    files = [path for path in run.rglob("*") if path.is_file() and path.suffix != PARTIAL]
    return {path.relative_to(run).as_posix(): path.read_text() for path in files}


def assert_earlier_comes_back(run: Path, before: dict[str, str], where: str) -> None:
    try:
        assert train(run, EARLIER) == "done", where
    except ConfigError as error:
        assert "kept in run/.replaced: --overwrite brings it back" in str(error)
        assert train(run, EARLIER, overwrite=True) == "done", where
    assert content(run) == before, where


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    assert train(tmp_path / "run", EARLIER) == "new"
    return tmp_path / "run"


@pytest.fixture
def new_content(tmp_path: Path) -> dict[str, str]:
    train(tmp_path / "plain" / "run", NEW)
    return content(tmp_path / "plain" / "run") | {"location.json": '{\n  "root": "../data"\n}\n'}


def steps_of(run: Path, do: Callable[[Path], object]) -> int:
    """Return how many changes something takes, tried on a copy."""
    copy = Path(shutil.copytree(run, run.with_name("copy")))
    with killed_at(10_000) as steps, suppress(ConfigError):
        do(copy)
    shutil.rmtree(copy)
    return steps[0]


def test_it_is_replaced_once_the_new_one_is_finished(run: Path, new_content: dict[str, str]):
    assert train(run, NEW, overwrite=True) == "new" and content(run) == new_content


@pytest.mark.parametrize("error", [ConfigError("the loss is not finite"), KeyboardInterrupt(), DataError("no room")])
def test_it_comes_back_where_nothing_of_the_new_one_is_finished(run: Path, error: BaseException):
    before = content(run)
    with pytest.raises(type(error)):
        train(run, NEW, overwrite=True, error=error)
    assert content(run) == before and train(run, EARLIER) == "done"


def test_a_kill_at_any_moment_loses_nothing_and_the_new_one_can_be_run_again(run: Path, new_content: dict[str, str]):
    before = content(run)
    n_steps = steps_of(run, lambda copy: train(copy, NEW, overwrite=True))
    assert n_steps > 20
    for step in range(n_steps):
        one = Path(shutil.copytree(run, run.parent / str(step) / "run"))
        (one.parent / "data").mkdir()
        with killed_at(step):
            train(one, NEW, overwrite=True)
        left = content(one)
        if left.get(DONE) != new_content[DONE]:
            assert before == {name: left.get(f".replaced/{name}", left.get(name)) for name in before}
        train(one, NEW, overwrite=True)
        assert content(one) == new_content, f"killed at step {step}"


def test_after_a_kill_at_any_moment_the_earlier_one_is_found_or_said_to_be_aside(run: Path):
    before = content(run)
    for step in range(steps_of(run, lambda copy: train(copy, NEW, overwrite=True))):
        one = Path(shutil.copytree(run, run.parent / str(step) / "run"))
        (one.parent / "data").mkdir()
        with killed_at(step):
            train(one, NEW, overwrite=True)
        if content(one).get(DONE) == f"{DONE} of seed 2":
            break
        assert_earlier_comes_back(one, before, f"killed at step {step}")


def test_a_kill_while_it_comes_back_loses_nothing(run: Path):
    before = content(run)

    def fail(folder: Path) -> None:
        train(folder, NEW, overwrite=True, error=ConfigError("the loss is not finite"))

    for step in range(steps_of(run, fail)):
        one = Path(shutil.copytree(run, run.parent / str(step) / "run"))
        (one.parent / "data").mkdir()
        with killed_at(step), suppress(ConfigError):
            fail(one)
        assert_earlier_comes_back(one, before, f"killed at step {step}")


def test_one_that_can_be_taken_up_is_kept_beside_it(run: Path):
    said: list[str] = []
    begin(run, NEW, overwrite=True)
    with pytest.raises(KeyboardInterrupt), given_up_on_error(run, RUN, lambda: has_begun(run), said.append):
        (run / "last.ckpt").write_text("an epoch")
        raise KeyboardInterrupt
    assert said == [f"the earlier run is kept in {run / '.replaced'} until this one is finished"]
    with pytest.raises(ConfigError, match=r"is not finished, and in run/\.replaced what it replaces"):
        begin(run, THIRD, overwrite=False)
    for overwrite in (True, False):
        assert begin(run, NEW, overwrite=overwrite) == "resumed" and (run / "last.ckpt").read_text() == "an epoch"
    assert (run / ".replaced" / DONE).exists()


def test_a_third_request_replaces_the_earliest_not_what_never_ended(run: Path):
    before = content(run)
    begin(run, NEW, overwrite=True)
    (run / "last.ckpt").write_text("an epoch")
    assert begin(run, THIRD, overwrite=True) == "new" and not has_begun(run)
    assert content(run / ".replaced") == before


def test_one_that_was_finished_at_a_kill_is_what_a_third_request_replaces(run: Path):
    begin(run, NEW, overwrite=True)
    (run / DONE).write_text("of seed 2")
    begin(run, THIRD, overwrite=True)
    assert (run / ".replaced" / DONE).read_text() == "of seed 2" and not (run / ".replaced" / ".replaced").exists()


def test_no_room_for_the_new_mark_brings_it_back(run: Path, monkeypatch: pytest.MonkeyPatch):
    from diagnose import run_folder

    def full(path: Path, text: str) -> None:
        raise DataError(f"{path.name} could not be written: no room on the disk")

    before = content(run)
    monkeypatch.setattr(run_folder, "write_text", full)
    with pytest.raises(DataError, match="no room"):
        begin(run, NEW, overwrite=True)
    assert content(run) == before


@pytest.mark.parametrize("name", ["thesis.txt", "identity.txt", ".replaced/thesis.txt", ".withdrawn"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_somebody_else_are_never_overwritten(tmp_path: Path, name: str, overwrite: bool):
    (tmp_path / "precious" / name).parent.mkdir(parents=True)
    (tmp_path / "precious" / name).write_text("years of work")
    with pytest.raises(ConfigError, match=r"precious holds files that are no run; .* or another --out$") as refused:
        begin(tmp_path / "precious", NEW, overwrite=overwrite)
    assert "--overwrite" not in str(refused.value)
    assert content(tmp_path / "precious") == {name: "years of work"}


@pytest.mark.parametrize(
    ("mark", "request_file", "what"), [(RUN, "study.yaml", "run"), (STUDY_MARK, "config.yaml", "study")]
)
def test_a_study_is_no_run_to_be_overwritten_nor_a_run_a_study(
    tmp_path: Path, mark: Mark, request_file: str, what: str
):
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "identity.txt").write_text("0" * 64 + "\n")
    (folder / request_file).write_text("seeds: 5\n")
    before = content(folder)
    with pytest.raises(ConfigError, match=f"^other holds files that are no {what}; expected an empty folder"):
        claim(folder, "1" * 64, mark, finished=False, overwrite=True)
    assert content(folder) == before


def test_an_output_that_is_a_file_is_one_line(tmp_path: Path):
    (tmp_path / "run").touch()
    with pytest.raises(DataError, match="run is a file; expected a folder"):
        claim(tmp_path / "run", "0" * 64, Mark("run"), finished=False, overwrite=True)
