"""Variance of AUROCs when a patient has many exams: Obuchowski's structural components, and DeLong's as special case.

Slices of one patient resemble each other, so the independent unit is the patient. Each AUROC gets, per patient, one
number for the patient's present and one for its absent exams; every variance, covariance and average follows from them.

References
----------
Obuchowski, Nonparametric analysis of clustered ROC curve data, Biometrics 1997. doi:10.2307/2533958
DeLong et al., Comparing the areas under two or more correlated ROC curves, Biometrics 1988. doi:10.2307/2531595
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from diagnose.statistics.metrics import auroc

MIN_PATIENTS = 10
"""Fewer patients with, or without, the finding than this: no interval is given."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, or with the reason why there is none."""

    value: float
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None
    p: float | None = None
    """Two-sided p against no difference; None for a single AUROC."""
    reason: str = ""
    """Why there is no interval; empty where there is one."""


def patient_numbers(labels: np.ndarray, patients: np.ndarray) -> tuple[int, int]:
    """Count the patients with at least one present exam, and those with at least one absent exam (both may hold)."""
    present = np.asarray(labels).astype(bool)
    return len(np.unique(np.asarray(patients)[present])), len(np.unique(np.asarray(patients)[~present]))


def refusal(labels: np.ndarray, patients: np.ndarray, *, of: str = "") -> str:
    """Return why these data carry no interval, or an empty string.

    Parameters
    ----------
    labels, patients : ndarray of shape (exam,)
    of : str
        The split, where it is not the test split that every interval is of.
    """
    n_positive, n_negative = patient_numbers(labels, patients)
    for n_patients, name in ((n_positive, "positive"), (n_negative, "negative")):
        if n_patients < MIN_PATIENTS:
            who = f"{name} patients of {of}" if of else f"{name} patients"
            return f"{n_patients} {who}: at least {MIN_PATIENTS} are needed for an interval"
    return ""


@dataclass(frozen=True)
class AucComponents:
    """AUROCs of several score columns on the same patients, with the patients' contributions to their variance."""

    auc: np.ndarray
    """(column,)"""
    own: np.ndarray
    """(column, 2, patient): centred contributions of present and of absent exams, scaled for the variance of each."""
    cross: np.ndarray
    """(column, 2, patient): the same, scaled for the covariance of present and absent exams of one patient."""
    patients: tuple[str, ...]
    """Identifiers in the order of the last axis, so that columns of other patients are not mixed in by mistake."""

    def covariance(self) -> np.ndarray:
        """Return the covariance of all AUROCs, shape (column, column)."""
        n_columns = len(self.auc)
        own, cross = self.own.reshape(n_columns, -1), self.cross.reshape(n_columns, -1)
        return own @ own.T + cross @ self.cross[:, ::-1].reshape(n_columns, -1).T

    def combine(self, weights: np.ndarray) -> AucComponents:
        """Return linear combinations - averages, differences - for weights of shape (new column, column)."""
        weights = np.atleast_2d(np.asarray(weights, dtype=float))
        if weights.shape[1] != len(self.auc):
            raise ValueError(f"weights has shape {weights.shape}; expected (new column, {len(self.auc)})")
        own, cross = (np.tensordot(weights, array, axes=1) for array in (self.own, self.cross))
        return AucComponents(weights @ self.auc, own, cross, self.patients)


