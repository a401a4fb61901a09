"""AUROCs of all runs of a study with what their intervals need: contributions of patients, and bootstrap draws.

Every figure of discrimination - one cell, the mean over findings, the endpoint, a drop, what is retained - is a linear
combination of the AUROCs of a run (the last one to first order), so all of them share one set of components.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diagnose.analysis.arms import AnalysisPlan, Arm
from diagnose.analysis.scores import StudyTable
from diagnose.statistics.bootstrap import bootstrap_auroc, draw_patient_counts, percentile_interval
from diagnose.statistics.clustered_auc import AucComponents, auc_components, stack_components
from diagnose.statistics.multireader import ADVISED_SEEDS, ONE_SEED, mean_over_seeds
from mrisim.errors import DataError
from mrisim.seeding import stream

NO_FINDING = "no seed has a finding that is learnt"


@dataclass(frozen=True, eq=False)
class ArmAurocs:
    """AUROCs of the runs of one arm on the test split."""

    seeds: tuple[int, ...]
    values: np.ndarray
    """(seed, finding, column): column 0 is clean."""
    components: AucComponents
    """Of the same, flattened: seed x finding x column, columns fastest."""
    draws: np.ndarray
    """(draw, seed, finding, column), float32: patient-cluster bootstrap, equal patients for all arms."""

    def combine(self, weights: np.ndarray) -> AucComponents:
        """Return linear combinations for weights of shape (new, seed, finding, column)."""
        return self.components.combine(weights.reshape(len(weights), self.values.size))

    def combine_draws(self, weights: np.ndarray) -> np.ndarray:
        """Return the same combinations of every draw, (draw, new)."""
        return self.draws.reshape(len(self.draws), -1) @ weights.reshape(len(weights), self.values.size).T


@dataclass(frozen=True, eq=False)
class StudyAurocs:
    """The AUROCs of a study, and which findings enter a mean."""

    table: StudyTable
    plan: AnalysisPlan
    arms: Mapping[Arm, ArmAurocs]
    kinds: tuple[str, ...]
    levels: tuple[int, ...]
    cells: np.ndarray
    """(kind, level): columns of the endpoint."""

    def reference_of(self, arm: Arm) -> Arm:
        """Return the frozen reference of an arm's protocol; it need not be in the table."""
        return Arm(self.plan.reference, arm.protocol)

    def trained_auroc(self, arm: Arm, seed: int) -> np.ndarray:
        """Return the clean AUROCs (finding,) of the run behind an arm, as trained and in the base reconstruction.

        They decide what a run has learnt: one answer for all its adaptations and reconstructions, else their means
        would be over different findings.
        """
        base = Arm(arm.norm, replace(arm.protocol, recon=self.plan.protocol.recon))
        entry = self.arms[next(each for each in (base, arm.frozen, arm) if each in self.arms)]
        return entry.values[entry.seeds.index(seed), :, 0]

    def used(self, arm: Arm, seed: int) -> np.ndarray:
        """Say which findings (finding,) of a seed enter the mean of an arm.

        Those that the reference and all compared norms of the protocol have learnt with this seed; a norm that stands
        apart must have learnt them too, and takes none away from the others.
        """
        used = np.ones(len(self.table.findings), bool)
        for other in (arm, *(Arm(norm, arm.protocol) for norm in self.plan.family)):
            if other in self.arms and seed in self.arms[other].seeds:
                used &= self.trained_auroc(other, seed) >= self.plan.learnt_auroc
        return used

    def weights(self, arm: Arm, seeds: tuple[int, ...], columns: np.ndarray, *, by: Arm | None = None) -> np.ndarray:
        """Return what averages over the used findings and over columns, seed by seed.

        Parameters
        ----------
        arm : Arm
        seeds : tuple of int
            The rows, all of the arm.
        columns : ndarray of shape (column,)
            Their weights; they need not sum to 1.
        by : Arm, optional
            Whose used findings are taken; the arm's own by default.

        Returns
        -------
        ndarray of shape (row, seed, finding, column)
            All zero for a seed without a used finding.
        """
        entry = self.arms[arm]
        weights = np.zeros((len(seeds), *entry.values.shape))
        for row, seed in enumerate(seeds):
            used = self.used(by or arm, seed).astype(float)
            weights[row, entry.seeds.index(seed)] = np.outer(used / max(used.sum(), 1), columns)
        return weights

    def usable_seeds(self, arm: Arm, *others: Arm) -> tuple[int, ...]:
        """Return the seeds that all given arms have, with at least one used finding in each."""
        seeds = [seed for seed in self.arms[arm].seeds if all(seed in self.arms[other].seeds for other in others)]
        return tuple(seed for seed in seeds if all(self.used(each, seed).any() for each in (arm, *others)))

    def refusal(self, arm: Arm, seeds: tuple[int, ...]) -> str:
        """Return why a mean over the used findings carries no interval, or an empty string."""
        for index, finding in enumerate(self.table.findings):
            reason = self.table.refusals[index]
            if reason and any(self.used(arm, seed)[index] for seed in seeds):
                return f"{finding}: {reason}"
        return ""

    @property
    def endpoint_columns(self) -> np.ndarray:
        """(column,): weights of the endpoint."""
        columns = np.zeros(1 + len(self.table.cells))
        columns[self.cells] = 1 / self.cells.size
        return columns


