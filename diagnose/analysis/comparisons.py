"""Norms against the reference over paired seeds: the one confirmatory table, and those that only describe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diagnose.analysis.arms import FROZEN, Arm
from diagnose.analysis.endpoints import NO_FINDING, StudyAurocs, block_covariance, estimate_record, estimates
from diagnose.statistics.clustered_auc import AucComponents, stack_components
from diagnose.statistics.inference import ShiftedScores, compare_norms
from diagnose.statistics.metrics import retained_discrimination
from diagnose.statistics.multireader import NormDifference, norm_difference

PRIMARY_TEXT = (
    "AUROC averaged over the learnt findings, all kinds and levels with equal weight, minus that of the reference; "
    "seeds and patients both random (Obuchowski and Rockette), paired by seed; Holm over the compared norms only"
)
_ROUNDING = 1e-12
DESCRIPTIVE = "descriptive: intervals and p are not corrected for the number of comparisons"


def primary(aurocs: StudyAurocs) -> dict[str, Any]:
    """Return the confirmatory table and the endpoint of every arm in it."""
    plan = aurocs.plan
    arms = [arm for arm in (Arm(norm, plan.protocol) for norm in plan.family) if arm in aurocs.arms]
    return {
        "text": PRIMARY_TEXT,
        "comparisons": protocol_comparisons(aurocs, arms),
        "endpoints": [endpoint_estimate(aurocs, arm) for arm in arms],
    }


def protocol_comparisons(aurocs: StudyAurocs, arms: list[Arm]) -> list[dict[str, Any]]:
    """Compare the norms of one protocol with the reference, over the seeds that all of them have."""
    reference = Arm(aurocs.plan.reference, arms[0].protocol) if arms else None
    if reference not in arms or len(arms) < 2:
        return []
    assert reference is not None
    seeds = aurocs.usable_seeds(*arms)
    if not seeds:
        return [no_comparison(arm, reference, NO_FINDING) for arm in arms if arm != reference]
    table = aurocs.table
    rows = {arm: [aurocs.arms[arm].seeds.index(seed) for seed in seeds] for arm in arms}
    scores = np.stack([table.arms[arm].test[rows[arm]][:, aurocs.cells] for arm in arms])
    clean = np.array([[aurocs.trained_auroc(arm, seed) for seed in seeds] for arm in arms])
    shifted = ShiftedScores(scores, table.test.labels, table.test.patients, tuple(arm.label for arm in arms))
    results = compare_norms(shifted, clean, reference=reference.label, min_auroc=aurocs.plan.learnt_auroc)
    named = _with_finding_names(results, table.findings)
    return [
        comparison_record(result, arm, reference, seeds)
        for arm, result in zip([arm for arm in arms if arm != reference], named, strict=True)
    ]


def endpoint_estimate(aurocs: StudyAurocs, arm: Arm) -> dict[str, Any]:
    """Return the endpoint of one arm over its seeds."""
    seeds = aurocs.usable_seeds(arm)
    if not seeds:
        return {"arm": arm.id} | estimate_record(np.empty(0), (), reason=NO_FINDING)
    weights = aurocs.weights(arm, seeds, aurocs.endpoint_columns)
    parts = aurocs.arms[arm].combine(weights)
    draws = aurocs.arms[arm].combine_draws(weights) if len(seeds) == 1 else None
    covariance = block_covariance(parts, len(seeds)) if len(seeds) > 1 else None
    (record,) = estimates(parts.auc[None], covariance, draws, seeds, reason=aurocs.refusal(arm, seeds))
    return {"arm": arm.id} | record


@dataclass(frozen=True)
class Measure:
    """What is compared: a figure of every run, linear in its AUROCs, or made so."""

    name: str
    text: str


CLEAN_AUROC = Measure("clean AUROC", "AUROC on clean images, mean over the learnt findings")
ENDPOINT = Measure("endpoint", "mean AUROC over learnt findings, kinds and levels")
DEGRADATION = Measure("degradation", "the endpoint minus the clean AUROC: negative where artifacts cost discrimination")
RETAINED = Measure("retained discrimination", "(endpoint - 1/2) / (clean AUROC - 1/2), to first order in its AUROCs")


def run_figures(aurocs: StudyAurocs, arm: Arm, seeds: tuple[int, ...], measure: Measure, by: Arm) -> AucComponents:
    """Return a measure of the runs of an arm, one column a seed; the used findings are those of ``by``."""
    clean_column = np.zeros(len(aurocs.endpoint_columns))
    clean_column[0] = 1
    entry = aurocs.arms[arm]
    clean = entry.combine(aurocs.weights(arm, seeds, clean_column, by=by))
    shifted = entry.combine(aurocs.weights(arm, seeds, aurocs.endpoint_columns, by=by))
    if measure == CLEAN_AUROC:
        return clean
    if measure == ENDPOINT:
        return shifted
    return linear_change(shifted, clean, retained=measure == RETAINED)


def linear_change(shifted: AucComponents, clean: AucComponents, *, retained: bool) -> AucComponents:
    """Return shifted - clean, or the retained share to first order, column by column."""
    value, share, scale = shifted.auc - clean.auc, np.ones((1, 1, 1)), np.ones((1, 1, 1))
    if retained:
        value = retained_discrimination(shifted.auc, clean.auc)
        share, scale = value[:, None, None], (1 / (clean.auc - 0.5))[:, None, None]
    # Where nothing changes, the rounding of averages is left; its ratio to itself would be a p value.
    own, cross = (
        scale * np.where(np.abs(change) > _ROUNDING, change, 0)
        for change in (shifted.own - share * clean.own, shifted.cross - share * clean.cross)
    )
    return AucComponents(np.round(value, 12), own, cross, shifted.patients)


def compare_measure(
    aurocs: StudyAurocs, arm: Arm, reference: Arm, measure: Measure, *, label: str | None = None
) -> dict[str, Any]:
    """Compare one arm with the reference on a measure; never corrected, so never a finding."""
    seeds = aurocs.usable_seeds(arm, reference)
    if not seeds:
        return no_comparison(arm, reference, NO_FINDING)
    # A norm apart may have learnt less than the others: both sides are averaged over what it has learnt.
    pair = stack_components([run_figures(aurocs, each, seeds, measure, by=arm) for each in (reference, arm)])
    return comparison_record(paired_difference(pair, arm, reference, aurocs.refusal(arm, seeds)), arm, reference, seeds)


def paired_difference(pair: AucComponents, arm: Arm, reference: Arm, reason: str) -> NormDifference:
    """Compare two arms from components whose columns are the reference's seeds, then the arm's."""
    n_seeds = len(pair.auc) // 2
    values = pair.auc.reshape(2, n_seeds)
    covariance = pair.covariance().reshape(2, n_seeds, 2, n_seeds)
    if not np.isfinite(values).all():
        return NormDifference(arm.label, reference.label, float("nan"), n_seeds, message="not defined for every seed")
    result = norm_difference(values, covariance, norm=arm.label, reference=reference.label)
    if reason and n_seeds > 1:
        return NormDifference(arm.label, reference.label, result.difference, n_seeds, message=reason)
    return result


def descriptive(aurocs: StudyAurocs) -> list[dict[str, Any]]:
    """Return every table beside the primary one."""
    plan, tables = aurocs.plan, []
    base = Arm(plan.reference, plan.protocol)
    compared = [Arm(norm, plan.protocol) for norm in plan.compared]
    compared = [arm for arm in compared if arm in aurocs.arms]
    if base in aurocs.arms:
        for measure in (CLEAN_AUROC, DEGRADATION, RETAINED):
            rows = [compare_measure(aurocs, arm, base, measure) for arm in compared]
            tables.append(_table(measure.name, measure.text, rows))
        apart = [arm for arm in (Arm(norm, plan.protocol) for norm in plan.apart) if arm in aurocs.arms]
        rows = [
            compare_measure(aurocs, arm, base, measure) | {"measure": measure.name}
            for arm in apart
            for measure in (ENDPOINT, CLEAN_AUROC, DEGRADATION, RETAINED)
        ]
        tables.append(_table("apart", "norms that stand apart from the comparison, on the primary endpoint", rows))
        tables += _adaptation_tables(aurocs, compared, base)
    protocols = dict.fromkeys(arm.protocol for arm in aurocs.arms)
    for protocol in protocols:
        arms = [arm for arm in (Arm(norm, protocol) for norm in plan.family) if arm in aurocs.arms]
        if protocol != plan.protocol and len(arms) > 1:
            rows = [record | {"p_holm": None} for record in protocol_comparisons(aurocs, arms)]
            tables.append(_table(f"protocol: {protocol.label}", "the primary endpoint under another protocol", rows))
    return [table for table in tables if table["comparisons"]]


def _adaptation_tables(aurocs: StudyAurocs, compared: list[Arm], base: Arm) -> list[dict[str, Any]]:
    """Compare each norm, and the frozen reference, with the reference under each adaptation."""
    tables = []
    for adapted in aurocs.arms:
        if (adapted.norm, adapted.protocol) != (base.norm, base.protocol) or adapted.adaptation == FROZEN:
            continue
        rows = [compare_measure(aurocs, arm, adapted, ENDPOINT) for arm in (base, *compared)]
        text = f"the primary endpoint, against {adapted.label}: what is left of a lead over {base.norm} as trained"
        tables.append(_table(f"reference with {adapted.adaptation}", text, rows))
    return tables


def _table(name: str, text: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "text": f"{text}. {DESCRIPTIVE}", "comparisons": rows}


def comparison_record(result: NormDifference, arm: Arm, reference: Arm, seeds: tuple[int, ...]) -> dict[str, Any]:
    """Return one COMPARISON (see `diagnose.analysis.analyse`)."""
    return {
        "arm": arm.id,
        "reference": reference.id,
        "norm": arm.label,
        "reference_norm": reference.label,
        "difference": result.difference,
        "low": result.low,
        "high": result.high,
        "standard_error": result.standard_error,
        "degrees_of_freedom": result.degrees_of_freedom,
        "p": result.p,
        "p_holm": result.p_holm,
        "n_seeds": result.n_seeds,
        "seeds": list(seeds),
        "message": result.message,
    }


def no_comparison(arm: Arm, reference: Arm, message: str) -> dict[str, Any]:
    """Return a COMPARISON that cannot be made, with the reason."""
    nothing = NormDifference(arm.label, reference.label, float("nan"), 0, message=message)
    return comparison_record(nothing, arm, reference, ())


def _with_finding_names(results: list[NormDifference], findings: tuple[str, ...]) -> list[NormDifference]:
    """Put the name of a finding where `compare_norms`, which knows none, says its number."""
    named = []
    for result in results:
        message = result.message
        for index, finding in enumerate(findings):
            if message.startswith(f"finding {index}: "):
                message = message.replace(f"finding {index}", finding, 1)
                break
        named.append(replace(result, message=message))
    return named
