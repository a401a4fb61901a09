"""Evaluate trained runs under shifts of the test split: corrupt its multi-coil k-space, reconstruct, predict.

The result is one frozen prediction table; every number is made from it (`diagnose.evaluation.shift_results`).
Corrupted images depend on data, kind, level, reconstruction and seed, never on the run: all runs are judged on the
same pixels. An evaluation that is killed goes on where it was, a shift at a time.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from diagnose.adapt import Adaptation, batch_norms, reestimate_statistics
from diagnose.clean_scans import CleanScans
from diagnose.cost_estimate import Cost, as_time, image_bytes, seconds_per_image
from diagnose.dataset import SliceTable
from diagnose.evaluation.parts import has_part, read_part, write_part
from diagnose.evaluation.prediction_table import PredictionBlock, read_table, write_table
from diagnose.evaluation.pseudo_count import choose_n_pseudo, recorded_choice
from diagnose.evaluation.request import EvaluationRequest
from diagnose.evaluation.runs import (
    REQUEST,
    data_of_runs,
    digest,
    load_models,
    open_output,
    record_of_runs,
    table_of_runs,
)  # fmt: skip
from diagnose.evaluation.shift_report import result_lines, write_results
from diagnose.evaluation.shift_results import ShiftResult, shift_results
from diagnose.run_folder import DataLocation
from diagnose.slice_images import ImageStore, Shift, image_store, simulator_hash, split_images
from diagnose.torch_device import CPU, resolve_device
from diagnose.trained_model import TrainedModel
from diagnose.training.loop import Watch
from mrisim.errors import ConfigError
from mrisim.files import sha256_of_file
from mrisim.output_folder import discard

PREDICTIONS, RESULTS, PARTS, PSEUDO_COUNTS = "predictions.csv.gz", "results.csv", "parts", "pseudo-counts"


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Where the table lies, what it says, and what the user should know."""

    folder: Path
    results: list[ShiftResult]
    notes: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """The results as text."""
        return result_lines(self.results)


def evaluate(
    runs: Sequence[Path], request: EvaluationRequest, out: Path | None = None, *, data: DataLocation | None = None,
    overwrite: bool = False, n_threads: int = 1, device: str = CPU, watch: Watch | None = None,
) -> EvaluationResult:  # fmt: skip
    """Evaluate runs and write ``predictions.csv.gz`` and ``results.csv``; one that was interrupted goes on.

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
    device : str
        Where networks predict: auto, cpu, cuda or cuda:N (`diagnose.torch_device`). Images are made on the CPU.
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
    evaluation = OpenEvaluation.begin(
        runs, request, out, data=data, overwrite=overwrite, n_threads=n_threads, device=device
    )
    evaluation.make_parts(watch or Watch())
    return evaluation.finish()


@dataclass(frozen=True, eq=False)
class OpenEvaluation:
    """An evaluation under way, made shift by shift: each is a part on the disk, and a part that is there is kept."""

    models: list[TrainedModel]
    request: EvaluationRequest
    folder: Path
    splits: dict[str, SliceTable]
    """The table of each split, by its name."""
    store: ImageStore
    key: str
    """Hash of all that the predictions depend on: models, request, data, device, and the simulator's own code."""

    @classmethod
    def begin(
        cls, runs: Sequence[Path], request: EvaluationRequest, out: Path | None = None, *,
        data: DataLocation | None = None, overwrite: bool = False, n_threads: int = 1, device: str = CPU,
    ) -> OpenEvaluation:  # fmt: skip
        """Check runs, data and output folder, as `evaluate` does, and begin or take up the evaluation."""
        device = resolve_device(device)
        models = load_models(runs, device)
        request.check_validation()
        table = table_of_runs(models, data)
        record = _record_of(models, request)
        _idle_adaptations(models, request)
        folder = open_output(out, Path("evaluations"), record, overwrite, data=data_of_runs(models, data))
        splits = {split: table.of_split(split) for split in ("train", "val", "test")}
        store = image_store(models[0].crop, n_threads=n_threads, scans=CleanScans())
        return cls(models, request, folder, splits, store, digest([record, table.identity, device, simulator_hash()]))

    @property
    def parts(self) -> tuple[tuple[Path, str, Shift], ...]:
        """File, split and shift of every part: validation, clean first, then the shifts of the test split."""
        of_validation = self.request.shifts_of_validation if self.request.validation_shifts else ()
        wanted = [("val", shift) for shift in (Shift(), *of_validation)]
        wanted += [("test", shift) for shift in self.request.shifts]
        return tuple(
            (self.folder / PARTS / f"{number:04d}-{split}-{shift.label}.npz", split, shift)
            for number, (split, shift) in enumerate(wanted)
        )

    def make_parts(self, watch: Watch, *, shard: int = 0, n_shards: int = 1) -> None:
        """Make the parts that are not there, or of older code; a shard of all, where processes share the work."""
        n_threads_before = torch.get_num_threads()
        torch.set_num_threads(self.store.n_threads)
        try:
            # Shards begin with different models, so that most find N already chosen.
            for place in range(shard, shard + len(self.models)):
                self._chosen(self.models[place % len(self.models)], watch)
            predictors = [self._predictors(model, watch) for model in self.models]
            train_images = split_images(self.splits["train"], Shift(), self.store)
            for number, (path, split, shift) in enumerate(self.parts):
                if number % n_shards != shard or has_part(path, self.key):
                    continue
                watch.say(f"{number + 1}/{len(self.parts)} {split} {shift.label}")
                table = self.splits[split]
                images = split_images(table, shift, self.store, watch.images)
                blocks = [
                    replace(block, cell=replace(block.cell, adaptation=adaptation.label))
                    for of_model in predictors
                    for adaptation, model, asked in of_model
                    for block in model.predict([asked], shift, split, table, images, train_images)
                ]
                write_part(path, blocks, self.key)
        finally:
            torch.set_num_threads(n_threads_before)

    def _chosen(self, model: TrainedModel, watch: Watch) -> tuple[Adaptation, ...]:
        """Return the adaptations with every N that is left to validation chosen, and stored in the folder."""
        if not batch_norms(model.network):
            return self.request.adaptations
        train_images = split_images(self.splits["train"], Shift(), self.store)

        def predicted(adaptation: Adaptation, shift: Shift) -> PredictionBlock:
            images = split_images(self.splits["val"], shift, self.store, watch.images)
            (block,) = model.predict([adaptation], shift, "val", self.splits["val"], images, train_images)
            return block

        def with_n(adaptation: Adaptation) -> Adaptation:
            if not adaptation.auto:
                return adaptation
            first = self.request.reconstructions[0]
            shifts = [shift for shift in self.request.shifts_of_validation if shift.reconstruction == first]
            path = self.folder / PSEUDO_COUNTS / f"{model.name}-{adaptation.label}.json"
            watch.say(f"N of {adaptation.label} for {model.name}: validation, {len(shifts)} shifts and clean")
            n_pseudo = recorded_choice(path, self.key, lambda: choose_n_pseudo(predicted, adaptation, shifts))
            return replace(adaptation, n_pseudo=n_pseudo)

        return tuple(map(with_n, self.request.adaptations))

    def _predictors(self, model: TrainedModel, watch: Watch) -> list[tuple[Adaptation, TrainedModel, Adaptation]]:
        """Return each adaptation with the model, and what to ask of it, that give its predictions.

        Precise statistics do not depend on the shift: they are estimated once, and are then those of a frozen network.
        """
        predictors = []
        for adaptation in self._chosen(model, watch):
            if adaptation.name == "precise-bn" and batch_norms(model.network):
                network = copy.deepcopy(model.network)
                train_images = split_images(self.splits["train"], Shift(), self.store)
                reestimate_statistics(network, train_images, model.description.scaling.apply)
                predictors.append((adaptation, replace(model, network=network), Adaptation()))
            else:
                predictors.append((adaptation, model, adaptation))
        return predictors

    def finish(self) -> EvaluationResult:
        """Join the parts, all of which must be there, into the frozen table, and make its results."""
        blocks: list[PredictionBlock] = []
        for path, split, _ in self.parts:
            blocks += read_part(path, self.splits[split], self.key)
        blocks = _by_model(blocks)
        write_table(self.folder / PREDICTIONS, blocks)
        results = shift_results(blocks)
        write_results(self.folder / RESULTS, results)
        shutil.rmtree(self.folder / PARTS)
        discard(self.folder)
        return EvaluationResult(self.folder, results, _idle_adaptations(self.models, self.request))


