"""What a study would take, before its first run: time, disk and memory, from small measurements on this machine."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diagnose.adapt import batch_norms
from diagnose.clean_scans import LIMIT_BYTES
from diagnose.cost_estimate import Cost, as_time, image_bytes, seconds_per_image, slice_counts, training_seconds
from diagnose.dataset import SliceTable
from diagnose.drift.analyse import slices_of_a_cell
from diagnose.evaluation.request import EvaluationRequest
from diagnose.slice_images import Shift, make_images
from diagnose.study.runs import StudyRun, study_runs, tuning_runs
from diagnose.study.spec import StudySpec
from diagnose.tasks.classification import architecture_of
from diagnose.tasks.findings import predict
from diagnose.torch_device import CPU
from diagnose.training.spec import TrainSpec
from mrisim.errors import DataError

WORKER_BYTES = 0.8e9
"""Of one training process with small images, measured (`ps`): mostly torch itself."""
CHECKPOINTS_PER_RUN = 4
"""Weights, and a state with weights and two moments of each: in units of the weights."""
TABLE_BYTES_PER_ROW = 16
"""Of the gzipped prediction table, measured."""
START_S = 8.0
"""Of a worker process, before its first step, measured."""


def study_cost(spec: StudySpec, table: SliceTable, n_workers: int, device: str = CPU) -> Cost:
    """Estimate a study from the first; images in the cache, and early stopping, make it shorter.

    Raises
    ------
    DataError, ConfigError
        If the data cannot be read or a network cannot be built.
    """
    runs, grid = study_runs(spec), tuning_runs(spec)
    crop = spec.train["crop"]
    image_shape = make_images(table.volumes[0], Shift(), crop=crop, slices=[0]).shape[1:]
    shape = (spec.train["batch"], 1, *image_shape)
    n_threads_before = torch.get_num_threads()
    torch.set_num_threads(spec.n_threads)
    try:
        measured = {norm: _norm_seconds(spec, norm, table, shape, device) for norm in spec.all_norms}
    finally:
        torch.set_num_threads(n_threads_before)
    parts = {split: table.of_split(split) for split in ("train", "val", "test")}
    request = spec.evaluation.request()
    per_slice = seconds_per_image(parts["test"], list(request.shifts), crop, 1)
    n_shifted = len(parts["test"].labels) + (len(parts["val"].labels) if request.validation_shifts else 0)
    seconds = {
        "training": _waves([_run_seconds(run, measured) for run in runs], n_workers),
        "tuning": _waves([_run_seconds(run, measured) for run in grid], n_workers),
        "images": per_slice * n_shifted / n_workers,
        "predictions": _prediction_seconds(runs, request, n_shifted, measured) / n_workers,
        "drift": _drift_seconds(spec, table, measured) / n_workers,
    }
    n_weights = sum(p.numel() for p in architecture_of(TrainSpec(**spec.train), table).build().parameters())
    n_bytes = {
        "cache": image_bytes(table, image_shape)
        + image_bytes(parts["test"], image_shape, len(request.shifts)) * n_shifted / len(parts["test"].labels),
        "study": (len(runs) + len(grid)) * CHECKPOINTS_PER_RUN * 4 * n_weights
        + TABLE_BYTES_PER_ROW * _n_rows(runs, request, n_shifted * len(table.findings)),
    }
    return Cost(_record(spec, runs, grid, slice_counts(table), request, seconds, n_bytes, n_workers))


def _record(
    spec: StudySpec, runs: list[StudyRun], grid: list[StudyRun], counts: dict[str, str], request: EvaluationRequest,
    seconds: dict[str, float], n_bytes: dict[str, float], n_workers: int,
) -> dict[str, Any]:  # fmt: skip
    factors = (
        f"{len(spec.all_norms)} norms x {len(spec.scalings)} scalings x {len(spec.train_shifts)} training shifts "
        f"x {len(spec.seeds)} seeds"
    )
    plan = spec.inference
    kept_bytes = LIMIT_BYTES if plan.train_shift else 0
    return {
        "question": spec.question,
        **counts,
        "runs": f"{len(runs)} ({factors})" + (f", and {len(grid)} of the tuning grid" if grid else ""),
        "comparison": f"{', '.join(plan.compared) or 'nothing'} with {plan.reference}, scaling {plan.scaling}, "
        f"training {plan.train_shift or 'clean'}" + (f"; {spec.seeds_note}" if spec.seeds_note else ""),
        "shifts": f"{len(request.shifts)} (kinds x levels x reconstructions, and clean)",
        "training": f"at most {as_time(seconds['training'] + seconds['tuning'])} with {n_workers} workers of "
        f"{spec.n_threads} threads (early stopping makes it shorter)",
        "evaluation": f"about {as_time(seconds['images'])} for corrupted images not in the cache yet, "
        f"{as_time(seconds['predictions'])} for predictions, {as_time(seconds['drift'])} for drift",
        "total": f"at most {as_time(sum(seconds.values()))}",
        "seconds": round(sum(seconds.values())),
        "disk": f"{n_bytes['study'] / 1e6:.0f} MB in the study, {n_bytes['cache'] / 1e6:.0f} MB in the cache",
        "n_bytes": round(sum(n_bytes.values())),
        "memory": f"about {n_workers * (WORKER_BYTES + kept_bytes) / 1e9:.1f} GB",
    }


def check_room(cost: Cost, folder: Path) -> None:
    """Refuse a study that does not fit on the disk.

    Raises
    ------
    DataError
        If there is less room than the study and its images need.
    """
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    free, needed = shutil.disk_usage(existing).free, cost.record["n_bytes"]
    if needed > 0.95 * free:
        raise DataError(f"the study needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; expected room for it")


def _norm_seconds(
    spec: StudySpec, norm: str, table: SliceTable, shape: tuple[int, ...], device: str
) -> tuple[float, float]:
    """Return the seconds of a run of the norm, and of predicting one slice with it."""
    train = TrainSpec(**spec.train, norm=norm)
    network = architecture_of(train, table).build().to(device)
    images = np.zeros((shape[0], *shape[2:]), np.float32)
    predict(network, images, np.asarray)  # what sets things up does not count
    started = time.perf_counter()
    predict(network, images, np.asarray)
    forward = (time.perf_counter() - started) / shape[0]
    n_train, n_val = (len(table.of_split(split).labels) for split in ("train", "val"))
    steps = training_seconds(network, shape, n_train, device=device)
    return train.epochs * (steps + forward * n_val) + START_S, forward


def _run_seconds(run: StudyRun, measured: dict[str, tuple[float, float]]) -> float:
    return measured[run.spec.norm][0]


def _waves(seconds: list[float], n_workers: int) -> float:
    """Return the time of a queue: each run goes to the worker that is free first."""
    busy = [0.0] * n_workers
    for one in seconds:
        busy[busy.index(min(busy))] += one
    return max(busy)


def _n_adaptations(run: StudyRun, request: EvaluationRequest) -> int:
    return len(request.adaptations) if run.spec.norm == "bn" else 1


def _prediction_seconds(
    runs: list[StudyRun], request: EvaluationRequest, n_slices: int, measured: dict[str, tuple[float, float]]
) -> float:
    """Return the seconds of all predictions, of so many slices under each shift."""
    n_predictions = len(request.shifts) * n_slices
    return sum(measured[run.spec.norm][1] * _n_adaptations(run, request) * n_predictions for run in runs)


def _drift_seconds(spec: StudySpec, table: SliceTable, measured: dict[str, tuple[float, float]]) -> float:
    """Return the seconds of the drift of one run of each norm of the comparison; its images are those predicted."""
    plan, inference = spec.drift, spec.inference
    if plan is None:
        return 0.0
    request = plan.request(spec.evaluation, inference.reconstruction)
    n_slices, seconds = len(table.of_split("test").labels), 0.0
    for norm in (inference.reference, *inference.compared):
        network = architecture_of(TrainSpec(**spec.train, norm=norm), table).build()
        n_passes = slices_of_a_cell(len(batch_norms(network)), request, n_slices)
        seconds += len(request.cells) * n_passes * measured[norm][1]
    return seconds


def _n_rows(runs: list[StudyRun], request: EvaluationRequest, n_labels: int) -> int:
    """Return the rows of the prediction table, of which each shift has so many labels for a run."""
    return sum(_n_adaptations(run, request) for run in runs) * len(request.shifts) * n_labels
