"""The folder of a training run: what was asked, on which data, with which versions, how it went.

    config.yaml data.lock.json split.csv env.json    before training
    metrics.jsonl progress.png last.ckpt             after every epoch
    model.safetensors model.json                     whenever validation is better than ever
    predictions.csv.gz results.json DONE             at the end

`location.json` says where the data lie on this machine, for `diagnose evaluate`; it is the one file with a path in it,
and no part of the run's identity: leave it out when passing a run on.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from diagnose.dataset import SliceTable
from diagnose.execution import Execution
from diagnose.train_spec import TrainSpec
from mrisim.errors import ConfigError, DataError
from mrisim.files import write_text

DONE, SPLIT = "DONE", "split.csv"
_IDENTITY, _STARTED = "identity.txt", "last.ckpt"


@dataclass(frozen=True)
class DataLocation:
    """Where data set, labels and stored split lie on this machine."""

    root: Path
    labels: Path | None = None
    split: Path | None = None


def run_name(spec: TrainSpec, data_identity: str) -> str:
    """Return the default name of a run's folder: ``gn__seed0__1a2b3c4d``."""
    return f"{spec.norm}__seed{spec.seed}__{spec.identity(data_identity)[:8]}"


def open_run(folder: Path, spec: TrainSpec, table: SliceTable, location: DataLocation, *, overwrite: bool) -> str:
    """Make the folder, or find it again.

    Returns
    -------
    str
        "new", "resumed" or "done".

    Raises
    ------
    ConfigError
        If it holds another run and may not be overwritten, or lies in the data.
    """
    identity = spec.identity(table.identity)
    if folder.resolve().is_relative_to(location.root.resolve()):
        raise ConfigError(f"--out {folder.name} lies in the data folder; expected a place outside of it")
    if folder.exists() and any(folder.iterdir()):
        mark = folder / _IDENTITY
        known = mark.read_text(encoding="utf-8").strip() if mark.is_file() else ""
        if overwrite and known:
            shutil.rmtree(folder)
        elif known != identity:
            what = "another run (other settings, data or labels)" if known else "files that are no run"
            raise ConfigError(f"{folder.name} holds {what}; expected an empty folder, the same request, or --overwrite")
        elif (folder / DONE).exists():
            return "done"
    # First of all: a run that is killed at once must be known again.
    write_text(folder / _IDENTITY, identity + "\n")
    write_text(folder / "config.yaml", yaml.safe_dump(spec.model_dump(), sort_keys=False))
    write_text(folder / "data.lock.json", json.dumps(table.lock, indent=1) + "\n")
    write_text(folder / SPLIT, table.split_csv())
    state = "resumed" if (folder / _STARTED).exists() else "new"
    places = {name: str(path.resolve()) for name, path in vars(location).items() if path is not None}
    write_text(folder / "location.json", json.dumps(places, indent=2) + "\n")
    return state


def read_spec(folder: Path) -> TrainSpec:
    """Return the request of a run.

    Raises
    ------
    DataError
        If the folder is no run.
    """
    config = folder / "config.yaml"
    if not config.is_file():
        raise DataError(f"{folder.name} has no config.yaml; expected a run folder of `diagnose train`")
    return TrainSpec.model_validate(yaml.safe_load(config.read_text(encoding="utf-8")))


def read_location(folder: Path) -> DataLocation:
    """Return where the run's data lie, as of when it was trained.

    Raises
    ------
    DataError
        If the run was passed on without it.
    """
    file = folder / "location.json"
    if not file.is_file():
        raise DataError(f"{folder.name} does not say where its data are; expected --data DIR")
    return DataLocation(**{name: Path(place) for name, place in json.loads(file.read_text(encoding="utf-8")).items()})


def remember_execution(folder: Path, execution: Execution) -> None:
    """Write environment and formats: a resumed run takes the same formats and as many threads."""
    write_text(folder / "env.json", json.dumps(environment() | {"execution": execution.model_dump()}, indent=2) + "\n")


def recall_execution(folder: Path) -> Execution | None:
    """Return the formats that a run began with, None where it did not get that far."""
    file = folder / "env.json"
    return Execution(**json.loads(file.read_text(encoding="utf-8"))["execution"]) if file.is_file() else None


def environment() -> dict[str, Any]:
    """Return versions and machine, without the name of the machine or of its user."""
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


def write_history(folder: Path, history: list[dict[str, Any]], findings: tuple[str, ...]) -> None:
    """Write metrics.jsonl (one line an epoch) and progress.png."""
    write_text(folder / "metrics.jsonl", "".join(json.dumps(entry) + "\n" for entry in history))
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    epochs = [entry["epoch"] + 1 for entry in history]
    left.plot(epochs, [entry["train_loss"] for entry in history], color="black")
    left.set(xlabel="epoch", ylabel="training loss (sum over findings)")
    for finding in findings:
        right.plot(epochs, [entry["val_auroc"][finding] for entry in history], label=finding)
    right.plot(epochs, [entry["val_auroc_mean"] for entry in history], color="black", linewidth=2, label="mean")
    right.set(xlabel="epoch", ylabel="AUROC, clean validation", ylim=(0.4, 1))
    right.legend(fontsize="small", loc="lower right")
    partial = folder / "progress.png.part"
    figure.savefig(partial, format="png", dpi=110)
    partial.replace(folder / "progress.png")
