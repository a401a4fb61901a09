"""Patient-cluster bootstrap, fast: patients are drawn as counts, and an AUROC is a quadratic form in those counts.

Every draw takes whole patients with replacement. The pairs (present exam, absent exam) that are ranked rightly are
counted once, by patient; each draw then costs one small matrix product, whatever the number of exams.

References
----------
Westfall, On Using the Bootstrap for Multiple Comparisons (max-T), Journal of Biopharmaceutical Statistics 2011.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student_t

from diagnose.statistics.clustered_auc import Estimate, refusal
from diagnose.statistics.metrics import MAX_MISS_RATE, auroc


def draw_patient_counts(n_patients: int, n_draws: int, *, rng: np.random.Generator) -> np.ndarray:
    """Return how often each patient is taken in each draw, shape (draw, patient); each row sums to ``n_patients``."""
    return rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=n_draws)


def bootstrap_auroc(scores: np.ndarray, labels: np.ndarray, patients: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the AUROC of every draw.

    Parameters
    ----------
    scores : ndarray of shape (column, exam)
        All columns share the draws, so that differences of columns are paired.
    labels, patients : ndarray of shape (exam,)
    counts : ndarray of shape (draw, patient)
        From `draw_patient_counts`; patients in sorted order. Use the same counts for all findings and runs.

    Returns
    -------
    ndarray of shape (draw, column)
        NaN where a draw has one class only.
    """
    scores = np.atleast_2d(np.asarray(scores, dtype=float))
    auroc(scores, labels)  # for its checks
    present = np.asarray(labels).astype(bool)
    _, patient_of_exam = np.unique(patients, return_inverse=True)
    counts = _checked_counts(counts, patient_of_exam)
    n_patients = counts.shape[1]
    of_present, of_absent = patient_of_exam[present], patient_of_exam[~present]
    positive, row_of_exam = np.unique(of_present, return_inverse=True)
    negative, column_of_exam = np.unique(of_absent, return_inverse=True)
    n_pairs = counts @ np.bincount(of_present, minlength=n_patients).astype(float)
    n_pairs *= counts @ np.bincount(of_absent, minlength=n_patients)
    weights_present, weights_absent = counts[:, positive], counts[:, negative]
    draws = np.full((len(counts), len(scores)), np.nan)
    for index, column in enumerate(scores):
        pairs = _pairs_by_patient(column[present], column[~present], row_of_exam, column_of_exam)
        ranked_rightly = np.einsum("da,da->d", weights_present @ pairs, weights_absent)
        np.divide(ranked_rightly, n_pairs, out=draws[:, index], where=n_pairs > 0)
    return draws


def percentile_interval(value: float, draws: np.ndarray, *, confidence: float = 0.95) -> Estimate:
    """Return the percentile interval of draws (draw,) around the value of the full sample; NaN draws are left out."""
    valid = np.asarray(draws, dtype=float)[~np.isnan(draws)]
    if len(valid) < 100:
        return Estimate(value, reason=f"{len(valid)} valid bootstrap draws: at least 100 are needed for an interval")
    low, high = np.quantile(valid, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high), float(valid.std(ddof=1)))


def bootstrap_auroc_interval(
    scores: np.ndarray, labels: np.ndarray, patients: np.ndarray, *, n_draws: int = 2000, rng: np.random.Generator
) -> Estimate:
    """Return the AUROC of one score column (exam,) with its 95 % patient-cluster bootstrap interval."""
    value = float(auroc(scores, labels))
    if reason := refusal(labels, patients):
        return Estimate(value, reason=reason)
    counts = draw_patient_counts(len(np.unique(patients)), n_draws, rng=rng)
    return percentile_interval(value, bootstrap_auroc(scores, labels, patients, counts)[:, 0])


@dataclass(frozen=True)
class ScoredExams:
    """One score column, or several (column, exam), with labels and patients, each of shape (exam,)."""

    scores: np.ndarray
    labels: np.ndarray
    patients: np.ndarray

    @property
    def patient_of_exam(self) -> np.ndarray:
        """Index of the patient of each exam, in the sorted order of identifiers."""
        return np.unique(self.patients, return_inverse=True)[1]


