"""Why a shift hurts: how activations drift at each norm layer, and which frozen statistics of batch norm it breaks.

The default split is the test split: the analysis explains the numbers of `diagnose evaluate`, from the same images, and
nothing is chosen by it. Whoever would choose something by it takes the split val.

Each cell (one run under one shift) is written as soon as it is there: the same request goes on where it was stopped.

Limits
------
Statistics are of a drawn subset of slices, the same for all runs and shifts; AUROCs of swaps are of the whole split.
Drift says what moves, not what it costs: only the swaps are interventions, and only batch norm has statistics to swap.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diagnose.adapt import batch_norms
from diagnose.clean_scans import CleanScans
from diagnose.cost_estimate import Cost, as_time, image_bytes, seconds_per_image, where
from diagnose.dataset import SliceTable
from diagnose.drift.cell import DriftCell, Reference, SplitMaterial, drift_rows, swap_rows
from diagnose.drift.request import DriftRequest, drawn_slices
from diagnose.drift.statistic_swap import swaps
from diagnose.drift.table import DRIFT_COLUMNS, SWAP_COLUMNS, by_layer, rounded, write_rows
from diagnose.evaluation.runs import data_of_runs, load_models, open_output, record_of_runs, table_of_runs
from diagnose.run_folder import DataLocation
from diagnose.slice_images import CLEAN, Shift, image_store, simulator_hash, split_images
from diagnose.tasks.findings import predict
from diagnose.torch_device import CPU, resolve_device
from diagnose.trained_model import TrainedModel
from diagnose.training.loop import Watch
from mrisim.errors import DataError
from mrisim.files import write_text
from mrisim.output_folder import discard

DRIFT, SWAP, SUMMARY, CELLS = "drift.csv", "swap.csv", "drift.json", "cells"


@dataclass(frozen=True, eq=False)
class DriftResult:
    """Where the tables lie, their rows, and what the user should know."""

    folder: Path
    drift: list[dict[str, Any]]
    swap: list[dict[str, Any]]
    notes: tuple[str, ...]


def analyse_drift(
    runs: Sequence[Path], request: DriftRequest, out: Path | None = None, *, data: DataLocation | None = None,
    overwrite: bool = False, n_threads: int = 1, device: str = CPU, watch: Watch | None = None,
) -> DriftResult:  # fmt: skip
    """Write ``drift.csv``, ``swap.csv`` (where a run has batch norm) and ``drift.json``.

    Parameters
    ----------
    runs : sequence of Path
        Finished run folders, all trained on the same data.
    request : DriftRequest
    out : Path, optional
        ``drift/<runs>__<hash>`` by default.
    data, overwrite, n_threads, device, watch
        As in `diagnose.evaluate.evaluate`.

    Raises
    ------
    DataError
        If a run is not finished, its data have changed, or runs were trained on different data.
    ConfigError
        If `out` holds something else, or a network has no more batch norms than are to be swapped.
    """
    analysis = _begin(runs, request, out, data=data, overwrite=overwrite, device=device)
    parts = _make_cells(analysis, n_threads=n_threads, watch=watch or Watch())
    return _finish(analysis, parts)


def begin_analysis(
    runs: Sequence[Path], request: DriftRequest, out: Path, *, data: DataLocation | None = None,
    overwrite: bool = False, device: str = CPU,
) -> None:  # fmt: skip
    """Check runs and data, and open the output folder: once, before processes share the work.

    Raises
    ------
    DataError, ConfigError
        As `analyse_drift`.
    """
    _begin(runs, request, out, data=data, overwrite=overwrite, device=device)


def make_share(
    runs: Sequence[Path], request: DriftRequest, out: Path, *, data: DataLocation | None = None, n_threads: int = 1,
    device: str = CPU, watch: Watch | None = None, shard: int, n_shards: int,
) -> None:  # fmt: skip
    """Make every n-th cell of an analysis that was begun; `analyse_drift` then finds them.

    Raises
    ------
    DataError, ConfigError
        As `analyse_drift`.
    """
    analysis = _begin(runs, request, out, data=data, overwrite=False, device=device)
    _make_cells(analysis, n_threads=n_threads, watch=watch or Watch(), shard=shard, n_shards=n_shards)


@dataclass(frozen=True, eq=False)
class _Analysis:
    """An analysis under way."""

    models: list[TrainedModel]
    request: DriftRequest
    table: SliceTable
    folder: Path
    record: dict[str, Any]


def _begin(
    runs: Sequence[Path], request: DriftRequest, out: Path | None, *, data: DataLocation | None, overwrite: bool,
    device: str,
) -> _Analysis:  # fmt: skip
    models = load_models(runs, resolve_device(device))
    table = table_of_runs(models, data).of_split(request.split)
    _check_swaps(models, request)
    record = request.record() | record_of_runs(models) | {"data": table.identity}
    folder = open_output(out, Path("drift"), record, overwrite, data=data_of_runs(models, data))
    return _Analysis(models, request, table, folder, record)


def _make_cells(
    analysis: _Analysis, *, n_threads: int, watch: Watch, shard: int = 0, n_shards: int = 1
) -> list[dict[str, Any]]:
    """Return the content of every cell of a share, run by run; those that lie in the folder are read."""
    request, table = analysis.request, analysis.table
    # Sums differ from one device to another: a table is of one.
    made_by = {"simulator": simulator_hash(), "device": analysis.models[0].execution.device}
    store = image_store(analysis.models[0].crop, n_threads=n_threads, scans=CleanScans())
    rows = drawn_slices(len(table.labels), request.n_slices)
    references: dict[tuple[str, str], Reference] = {}
    found: dict[tuple[int, int], dict[str, Any]] = {}
    n_threads_before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        for number, (shift, gain) in list(enumerate(request.cells))[shard::n_shards]:
            label = shift.label if gain == 1 else f"gain{gain:g}-{shift.reconstruction}"
            watch.say(f"{number + 1}/{len(request.cells)} {label}")
            for place, model in enumerate(analysis.models):
                path = analysis.folder / CELLS / f"{place:03d}-{number:03d}-{label}.json"
                found_before = _read_cell(path) if path.exists() else {}
                if {name: found_before.get(name) for name in made_by} != made_by:
                    material = SplitMaterial(table, split_images(table, shift, store, watch.images), rows, gain)
                    key = (model.name, shift.reconstruction)
                    if key not in references:
                        clean_shift = Shift(CLEAN, 0, shift.reconstruction, request.seed)
                        clean = SplitMaterial(table, split_images(table, clean_shift, store, watch.images), rows)
                        references[key] = Reference.of(model, clean)
                    cell = DriftCell.of(model, request.split, shift, gain)
                    content = made_by | _rows(cell, model, material, references[key], request)
                    write_text(path, json.dumps(content) + "\n")
                    found_before = _read_cell(path)
                found[place, number] = found_before
    finally:
        torch.set_num_threads(n_threads_before)
    return [found[key] for key in sorted(found)]


def _rows(
    cell: DriftCell, model: TrainedModel, material: SplitMaterial, reference: Reference, request: DriftRequest
) -> dict[str, Any]:
    return {
        "drift": drift_rows(cell, model, material, reference),
        "swap": swap_rows(cell, model, material, reference, request.n_swapped) if request.swap else [],
    }


def _read_cell(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError:
        raise DataError(f"{path.name} is damaged; expected a cell of this analysis: remove it") from None


def _finish(analysis: _Analysis, parts: list[dict[str, Any]]) -> DriftResult:
    folder = analysis.folder
    notes = _notes(analysis.models, analysis.request, len(analysis.table.labels))
    drift = [row for part in parts for row in part["drift"]]
    swap = [row for part in parts for row in part["swap"]]
    write_rows(folder / DRIFT, DRIFT_COLUMNS, drift)
    if swap:
        write_rows(folder / SWAP, SWAP_COLUMNS, swap)
    summary = {
        "request": analysis.record,
        "notes": list(notes),
        "columns": {"drift": DRIFT_COLUMNS, "swap": SWAP_COLUMNS},
        "drift": by_layer(drift),
        "swap": [{name: rounded(value) for name, value in row.items()} for row in swap],
    }
    write_text(folder / SUMMARY, json.dumps(summary, indent=1) + "\n")
    discard(folder)
    return DriftResult(folder, drift, swap, notes)


def estimate(
    runs: Sequence[Path], request: DriftRequest, *, data: DataLocation | None = None, n_threads: int = 1,
    device: str = CPU,
) -> Cost:  # fmt: skip
    """Return what an analysis would take if no image of it were in the cache yet; nothing is written.

    Raises
    ------
    DataError, ConfigError
        As `analyse_drift`.
    """
    device = resolve_device(device)
    models = load_models(runs, device)
    table = table_of_runs(models, data).of_split(request.split)
    _check_swaps(models, request)
    n_slices, shape = len(table.labels), models[0].description.image_shape
    n_cells = len(request.cells)
    n_threads_before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        seconds = sum(
            n_cells * slices_of_a_cell(len(batch_norms(model.network)), request, n_slices) * _seconds(model)
            for model in models
        )
    finally:
        torch.set_num_threads(n_threads_before)
    per_slice = seconds_per_image(table, list(request.shifts), models[0].crop, n_threads)
    return Cost({
        "split": f"{request.split}: {len(set(table.patients.tolist()))} patients, {n_slices} slices",
        "cells": f"{n_cells} (kinds x levels x reconstructions, clean, and the control) of {len(models)} networks",
        "analysis": f"{as_time(seconds)} on {where(device, n_threads)}",
        "images": f"at most {as_time(per_slice * n_slices)} on {n_threads} threads, "
        f"{image_bytes(table, shape, len(request.shifts)) / 1e6:.0f} MB in the cache (those of `evaluate` are reused)",
        "notes": "; ".join(_notes(models, request, n_slices)),
    })  # fmt: skip


def slices_of_a_cell(n_layers: int, request: DriftRequest, n_slices: int) -> int:
    """Return how many slices pass a network with so many batch norms for one cell."""
    n_drawn = min(request.n_slices, n_slices)
    if not (request.swap and n_layers):
        return n_drawn
    n_swaps = len(swaps(n_layers, request.n_swapped))
    # Statistics, and the scores of each swap; those of the frozen and of two transplanted ones need no more statistics.
    return (1 + n_swaps) * n_drawn + (3 + n_swaps) * n_slices


def _seconds(model: TrainedModel) -> float:
    """Measure what a slice costs in the network, in s; the first batch, which sets things up, does not count."""
    images = np.zeros((16, *model.description.image_shape), np.float32)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        predict(
            model.network, images, model.description.scaling.apply, memory_format=model.execution.torch_memory_format
        )
        times.append((time.perf_counter() - started) / len(images))
    return min(times[1:])


def _check_swaps(models: list[TrainedModel], request: DriftRequest) -> None:
    """Refuse before anything is computed what `swaps` would refuse."""
    for model in models:
        layers = batch_norms(model.network)
        if request.swap and layers:
            swaps(len(layers), request.n_swapped)


def _notes(models: list[TrainedModel], request: DriftRequest, n_slices: int) -> tuple[str, ...]:
    notes = [f"statistics of {min(request.n_slices, n_slices)} of {n_slices} slices of the split {request.split}"]
    without = [model.name for model in models if not batch_norms(model.network)]
    if request.swap and without:
        notes.append(f"{', '.join(without)}: no batch norm, so there are no statistics to swap")
    no_ops = sorted({model.description.scaling.name for model in models} & {"z-score", "p99"})
    if no_ops:
        notes.append(f"gain: no change under {' and '.join(no_ops)}, by construction; a control, not a finding")
    return tuple(notes)
