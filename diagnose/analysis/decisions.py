"""Decisions at a fixed operating point: sensitivity, specificity, balanced accuracy, and which slices flip."""

from __future__ import annotations

from typing import Any

import numpy as np

from diagnose.analysis.arms import Arm
from diagnose.analysis.endpoints import StudyAurocs, estimates
from diagnose.analysis.scores import ArmScores, Exams, StudyTable
from diagnose.slice_images import CLEAN
from diagnose.statistics.bootstrap import ScoredExams, bootstrap_rates, bootstrap_thresholds, draw_patient_counts
from diagnose.statistics.clustered_auc import refusal
from diagnose.statistics.metrics import decide, operating_point
from mrisim.seeding import stream

MEAN = "mean of learnt"
RATES = ("sensitivity", "specificity", "balanced_accuracy")
MAX_FLIPS = 12

THRESHOLD_TEXT = (
    "the first threshold on the ROC curve of validation with a miss rate below 0.1, for each run and finding; "
    "intervals draw validation patients too, because the threshold is an estimate"
)
FLIP_TEXT = (
    "slices whose decision is right on clean images and wrong under an artifact, at the operating point of clean "
    "validation, in the most seeds; then at the mildest level, then with the largest change of score; one a slice, and "
    "one for each norm and kind. Chosen for being bad: they are no sample"
)


def operating_points(aurocs: StudyAurocs) -> dict[str, Any]:
    """Return the rates of all arms at the threshold of clean validation; and, apart, of shifted validation."""
    clean, retuned, without = [], [], []
    for arm, scores in aurocs.table.arms.items():
        if scores.validation is None:
            without.append(arm.id)
            continue
        clean += _arm_rates(aurocs, arm, scores, retune=False)
        if scores.shifted_validation is not None:
            retuned += _arm_rates(aurocs, arm, scores, retune=True)
    reasons = [f"no clean validation rows for {', '.join(without)}"] if without else []
    if clean:
        reasons += _named(aurocs.table, _validation_refusals(aurocs.table, retune=False))
    return {
        "threshold": THRESHOLD_TEXT,
        "clean": clean,
        "clean_reason": "; ".join(reasons),
        "retuned": retuned,
        "retuned_reason": "" if retuned else "not in the table: it holds no shifted validation rows of every kind",
    }


def _arm_rates(aurocs: StudyAurocs, arm: Arm, scores: ArmScores, *, retune: bool) -> list[dict[str, Any]]:
    """Return ROWS of one arm: each finding, then the mean of the used ones."""
    table = aurocs.table
    columns = np.arange(1 if retune else 0, 1 + len(table.cells))
    values, draws, known = _rates(aurocs, scores, columns, retune=retune)
    places = [((CLEAN, 0), *table.cells)[column] for column in columns]
    of_validation = _validation_refusals(table, retune=retune)
    refusals = [of_test or other for of_test, other in zip(table.refusals, of_validation, strict=True)]
    rows = []
    for finding, name in enumerate(table.findings):
        if known[finding]:
            mine, drawn = values[:, :, finding], draws[:, :, :, finding]
            rows += _rows(arm, name, places, mine, drawn, scores.seeds, refusals[finding])
    seeds = aurocs.usable_seeds(arm)
    used = np.array([aurocs.used(arm, seed) & known for seed in scores.seeds], float).reshape(-1, len(known))
    kept = [index for index, seed in enumerate(scores.seeds) if seed in seeds and used[index].any()]
    if kept:
        share = used[kept] / used[kept].sum(axis=1, keepdims=True)
        share = share[:, known]  # a finding without a threshold has no rates: NaN, which no weight takes away
        mean = np.einsum("scfr,sf->scr", values[kept][:, :, known], share)
        mean_draws = np.einsum("dscfr,sf->dscr", draws[:, kept][:, :, :, known], share.astype(draws.dtype))
        kept_seeds = tuple(scores.seeds[index] for index in kept)
        averaged = [reason if used[kept, finding].any() else "" for finding, reason in enumerate(refusals)]
        rows += _rows(arm, MEAN, places, mean, mean_draws, kept_seeds, "".join(_named(table, averaged)[:1]))
    return rows