def bootstrap_operating_point(
    validation: ScoredExams, test: ScoredExams, validation_counts: np.ndarray, test_counts: np.ndarray
) -> np.ndarray:
    """Return (sensitivity, specificity, balanced accuracy) of each draw, shape (draw, 3), with a re-drawn threshold.

    In each draw the paper's threshold (`diagnose.statistics.metrics.operating_point`) is found on the drawn validation
    patients and applied to the drawn test patients: an interval that holds the threshold fixed would be too narrow.

    Parameters
    ----------
    validation, test : ScoredExams
    validation_counts, test_counts : ndarray of shape (draw, patient)
        Independent draws from `draw_patient_counts`, equally many.
    """
    if len(validation_counts) != len(test_counts):
        raise ValueError(
            f"{len(validation_counts)} validation and {len(test_counts)} test draws; expected equally many"
        )
    thresholds = bootstrap_thresholds(validation, validation_counts)
    columns = ScoredExams(np.asarray(test.scores)[None], test.labels, test.patients)
    return bootstrap_rates(thresholds, columns, test_counts)[:, 0]


def bootstrap_thresholds(validation: ScoredExams, counts: np.ndarray) -> np.ndarray:
    """Return the paper's threshold on each draw of validation patients (draw,), NaN where it has no present exam."""
    return _operating_points(validation, _checked_counts(counts, validation.patient_of_exam))


def bootstrap_rates(thresholds: np.ndarray, test: ScoredExams, counts: np.ndarray) -> np.ndarray:
    """Return (sensitivity, specificity, balanced accuracy) of each draw and score column, shape (draw, column, 3).

    Parameters
    ----------
    thresholds : ndarray of shape (draw,)
        From `bootstrap_thresholds`.
    test : ScoredExams
        Its scores of shape (column, exam).
    counts : ndarray of shape (draw, patient)
        Of test patients.

    Returns
    -------
    ndarray
        NaN where a draw has no threshold, or one class only.
    """
    scores, present = np.asarray(test.scores, dtype=float), np.asarray(test.labels).astype(bool)
    counts = _checked_counts(counts, test.patient_of_exam)
    # Thresholds are scores of present validation exams: few differ, and each is counted by patient once.
    distinct, which = np.unique(thresholds, return_inverse=True)
    rates = np.full((len(counts), len(scores), 3), np.nan)
    for index, mask in enumerate((present, ~present)):
        patient = test.patient_of_exam[mask]
        of_patient = np.zeros((len(patient), counts.shape[1]))
        of_patient[np.arange(len(patient)), patient] = 1
        total = (counts @ of_patient.sum(axis=0))[:, None]
        for column, values in enumerate(scores[:, mask]):
            called_rightly = (values > distinct[:, None]) == (index == 0)
            right = np.einsum("dp,dp->d", counts, (called_rightly @ of_patient)[which])[:, None]
            np.divide(right, total, out=rates[:, column : column + 1, index], where=total > 0)
    rates[..., 2] = rates[..., :2].mean(axis=-1)
    rates[np.isnan(thresholds)] = np.nan
    return rates


@dataclass(frozen=True)
class Bands:
    """Simultaneous bands: with the stated confidence all true values lie inside at once."""

    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    """Single-step max-T p of each value against 0, adjusted for all of them; NaN where there is no variance."""
    critical: float
    """Normal deviate of the edge; 1.96 for a table of one value."""


