"""A trained run as a predictor: its network with the formats, scaling and crop that belong to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from diagnose.adapt import Adaptation, batch_norms, predict_adapted
from diagnose.checkpoint import ModelDescription, check_architecture, load_model
from diagnose.dataset import SliceTable
from diagnose.evaluation.clean_results import block_of
from diagnose.evaluation.prediction_table import Cell, PredictionBlock
from diagnose.evaluation.released_artifacts import LEVELS, released_table_version
from diagnose.run_folder import DONE, read_spec, recall_execution
from diagnose.slice_images import CLEAN, Shift
from diagnose.torch_device import CPU
from diagnose.training.execution import Execution
from diagnose.training.spec import TrainSpec
from mrisim.artifacts.base import level_table
from mrisim.errors import DataError


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A finished run: its network and all that its predictions depend on."""

    name: str
    network: torch.nn.Module
    description: ModelDescription
    execution: Execution
    crop: int | None
    folder: Path

    @classmethod
    def load(cls, run: Path, device: str = CPU) -> TrainedModel:
        """Read a run folder; the network goes to a device that is known to work, wherever it was trained.

        Raises
        ------
        DataError
            If it is no finished run, or its weights are refused (see `diagnose.checkpoint`).
        """
        if not run.is_dir():
            # A bare weights file says by itself why it is refused; a good one lacks its run.
            load_model(run)
            raise DataError(
                f"{run.name} is a weights file; expected its run folder, which says what data it belongs to"
            )
        spec: TrainSpec = read_spec(run)
        if not (run / DONE).exists():
            raise DataError(f"{run.name} is not finished; run the same `diagnose train` command again")
        network, description = load_model(run)
        check_architecture(run.resolve().name, description, spec)
        execution = (recall_execution(run) or Execution()).model_copy(update={"device": device})
        return cls(run.resolve().name, execution.laid_out(network), description, execution, spec.crop, run)

    def predict(
        self, adaptations: Sequence[Adaptation], shift: Shift, split: str, table: SliceTable, images: np.ndarray,
        train_images: np.ndarray,
    ) -> list[PredictionBlock]:  # fmt: skip
        """Return the predictions on one split under one shift, for each adaptation that acts on this network."""
        if images.shape[1:] != self.description.image_shape:
            raise DataError(
                f"images are {images.shape[1]} x {images.shape[2]}; {self.name} expects {self.description.image_shape}"
            )
        exams = np.array([item.rsplit("/", 1)[0] for item in table.items])
        blocks = []
        for adaptation in adaptations:
            if adaptation.name != "frozen" and not batch_norms(self.network):
                continue
            logits = predict_adapted(
                self.network, images, self.description.scaling.apply, adaptation,
                exams=exams, train_images=train_images, memory_format=self.execution.torch_memory_format,
            )  # fmt: skip
            version = level_table_version(shift.kind)
            cell = Cell(self.name, split, shift.kind, shift.level, shift.reconstruction, adaptation.label, version)
            blocks.append(block_of(logits, table, cell))
        return blocks


def level_table_version(kind: str = CLEAN) -> str:
    """Return version and hash of the level table of a kind: a level means nothing without it."""
    if kind in LEVELS:
        return released_table_version()
    table = level_table()
    digest = hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
    return f"{table['version']}-{digest[:8]}"
