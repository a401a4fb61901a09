"""The folder of a training run: what was asked, on which data, with which versions, how it went.

    config.yaml data.lock.json split.csv env.json    before training
    train.log                                        from the first line that the run says
    metrics.jsonl last.ckpt                          after every epoch
    progress.png                                     after every fifth, and at the end
    model.safetensors model.json                     whenever validation is better than ever
    predictions.csv.gz results.json DONE             at the end; of reconstruction, quality.csv.gz
    epochs/001/model.safetensors model.json          after every epoch, of reconstruction

A run that is overwritten lies in `.replaced` until the new one is finished (`diagnose.claimed_folder`).

`location.json` says where the data lie, seen from the run folder, for `diagnose evaluate`: a run that is moved along
with its data finds them again, one that is moved alone asks for --data. It is no part of the run's identity.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from diagnose.claimed_folder import IDENTITY, Mark, check_outside, claim, given_up_on_error
from diagnose.torch_device import CPU, gpu_name
from diagnose.training.execution import Execution
from diagnose.training.spec import LoopSpec, Spec, TrainSpec
from mrisim.errors import DataError
from mrisim.files import write_text, written_whole

if TYPE_CHECKING:
    from diagnose.training.task import TrainingData

DONE, SPLIT, LOCATION, LOCK = "DONE", "split.csv", "location.json", "data.lock.json"
EMBEDDED = "embedded cohort"
"""What stands for the location of the default cohort, which lies in the cache of whoever uses it; the name of another
embedded cohort follows it."""
_STARTED = "last.ckpt"
RUN = Mark("run", unless="study.yaml")


@dataclass(frozen=True)
class DataLocation:
    """Where data set, labels and stored split lie on this machine."""

    root: Path
    labels: Path | None = None
    split: Path | None = None


def run_name(spec: LoopSpec, data_identity: str) -> str:
    """Return the default name of a run's folder: ``gn__seed0__1a2b3c4d``, with the task before it if not diagnosis."""
    task = "" if spec.task == TrainSpec.task else f"{spec.task}__"
    return f"{task}{spec.norm}__seed{spec.seed}__{spec.identity(data_identity)[:8]}"


def open_run(folder: Path, spec: LoopSpec, data: TrainingData, location: DataLocation, *, overwrite: bool) -> str:
    """Make the folder, or find it again; what is overwritten is kept until the new run is finished.

    Returns
    -------
    str
        "new", "resumed" or "done".

    Raises
    ------
    ConfigError
        If it holds another run and may not be overwritten, holds files that are no run, or lies in the data.
    """
    identity = spec.identity(data.identity)
    check_outside(folder, location.root)
    finished = (folder / DONE).exists()
    claimed = claim(folder, identity, RUN, finished=finished, overwrite=overwrite, restart=overwrite)
    if claimed and (folder / DONE).exists():
        return "done"
    state = "resumed" if has_begun(folder) else "new"
    with given_up_on_error(folder, RUN, lambda: has_begun(folder)):
        # First of all: a run that is killed at once must be known again.
        write_text(folder / IDENTITY, identity + "\n")
        write_text(folder / "config.yaml", yaml.safe_dump(_named(spec), sort_keys=False))
        write_text(folder / LOCK, json.dumps(data.lock, indent=1) + "\n")
        write_text(folder / SPLIT, data.split_csv())
        write_text(folder / LOCATION, json.dumps(kept_places(folder, location), indent=2) + "\n")
    return state


def has_begun(folder: Path) -> bool:
    """Return whether a run has a state that it can be taken up from."""
    return (folder / _STARTED).exists()


