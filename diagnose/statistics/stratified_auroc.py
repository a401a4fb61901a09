"""AUROC given a stratum: only exams of the same stratum are compared, so that the stratum itself earns nothing.

A finding that lives in few slices (a cruciate ligament in the notch) is half found by knowing where the slice lies.
Within strata of slice position that knowledge is worth 0.5.

References
----------
Janes and Pepe, Adjusting for covariate effects on classification accuracy using the covariate-adjusted receiver
operating characteristic curve, Biometrika 2009. doi:10.1093/biomet/asp002
"""

from __future__ import annotations

import numpy as np

from diagnose.statistics.bootstrap import draw_patient_counts, percentile_interval
from diagnose.statistics.clustered_auc import Estimate, refusal
from diagnose.statistics.metrics import auroc


def stratified_auroc(
    scores: np.ndarray,
    labels: np.ndarray,
    strata: np.ndarray,
    patients: np.ndarray,
    *,
    n_draws: int = 2000,
    rng: np.random.Generator,
) -> Estimate:
    """Return P(present > absent) + P(tie) / 2 over pairs within a stratum, with a patient-cluster bootstrap interval.

    Parameters
    ----------
    scores, labels, strata, patients : ndarray of shape (exam,)
        Labels 0 or 1. A stratum counts by its number of pairs.

    Raises
    ------
    ValueError
        If no stratum holds both classes, or as `diagnose.statistics.metrics.auroc`.
    """
    auroc(scores, labels)  # for its checks
    scores, present, strata = np.asarray(scores, dtype=float), np.asarray(labels).astype(bool), np.asarray(strata)
    identifiers, patient_of_exam = np.unique(patients, return_inverse=True)
    counts = draw_patient_counts(len(identifiers), n_draws, rng=rng).astype(float)
    n_right, n_pairs = 0.0, 0.0
    drawn_right, drawn_pairs = np.zeros(n_draws), np.zeros(n_draws)
    for stratum in np.unique(strata):
        of_present = np.flatnonzero((strata == stratum) & present)
        of_absent = np.flatnonzero((strata == stratum) & ~present)
        difference = scores[of_present][:, None] - scores[of_absent]
        right = (difference > 0) + 0.5 * (difference == 0)
        n_right, n_pairs = n_right + float(right.sum()), n_pairs + right.size
        weights, others = counts[:, patient_of_exam[of_present]], counts[:, patient_of_exam[of_absent]]
        drawn_right += np.einsum("da,da->d", weights @ right, others)
        drawn_pairs += weights.sum(axis=1) * others.sum(axis=1)
    if n_pairs == 0:
        raise ValueError("no stratum holds both classes; expected at least one that does")
    value = n_right / n_pairs
    if reason := refusal(labels, patients):
        return Estimate(value, reason=reason)
    draws = np.divide(drawn_right, drawn_pairs, out=np.full(n_draws, np.nan), where=drawn_pairs > 0)
    return percentile_interval(value, draws)