def is_evaluated(runs: Sequence[Path], request: EvaluationRequest, folder: Path) -> bool:
    """Return whether a folder holds the whole evaluation of these runs under this request."""
    mark = folder / REQUEST
    if not mark.is_file() or not (folder / RESULTS).is_file() or (folder / PARTS).exists():
        return False
    known = json.loads(mark.read_text(encoding="utf-8"))
    return bool(known == _record_of([TrainedModel.load(run) for run in runs], request))


def estimate(
    runs: Sequence[Path], request: EvaluationRequest, *, data: DataLocation | None = None, n_threads: int = 1,
    device: str = CPU,
) -> Cost:  # fmt: skip
    """Return what an evaluation would take if no image of it were in the cache yet; nothing is written.

    Raises
    ------
    DataError, ConfigError
        As `evaluate`.
    """
    models = load_models(runs, resolve_device(device))
    test = table_of_runs(models, data).of_split("test")
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


def evaluate_predictions(path: Path, out: Path | None = None, *, overwrite: bool = False) -> EvaluationResult:
    """Make the results of a stranger's prediction table; no model is needed.

    Parameters
    ----------
    path : Path
    out : Path, optional
        ``<name of the table>-results`` by default.
    overwrite : bool
        Replace the results of another table, or another evaluation.

    Raises
    ------
    DataError
        If the table cannot be read or has no clean test rows.
    ConfigError
        If `out` holds something else.
    """
    blocks = read_table(path)
    results = shift_results(blocks)
    runs = list(dict.fromkeys(block.cell.run for block in blocks))
    record = {"predictions_sha256": sha256_of_file(path), "runs": runs}
    named = Path(f"{path.name.removesuffix('.gz').removesuffix('.csv')}-results")
    folder = open_output(out or named, Path(), record, overwrite)
    write_results(folder / RESULTS, results)
    discard(folder)
    return EvaluationResult(folder, results, _shared_patients(blocks))


def _shared_patients(blocks: Sequence[PredictionBlock]) -> tuple[str, ...]:
    """Say whether a table, whose split nobody here has checked, judges patients by thresholds that they helped set."""
    val, test = ({p for b in blocks if b.cell.split == split for p in b.patients.tolist()} for split in ("val", "test"))
    if not val & test:
        return ()
    return (
        f"{len(val & test)} patients are in val and in test: decisions are judged on patients that set the threshold",
    )


def _record_of(models: list[TrainedModel], request: EvaluationRequest) -> dict[str, Any]:
    """Return what is evaluated under what: the content of request.json."""
    return request.record() | record_of_runs(models)


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
