"""Mean Dice over cases with patient-bootstrap intervals: whole patients are drawn, paired over whatever is compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from diagnose.statistics.bootstrap import draw_patient_counts, percentile_interval
from diagnose.statistics.clustered_auc import MIN_PATIENTS, Estimate
from mrisim.seeding import stream

N_DRAWS = 2000


def bootstrap_means(values: np.ndarray, patients: Sequence[str], counts: np.ndarray) -> np.ndarray:
    """Return the mean over cases in each draw of patients.

    Parameters
    ----------
    values : (case, ...)
    patients : (case,)
    counts : (draw, patient)
        How often each patient is drawn, patients in sorted order; from `draw_patient_counts`.

    Returns
    -------
    float64 array (draw, ...)
    """
    names, number = np.unique(np.asarray(patients), return_inverse=True)
    of_patient = np.zeros((len(names), len(values)))
    of_patient[number, np.arange(len(values))] = 1
    weights = counts @ of_patient
    return np.tensordot(weights, values, axes=1) / weights.sum(axis=1).reshape(-1, *[1] * (values.ndim - 1))


def estimates_by_class(values: np.ndarray, patients: Sequence[str]) -> list[Estimate]:
    """Return the mean of values (case, class), or of their differences, for each class, then that of the classes' mean.

    All classes share the draws; the draws have a stream of their own, so that equal values give equal intervals. There
    is no interval below `MIN_PATIENTS` patients.
    """
    columns = np.concatenate([values, values.mean(axis=1, keepdims=True)], axis=1)
    means = columns.mean(axis=0)
    n_patients = len(set(patients))
    if n_patients < MIN_PATIENTS:
        reason = f"{n_patients} patients: at least {MIN_PATIENTS} are needed for an interval"
        return [Estimate(float(mean), reason=reason) for mean in means]
    counts = draw_patient_counts(n_patients, N_DRAWS, rng=stream(0, "bootstrap"))
    draws = bootstrap_means(columns, patients, counts)
    return [percentile_interval(float(mean), draws[:, index]) for index, mean in enumerate(means)]


def record_of(estimate: Estimate, name: str = "dice") -> dict[str, Any]:
    """Return an estimate as JSON values."""
    return {name: estimate.value, "low": estimate.low, "high": estimate.high, "reason": estimate.reason}


def with_interval(value: float, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """Return a number and its interval as text."""
    form = "{:+.3f}" if signed else "{:.3f}"
    return form.format(value) + ("" if low is None else f" [{form.format(low)}, {form.format(high)}]")
