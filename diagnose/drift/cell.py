"""One cell of a drift analysis: one run under one shift, as rows of the two tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import nn

from diagnose.adapt import batch_norms, running_statistics
from diagnose.dataset import SliceTable
from diagnose.drift.activation_statistics import (
    QUANTILES,
    LayerMoments,
    SetStatistics,
    drift_between,
    measure,
    n_groups_of,
    norm_positions,
    sample_quantiles,
)  # fmt: skip
from diagnose.drift.statistic_swap import (
    FROZEN,
    normalised_by,
    stored_statistics,
    swapped_statistics,
    swaps,
    with_transplants,
)  # fmt: skip
from diagnose.drift.swap_results import swap_results
from diagnose.drift.table import AFTER, BEFORE, GAIN, RUNNING, quantile_columns
from diagnose.slice_images import CLEAN, Shift
from diagnose.statistics.metrics import LEARNT_AUROC, auroc
from diagnose.tasks.findings import predict, scores
from diagnose.trained_model import TrainedModel


@dataclass(frozen=True)
class DriftCell:
    """What all rows of a cell have in common: the columns `diagnose.drift.table.CELL_COLUMNS`."""

    run: str
    norm: str
    scaling: str
    split: str
    recon: str
    kind: str
    level: int
    gain: float

    @classmethod
    def of(cls, model: TrainedModel, split: str, shift: Shift, gain: float) -> DriftCell:
        """Return the cell of a model under a shift and a factor."""
        described = model.description
        kind = shift.kind if gain == 1 else GAIN
        return cls(
            model.name, described.architecture.norm, described.scaling.name, split, shift.reconstruction, kind,
            shift.level, gain,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class SplitMaterial:
    """The images of a split under one shift."""

    table: SliceTable
    images: np.ndarray
    """(slice, rows, columns), before the control's factor."""
    drawn: np.ndarray
    """Slices that statistics are of."""
    gain: float = 1.0

    def scale_of(self, model: TrainedModel) -> Any:
        """Return the model's input scaling of images times the factor."""
        return lambda images: model.description.scaling.apply(np.float32(self.gain) * np.asarray(images))

    def predict(self, model: TrainedModel) -> np.ndarray:
        """Return the scores (slice, finding) of all slices."""
        memory_format = model.execution.torch_memory_format
        return scores(predict(model.network, self.images, self.scale_of(model), memory_format=memory_format))

    def measure(self, model: TrainedModel) -> dict[str, LayerMoments]:
        """Return the moments at every norm layer, of the drawn slices."""
        return measure(
            model.network, self.images[self.drawn], self.scale_of(model),
            memory_format=model.execution.torch_memory_format,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class LayerReference:
    """Statistics of a layer on clean images, and the stored ones of batch norm."""

    before: SetStatistics
    after: SetStatistics
    of_groups: SetStatistics
    running: SetStatistics | None


@dataclass(frozen=True, eq=False)
class Reference:
    """A model on the clean images of the split."""

    layers: dict[str, LayerReference]
    learnt: dict[str, bool]

    @classmethod
    def of(cls, model: TrainedModel, clean: SplitMaterial) -> Reference:
        """Measure a model on clean images."""
        positions = norm_positions(model.network)
        layers = {}
        for name, moments in clean.measure(model).items():
            n_groups = n_groups_of(positions[name], moments.before.mean.shape[1])
            layers[name] = LayerReference(
                moments.before.of_set(), moments.after.of_set(), moments.before.of_groups(n_groups).of_set(),
                _running(positions[name]),
            )  # fmt: skip
        labels, ranked = clean.table.labels, clean.predict(model)
        learnt = {
            finding: bool(auroc(ranked[:, column], labels[:, column]) >= LEARNT_AUROC)
            for column, finding in enumerate(clean.table.findings)
        }
        return cls(layers, learnt)


def _running(layer: nn.Module) -> SetStatistics | None:
    if not isinstance(layer, nn.BatchNorm2d):
        return None
    mean, variance, _ = running_statistics(layer)
    return mean.double().cpu().numpy(), variance.double().cpu().numpy()


def drift_rows(
    cell: DriftCell, model: TrainedModel, material: SplitMaterial, reference: Reference
) -> list[dict[str, Any]]:
    """Return the drift of what enters and what leaves each layer: from clean, and from batch norm's own statistics."""
    rows = []
    positions = norm_positions(model.network)
    no_samples: tuple[list[float | None], list[float | None]] = ([None] * len(QUANTILES), [None] * len(QUANTILES))
    for number, (name, moments) in enumerate(material.measure(model).items(), start=1):
        clean = reference.layers[name]
        n_groups = n_groups_of(positions[name], moments.before.mean.shape[1])
        samples = sample_quantiles(moments.before.of_groups(n_groups), clean.of_groups)
        sides = [(BEFORE, CLEAN, moments.before, clean.before), (AFTER, CLEAN, moments.after, clean.after)]
        if clean.running is not None:
            sides.insert(0, (BEFORE, RUNNING, moments.before, clean.running))
        for side, against, found, expected in sides:
            rows.append(
                asdict(cell)
                | {"layer_number": number, "layer": name, "side": side, "reference": against}
                | {"n_slices": len(material.drawn), "n_groups": n_groups}
                | asdict(drift_between(found.of_set(), expected))
                | quantile_columns(*(samples if (side, against) == (BEFORE, CLEAN) else no_samples))
            )
    return rows


def swap_rows(
    cell: DriftCell, model: TrainedModel, material: SplitMaterial, reference: Reference, n_swapped: Sequence[int]
) -> list[dict[str, Any]]:
    """Return the AUROCs under every swap; none for a network without batch norm."""
    layers = batch_norms(model.network)
    if not layers:
        return []
    images, scale = material.images[material.drawn], material.scale_of(model)
    statistics = {
        swap.name: swapped_statistics(
            model.network, images, scale, swap, memory_format=model.execution.torch_memory_format
        )
        for swap in swaps(len(layers), n_swapped)
    }
    ranked = {FROZEN: material.predict(model)}
    for name, values in with_transplants(stored_statistics(model.network), statistics).items():
        with normalised_by(model.network, values):
            ranked[name] = material.predict(model)
    return [asdict(cell) | asdict(result) for result in swap_results(ranked, material.table, reference.learnt)]
