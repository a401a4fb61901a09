"""What a finished run says of itself: predictions on clean validation and test, and the clean AUROC with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from diagnose.checkpoint import ModelDescription
from diagnose.dataset import SliceTable
from diagnose.evaluation.prediction_table import Cell, PredictionBlock
from diagnose.slice_images import CLEAN
from diagnose.statistics.bootstrap import bootstrap_auroc, draw_patient_counts, percentile_interval
from diagnose.statistics.clustered_auc import Estimate, refusal
from diagnose.statistics.metrics import LEARNT_AUROC, auroc
from diagnose.tasks.findings import predict, scores
from diagnose.training.execution import Execution
from mrisim.seeding import stream

N_DRAWS = 2000


def predict_clean(
    network: nn.Module,
    description: ModelDescription,
    images: dict[str, tuple[SliceTable, np.ndarray]],
    *,
    run: str,
    execution: Execution,
) -> list[PredictionBlock]:
    """Return the predictions of a model on the clean images of each split."""
    blocks = []
    for split, (table, pixels) in images.items():
        logits = predict(network, pixels, description.scaling.apply, memory_format=execution.torch_memory_format)
        blocks.append(block_of(logits, table, Cell(run, split, CLEAN, 0)))
    return blocks


def block_of(logits: np.ndarray, table: SliceTable, cell: Cell) -> PredictionBlock:
    """Return logits (slice, finding, 2) as a block of the prediction table."""
    return PredictionBlock(
        cell, tuple(table.items), table.patients, table.findings, scores(logits), table.labels, logits[..., 1]
    )


def clean_estimates(block: PredictionBlock, *, n_draws: int = N_DRAWS) -> tuple[list[Estimate], Estimate]:
    """Return the AUROC of each finding, and their mean, with 95 % patient-cluster bootstrap intervals.

    All findings share the draws of patients, so the interval of the mean holds their correlation. The draws have a
    stream of their own: equal predictions give equal intervals.
    """
    counts = draw_patient_counts(len(np.unique(block.patients)), n_draws, rng=stream(0, "bootstrap"))
    estimates, all_draws, reason = [], [], ""
    for column in range(len(block.findings)):
        values, labels = block.scores[:, column], block.labels[:, column]
        area = float(auroc(values, labels))
        refused = refusal(labels, block.patients)
        draws = bootstrap_auroc(values, labels, block.patients, counts)[:, 0]
        estimates.append(Estimate(area, reason=refused) if refused else percentile_interval(area, draws))
        all_draws.append(draws)
        reason = reason or refused
    mean = float(np.mean([estimate.value for estimate in estimates]))
    return estimates, Estimate(mean, reason=reason) if reason else percentile_interval(mean, np.mean(all_draws, axis=0))


def summarise_clean(blocks: list[PredictionBlock], description: ModelDescription) -> dict[str, Any]:
    """Return the content of results.json."""
    test = next(block for block in blocks if block.cell.split == "test")
    estimates, mean = clean_estimates(test)
    return {
        "norm": description.architecture.norm,
        "seed": description.seed,
        "best_epoch": description.epoch,
        "validation_auroc": description.validation_auroc,
        "n_test_patients": len(np.unique(test.patients)),
        "n_test_slices": len(test.items),
        "clean_auroc": {
            finding: record_of(estimate) | {"learnt": estimate.value >= LEARNT_AUROC}
            for finding, estimate in zip(test.findings, estimates, strict=True)
        },
        "mean": record_of(mean),
    }


def record_of(estimate: Estimate) -> dict[str, Any]:
    """Return an estimate as JSON values."""
    return {"auroc": estimate.value, "low": estimate.low, "high": estimate.high, "reason": estimate.reason}


def lines_of(results: dict[str, Any]) -> list[str]:
    """Return results.json as text."""
    lines = [
        f"clean test AUROC with 95 % patient-bootstrap intervals ({results['n_test_patients']} patients, "
        f"{results['n_test_slices']} slices; weights of epoch {results['best_epoch'] + 1}):"
    ]
    for name, entry in [*results["clean_auroc"].items(), ("mean", results["mean"])]:
        interval = (
            f"[{entry['low']:.3f}, {entry['high']:.3f}]"
            if entry["low"] is not None
            else f"(no interval: {entry['reason']})"
        )
        mark = "" if entry.get("learnt", True) else f"  not learnt (below {LEARNT_AUROC:.2f})"
        lines.append(f"  {name:12} {entry['auroc']:.3f} {interval}{mark}")
    return lines