def kept_places(folder: Path, location: DataLocation) -> dict[str, str]:
    """Return a location as `read_location` finds it again: relative to a folder, or the embedded cohort's name.

    Nothing is kept where the relative path would name the user (its way leads down through a home folder).
    """
    from mrisim.cohort_cache import cache_folder, cached_path
    from mrisim.cohort_protocol import default_spec

    root = location.root.resolve()
    if location == DataLocation(location.root) and root.parent == cache_folder().resolve():
        return {"root": EMBEDDED if root.name == cached_path(default_spec()).name else f"{EMBEDDED} {root.name}"}
    places = {}
    for name, path in vars(location).items():
        if path is not None:
            try:
                places[name] = Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
            except ValueError:  # on another drive
                return {}
    named = any(Path.home().name in place.split("/") for place in places.values())
    return {} if named else places


def _named(spec: LoopSpec) -> dict[str, Any]:
    """Return the content of config.yaml: the task is named where it is not diagnosis."""
    return ({} if spec.task == TrainSpec.task else {"task": spec.task}) | spec.model_dump(mode="json")


def task_of(folder: Path) -> str:
    """Return the name of a run's task.

    Raises
    ------
    DataError
        If the folder is no run.
    """
    return str(config_of(folder).get("task", TrainSpec.task))


def read_spec(folder: Path, spec_type: type[Spec] = TrainSpec) -> Spec:  # type: ignore[assignment]
    """Return the request of a run of the task that ``spec_type`` belongs to; of diagnosis by default.

    Raises
    ------
    DataError
        If the folder is no run, one of another task, or one whose request cannot be used.
    """
    task = task_of(folder)
    if task != spec_type.task:
        raise DataError(f"{folder.name} is a run of {task}; expected one of {spec_type.task}")
    try:
        return spec_type.model_validate({name: value for name, value in config_of(folder).items() if name != "task"})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "request"
        raise DataError(
            f"config.yaml of {folder.name}: {place}: {first['msg']}; expected the request of a run of this version"
        ) from None


def config_of(folder: Path) -> dict[str, Any]:
    """Return the content of a run's config.yaml; errors as `task_of`."""
    config = folder / "config.yaml"
    if not config.is_file():
        raise DataError(f"{folder.name} has no config.yaml; expected a run folder of `diagnose train`")
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError):
        content = None
    if not isinstance(content, dict):
        raise DataError(f"config.yaml of {folder.name} is damaged; expected the request of a run")
    return content


def read_lock(folder: Path) -> dict[str, Any]:
    """Return the content of a run's data.lock.json: what tells its data from others.

    Raises
    ------
    DataError
        If it is missing or damaged.
    """
    file = folder / LOCK
    if not file.is_file():
        raise DataError(f"{folder.name} has no {LOCK}; expected a run folder of `diagnose train`")
    return _json_of(file)