def auc_components(scores: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> AucComponents:
    """Return AUROCs and their structural components, patient by patient.

    Parameters
    ----------
    scores : ndarray of shape (column, exam) or (exam,)
        A column is one model on one kind and level.
    labels : ndarray of shape (exam,)
        0 or 1.
    patients : ndarray of shape (exam,)
        Identifier of each exam's patient.

    Raises
    ------
    ValueError
        For bad scores or labels (see `diagnose.statistics.metrics.auroc`), or present or absent exams of one patient
        only.

    Limits
    ------
    Large-sample theory: below about 40 patients a side, or near an AUROC of 1, intervals are approximate.
    """
    scores = np.atleast_2d(np.asarray(scores, dtype=float))
    areas, present = auroc(scores, labels), np.asarray(labels).astype(bool)
    names, patient_of_exam = np.unique(np.asarray(patients).astype(str), return_inverse=True)
    if patient_of_exam.shape != present.shape:
        raise ValueError(f"patients has shape {patient_of_exam.shape}; expected {present.shape}, one for each exam")
    n_positive, n_negative = patient_numbers(present, patient_of_exam)
    if min(n_positive, n_negative) < 2:
        raise ValueError(f"{n_positive} positive and {n_negative} negative patients; expected at least 2 of each")
    centred = _placements(scores, present) - areas[:, None]
    order = np.argsort(patient_of_exam, kind="stable")
    starts = np.searchsorted(patient_of_exam[order], np.arange(len(names)))
    own, cross = [], []
    for mask, n_patients in ((present, n_positive), (~present, n_negative)):
        sums = np.add.reduceat(np.where(mask, centred, 0)[:, order], starts, axis=1) / mask.sum()
        own.append(sums * np.sqrt(n_patients / (n_patients - 1)))
        cross.append(sums * np.sqrt(len(names) / (len(names) - 1)))
    return AucComponents(areas, np.stack(own, axis=1), np.stack(cross, axis=1), tuple(names.tolist()))


def stack_components(parts: Sequence[AucComponents]) -> AucComponents:
    """Join the columns of several findings, whose labels differ but whose patients are the same."""
    if len({part.patients for part in parts}) != 1:
        raise ValueError("findings have different patients; expected the same patients, in one table, for all of them")
    return AucComponents(
        np.concatenate([part.auc for part in parts]),
        np.concatenate([part.own for part in parts]),
        np.concatenate([part.cross for part in parts]),
        parts[0].patients,
    )


def auroc_interval(
    scores: np.ndarray, labels: np.ndarray, patients: np.ndarray, *, confidence: float = 0.95
) -> Estimate:
    """Return the AUROC of one score column (exam,) with its clustered interval.

    The interval is symmetric in log odds: on the AUROC itself it would leave [0, 1] and cover too little near 1.
    """
    components = auc_components(scores, labels, patients)
    area, error = float(components.auc[0]), float(np.sqrt(components.covariance()[0, 0]))
    if reason := refusal(labels, patients):
        return Estimate(area, reason=reason)
    if not 0 < area < 1:
        return Estimate(
            area, reason=f"AUROC of {area:g}: the exams are separated, which leaves no variance to estimate"
        )
    centre = np.log(area / (1 - area))
    half_width = norm.ppf((1 + confidence) / 2) * error / (area * (1 - area))
    low, high = 1 / (1 + np.exp(-(centre + np.array([-half_width, half_width]))))
    return Estimate(area, float(low), float(high), error)


def auroc_difference(
    scores: np.ndarray, labels: np.ndarray, patients: np.ndarray, *, confidence: float = 0.95
) -> Estimate:
    """Return AUROC of column 1 minus AUROC of column 0 for scores (2, exam), paired by patient.

    A statement about two trained models. About norms, whose seeds vary too, see `diagnose.statistics.multireader`.
    """
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 2 or len(scores) != 2:
        raise ValueError(f"scores has shape {scores.shape}; expected (2, exam)")
    difference = auc_components(scores, labels, patients).combine(np.array([-1.0, 1.0]))
    value, error = float(difference.auc[0]), float(np.sqrt(difference.covariance()[0, 0]))
    if reason := refusal(labels, patients):
        return Estimate(value, reason=reason)
    if error == 0:  # the identity artifact, or one model twice: no patient differs
        return Estimate(value, value, value, 0.0, p=1.0)
    half_width = norm.ppf((1 + confidence) / 2) * error
    return Estimate(value, value - half_width, value + half_width, error, p=float(2 * norm.sf(abs(value) / error)))


def delong_covariance(scores: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Return DeLong's covariance of the AUROCs of scores (column, exam); one exam per patient only.

    Raises
    ------
    ValueError
        If a patient has several exams: DeLong would take them for independent. Use `auc_components` then.
    """
    scores, present = np.atleast_2d(np.asarray(scores, dtype=float)), np.asarray(labels).astype(bool)
    n_patients = len(np.unique(patients))
    if n_patients != len(present):
        raise ValueError(
            f"{len(present)} exams of {n_patients} patients: DeLong's variance needs one exam per patient; "
            "use the clustered variance (auc_components)"
        )
    auroc(scores, labels)  # for its checks
    placements = _placements(scores, present)
    of_present, of_absent = placements[:, present], placements[:, ~present]
    return np.atleast_2d(np.cov(of_present)) / present.sum() + np.atleast_2d(np.cov(of_absent)) / (~present).sum()


def _placements(scores: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return, for each exam (column, exam), the share of the other class that it is ranked rightly against."""
    ranks = rankdata(scores, axis=-1)
    placements = np.empty_like(scores)
    n_absent, n_present = (~present).sum(), present.sum()
    placements[:, present] = (ranks[:, present] - rankdata(scores[:, present], axis=-1)) / n_absent
    placements[:, ~present] = 1 - (ranks[:, ~present] - rankdata(scores[:, ~present], axis=-1)) / n_present
    return placements
