"""The describing tables of a study: its data and arms, clean AUROC, what was learnt, and the dose-response curves."""

from __future__ import annotations

from typing import Any

import numpy as np

from diagnose.analysis.arms import FROZEN, Arm
from diagnose.analysis.comparisons import linear_change
from diagnose.analysis.decisions import MEAN
from diagnose.analysis.endpoints import StudyAurocs, block_covariance, estimate_record, estimates
from diagnose.slice_images import CLEAN
from diagnose.statistics.clustered_auc import AucComponents, patient_numbers
from diagnose.statistics.metrics import retained_discrimination


def data_record(aurocs: StudyAurocs) -> dict[str, Any]:
    """Return numbers of patients and slices, level tables, and the prevalence of each finding in the test split."""
    table = aurocs.table
    findings = []
    for name, labels, reason in zip(table.findings, table.test.labels, table.refusals, strict=True):
        n_positive, n_negative = patient_numbers(labels, table.test.patients)
        findings.append({
            "finding": name,
            "n_positive_slices": int(labels.sum()),
            "prevalence": float(labels.mean()),
            "n_positive_patients": n_positive,
            "n_negative_patients": n_negative,
            "refusal": reason,
        })  # fmt: skip
    return {
        "n_patients": table.test.n_patients,
        "n_slices": len(table.test.items),
        "n_validation_patients": table.validation.n_patients if table.validation else 0,
        "n_validation_slices": len(table.validation.items) if table.validation else 0,
        "level_tables": list(table.level_tables),
        "findings": findings,
    }


def arm_records(aurocs: StudyAurocs) -> list[dict[str, Any]]:
    """Return the arms with their seeds and roles."""
    plan, records = aurocs.plan, []
    for arm, entry in aurocs.arms.items():
        role = "descriptive"
        if arm.protocol == plan.protocol and arm.adaptation == FROZEN:
            role = "primary" if arm.norm in plan.family else "apart"
        records.append({
            "id": arm.id,
            "label": arm.label,
            "norm": arm.norm,
            "scaling": arm.protocol.scaling,
            "train_shift": arm.protocol.train_shift,
            "adaptation": arm.adaptation,
            "recon": arm.protocol.recon,
            "seeds": list(entry.seeds),
            "role": role,
        })  # fmt: skip
    return records


def learnt_records(aurocs: StudyAurocs) -> list[dict[str, Any]]:
    """Return, for each run and finding, whether it is learnt, and whether it enters the means."""
    records = []
    for arm, scores in aurocs.table.arms.items():
        base = arm.protocol.recon == aurocs.plan.protocol.recon
        if arm.adaptation != FROZEN or not base:
            continue
        for run, seed in zip(scores.runs, scores.seeds, strict=True):
            areas, used = aurocs.trained_auroc(arm, seed), aurocs.used(arm, seed)
            for finding, area, enters in zip(aurocs.table.findings, areas, used, strict=True):
                records.append({
                    "run": run,
                    "arm": arm.id,
                    "norm": arm.norm,
                    "scaling": arm.protocol.scaling,
                    "train_shift": arm.protocol.train_shift,
                    "seed": seed,
                    "finding": finding,
                    "clean_auroc": float(area),
                    "learnt": bool(area >= aurocs.plan.learnt_auroc),
                    "used": bool(enters),
                })  # fmt: skip
    return records