def max_t_bands(
    estimates: np.ndarray,
    draws: np.ndarray,
    *,
    standard_errors: np.ndarray | None = None,
    degrees_of_freedom: np.ndarray | float = np.inf,
    confidence: float = 0.95,
) -> Bands:
    """Return simultaneous bands for a table of estimates from their joint bootstrap draws.

    Parameters
    ----------
    estimates : ndarray of shape (...)
        For example differences to BN by (kind, level).
    draws : ndarray of shape (draw, ...)
        The same quantities in each bootstrap draw. A draw with a NaN is left out.
    standard_errors, degrees_of_freedom : ndarray of shape (...)
        Of each estimate, from the multi-reader analysis, for claims about norms: they hold the variance of seeds, which
        draws of patients do not. By default the draws' own, for claims about trained models.

    Notes
    -----
    The law of max |draw - mean| / sd over the table replaces the normal quantile, so correlated cells cost less than
    Bonferroni. Cells that never move (identity artifacts) get a band of width 0 and, at an estimate of 0, a p of 1.

    Limits
    ------
    The correlation between cells is that of the draws; given standard errors change the widths, not the correlation.
    """
    estimates, draws = np.asarray(estimates, dtype=float), np.asarray(draws, dtype=float)
    if draws.shape[1:] != estimates.shape:
        raise ValueError(f"draws has shape {draws.shape}; expected one axis of draws, then {estimates.shape}")
    flat = draws.reshape(len(draws), -1)
    flat = flat[~np.isnan(flat).any(axis=1)]
    if len(flat) < 100:
        raise ValueError(f"{len(flat)} complete bootstrap draws; expected at least 100 for simultaneous bands")
    spread = flat.std(axis=0, ddof=1)
    moves = spread > 1e-12
    largest = (np.abs(flat - flat.mean(axis=0)) / np.where(moves, spread, 1) * moves).max(axis=1)
    critical = float(np.quantile(largest, confidence))
    errors = spread if standard_errors is None else np.broadcast_to(standard_errors, estimates.shape).ravel()
    freedom = np.broadcast_to(degrees_of_freedom, estimates.shape).ravel()
    tested = moves & (errors > 0)
    half_width = np.where(tested, errors * student_t.isf(norm.sf(critical), freedom), 0).reshape(estimates.shape)
    # Student's t as the normal deviate of the same p, so that cells of different freedom can be ranked together.
    statistics = norm.isf(student_t.sf(np.abs(estimates.ravel()) / np.where(tested, errors, 1), freedom))
    # One is added above and below: a p of 0 cannot come out of a finite number of draws.
    p = (1 + (largest[:, None] >= statistics).sum(axis=0)) / (1 + len(flat))
    p = np.where(tested, p, np.where(estimates.ravel() == 0, 1.0, np.nan)).reshape(estimates.shape)
    return Bands(estimates - half_width, estimates + half_width, p, critical)


def _checked_counts(counts: np.ndarray, patient_of_exam: np.ndarray) -> np.ndarray:
    """Return counts as floats, for fast products, if they have one column for each patient."""
    n_patients = int(patient_of_exam.max()) + 1
    if counts.ndim != 2 or counts.shape[1] != n_patients:
        raise ValueError(f"counts has shape {counts.shape}; expected (draw, {n_patients}), one column for each patient")
    return counts.astype(float)


def _pairs_by_patient(
    of_present: np.ndarray, of_absent: np.ndarray, row_of_exam: np.ndarray, column_of_exam: np.ndarray
) -> np.ndarray:
    """Count rightly ranked pairs, ties as half, by (positive patient, negative patient)."""
    order = np.argsort(of_absent, kind="stable")
    # below[k]: for each negative patient, its exams among the k lowest-scored absent ones.
    below = np.zeros((len(of_absent) + 1, column_of_exam.max() + 1))
    below[np.arange(1, len(of_absent) + 1), column_of_exam[order]] = 1
    np.cumsum(below, axis=0, out=below)
    ordered = of_absent[order]
    wins = 0.5 * (
        below[np.searchsorted(ordered, of_present, "left")] + below[np.searchsorted(ordered, of_present, "right")]
    )
    exams = np.argsort(row_of_exam, kind="stable")
    starts = np.searchsorted(row_of_exam[exams], np.arange(row_of_exam.max() + 1))
    return np.add.reduceat(wins[exams], starts, axis=0)


def _operating_points(exams: ScoredExams, counts: np.ndarray) -> np.ndarray:
    """Return the paper's threshold on each draw (draw,), NaN where a draw has no present exam."""
    scores, present = np.asarray(exams.scores, dtype=float), np.asarray(exams.labels).astype(bool)
    auroc(scores, present)  # for its checks
    # Absent exams do not move the first threshold with FNR < 0.1: it is a score of a present exam.
    order = np.flatnonzero(present)[np.argsort(-scores[present], kind="stable")]
    weights = counts[:, exams.patient_of_exam[order]]
    found, total = np.cumsum(weights, axis=1), weights.sum(axis=1, keepdims=True)
    first = np.argmax(total - found < MAX_MISS_RATE * total - 1e-9, axis=1)
    return np.where(total[:, 0] > 0, scores[order][first], np.nan)
