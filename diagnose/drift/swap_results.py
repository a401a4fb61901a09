"""AUROC under swapped batch-norm statistics, and its difference to the frozen ones and to the swap of all of them.

Intervals are those of `diagnose.evaluation.shift_results`: percentile intervals of a patient-cluster bootstrap whose
draws are shared by all swaps, so that differences are paired. They are about one trained model and descriptive: no
correction for the number of cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from diagnose.dataset import SliceTable
from diagnose.drift.statistic_swap import BOTH, FROZEN
from diagnose.evaluation.shift_results import MEAN, N_DRAWS
from diagnose.statistics.bootstrap import bootstrap_auroc, draw_patient_counts, percentile_interval
from diagnose.statistics.clustered_auc import Estimate, patient_numbers, refusal
from diagnose.statistics.metrics import auroc
from mrisim.seeding import stream


@dataclass(frozen=True)
class SwapResult:
    """One finding (or the mean of the learnt ones) under one shift and one swap."""

    swap: str
    finding: str
    learnt: bool
    auroc: float
    low: float | None
    high: float | None
    minus_frozen: float
    minus_frozen_low: float | None
    minus_frozen_high: float | None
    minus_both: float
    minus_both_low: float | None
    minus_both_high: float | None
    n_positive_patients: int
    n_negative_patients: int
    no_interval: str = ""
    """Why there is no interval."""


def swap_results(
    scores: Mapping[str, np.ndarray], table: SliceTable, learnt: Mapping[str, bool], *, n_draws: int = N_DRAWS
) -> list[SwapResult]:
    """Return the results of one model under one shift.

    Parameters
    ----------
    scores : mapping from the name of a swap to an array (slice, finding)
        `frozen` and `both` must be there.
    table : SliceTable
        Of the split.
    learnt : mapping from finding to bool
        By the clean AUROC under frozen statistics.
    n_draws : int
    """
    names = list(scores)
    counts = draw_patient_counts(len(np.unique(table.patients)), n_draws, rng=stream(0, "bootstrap"))
    results, areas_of_learnt, draws_of_learnt = [], [], []
    reason_of_mean, n_patients_of_mean = "", []
    for column, finding in enumerate(table.findings):
        labels = table.labels[:, column]
        columns = np.stack([scores[name][:, column] for name in names])
        areas, draws = auroc(columns, labels), bootstrap_auroc(columns, labels, table.patients, counts)
        reason, n_patients = refusal(labels, table.patients), patient_numbers(labels, table.patients)
        results += _rows(names, areas, draws, finding, learnt[finding], n_patients, reason)
        if learnt[finding]:
            areas_of_learnt.append(areas)
            draws_of_learnt.append(draws)
            reason_of_mean = reason_of_mean or reason
            n_patients_of_mean.append(n_patients)
    if areas_of_learnt:
        areas, draws = np.mean(areas_of_learnt, axis=0), np.mean(draws_of_learnt, axis=0)
        n_positive, n_negative = np.min(n_patients_of_mean, axis=0).tolist()
        results += _rows(names, areas, draws, MEAN, True, (n_positive, n_negative), reason_of_mean)
    return results


def _rows(
    names: list[str], areas: np.ndarray, draws: np.ndarray, finding: str, learnt: bool,
    n_patients: tuple[int, int], reason: str,
) -> list[SwapResult]:  # fmt: skip
    """Return one row for each swap; `areas` is (swap,), `draws` (draw, swap)."""
    references = (names.index(FROZEN), names.index(BOTH))

    def of(value: float, of_draws: np.ndarray) -> Estimate:
        return Estimate(value, reason=reason) if reason else percentile_interval(value, of_draws)

    rows = []
    for place, name in enumerate(names):
        own = of(float(areas[place]), draws[:, place])
        frozen, both = (
            of(float(areas[place] - areas[other]), draws[:, place] - draws[:, other]) for other in references
        )
        rows.append(
            SwapResult(
                name, finding, learnt, own.value, own.low, own.high, frozen.value, frozen.low, frozen.high,
                both.value, both.low, both.high, *n_patients, own.reason,
            )
        )  # fmt: skip
    return rows