def clean_records(aurocs: StudyAurocs, doses: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the clean AUROC of each arm: each finding over all seeds, learnt or not, and the mean of the used ones."""
    records = []
    for arm in aurocs.arms:
        for finding in range(len(aurocs.table.findings)):
            (record,) = _by_finding(aurocs, arm, finding, aurocs.arms[arm].seeds, columns=[0])
            records.append({"arm": arm.id, "finding": aurocs.table.findings[finding]} | record)
        for dose in doses:
            if dose["arm"] == arm.id and dose["finding"] == MEAN and dose["level"] == 0:
                records.append({key: value for key, value in dose.items() if key not in ("kind", "level", "retained")})
    return records


def dose_response(aurocs: StudyAurocs) -> list[dict[str, Any]]:
    """Return AUROC and what is retained of it by arm, kind and level: the mean of the used findings, then each."""
    places = ((CLEAN, 0), *aurocs.table.cells)
    rows = []
    for arm in aurocs.arms:
        for name, areas, shares in _arm_doses(aurocs, arm):
            for (kind, level), area, retained in zip(places, areas, shares, strict=True):
                record = {"arm": arm.id, "kind": kind, "level": level, "finding": name}
                rows.append(record | area | {"retained": retained})
    return rows


def _arm_doses(aurocs: StudyAurocs, arm: Arm) -> list[tuple[str, list[dict[str, Any]], list[dict[str, Any]]]]:
    """Return the AUROC of every column, and the retained share, of the mean and of each finding."""
    n_columns = len(aurocs.endpoint_columns)
    seeds, results = aurocs.usable_seeds(arm), []
    weights = [aurocs.weights(arm, seeds, one) for one in np.eye(n_columns)] if seeds else []
    reason = aurocs.refusal(arm, seeds)
    results.append((MEAN, *_areas_and_shares(aurocs, arm, np.array(weights), seeds, reason)))
    for finding, name in enumerate(aurocs.table.findings):
        mine = tuple(seed for seed in aurocs.arms[arm].seeds if aurocs.used(arm, seed)[finding])
        part = _finding_weights(aurocs, arm, finding, mine, list(range(n_columns)))
        results.append((name, *_areas_and_shares(aurocs, arm, part, mine, aurocs.table.refusals[finding])))
    return results


def _areas_and_shares(
    aurocs: StudyAurocs, arm: Arm, weights: np.ndarray, seeds: tuple[int, ...], reason: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return ESTIMATEs for weights (column, row of seed, seed, finding, column)."""
    n_columns, n_seeds = len(aurocs.endpoint_columns), len(seeds)
    if not n_seeds:
        nothing = estimates(np.empty((n_columns, 0)), None, None, ())
        return nothing, nothing
    flat = weights.reshape(n_columns * n_seeds, *weights.shape[2:])
    entry = aurocs.arms[arm]
    parts = entry.combine(flat)
    clean = _take(parts, np.tile(np.arange(n_seeds), n_columns))
    shares = linear_change(parts, clean, retained=True)
    results = []
    for components, unit in ((parts, True), (shares, False)):
        values = components.auc.reshape(n_columns, n_seeds)
        if n_seeds == 1:
            drawn = entry.combine_draws(flat)
            drawn = drawn if unit else retained_discrimination(drawn, drawn[:, :1])
            results.append(estimates(values, None, drawn, seeds, reason=reason, within_unit=unit))
        else:
            covariance = block_covariance(components, n_seeds)
            results.append(estimates(values, covariance, None, seeds, reason=reason, within_unit=unit))
    return results[0], results[1]


def _take(parts: AucComponents, rows: np.ndarray) -> AucComponents:
    return AucComponents(parts.auc[rows], parts.own[rows], parts.cross[rows], parts.patients)


def _finding_weights(
    aurocs: StudyAurocs, arm: Arm, finding: int, seeds: tuple[int, ...], columns: list[int]
) -> np.ndarray:
    """Return what takes single AUROCs of a finding: (column, row of seed, seed, finding, column)."""
    entry = aurocs.arms[arm]
    weights = np.zeros((len(columns), len(seeds), *entry.values.shape))
    for row, seed in enumerate(seeds):
        weights[range(len(columns)), row, entry.seeds.index(seed), finding, columns] = 1
    return weights


def _by_finding(
    aurocs: StudyAurocs, arm: Arm, finding: int, seeds: tuple[int, ...], columns: list[int]
) -> list[dict[str, Any]]:
    """Return the AUROC of a finding in some columns, over seeds that may not have learnt it."""
    weights = _finding_weights(aurocs, arm, finding, seeds, columns)
    flat = weights.reshape(-1, *weights.shape[2:])
    entry, reason = aurocs.arms[arm], aurocs.table.refusals[finding]
    parts = entry.combine(flat)
    values = parts.auc.reshape(len(columns), len(seeds))
    if reason:
        return [estimate_record(row, seeds, reason=reason) for row in values]
    draws = entry.combine_draws(flat) if len(seeds) == 1 else None
    covariance = block_covariance(parts, len(seeds)) if len(seeds) > 1 else None
    return estimates(values, covariance, draws, seeds)
