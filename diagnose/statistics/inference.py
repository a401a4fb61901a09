"""The primary analysis of a study: is a norm more robust than BN, over seeds and patients?

Primary endpoint, fixed before training: AUROC averaged over learnt findings, all kinds and levels 1 to 5, each with
equal weight; its difference to BN; Holm over the compared norms only. Everything else a report prints is descriptive.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from diagnose.statistics.clustered_auc import AucComponents, auc_components, refusal, stack_components
from diagnose.statistics.metrics import LEARNT_AUROC, learnt_findings
from diagnose.statistics.multireader import NormDifference, norm_difference


@dataclass(frozen=True)
class ShiftedScores:
    """Scores of all runs on the corrupted test split: the prediction table as arrays."""

    scores: np.ndarray
    """(norm, seed, kind, level, finding, exam): levels 1 to 5, the clean level 0 left out."""
    labels: np.ndarray
    """(finding, exam), 0 or 1."""
    patients: np.ndarray
    """(exam,): identifier of each exam's patient."""
    norms: tuple[str, ...]
    """In the order of the first axis; one of them is the reference."""

    def __post_init__(self) -> None:
        shape, axes = self.scores.shape, "(norm, seed, kind, level, finding, exam)"
        if len(shape) != 6 or shape[0] != len(self.norms):
            raise ValueError(f"scores has shape {shape}; expected {axes} with {len(self.norms)} norms")
        if self.labels.shape != shape[4:] or self.patients.shape != shape[5:]:
            found = f"labels has shape {self.labels.shape}, patients {self.patients.shape}"
            raise ValueError(f"{found}; expected {shape[4:]} and {shape[5:]}")


def endpoint_components(table: ShiftedScores, learnt: np.ndarray) -> AucComponents:
    """Return the primary endpoint of every run, with its patients' contributions.

    Parameters
    ----------
    table : ShiftedScores
    learnt : ndarray of bool, shape (seed, finding)
        From `diagnose.statistics.metrics.learnt_findings`; a seed averages over its own learnt findings, the same in
        every norm.

    Returns
    -------
    AucComponents
        norm x seed columns, seeds fastest.

    Raises
    ------
    ValueError
        If a seed has no learnt finding: leave that seed out of the table, and say so.
    """
    n_norms, n_seeds, n_kinds, n_levels, n_findings, n_exams = table.scores.shape
    if learnt.shape != (n_seeds, n_findings):
        raise ValueError(f"learnt has shape {learnt.shape}; expected (seed, finding), here {(n_seeds, n_findings)}")
    if not learnt.any(axis=1).all():
        raise ValueError(
            f"seeds at {np.flatnonzero(~learnt.any(axis=1)).tolist()} have no finding that all norms learnt"
        )
    n_cells, used = n_kinds * n_levels, np.flatnonzero(learnt.any(axis=0))
    # A run averages its cells first, to hold one row of patients for each run and finding, not for each cell.
    averages = np.kron(np.eye(n_norms * n_seeds), np.full(n_cells, 1 / n_cells))
    parts = []
    for finding in used:
        columns = table.scores[:, :, :, :, finding].reshape(-1, n_exams)
        parts.append(auc_components(columns, table.labels[finding], table.patients).combine(averages))
    weights = learnt[:, used] / learnt[:, used].sum(axis=1, keepdims=True)
    by_run = np.concatenate([np.diag(np.tile(weights[:, index], n_norms)) for index in range(len(used))], axis=1)
    return stack_components(parts).combine(by_run)


def compare_norms(
    table: ShiftedScores, clean_auroc: np.ndarray, *, reference: str = "bn", min_auroc: float = LEARNT_AUROC
) -> list[NormDifference]:
    """Compare every norm of the table with the reference on the primary endpoint.

    Parameters
    ----------
    table : ShiftedScores
    clean_auroc : ndarray of shape (norm, seed, finding)
        On clean data, validation or test: what a run has not learnt leaves the comparison of its seed.
    reference : str
    min_auroc : float
        Clean AUROC from which a finding counts as learnt.

    Returns
    -------
    list of NormDifference
        In the order of the table, the reference left out, with ``p_holm`` over those that have a p. No interval and no
        p below 10 positive or negative patients of a finding, nor with one seed; the message says which.
    """
    if reference not in table.norms:
        raise ValueError(f"reference is {reference!r}; expected one of {', '.join(table.norms)}")
    learnt = learnt_findings(clean_auroc, min_auroc=min_auroc)
    components = endpoint_components(table, learnt)
    n_norms, n_seeds = table.scores.shape[:2]
    endpoint = components.auc.reshape(n_norms, n_seeds)
    covariance = components.covariance().reshape(n_norms, n_seeds, n_norms, n_seeds)
    base, reason = table.norms.index(reference), _refused_finding(table, learnt)
    results = []
    for index, name in enumerate(table.norms):
        if name == reference:
            continue
        rows = [base, index]
        pair, pair_covariance = endpoint[rows], covariance[np.ix_(rows, range(n_seeds), rows, range(n_seeds))]
        result = norm_difference(pair, pair_covariance, norm=name, reference=reference)
        if reason and n_seeds > 1:
            result = NormDifference(name, reference, result.difference, n_seeds, message=reason)
        results.append(result)
    tested = [result.p for result in results if result.p is not None]
    adjusted = iter(holm(tested))
    return [result if result.p is None else replace(result, p_holm=float(next(adjusted))) for result in results]


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return Holm's step-down adjusted p values, in the order given; an empty sequence gives an empty array."""
    p = np.asarray(p_values, dtype=float)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p values are {p.tolist()}; expected numbers in [0, 1]")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def _refused_finding(table: ShiftedScores, learnt: np.ndarray) -> str:
    """Return why the first used finding with too few patients forbids an interval, or an empty string."""
    for finding in np.flatnonzero(learnt.any(axis=0)):
        if reason := refusal(table.labels[finding], table.patients):
            return f"finding {finding}: {reason}"
    return ""
