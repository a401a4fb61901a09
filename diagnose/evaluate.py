"""Evaluate trained runs under shifts of the test split: corrupt its multi-coil k-space, reconstruct, predict.

The result is one frozen prediction table; every number is made from it (`diagnose.shift_results`). Corrupted images
depend on data, kind, level, reconstruction and seed, never on the run: all runs are judged on the same pixels.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diagnose.adapt import Adaptation, batch_norms
from diagnose.cost_estimate import Cost, as_time, image_bytes, seconds_per_image
from diagnose.dataset import SliceTable, load_slice_table
from diagnose.prediction_table import PredictionBlock, read_table, write_table
from diagnose.run_folder import SPLIT, DataLocation, read_location, read_spec
from diagnose.shift_report import write_results
from diagnose.shift_results import ShiftResult, shift_results
from diagnose.slice_images import CLEAN, Shift, image_store, split_images
from diagnose.trained_model import TrainedModel, level_table_version
from diagnose.training_loop import Watch
from mrisim.errors import ConfigError, DataError
from mrisim.files import write_text

PREDICTIONS, RESULTS, REQUEST = "predictions.csv.gz", "results.csv", "request.json"


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate under which shifts."""

    kinds: tuple[str, ...]
    levels: tuple[int, ...]
    """0 is clean: it is always evaluated, once for each reconstruction."""
    reconstructions: tuple[str, ...] = ("rss",)
    seed: int = 0
    """Of the corruptions; equal for all runs of a study."""
    adaptations: tuple[Adaptation, ...] = (Adaptation(),)

    @property
    def shifts(self) -> tuple[Shift, ...]:
        """Every shift of the test split, the clean one of each reconstruction first."""
        shifts = []
        for recon in self.reconstructions:
            shifts.append(Shift(CLEAN, 0, recon, self.seed))
            shifts += [
                Shift(kind, level, recon, self.seed) for kind in self.kinds for level in self.levels if level > 0
            ]
        return tuple(shifts)

    def record(self) -> dict[str, Any]:
        """Return the request as JSON values."""
        return {
            "kinds": list(self.kinds),
            "levels": list(self.levels),
            "reconstructions": list(self.reconstructions),
            "seed": self.seed,
            "adaptations": [adaptation.label for adaptation in self.adaptations],
            "level_table": level_table_version(),
        }


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Where the table lies, what it says, and what the user should know."""

    folder: Path
    results: list[ShiftResult]
    notes: tuple[str, ...]


def evaluate(
    runs: Sequence[Path], request: EvaluationRequest, out: Path | None = None, *, data: DataLocation | None = None,
    overwrite: bool = False, n_threads: int = 1, watch: Watch | None = None,
) -> EvaluationResult:  # fmt: skip
    """Evaluate runs and write ``predictions.csv.gz`` and ``results.csv``.

    Parameters
    ----------
    runs : sequence of Path
        Finished run folders, all trained on the same data.
    request : EvaluationRequest
    out : Path, optional
        ``evaluations/<runs>__<hash>`` by default.
    data : DataLocation, optional
        Where the data lie now; by default where they lay when the run was trained.
    overwrite : bool
        Replace another evaluation.
    n_threads : int
        Of torch, and volumes corrupted at a time.
    watch : Watch, optional

    Returns
    -------
    EvaluationResult

    Raises
    ------
    DataError
        If a run is not finished, its data have changed, or runs were trained on different data.
    ConfigError
        If `out` holds something else.
    """
    watch = watch or Watch()
    models = [TrainedModel.load(run) for run in runs]
    if len({model.name for model in models}) < len(models):
        raise ConfigError("two runs have one name; expected different ones, because rows go by it")
    table = _table_of(models, data)
    folder = _open_output(out, models, request, overwrite)
    notes = _idle_adaptations(models, request)
    store = image_store(models[0].crop, n_threads=n_threads)
    parts = {split: table.of_split(split) for split in ("train", "val", "test")}
    clean = {split: split_images(parts[split], Shift(), store) for split in ("train", "val")}
    blocks: list[PredictionBlock] = []
    n_threads_before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        for model in models:
            blocks += model.predict(
                request.adaptations, Shift(CLEAN), "val", parts["val"], clean["val"], clean["train"]
            )
        for number, shift in enumerate(request.shifts, start=1):
            watch.say(f"{number}/{len(request.shifts)} {shift.label}")
            images = split_images(parts["test"], shift, store, watch.images)
            for model in models:
                blocks += model.predict(request.adaptations, shift, "test", parts["test"], images, clean["train"])
    finally:
        torch.set_num_threads(n_threads_before)
    return _finish(folder, _by_model(blocks), notes)


def estimate(
    runs: Sequence[Path], request: EvaluationRequest, *, data: DataLocation | None = None, n_threads: int = 1
) -> Cost:
    """Return what an evaluation would take if no image of it were in the cache yet; nothing is written.

    Raises
    ------
    DataError, ConfigError
        As `evaluate`.
    """
    models = [TrainedModel.load(run) for run in runs]
    test = _table_of(models, data).of_split("test")
    per_slice = seconds_per_image(test, list(request.shifts), models[0].crop, n_threads)
    n_cells = len(request.shifts)
    n_predictions = n_cells * len(models) * len(request.adaptations) * len(test.labels)
    return Cost({
        "test": f"{len(set(test.patients.tolist()))} patients, {len(test.labels)} slices",
        "shifts": f"{n_cells} (kinds x levels x reconstructions, and clean)",
        "predictions": f"{n_predictions:,} slices through {len(models)} networks",
        "corrupted_images": f"at most {as_time(per_slice * len(test.labels))} on {n_threads} threads, "
        f"{image_bytes(test, models[0].description.image_shape, n_cells) / 1e6:.0f} MB in the cache (for all runs)",
        "notes": "; ".join(_idle_adaptations(models, request)) or "none",
    })  # fmt: skip


def evaluate_predictions(path: Path, out: Path) -> EvaluationResult:
    """Make the results of a stranger's prediction table; no model is needed.

    Raises
    ------
    DataError
        If the table cannot be read or has no clean test rows.
    """
    results = shift_results(read_table(path))
    write_results(out / RESULTS, results)
    return EvaluationResult(out, results, ())


def _table_of(models: list[TrainedModel], data: DataLocation | None) -> SliceTable:
    """Return the slice table of all runs, after checking that the data are those that each was trained on."""
    location = data or read_location(models[0].folder)
    # The run's own split: it goes with the run, wherever the stored file it came from may be now.
    split = models[0].folder / SPLIT
    table = load_slice_table(read_spec(models[0].folder).data_request(location.root, location.labels, split))
    for model in models:
        lock = json.loads((model.folder / "data.lock.json").read_text(encoding="utf-8"))
        if lock != json.loads(json.dumps(dict(table.lock))):
            raise DataError(
                f"{model.name} was trained on other data, labels or another split than those found now; "
                "expected the same (files with their sizes and norms, SHA-256 of labels and split)"
            )
        if model.crop != models[0].crop:
            raise ConfigError(
                f"{model.name} crops to {model.crop}, {models[0].name} to {models[0].crop}; expected one size"
            )
    return table


def _open_output(out: Path | None, models: list[TrainedModel], request: EvaluationRequest, overwrite: bool) -> Path:
    """Return the output folder; another request in it is refused, the same one is made again to the same bytes."""
    record = request.record() | {"runs": [model.name for model in models],
                                 "weights_sha256": [model.description.weights_sha256 for model in models]}  # fmt: skip
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:8]
    label = models[0].name if len(models) == 1 else f"{len(models)}-runs"
    folder = out or Path("evaluations") / f"{label}__{digest}"
    if folder.exists() and any(folder.iterdir()):
        mark = folder / REQUEST
        known = json.loads(mark.read_text(encoding="utf-8")) if mark.is_file() else None
        if known != record:
            if not (overwrite and known is not None):
                raise ConfigError(
                    f"{folder.name} holds something else; expected an empty folder, the same request, or --overwrite"
                )
            shutil.rmtree(folder)
    write_text(folder / REQUEST, json.dumps(record, indent=2) + "\n")
    return folder


def _idle_adaptations(models: list[TrainedModel], request: EvaluationRequest) -> tuple[str, ...]:
    """Say where an adaptation has nothing to act on; a model that no adaptation is left for is an error."""
    others = [adaptation for adaptation in request.adaptations if adaptation.name != "frozen"]
    without = [model.name for model in models if not batch_norms(model.network)]
    if not others or not without:
        return ()
    if len(others) == len(request.adaptations):
        raise ConfigError(
            f"{without[0]} has no batch norm: {others[0].label} has no effect on it; expected frozen as well"
        )
    return (f"{', '.join(without)}: no batch norm, so only frozen is evaluated",)


def _by_model(blocks: list[PredictionBlock]) -> list[PredictionBlock]:
    order = list(dict.fromkeys((block.cell.run, block.cell.adaptation) for block in blocks))
    return sorted(blocks, key=lambda block: order.index((block.cell.run, block.cell.adaptation)))


def _finish(folder: Path, blocks: list[PredictionBlock], notes: tuple[str, ...]) -> EvaluationResult:
    write_table(folder / PREDICTIONS, blocks)
    results = shift_results(blocks)
    write_results(folder / RESULTS, results)
    return EvaluationResult(folder, results, notes)
