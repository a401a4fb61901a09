"""Where a norm differs: kind by level, with bands that hold for all cells at once; and corruption errors.

Patients and seeds are both drawn with replacement: equal patients for all runs, equal seeds for the paired norms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from diagnose.analysis.arms import Arm
from diagnose.analysis.endpoints import NO_FINDING, StudyAurocs
from diagnose.statistics.bootstrap import Bands, max_t_bands, percentile_interval
from diagnose.statistics.clustered_auc import stack_components
from diagnose.statistics.metrics import corruption_error, relative_corruption_error
from diagnose.statistics.multireader import ADVISED_SEEDS, ONE_SEED, norm_difference
from mrisim.seeding import stream

HEAT_MAP_TEXT = (
    "difference to the reference in mean AUROC of the learnt findings; bands and p are simultaneous (max-T) over all "
    "cells of all compared norms: standard errors and degrees of freedom of each cell from the multi-reader analysis, "
    "the correlation of the cells from a bootstrap of patients and seeds; flagged where the band leaves 0 out"
)


def draw_seed_weights(n_seeds: int, n_draws: int) -> np.ndarray:
    """Return how much each seed weighs in each draw, (draw, seed): drawn with replacement, rows sum to 1."""
    rng = stream(0, "bootstrap of seeds", n_seeds)
    return rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=n_draws) / n_seeds


def cell_draws(aurocs: StudyAurocs, arm: Arm, seeds: tuple[int, ...], by: Arm) -> np.ndarray:
    """Return the mean AUROC of the used findings in every draw of patients: (draw, seed, column)."""
    entry = aurocs.arms[arm]
    rows = [entry.seeds.index(seed) for seed in seeds]
    used = np.array([aurocs.used(by, seed) for seed in seeds], np.float32)
    share = used / used.sum(axis=1, keepdims=True)
    return np.einsum("dsfc,sf->dsc", entry.draws[:, rows], share)


def cell_means(aurocs: StudyAurocs, arm: Arm, seeds: tuple[int, ...], by: Arm) -> np.ndarray:
    """Return the mean AUROC of the used findings, (seed, column)."""
    entry = aurocs.arms[arm]
    used = np.array([aurocs.used(by, seed) for seed in seeds], float)
    share = used / used.sum(axis=1, keepdims=True)
    return np.einsum("sfc,sf->sc", entry.values[[entry.seeds.index(seed) for seed in seeds]], share)


def heat_map(aurocs: StudyAurocs) -> dict[str, Any]:
    """Return the difference of each compared norm to the reference by kind and level, with simultaneous bands."""
    plan, reference = aurocs.plan, Arm(aurocs.plan.reference, aurocs.plan.protocol)
    arms = [arm for arm in (Arm(norm, plan.protocol) for norm in plan.compared) if arm in aurocs.arms]
    record: dict[str, Any] = {
        "text": HEAT_MAP_TEXT,
        "reference": reference.id,
        "arms": [arm.id for arm in arms],
        "kinds": list(aurocs.kinds),
        "levels": list(aurocs.levels),
        "critical": None,
        "n_cells": 0,
        "reason": "",
        "cells": [],
    }
    if reference not in aurocs.arms or not arms:
        return record | {"reason": "no norm is compared with the reference"}
    seeds = aurocs.usable_seeds(reference, *arms)
    if not seeds:
        return record | {"reason": NO_FINDING}
    columns = aurocs.cells.ravel()
    base = cell_means(aurocs, reference, seeds, reference)[:, columns]
    differences = np.stack(
        [cell_means(aurocs, arm, seeds, reference)[:, columns].mean(0) - base.mean(0) for arm in arms]
    )
    reason = aurocs.refusal(reference, seeds)
    bands = None if reason else _bands(aurocs, arms, reference, seeds, differences)
    if 1 < len(seeds) < ADVISED_SEEDS:
        record["text"] += f". {len(seeds)} seeds: exploratory, at least {ADVISED_SEEDS} are advised"
    cells = []
    for row, arm in enumerate(arms):
        for index, (kind, level) in enumerate((kind, level) for kind in aurocs.kinds for level in aurocs.levels):
            cell = _cell(arm, kind, level, float(differences[row, index]), bands, (row, index))
            # With one seed the bands are about two trained models: nothing is flagged as a property of a norm.
            cells.append(cell | {"flagged": cell["flagged"] and len(seeds) > 1})
    return record | {
        "critical": bands.critical if bands else None,
        "n_cells": len(cells),
        "reason": reason or (ONE_SEED if len(seeds) == 1 else ""),
        "cells": cells,
    }


def _bands(
    aurocs: StudyAurocs, arms: list[Arm], reference: Arm, seeds: tuple[int, ...], differences: np.ndarray
) -> Bands:
    """Return bands for differences (arm, cell)."""
    columns, n_draws = aurocs.cells.ravel(), aurocs.plan.n_draws
    weights = draw_seed_weights(len(seeds), n_draws).astype(np.float32)
    base = cell_draws(aurocs, reference, seeds, reference)[:, :, columns]
    draws = np.stack(
        [
            np.einsum("dsc,ds->dc", cell_draws(aurocs, arm, seeds, reference)[:, :, columns] - base, weights)
            for arm in arms
        ],
        axis=1,
    )
    if len(seeds) == 1:  # two trained models: the draws of patients say all
        return max_t_bands(differences, draws)
    errors, freedom = np.zeros(differences.shape), np.full(differences.shape, np.inf)
    for row, arm in enumerate(arms):
        for index, column in enumerate(columns):
            one = np.zeros(len(aurocs.endpoint_columns))
            one[column] = 1
            pair = stack_components(
                [aurocs.arms[each].combine(aurocs.weights(each, seeds, one, by=reference)) for each in (reference, arm)]
            )
            covariance = pair.covariance().reshape(2, len(seeds), 2, len(seeds))
            result = norm_difference(pair.auc.reshape(2, -1), covariance, norm=arm.label, reference=reference.label)
            if result.standard_error is not None and result.degrees_of_freedom is not None:
                errors[row, index], freedom[row, index] = result.standard_error, result.degrees_of_freedom
    return max_t_bands(differences, draws, standard_errors=errors, degrees_of_freedom=freedom)


def _cell(
    arm: Arm, kind: str, level: int, difference: float, bands: Bands | None, place: tuple[int, int]
) -> dict[str, Any]:
    low, high, p = (None, None, None) if bands is None else (float(a[place]) for a in (bands.low, bands.high, bands.p))
    return {
        "arm": arm.id,
        "kind": kind,
        "level": level,
        "difference": difference,
        "low": low,
        "high": high,
        "p": p,
        "p_kind": "" if p is None else "max-T",
        # By the band: with few draws p is coarse.
        "flagged": bool(low is not None and high is not None and low < high and (low > 0 or high < 0)),
    }


def corruption_errors(aurocs: StudyAurocs) -> list[dict[str, Any]]:
    """Return CE by kind, mCE and relative mCE of every arm, against the frozen reference of its protocol."""
    records = []
    for arm in aurocs.arms:
        reference = Arm(aurocs.plan.reference, arm.protocol)
        if reference in aurocs.arms and (seeds := aurocs.usable_seeds(arm, reference)):
            records.append(_corruption_error(aurocs, arm, reference, seeds))
    return records


def _corruption_error(aurocs: StudyAurocs, arm: Arm, reference: Arm, seeds: tuple[int, ...]) -> dict[str, Any]:
    """Return the errors of one arm; the ratio is of means over seeds, not a mean of ratios."""
    weights = draw_seed_weights(len(seeds), aurocs.plan.n_draws).astype(np.float32)
    shown, drawn = [], []
    for each in (arm, reference):
        shown.append(cell_means(aurocs, each, seeds, arm).mean(axis=0))
        drawn.append(np.einsum("dsc,ds->dc", cell_draws(aurocs, each, seeds, arm), weights))
    ratio = corruption_error(*(values[aurocs.cells] for values in shown))
    ratio_draws = _error_ratio(*(1 - values[:, aurocs.cells] for values in drawn))
    losses = [values[:, :1, None] - values[:, aurocs.cells] for values in drawn]
    denominators = losses[1].sum(axis=2)
    kinds = range(len(aurocs.kinds))
    summed = [float((shown[1][0] - shown[1][aurocs.cells[kind]]).sum()) for kind in kinds]
    intervals = [percentile_interval(summed[kind], denominators[:, kind]) for kind in kinds]
    reason = aurocs.refusal(arm, seeds)
    known = [not reason and each.low is not None for each in intervals]
    limits = np.array(
        [[each.low, each.high] if ok else [0, 0] for each, ok in zip(intervals, known, strict=True)], float
    )
    relative = relative_corruption_error(
        *(values[aurocs.cells] for values in shown), clean_auroc=float(shown[0][0]),
        clean_reference_auroc=float(shown[1][0]), denominator_interval=limits,
    )  # fmt: skip
    relative_draws = _error_ratio(*losses)
    undefined = [kind for kind, value in zip(aurocs.kinds, relative, strict=True) if np.isnan(value)]
    mce, mce_low, mce_high = _mean_percent(ratio, ratio_draws, reason)
    rows = []
    for index, kind in enumerate(aurocs.kinds):
        interval = percentile_interval(float(ratio[index]), ratio_draws[:, index])
        rows.append({
            "kind": kind,
            "ce": float(ratio[index]),
            "low": None if reason else interval.low,
            "high": None if reason else interval.high,
            "relative_ce": float(relative[index]),
            "reason": reason or ("the interval of the reference's own loss holds 0" if kind in undefined else ""),
        })  # fmt: skip
    relative_mean = (None, None, None) if undefined else _mean_percent(relative, relative_draws, reason)
    return {
        "arm": arm.id,
        "reference": reference.id,
        "seeds": list(seeds),
        "mce": mce,
        "mce_low": mce_low,
        "mce_high": mce_high,
        "relative_mce": relative_mean[0],
        "relative_mce_low": relative_mean[1],
        "relative_mce_high": relative_mean[2],
        "relative_reason": reason
        or (
            f"undefined: the interval of the reference's own loss holds 0 under {', '.join(undefined)}"
            * bool(undefined)
        ),
        "kinds": rows,
    }


def _error_ratio(errors: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the ratio of sums over levels of (draw, kind, level); NaN where the reference's is 0."""
    total = reference.sum(axis=2)
    return np.divide(errors.sum(axis=2), total, out=np.full(total.shape, np.nan), where=total != 0)


def _mean_percent(ratio: np.ndarray, draws: np.ndarray, reason: str) -> tuple[float, float | None, float | None]:
    """Return 100 x the mean over kinds with its percentile interval."""
    value = 100 * float(np.mean(ratio))
    interval = percentile_interval(value, 100 * draws.mean(axis=1))
    return (value, None, None) if reason else (value, interval.low, interval.high)
