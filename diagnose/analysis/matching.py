"""Robustness at matched clean AUROC: is a norm more robust, or only better, or worse, trained?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import t as student_t

from diagnose.analysis.arms import Arm
from diagnose.analysis.comparisons import (
    CLEAN_AUROC,
    DESCRIPTIVE,
    ENDPOINT,
    comparison_record,
    paired_difference,
    run_figures,
)
from diagnose.analysis.endpoints import StudyAurocs
from diagnose.statistics.clustered_auc import AucComponents, stack_components
from diagnose.statistics.multireader import NormDifference

MATCHED_TEXT = (
    "The endpoint at equal clean AUROC: slope of the endpoint on the clean AUROC over all runs of the primary table, "
    "with norm and seed taken off both; the difference to the reference, less slope x difference in clean AUROC. The "
    "interval holds the variance of the slope. A clean AUROC measured with error makes the slope too flat; where the "
    "ranges of clean AUROC do not overlap, no run is matched and the line is drawn beyond the data. " + DESCRIPTIVE
)


def matched(aurocs: StudyAurocs) -> dict[str, Any]:
    """Compare norms at matched clean AUROC: a norm that is merely better, or worse trained, is not more robust."""
    plan = aurocs.plan
    arms = [arm for arm in (Arm(norm, plan.protocol) for norm in plan.family) if arm in aurocs.arms]
    seeds = aurocs.usable_seeds(*arms) if arms else ()
    freedom = (len(arms) - 1) * (len(seeds) - 1) - 1
    if len(arms) < 2 or arms[0].norm != plan.reference or freedom < 2:
        return {"reason": f"{len(arms)} norms with {len(seeds)} paired seeds: too few runs for a slope"}
    clean = [run_figures(aurocs, arm, seeds, CLEAN_AUROC, arms[0]) for arm in arms]
    shifted = [run_figures(aurocs, arm, seeds, ENDPOINT, arms[0]) for arm in arms]
    x, y = (np.array([part.auc for part in parts]) for parts in (clean, shifted))
    x_left, y_left = _without_norm_and_seed(x), _without_norm_and_seed(y)
    spread = float((x_left**2).sum())
    if spread < 1e-12:
        return {"reason": "the clean AUROC of the runs does not vary: no slope"}
    slope = float((x_left * y_left).sum()) / spread
    slope_error = float(np.sqrt(((y_left - slope * x_left) ** 2).sum() / freedom / spread))
    at_equal = [
        AucComponents(b.auc - slope * a.auc, b.own - slope * a.own, b.cross - slope * a.cross, b.patients)
        for a, b in zip(clean, shifted, strict=True)
    ]
    rows = []
    for index, arm in enumerate(arms[1:], start=1):
        reason = aurocs.refusal(arms[0], seeds)
        result = paired_difference(stack_components([at_equal[0], at_equal[index]]), arm, arms[0], reason)
        result = _with_slope_error(result, float(x[index].mean() - x[0].mean()) * slope_error, freedom)
        overlap = bool(x[index].max() >= x[0].min() and x[index].min() <= x[0].max())
        rows.append(comparison_record(result, arm, arms[0], seeds) | {"overlap": overlap})
    ranges = [
        {"arm": arm.id, "low": float(row.min()), "high": float(row.max())} for arm, row in zip(arms, x, strict=True)
    ]
    return {
        "text": MATCHED_TEXT,
        "slope": slope,
        "slope_standard_error": slope_error,
        "ranges": ranges,
        "comparisons": rows,
    }


def _without_norm_and_seed(values: np.ndarray) -> np.ndarray:
    """Return values (norm, seed) without the effects of norm and of seed, whose findings may differ."""
    return values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()


def _with_slope_error(result: NormDifference, error: float, freedom: float) -> NormDifference:
    """Widen a comparison by the standard error that the estimated slope adds."""
    if result.standard_error is None or result.degrees_of_freedom is None:
        return result
    total = float(np.hypot(result.standard_error, error))
    freedom = min(result.degrees_of_freedom, freedom)
    if total == 0:
        return result
    half_width = total * float(student_t.ppf(0.975, freedom))
    return replace(
        result,
        low=result.difference - half_width,
        high=result.difference + half_width,
        standard_error=total,
        degrees_of_freedom=freedom,
        p=float(2 * student_t.sf(abs(result.difference) / total, freedom)),
    )
