"""Calibration under shift: raw probabilities, and those that were calibrated on clean validation."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

from diagnose.analysis.arms import Arm
from diagnose.analysis.decisions import MEAN
from diagnose.analysis.endpoints import StudyAurocs
from diagnose.slice_images import CLEAN
from diagnose.statistics.metrics import Calibration, brier_score, expected_calibration_error, fit_calibration

FIGURES = ("ece_raw", "brier_raw", "ece", "brier")
CALIBRATION_TEXT = (
    "expected calibration error (15 bins of equal width) and Brier score, raw and after temperature and prior "
    "correction fitted on clean validation, for each run and finding; means over seeds, without intervals: the ECE is "
    "biased upwards in small samples, equally for all arms. The mean is over the used findings"
)


def calibration(aurocs: StudyAurocs) -> dict[str, Any]:
    """Return fits and rows of the part ``calibration`` of the record."""
    fits: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    without = []
    for arm, scores in aurocs.table.arms.items():
        if scores.validation is None:
            without.append(arm.id)
            continue
        models, known = _fits(aurocs, arm)
        fits += _fit_rows(aurocs, arm, models)
        rows += _arm_rows(aurocs, arm, _figures(aurocs, arm, models), known)
    reason = f"no clean validation rows for {', '.join(without)}" if without else ""
    return {"text": CALIBRATION_TEXT, "reason": reason, "fits": fits, "rows": rows}


def _fits(aurocs: StudyAurocs, arm: Arm) -> tuple[list[list[Calibration | None]], np.ndarray]:
    """Return the fit of each seed and finding, and which findings have one; validation may hold one class only."""
    validation, scores = aurocs.table.validation, aurocs.table.arms[arm]
    assert validation is not None and scores.validation is not None
    known = np.array([0 < labels.mean() < 1 for labels in validation.labels])
    fits = [
        [
            fit_calibration(row, labels) if usable else None
            for row, labels, usable in zip(of_seed, validation.labels, known, strict=True)
        ]
        for of_seed in scores.validation
    ]
    return fits, known


def _figures(aurocs: StudyAurocs, arm: Arm, fits: list[list[Calibration | None]]) -> np.ndarray:
    """Return (seed, column, finding, figure)."""
    scores, labels = aurocs.table.arms[arm].test, aurocs.table.test.labels
    values = np.full((*scores.shape[:3], len(FIGURES)), np.nan)
    for seed, column, finding in np.ndindex(scores.shape[:3]):
        fit = fits[seed][finding]
        if fit is None:
            continue
        logits = scores[seed, column, finding]
        for first, probabilities in ((0, expit(logits)), (2, fit.probabilities(logits))):
            values[seed, column, finding, first] = expected_calibration_error(probabilities, labels[finding])
            values[seed, column, finding, first + 1] = brier_score(probabilities, labels[finding])
    return values


def _arm_rows(aurocs: StudyAurocs, arm: Arm, values: np.ndarray, known: np.ndarray) -> list[dict[str, Any]]:
    """Return the rows of one arm: each finding, then the mean of the used ones."""
    table, seeds = aurocs.table, aurocs.table.arms[arm].seeds
    tables = [
        (name, values[:, :, finding].mean(axis=0)) for finding, name in enumerate(table.findings) if known[finding]
    ]
    used = np.array([aurocs.used(arm, seed) & known for seed in seeds], float)
    kept = used.any(axis=1)
    if kept.any():
        share = used[kept] / used[kept].sum(axis=1, keepdims=True)
        tables.append((MEAN, np.einsum("scfk,sf->sck", np.nan_to_num(values[kept]), share).mean(axis=0)))
    return [
        {"arm": arm.id, "kind": kind, "level": level, "finding": name}
        | dict(zip(FIGURES, map(float, figures[column]), strict=True))
        for name, figures in tables
        for column, (kind, level) in enumerate(((CLEAN, 0), *table.cells))
    ]


def _fit_rows(aurocs: StudyAurocs, arm: Arm, fits: list[list[Calibration | None]]) -> list[dict[str, Any]]:
    scores = aurocs.table.arms[arm]
    return [
        {
            "run": run,
            "arm": arm.id,
            "seed": seed,
            "finding": finding,
            "temperature": fit.temperature,
            "prior_log_odds": fit.prior_log_odds,
            "at_bound": fit.at_bound,
        }
        for run, seed, of_seed in zip(scores.runs, scores.seeds, fits, strict=True)
        for finding, fit in zip(aurocs.table.findings, of_seed, strict=True)
        if fit is not None
    ]
