"""The training runs of a study: which there are, in which order, what each is called, the formats of its numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch

from diagnose.dataset import SliceTable
from diagnose.study.spec import RUNS, TUNING_RUNS, StudySpec
from diagnose.tasks.classification import architecture_of
from diagnose.torch_device import CPU
from diagnose.training.execution import choose_execution
from diagnose.training.spec import TrainSpec
from mrisim.files import write_text

FORMATS = "formats.json"
OPEN = "auto"

Arm = tuple[str, str]
"""(norm, scaling): what tuning chooses for."""


@dataclass(frozen=True)
class StudyRun:
    """One training run of a study."""

    name: str
    stage: str
    """`RUNS` or `TUNING_RUNS`: the folder of the study that it lies in."""
    spec: TrainSpec

    def folder(self, study: Path) -> Path:
        """Return its run folder."""
        return study / self.stage / self.name


def run_label(norm: str, scaling: str, train_shift: str, seed: int) -> str:
    """Return the name of a run: ``gn__z-score__seed1``, or ``gn__z-score__motion-3__seed1`` with a training shift."""
    shift = [train_shift.replace(":", "-")] if train_shift else []
    return "__".join([norm, scaling, *shift, f"seed{seed}"])


def study_runs(
    spec: StudySpec, chosen: Mapping[Arm, Mapping[str, Any]] | None = None,
    formats: Mapping[str, Mapping[str, str]] | None = None,
) -> list[StudyRun]:  # fmt: skip
    """Return the runs, one seed after the other: what is finished at a stop are whole paired seeds.

    Parameters
    ----------
    spec : StudySpec
    chosen : mapping, optional
        lr and weight_decay of each norm and scaling, from tuning.
    formats : mapping, optional
        precision and memory_format of each norm, from `fixed_formats`.
    """
    chosen, formats = chosen or {}, formats or {}
    runs = []
    for seed, shift, scaling, norm in product(spec.seeds, spec.train_shifts, spec.scalings, spec.all_norms):
        values = {**spec.train, **formats.get(norm, {}), **chosen.get((norm, scaling), {})}
        train = TrainSpec(**values, norm=norm, scaling=scaling, train_shift=shift, seed=seed)
        runs.append(StudyRun(run_label(norm, scaling, shift, seed), RUNS, train))
    return runs


def tuning_runs(spec: StudySpec, formats: Mapping[str, Mapping[str, str]] | None = None) -> list[StudyRun]:
    """Return the runs of the grid: the same points for every norm and scaling, one seed, the primary training shift."""
    if spec.tuning is None:
        return []
    grid, shift = spec.tuning, spec.inference.train_shift
    runs = []
    for lr, decay, scaling, norm in product(grid.lr, grid.weight_decay, spec.scalings, spec.all_norms):
        values = {**spec.train, **(formats or {}).get(norm, {}), "lr": lr, "weight_decay": decay}
        train = TrainSpec(**values, norm=norm, scaling=scaling, train_shift=shift, seed=grid.seed)
        name = f"{norm}__{scaling}__lr{lr:g}__wd{decay:g}"
        runs.append(StudyRun(name, TUNING_RUNS, train))
    return runs


def explained_runs(spec: StudySpec, finished: list[StudyRun]) -> list[StudyRun]:
    """Return a run of each norm of the comparison, in the primary scaling and training shift: its first seed."""
    plan = spec.inference
    found: dict[str, StudyRun] = {}
    for run in finished:
        if (run.spec.scaling, run.spec.train_shift) == (plan.scaling, plan.train_shift):
            found.setdefault(run.spec.norm, run)
    return [found[norm] for norm in (plan.reference, *plan.compared) if norm in found]


def fixed_formats(
    spec: StudySpec, table: SliceTable, image_shape: tuple[int, int], study: Path, device: str = CPU
) -> dict[str, dict[str, str]]:
    """Return precision and memory format of each norm, measured once for the study and then fixed.

    Left to each run, the probe could answer differently from seed to seed, and seeds would differ by more than chance.
    """
    file = study / FORMATS
    if file.is_file():
        return dict(json.loads(file.read_text(encoding="utf-8")))
    train = TrainSpec(**spec.train)
    shape = (min(train.batch, len(table.of_split("train").labels)), 1, *image_shape)
    n_threads_before = torch.get_num_threads()
    torch.set_num_threads(spec.n_threads)
    formats = {}
    try:
        for norm in spec.all_norms:
            network = architecture_of(train.model_copy(update={"norm": norm}), table).build()
            asked = {"precision": train.precision, "memory_format": train.memory_format}
            best = choose_execution(network, shape, **asked, device=device)
            formats[norm] = {"precision": best.precision, "memory_format": best.memory_format}
    finally:
        torch.set_num_threads(n_threads_before)
    write_text(file, json.dumps(formats, indent=2) + "\n")
    return formats
