"""Evaluate runs of segmentation under shifts of the test split: every contrast corrupted, Dice of each class.

The result is one frozen table of Dice by case; every number is made from it. Corrupted images depend on data, kind,
level and seed, never on the run. An evaluation that is killed goes on where it was, a shift at a time.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diagnose.cost_estimate import Cost, as_time
from diagnose.evaluation.released_artifacts import LEVELS
from diagnose.evaluation.request import EvaluationRequest
from diagnose.evaluation.runs import digest, open_output, record_of_runs, write_runs
from diagnose.run_folder import DataLocation
from diagnose.segmentation.case_table import CaseTable
from diagnose.segmentation.clean_dice import block_of
from diagnose.segmentation.dice_table import DiceBlock, DiceCell, write_dice_table
from diagnose.segmentation.scaled_volumes import LabelledVolume, labelled_volumes
from diagnose.segmentation.shifted_dice import DiceResult, dice_lines, dice_results, write_dice_results
from diagnose.segmentation.shifted_volumes import ShiftedCase
from diagnose.segmentation.trained_run import SegmentationRun, cases_of_runs, load_runs
from diagnose.segmentation.whole_volumes import dice_of, predict_logits
from diagnose.slice_images import Shift, simulator_hash
from diagnose.torch_device import CPU, device_of, resolve_device
from diagnose.trained_model import level_table_version
from diagnose.training.loop import Watch
from mrisim.errors import ConfigError, DataError
from mrisim.files import write_text
from mrisim.output_folder import discard

PREDICTIONS, RESULTS, PARTS = "predictions.csv.gz", "results.csv", "parts"


@dataclass(frozen=True, eq=False)
class DiceEvaluation:
    """Where the table lies, what it says, and what the user should know."""

    folder: Path
    results: list[DiceResult]
    notes: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """The results as text."""
        return dice_lines(self.results)


def evaluate(
    runs: Sequence[Path], request: EvaluationRequest, out: Path | None = None, *, data: DataLocation | None = None,
    overwrite: bool = False, n_threads: int = 1, device: str = CPU, watch: Watch | None = None,
) -> DiceEvaluation:  # fmt: skip
    """Evaluate runs and write ``predictions.csv.gz`` and ``results.csv``; one that was interrupted goes on.

    Parameters
    ----------
    runs : sequence of Path
        Finished run folders of segmentation, all trained on the same data.
    request : EvaluationRequest
        Kinds in k-space; the reconstruction is the root sum of squares, the networks stay as they are.
    out : Path, optional
        ``evaluations/<runs>__<hash>`` by default.
    data : DataLocation, optional
        Where the data lie now; by default where they lay when the run was trained.
    overwrite : bool
        Replace another evaluation.
    n_threads : int
        Of torch, and contrasts corrupted at a time.
    device : str
        Where networks predict: auto, cpu, cuda or cuda:N (`diagnose.torch_device`). Images are made on the CPU.
    watch : Watch, optional

    Returns
    -------
    DiceEvaluation

    Raises
    ------
    DataError
        If a run is not finished, its data have changed, or runs were trained on different data.
    ConfigError
        If the request asks for what segmentation has not, runs scale differently, or `out` holds something else.
    """
    watch = watch or Watch()
    _check_request(request)
    models = load_runs(runs, resolve_device(device))
    table = cases_of_runs(models, data)
    record = _record_of(models, request)
    folder = open_output(out, Path("evaluations"), record, overwrite, data=table.root)
    notes = _notes(table)
    write_runs(folder, [model.folder for model in models], notes)
    key = digest([record, table.identity, _kspace_files(table), str(device_of(models[0].network)), simulator_hash()])
    volumes = labelled_volumes(table.of_split("test"), models[0].description.scaling, n_threads=n_threads)
    parts = {shift: folder / PARTS / f"{number:04d}-{shift.label}.json" for number, shift in enumerate(request.shifts)}
    wanted = [shift for shift, path in parts.items() if _dice_in(path, key) is None]
    n_threads_before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        shifted = _shifted_cases(table) if wanted else []
        for number, shift in enumerate(wanted, start=1):
            watch.say(f"{number}/{len(wanted)} test {shift.label}")
            dice = _predicted(models, shifted, volumes, shift, n_threads)
            write_text(parts[shift], json.dumps({"key": key, "dice": dice.tolist()}))
    finally:
        torch.set_num_threads(n_threads_before)
    blocks = _blocks(models, volumes, parts, key)
    write_dice_table(folder / PREDICTIONS, blocks)
    results = dice_results(blocks)
    write_dice_results(folder / RESULTS, results)
    shutil.rmtree(folder / PARTS)
    discard(folder)
    return DiceEvaluation(folder, results, notes)


def estimate(
    runs: Sequence[Path], request: EvaluationRequest, *, data: DataLocation | None = None, n_threads: int = 1,
    device: str = CPU,
) -> Cost:  # fmt: skip
    """Return what an evaluation would take, from one case under every shift; nothing is written.

    Raises
    ------
    DataError, ConfigError
        As `evaluate`.
    """
    _check_request(request)
    models = load_runs(runs, resolve_device(device))
    table = cases_of_runs(models, data)
    test = table.of_split("test")
    (case,) = _shifted_cases(replace(table, cases=test[:1]))
    started = time.perf_counter()
    for shift in request.shifts:
        images = case.images(shift, models[0].description.scaling, n_threads=n_threads)
    corrupting = time.perf_counter() - started
    started = time.perf_counter()
    for model in models:
        predict_logits(model.network, images, model.windows)
    predicting = (time.perf_counter() - started) * len(request.shifts)
    return Cost({
        "test": f"{len({case.patient for case in test})} patients, {len(test)} cases",
        "shifts": f"{len(request.shifts)} (kinds x levels, and clean)",
        "predictions": f"{len(request.shifts) * len(models) * len(test):,} volumes through {len(models)} networks",
        "time": f"about {as_time(corrupting * len(test))} to corrupt, {as_time(predicting * len(test))} to predict",
        "notes": "; ".join(_notes(table)) or "none",
    })  # fmt: skip


def _check_request(request: EvaluationRequest) -> None:
    """Refuse what only diagnosis has."""
    if request.reconstructions != ("rss",):
        raise ConfigError(f"reconstructions are {', '.join(request.reconstructions)}; segmentation is evaluated on rss")
    others = [adaptation.label for adaptation in request.adaptations if adaptation.name != "frozen"]
    if others or request.validation_shifts:
        raise ConfigError(
            f"{others[0] if others else 'shifted validation'} has no meaning for segmentation; expected frozen "
            "networks and the test split"
        )
    of_images = [kind for kind in request.kinds if kind in LEVELS]
    if of_images:
        raise ConfigError(f"{of_images[0]} acts on slices as images; expected kinds in k-space for segmentation")


def _record_of(models: Sequence[SegmentationRun], request: EvaluationRequest) -> dict[str, Any]:
    """Return what is evaluated under what: the content of request.json."""
    return {"task": "segmentation"} | request.record() | record_of_runs(models)


def _shifted_cases(table: CaseTable) -> list[ShiftedCase]:
    return [ShiftedCase(case, table.kspace.get(case.name, {})) for case in table.of_split("test")]


def _kspace_files(table: CaseTable) -> list[str]:
    """Return what is corrupted in place of the magnitudes, whose identity the table has."""
    return sorted(volume.file for volumes in table.kspace.values() for volume in volumes.values())


def _predicted(
    models: Sequence[SegmentationRun], cases: Sequence[ShiftedCase], volumes: Sequence[LabelledVolume], shift: Shift,
    n_threads: int,
) -> np.ndarray:  # fmt: skip
    """Return the Dice (run, case, class) under one shift; each case is corrupted once for all runs."""
    dice = []
    for case, volume in zip(cases, volumes, strict=True):
        images = case.images(shift, models[0].description.scaling, n_threads=n_threads)
        dice.append([dice_of(predict_logits(model.network, images, model.windows), volume.labels) for model in models])
    return np.array(dice).swapaxes(0, 1)


def _dice_in(path: Path, key: str) -> np.ndarray | None:
    """Return the Dice (run, case, class) of a part, or nothing where there is none or it is of other code.

    Raises
    ------
    DataError
        If the part is damaged: it is not replaced without a word.
    """
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return np.array(content["dice"]) if content["key"] == key else None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path.name} cannot be read; expected a part of an evaluation: remove it") from None


def _blocks(
    models: Sequence[SegmentationRun], volumes: Sequence[LabelledVolume], parts: dict[Shift, Path], key: str
) -> list[DiceBlock]:
    """Return the blocks of the table, run by run."""
    found = {shift: _dice_in(path, key) for shift, path in parts.items()}
    blocks = []
    for index, model in enumerate(models):
        for shift, dice in found.items():
            assert dice is not None
            cell = DiceCell(model.name, "test", shift.kind, shift.level, level_table_version(shift.kind))
            blocks.append(block_of(dice[index], volumes, cell))
    return blocks


def _notes(table: CaseTable) -> tuple[str, ...]:
    origin = (
        "corrupted is the multi-coil k-space of each contrast"
        if table.kspace
        else "the data are magnitudes alone: phase and coils are synthesised, what is corrupted is no raw data "
        "(10.1073/pnas.2117203119)"
    )
    return (*table.notes, origin, "skull stripping and scaling use the brain of the clean images")
