"""What analyses of trained runs share: the runs together with the data that they belong to, and the output folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from diagnose.checkpoint import SavedModel
from diagnose.claimed_folder import Mark, check_outside, claim
from diagnose.dataset import SliceTable, load_slice_table
from diagnose.run_folder import SPLIT, DataLocation, config_of, is_simulated, read_location, read_lock, read_spec
from diagnose.torch_device import CPU
from diagnose.trained_model import TrainedModel
from mrisim.errors import ConfigError, DataError
from mrisim.files import write_text

REQUEST, RUNS_FILE = "request.json", "runs.json"


def load_models(runs: Sequence[Path], device: str = CPU) -> list[TrainedModel]:
    """Read finished run folders of different names; the networks go to a device that is known to work.

    Raises
    ------
    DataError
        If one is no finished run.
    ConfigError
        If two have one name.
    """
    models = [TrainedModel.load(run, device) for run in runs]
    if len({model.name for model in models}) < len(models):
        raise ConfigError("two runs have one name; expected different ones, because rows go by it")
    return models


def table_of_runs(models: list[TrainedModel], data: DataLocation | None) -> SliceTable:
    """Return the slice table of all runs, after checking that the data are those that each was trained on.

    Parameters
    ----------
    models : list of TrainedModel
    data : DataLocation, optional
        Where the data lie now; by default where they lay when the first run was trained.

    Raises
    ------
    DataError
        If a run was trained on other data.
    ConfigError
        If runs crop to different sizes.
    """
    location = data or read_location(models[0].folder)
    # The run's own split: it goes with the run, wherever the stored file it came from may be now.
    split = models[0].folder / SPLIT
    table = load_slice_table(read_spec(models[0].folder).data_request(location.root, location.labels, split))
    for model in models:
        if read_lock(model.folder) != json.loads(json.dumps(dict(table.lock))):
            raise DataError(
                f"{model.name} was trained on other data, labels or another split than those found now; "
                "expected the same (files with their sizes and norms, SHA-256 of labels and split)"
            )
        if model.crop != models[0].crop:
            raise ConfigError(
                f"{model.name} crops to {model.crop}, {models[0].name} to {models[0].crop}; expected one size"
            )
    return table


class NamedRun(Protocol):
    """A finished run of any task."""

    @property
    def name(self) -> str:
        """Its folder's."""

    @property
    def description(self) -> SavedModel:
        """What stands beside its weights."""


def record_of_runs(models: Sequence[NamedRun]) -> dict[str, Any]:
    """Return names and weights of the runs as JSON values."""
    return {
        "runs": [model.name for model in models],
        "weights_sha256": [model.description.weights_sha256 for model in models],
    }


def write_runs(folder: Path, runs: Sequence[Path], notes: Sequence[str]) -> None:
    """Write what a report must know of runs and data that may be gone by then.

    Requests, whether the data are simulated, and what the user was told of the data.
    """
    described = [{"run": run.resolve().name, "config": config_of(run)} for run in runs]
    content = {"runs": described, "simulated": is_simulated(runs), "notes": list(notes)}
    write_text(folder / RUNS_FILE, json.dumps(content, indent=1) + "\n")


def digest(content: Any) -> str:
    """Return the SHA-256 of JSON values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class _RequestMark(Mark):
    """The request itself is the mark of what was made for it."""

    def read(self, folder: Path) -> str:
        """Return the hash of a folder's request; empty where it has none, or somebody else's file of that name."""
        try:
            record = json.loads((folder / self.file).read_text(encoding="utf-8"))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError):
            return ""
        return digest(record) if isinstance(record, dict) and "runs" in record else ""


OUTPUT = _RequestMark("analysis", REQUEST)


def data_of_runs(models: Sequence[TrainedModel], data: DataLocation | None) -> Path:
    """Return the folder of the runs' data: where they lie now, by default where they lay for the first run."""
    return (data or read_location(models[0].folder)).root


def open_output(
    out: Path | None, parent: Path, record: dict[str, Any], overwrite: bool, *, data: Path | None = None
) -> Path:
    """Return the output folder; another request in it is refused, the same one is made again to the same bytes.

    Parameters
    ----------
    out : Path, optional
        ``<parent>/<runs>__<hash>`` by default.
    parent : Path
    record : dict
        What is asked, with the names of the ``runs``: the content of request.json.
    overwrite : bool
        Replace the output of another request; it is kept until the caller has finished, and says so by
        `mrisim.output_folder.discard`.
    data : Path, optional
        Folder that must not hold the output.

    Raises
    ------
    ConfigError
        If the folder holds another request, or somebody else's files, or lies in the data.
    """
    runs = record["runs"]
    folder = out or parent / f"{runs[0] if len(runs) == 1 else f'{len(runs)}-runs'}__{digest(record)[:8]}"
    if data is not None:
        check_outside(folder, data)
    if not claim(folder, digest(record), OUTPUT, finished=False, overwrite=overwrite):
        write_text(folder / REQUEST, json.dumps(record, indent=2) + "\n")
    return folder