def study_aurocs(table: StudyTable, plan: AnalysisPlan) -> StudyAurocs:
    """Compute every AUROC of a study once."""
    kinds, levels, cells = table.cells_of(plan)
    # The stream of `diagnose.evaluation.shift_results`: a single run gets the same interval in its own report and here.
    counts = draw_patient_counts(table.test.n_patients, plan.n_draws, rng=stream(0, "bootstrap"))
    arms = {}
    for arm, scores in table.arms.items():
        n_seeds, n_columns, n_findings, _ = scores.test.shape
        parts, draws = [], np.empty((plan.n_draws, n_seeds, n_findings, n_columns), np.float32)
        for finding, labels in enumerate(table.test.labels):
            columns = scores.test[:, :, finding].reshape(n_seeds * n_columns, -1)
            try:
                parts.append(auc_components(columns, labels, table.test.patients))
            except ValueError as error:
                raise DataError(f"{table.findings[finding]}, {arm.id}: {error}") from None
            drawn = bootstrap_auroc(columns, labels, table.test.patients, counts)
            draws[:, :, finding] = drawn.reshape(-1, n_seeds, n_columns)
        shape = (n_findings, n_seeds, n_columns)
        order = np.arange(np.prod(shape)).reshape(shape).transpose(1, 0, 2).ravel()
        joint = stack_components(parts)
        joint = AucComponents(joint.auc[order], joint.own[order], joint.cross[order], joint.patients)
        values = joint.auc.reshape(n_seeds, n_findings, n_columns)
        arms[arm] = ArmAurocs(scores.seeds, values, joint, draws)
    return StudyAurocs(table, plan, arms, kinds, levels, cells)


def block_covariance(components: AucComponents, n_seeds: int) -> np.ndarray:
    """Return the covariance over patients within each row of seeds: (row, seed, seed), rows of ``n_seeds`` columns."""
    own, cross = (array.reshape(-1, n_seeds, *array.shape[1:]) for array in (components.own, components.cross))
    return np.einsum("rscp,rtcp->rst", own, own) + np.einsum("rscp,rtcp->rst", cross, cross[:, :, ::-1])


def estimates(
    values: np.ndarray,
    covariance: np.ndarray | None,
    draws: np.ndarray | None,
    seeds: tuple[int, ...],
    *,
    reason: str = "",
    within_unit: bool = True,
) -> list[dict[str, Any]]:
    """Return ESTIMATEs (see `diagnose.analysis.analyse`): means over seeds with intervals.

    Parameters
    ----------
    values : ndarray of shape (row, seed)
    covariance : ndarray of shape (row, seed, seed), optional
        Over patients; needed with two seeds or more.
    draws : ndarray of shape (draw, row), optional
        Of the one run; needed with one seed.
    seeds : tuple of int
    reason : str
        Why there is no interval; empty where there is one.
    within_unit : bool
        The values lie in [0, 1].
    """
    n_seeds = len(seeds)
    if n_seeds == 0:
        return [estimate_record(np.empty(0), (), reason=NO_FINDING) for _ in values]
    if reason:
        return [estimate_record(row, seeds, reason=reason) for row in values]
    if n_seeds == 1:
        assert draws is not None, "one seed needs draws"
        records = []
        for row, column in zip(values, draws.T, strict=True):
            interval = percentile_interval(float(row[0]), column)
            bounds = None if interval.low is None else (interval.low, interval.high)
            records.append(
                _at_edge(row, seeds, within_unit)
                or estimate_record(row, seeds, bounds, reason=interval.reason or ONE_SEED)
            )
        return records
    assert covariance is not None, "several seeds need their covariance"
    low, high = mean_over_seeds(values, covariance).interval(within_unit=within_unit)
    weak = f"{n_seeds} seeds: exploratory, at least {ADVISED_SEEDS} are advised" if n_seeds < ADVISED_SEEDS else ""
    return [
        _at_edge(row, seeds, within_unit)
        or estimate_record(row, seeds, (float(low[index]), float(high[index])), reason=weak)
        for index, row in enumerate(values)
    ]


def _at_edge(values: np.ndarray, seeds: tuple[int, ...], within_unit: bool) -> dict[str, Any] | None:
    """Return the ESTIMATE of values that are all 0 or all 1: no draw of these patients would differ, others might."""
    if within_unit and len(values) and values[0] in (0, 1) and (values == values[0]).all():
        reason = f"{values[0]:g} in every run: this leaves no variance to estimate an interval from"
        return estimate_record(values, seeds, reason=reason)
    return None


def estimate_record(
    values: np.ndarray, seeds: tuple[int, ...], bounds: tuple[Any, Any] | None = None, *, reason: str = ""
) -> dict[str, Any]:
    """Return one ESTIMATE for values (seed,)."""
    kind = "seeds and patients" if len(seeds) > 1 else "patients"
    return {
        "value": float(np.mean(values)) if len(values) else None,
        "low": bounds[0] if bounds else None,
        "high": bounds[1] if bounds else None,
        "interval": kind if bounds else "",
        "seed_values": [float(value) for value in values],
        "seeds": list(seeds),
        "seed_sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "reason": reason,
    }