def _validation_refusals(table: StudyTable, *, retune: bool) -> list[str]:
    """Return for each finding why its threshold can carry no interval: it is an estimate from validation patients."""
    assert table.validation is not None
    split = "shifted validation" if retune else "validation"
    return [refusal(labels, table.validation.patients, of=split) for labels in table.validation.labels]


def _named(table: StudyTable, reasons: list[str]) -> list[str]:
    """Return the reasons that there are, each with its finding."""
    return [f"{name}: {reason}" for name, reason in zip(table.findings, reasons, strict=True) if reason]


def _rates(
    aurocs: StudyAurocs, scores: ArmScores, columns: np.ndarray, *, retune: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rates (seed, column, finding, rate), their draws (draw, ...), and which findings have a threshold."""
    table, n_draws = aurocs.table, aurocs.plan.n_draws
    validation = table.validation
    assert validation is not None and scores.validation is not None
    rng = stream(0, "bootstrap of the operating point")
    validation_counts, test_counts = (
        draw_patient_counts(exams.n_patients, n_draws, rng=rng) for exams in (validation, table.test)
    )
    shape = (len(scores.seeds), len(columns), len(table.findings), len(RATES))
    values, draws = np.full(shape, np.nan), np.full((n_draws, *shape), np.nan, np.float32)
    known = np.array([0 < labels.mean() < 1 for labels in validation.labels])
    for seed, finding in np.ndindex(shape[0], shape[2]):
        if not known[finding]:
            continue
        test = ScoredExams(scores.test[seed, columns, finding], table.test.labels[finding], table.test.patients)
        for first, tuned in _tunings(scores, validation, seed, finding, len(columns), retune):
            part = slice(first, None if not retune else first + 1)
            exams = ScoredExams(test.scores[part], test.labels, test.patients)
            threshold = operating_point(tuned.scores, tuned.labels)
            values[seed, part, finding] = _observed_rates(exams, threshold)
            drawn = bootstrap_rates(bootstrap_thresholds(tuned, validation_counts), exams, test_counts)
            draws[:, seed, part, finding] = drawn
    return values, draws, known


def _tunings(
    scores: ArmScores, validation: Exams, seed: int, finding: int, n_columns: int, retune: bool
) -> list[tuple[int, ScoredExams]]:
    """Return the validation rows that thresholds come from, and the first column that each is for."""
    labels, patients = validation.labels[finding], validation.patients
    if not retune:
        assert scores.validation is not None
        return [(0, ScoredExams(scores.validation[seed, finding], labels, patients))]
    assert scores.shifted_validation is not None
    return [
        (cell, ScoredExams(scores.shifted_validation[seed, cell, finding], labels, patients))
        for cell in range(n_columns)
    ]


def _observed_rates(exams: ScoredExams, threshold: float) -> np.ndarray:
    """Return (column, rate) for scores (column, exam)."""
    called, present = decide(exams.scores, threshold), exams.labels.astype(bool)
    sensitivity, specificity = called[:, present].mean(axis=1), 1 - called[:, ~present].mean(axis=1)
    return np.stack([sensitivity, specificity, (sensitivity + specificity) / 2], axis=-1)


def _rows(
    arm: Arm,
    finding: str,
    places: list[tuple[str, int]],
    values: np.ndarray,
    draws: np.ndarray,
    seeds: tuple[int, ...],
    reason: str,
) -> list[dict[str, Any]]:
    """Return ROWS from values (seed, column, rate) and draws (draw, seed, column, rate)."""
    n_seeds = len(seeds)
    flat = np.moveaxis(values, 0, -1).reshape(-1, n_seeds)
    drawn = np.moveaxis(draws, 1, -1).reshape(len(draws), -1, n_seeds)
    drawn = drawn[~np.isnan(drawn).any(axis=(1, 2))]
    covariance = None
    if n_seeds > 1 and not reason:
        centred = drawn - drawn.mean(axis=0)
        covariance = np.einsum("dcs,dct->cst", centred, centred) / (len(drawn) - 1)
    records = iter(estimates(flat, covariance, drawn[:, :, 0], seeds, reason=reason))
    return [
        {"arm": arm.id, "kind": kind, "level": level, "finding": finding} | {rate: next(records) for rate in RATES}
        for kind, level in places
    ]


def worst_flips(aurocs: StudyAurocs) -> dict[str, Any]:
    """Return the slices whose decision flips from right to wrong in the most seeds, for the report's pictures."""
    candidates: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    for norm in aurocs.plan.family:
        arm = Arm(norm, aurocs.plan.protocol)
        scores = aurocs.table.arms.get(arm)
        if scores is not None and scores.validation is not None:
            candidates += _candidates(aurocs, arm, scores)
    flips, items, places = [], set(), set()
    for _, flip in sorted(candidates, key=lambda pair: pair[0]):
        place = (flip["norm"], flip["kind"])
        if flip["item"] not in items and place not in places:
            flips.append(flip)
            items.add(flip["item"])
            places.add(place)
        if len(flips) == MAX_FLIPS:
            break
    return {"text": FLIP_TEXT, "flips": flips}


def _candidates(aurocs: StudyAurocs, arm: Arm, scores: ArmScores) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return the worst flips of one arm, a few for each kind, with what they are sorted by."""
    table, validation = aurocs.table, aurocs.table.validation
    assert validation is not None and scores.validation is not None
    known = np.array([0 < labels.mean() < 1 for labels in validation.labels])
    thresholds = np.array([
        [operating_point(row, labels) if usable else np.nan
         for row, labels, usable in zip(of_seed, validation.labels, known, strict=True)]
        for of_seed in scores.validation
    ])  # fmt: skip
    right = (scores.test > thresholds[:, None, :, None]) == table.test.labels.astype(bool)
    used = np.array([aurocs.used(arm, seed) & known for seed in scores.seeds])
    clean_right = right[:, 0] & used[:, :, None]
    flipped = clean_right[:, None] & ~right[:, 1:]
    n_flipped, change = flipped.sum(axis=0), scores.test[:, 1:] - scores.test[:, :1]
    candidates = []
    for kind in aurocs.kinds:
        cells = [index for index, cell in enumerate(table.cells) if cell[0] == kind]
        size = np.abs(np.where(flipped[:, cells], change[:, cells], 0)).sum(axis=0) / np.maximum(n_flipped[cells], 1)
        levels = np.array([table.cells[index][1] for index in cells])[:, None, None]
        order = np.lexsort([-size.ravel(), np.broadcast_to(levels, size.shape).ravel(), -n_flipped[cells].ravel()])
        for flat in order[:MAX_FLIPS]:
            place, finding, exam = np.unravel_index(flat, size.shape)
            cell = cells[place]
            n = int(n_flipped[cell, finding, exam])
            if n:
                who = flipped[:, cell, finding, exam]
                flip = _flip(aurocs, arm, scores, (cell, int(finding), int(exam)), who)
                flip["n_seeds_right_on_clean"] = int(clean_right[:, finding, exam].sum())
                key = (-n, flip["level"], -abs(flip["score_change"]), flip["item"], flip["norm"], flip["kind"])
                candidates.append((key, flip))
    return candidates


def _flip(
    aurocs: StudyAurocs, arm: Arm, scores: ArmScores, place: tuple[int, int, int], who: np.ndarray
) -> dict[str, Any]:
    """Return one flip; its scores are means over the seeds that flipped."""
    cell, finding, exam = place
    table = aurocs.table
    item = table.test.items[exam]
    file, _, index = item.rpartition("/")
    clean, shifted = (float(scores.test[who, column, finding, exam].mean()) for column in (0, 1 + cell))
    return {
        "arm": arm.id,
        "norm": arm.norm,
        "item": item,
        "file": file or item,
        "slice": int(index) if file and index.isdigit() else None,
        "patient": str(table.test.patients[exam]),
        "finding": table.findings[finding],
        "label": int(table.test.labels[finding, exam]),
        "kind": table.cells[cell][0],
        "level": table.cells[cell][1],
        "n_seeds_flipped": int(who.sum()),
        "n_seeds_right_on_clean": 0,
        "n_seeds": len(scores.seeds),
        "seeds": [seed for seed, flips in zip(scores.seeds, who, strict=True) if flips],
        "clean_score": clean,
        "shifted_score": shifted,
        "score_change": shifted - clean,
    }