def _json_of(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise DataError(f"{file.name} of {file.parent.name} is damaged; expected a JSON object")
    return content


def read_location(folder: Path) -> DataLocation:
    """Return where the run's data lie, seen from where the run folder is now.

    Raises
    ------
    DataError
        If that is not known, or nothing lies there.
    """
    from mrisim.cohort import is_complete
    from mrisim.cohort_cache import cache_folder, cached_path
    from mrisim.cohort_protocol import default_spec

    places = _places(folder)
    if not places:
        raise DataError(f"{folder.name} does not say where its data are; expected --data DIR")
    if places.get("root", "").startswith(EMBEDDED):
        name = places["root"].removeprefix(EMBEDDED).strip()
        cohort = cache_folder() / name if name else cached_path(default_spec())
        if not is_complete(cohort):
            raise DataError(
                f"{folder.name} was trained on the {EMBEDDED}, which is not in the cache; expected it there "
                "(`diagnose train` without --data makes it), or --data DIR"
            )
        return DataLocation(cohort)
    location = DataLocation(**{name: (folder / place).resolve() for name, place in places.items()})
    for name, path in vars(location).items():
        # The split of a run is kept in the run: its source may be gone.
        if name != "split" and path is not None and not path.exists():
            raise DataError(
                f"the {'data' if name == 'root' else name} of {folder.name} are not at {places[name]}, seen from it; "
                "was it moved? expected --data DIR" + ("" if name == "root" else " and --labels CSV")
            )
    return location


def kept_split(folder: Path) -> Path | None:
    """Return the run's own copy of the split file that it was given; None where the split was that of the data.

    The file itself may be gone, and data that grew since hold files that a copy of their own split does not.
    """
    return folder / SPLIT if "split" in _places(folder) else None


def _places(folder: Path) -> dict[str, str]:
    """Return the content of location.json; nothing where there is none."""
    file = folder / LOCATION
    return _json_of(file) if file.is_file() else {}


def is_simulated(runs: Sequence[Path]) -> bool | None:
    """Say whether the data of run folders are simulated, by the ``dataset.json`` that a cohort of mrisim lies beside.

    Returns
    -------
    bool or None
        True if one of them is; None if the data of a run are not on this machine any more.
    """
    answers: list[bool | None] = []
    for run in runs:
        try:
            description = read_location(run).root / "dataset.json"
        except DataError:
            answers.append(None)
            continue
        origin = _json_of(description).get("origin", "") if description.is_file() else ""
        answers.append(str(origin).startswith("simulated"))
    if any(answers):
        return True
    return None if None in answers or not answers else False


def remember_execution(folder: Path, execution: Execution) -> None:
    """Write environment and formats: a resumed run takes the same formats and as many threads."""
    content = environment(execution.device) | {"execution": execution.model_dump()}
    write_text(folder / "env.json", json.dumps(content, indent=2) + "\n")


def recall_execution(folder: Path) -> Execution | None:
    """Return the formats that a run began with, None where it did not get that far."""
    file = folder / "env.json"
    return Execution(**_json_of(file)["execution"]) if file.is_file() else None


def environment(device: str = CPU) -> dict[str, Any]:
    """Return versions, machine and the GPU that a device is, without the name of the machine or of its user."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for package in ("mrisim-diagnose", "torch", "numpy", "scipy", "h5py", "sigpy", "safetensors"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "n_cpus": os.cpu_count(),
        "gpu": gpu_name(device),
        "versions": versions,
        **_git_state(),
    }


def _git_state() -> dict[str, Any]:
    """Return commit and whether the sources differ from it, where the package is run from a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            run = subprocess.run(("git", *arguments), cwd=here, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return run.stdout.strip()

    commit = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain") if commit else None
    return {"git_commit": commit, "git_dirty": None if changes is None else bool(changes)}


def write_metrics(folder: Path, history: list[dict[str, Any]]) -> None:
    """Write metrics.jsonl, one line an epoch."""
    write_text(folder / "metrics.jsonl", "".join(json.dumps(entry) + "\n" for entry in history))


def draw_progress(folder: Path, history: list[dict[str, Any]], measure: str) -> None:
    """Draw progress.png: training loss and clean validation by epoch; ``measure`` names it, as in "AUROC"."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure, name = Figure(figsize=(8, 3.2), layout="constrained"), f"val_{measure.lower()}"
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    epochs = [entry["epoch"] + 1 for entry in history]
    left.plot(epochs, [entry["train_loss"] for entry in history], color="black")
    left.set(xlabel="epoch", ylabel="training loss")
    if "val_loss" in history[0]:
        left.plot(epochs, [entry["val_loss"] for entry in history], color="black", linestyle=":", label="validation")
        left.legend(fontsize=7)
    for part in history[0][name]:
        right.plot(epochs, [entry[name][part] for entry in history], label=part)
    right.plot(epochs, [entry[f"{name}_mean"] for entry in history], color="black", linewidth=2, label="mean")
    right.set(xlabel="epoch", ylabel=f"{measure}, clean validation", ylim=(None, 1))
    right.legend(fontsize="small", loc="lower right")
    with written_whole(folder / "progress.png") as partial:
        figure.savefig(partial, format="png", dpi=110)
