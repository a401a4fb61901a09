"""From predictions to numbers: AUROC by finding, kind and level, its drop, what is left of it, and decisions.

Everything here starts from a prediction table, ours or a stranger's; no model is needed. Intervals are percentile
intervals of a patient-cluster bootstrap, the draws shared by all cells, so that drops are paired. They say how one
trained model would do on other patients; they hold no variance of seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from diagnose.evaluation.prediction_table import PredictionBlock, aligned
from diagnose.slice_images import CLEAN
from diagnose.statistics.bootstrap import (
    ScoredExams,
    bootstrap_auroc,
    bootstrap_operating_point,
    draw_patient_counts,
    percentile_interval,
)  # fmt: skip
from diagnose.statistics.clustered_auc import patient_numbers, refusal
from diagnose.statistics.metrics import (
    LEARNT_AUROC,
    auroc,
    decide,
    operating_point,
    retained_discrimination,
    sensitivity_specificity,
)  # fmt: skip
from mrisim.errors import DataError
from mrisim.seeding import stream

N_DRAWS = 1000
MEAN = "mean of learnt"


@dataclass(frozen=True)
class ShiftResult:
    """One finding (or the mean of the learnt ones) of one model under one shift."""

    run: str
    adaptation: str
    recon: str
    kind: str
    level: int
    finding: str
    auroc: float
    low: float | None
    high: float | None
    clean_auroc: float
    drop: float
    drop_low: float | None
    drop_high: float | None
    retained: float
    """(A - 1/2) / (A_clean - 1/2)."""
    learnt: bool
    """Clean AUROC of at least 0.80; below it, a drop says nothing about robustness."""
    n_positive_patients: int
    n_negative_patients: int
    sensitivity: float | None = None
    specificity: float | None = None
    balanced_accuracy: float | None = None
    balanced_accuracy_low: float | None = None
    balanced_accuracy_high: float | None = None
    no_interval: str = ""
    """Why there is no interval."""
    no_decision_interval: str = ""
    """Why balanced accuracy has none: its threshold is an estimate from validation patients."""

    @property
    def record(self) -> dict[str, object]:
        """The fields by name."""
        return asdict(self)


def shift_results(blocks: Sequence[PredictionBlock], *, n_draws: int = N_DRAWS) -> list[ShiftResult]:
    """Return the results of every model, adaptation and reconstruction in a table.

    Raises
    ------
    DataError
        If a model has no clean test rows (kind ``clean``, or any level 0), or its cells are of other slices.
    """
    groups: dict[tuple[str, str, str], list[PredictionBlock]] = {}
    for block in blocks:
        groups.setdefault((block.cell.run, block.cell.adaptation, block.cell.recon), []).append(block)
    results = []
    for (run, adaptation, _), group in groups.items():
        # The operating point belongs to the model: another reconstruction is a shift like any other.
        of_run = [block for block in blocks if block.cell.run == run]
        mine = [block for block in of_run if block.cell.adaptation == adaptation]
        validation = _clean_block([block for block in mine if block.cell.split == "val"])
        results += _group_results(group, validation, _learnt(of_run), n_draws)
    if not results:
        raise DataError("no rows of the split test; expected some")
    return results


def _group_results(
    group: list[PredictionBlock], validation: PredictionBlock | None, learnt: dict[str, bool], n_draws: int
) -> list[ShiftResult]:
    test = [block for block in group if block.cell.split == "test"]
    if not test:
        return []
    clean = _clean_block(test)
    if clean is None:
        cell = test[0].cell
        raise DataError(
            f"{cell.run} ({cell.recon}, {cell.adaptation}) has no clean test rows; "
            f"expected kind `{CLEAN}`, or level 0 of a kind"
        )
    cells = [clean, *(aligned(block, clean) for block in test if block is not clean)]
    counts = draw_patient_counts(len(np.unique(clean.patients)), n_draws, rng=stream(0, "bootstrap"))
    tables, draws = [], []
    for column, finding in enumerate(clean.findings):
        try:
            rows, finding_draws = _finding_results(cells, column, counts, learnt[finding])
        except ValueError as error:
            raise DataError(f"{finding}: {error}") from None
        if validation is not None:
            rows = _with_decisions(rows, cells, validation, column, n_draws)
        tables.append(rows)
        draws.append(finding_draws)
    return [*(row for rows in tables for row in rows), *_mean_results(tables, draws)]


def _learnt(of_run: Sequence[PredictionBlock]) -> dict[str, bool]:
    """Say which findings a run has learnt: by its first clean test rows, as trained (frozen).

    One answer for all its reconstructions and adaptations; else their means would be over different findings.
    """
    test = [block for block in of_run if block.cell.split == "test"]
    clean = _clean_block([block for block in test if block.cell.adaptation == "frozen"]) or _clean_block(test)
    if clean is None:
        return {}
    try:
        areas = [
            float(auroc(clean.scores[:, column], clean.labels[:, column])) for column in range(len(clean.findings))
        ]
    except ValueError as error:
        raise DataError(f"clean rows of {clean.cell.run}: {error}") from None
    return {finding: area >= LEARNT_AUROC for finding, area in zip(clean.findings, areas, strict=True)}


def _clean_block(blocks: Sequence[PredictionBlock]) -> PredictionBlock | None:
    """Return the rows of kind ``clean``, else those of any level 0."""
    candidates = [block for block in blocks if block.cell.kind == CLEAN] or [b for b in blocks if b.cell.level == 0]
    return candidates[0] if candidates else None


def _finding_results(
    cells: list[PredictionBlock], column: int, counts: np.ndarray, learnt: bool
) -> tuple[list[ShiftResult], np.ndarray]:
    """Return the results of one finding, the clean cell first, and the draws (draw, cell)."""
    clean = cells[0]
    labels, patients = clean.labels[:, column], clean.patients
    columns = np.stack([block.scores[:, column] for block in cells])
    areas = auroc(columns, labels)
    draws = bootstrap_auroc(columns, labels, patients, counts)
    reason = refusal(labels, patients)
    n_positive, n_negative = patient_numbers(labels, patients)
    retained = retained_discrimination(areas, areas[0])
    rows = []
    for index, block in enumerate(cells):
        value = percentile_interval(float(areas[index]), draws[:, index])
        drop = percentile_interval(float(areas[0] - areas[index]), draws[:, 0] - draws[:, index])
        rows.append(
            ShiftResult(
                block.cell.run, block.cell.adaptation, block.cell.recon, block.cell.kind, block.cell.level,
                clean.findings[column], value.value, None if reason else value.low, None if reason else value.high,
                float(areas[0]), drop.value, None if reason else drop.low, None if reason else drop.high,
                float(retained[index]), learnt, n_positive, n_negative,
                no_interval=reason or value.reason,
            )
        )  # fmt: skip
    return rows, draws


def _with_decisions(
    rows: list[ShiftResult], cells: list[PredictionBlock], validation: PredictionBlock, column: int, n_draws: int
) -> list[ShiftResult]:
    """Add sensitivity, specificity and balanced accuracy at the operating point of clean validation.

    Their intervals draw validation patients too: the threshold is an estimate. Validation of one class has none.
    """
    column_of_validation = validation.findings.index(cells[0].findings[column])
    clean_val = ScoredExams(
        validation.scores[:, column_of_validation], validation.labels[:, column_of_validation], validation.patients
    )
    few = refusal(clean_val.labels, clean_val.patients, of="validation")
    if not 0 < clean_val.labels.mean() < 1:
        return [replace(row, no_decision_interval=few) for row in rows]
    threshold = operating_point(clean_val.scores, clean_val.labels)
    rng = stream(0, "bootstrap of the operating point")
    counts = [
        draw_patient_counts(len(np.unique(patients)), n_draws, rng=rng)
        for patients in (clean_val.patients, cells[0].patients)
    ]
    decided = []
    for row, block in zip(rows, cells, strict=True):
        exams = ScoredExams(block.scores[:, column], block.labels[:, column], block.patients)
        sensitivity, specificity = sensitivity_specificity(decide(exams.scores, threshold), exams.labels)
        balanced = float(sensitivity + specificity) / 2
        draws = bootstrap_operating_point(clean_val, exams, counts[0], counts[1])[:, 2]
        interval = percentile_interval(balanced, draws)
        reason = row.no_interval or few or interval.reason
        decided.append(
            replace(
                row, sensitivity=float(sensitivity), specificity=float(specificity), balanced_accuracy=balanced,
                balanced_accuracy_low=None if reason else interval.low,
                balanced_accuracy_high=None if reason else interval.high, no_decision_interval=reason,
            )
        )  # fmt: skip
    return decided


def _mean_results(tables: list[list[ShiftResult]], draws: list[np.ndarray]) -> list[ShiftResult]:
    """Return the mean over the learnt findings, cell by cell; nothing where none is learnt."""
    used = [index for index, rows in enumerate(tables) if rows[0].learnt]
    if not used:
        return []
    joint = np.mean([draws[index] for index in used], axis=0)
    reason = next((tables[index][0].no_interval for index in used if tables[index][0].no_interval), "")
    means = []
    for place in range(len(tables[0])):
        rows = [tables[index][place] for index in used]
        area, clean_area = (float(np.mean([getattr(row, name) for row in rows])) for name in ("auroc", "clean_auroc"))
        value = percentile_interval(area, joint[:, place])
        drop = percentile_interval(clean_area - area, joint[:, 0] - joint[:, place])
        means.append(
            replace(
                rows[0], finding=MEAN, auroc=area,
                low=None if reason else value.low, high=None if reason else value.high,
                clean_auroc=clean_area, drop=clean_area - area, drop_low=None if reason else drop.low,
                drop_high=None if reason else drop.high,
                retained=float(retained_discrimination(np.array(area), np.array(clean_area))),
                n_positive_patients=min(row.n_positive_patients for row in rows),
                n_negative_patients=min(row.n_negative_patients for row in rows),
                sensitivity=None, specificity=None, balanced_accuracy=None,
                balanced_accuracy_low=None, balanced_accuracy_high=None, no_interval=reason, no_decision_interval="",
            )
        )  # fmt: skip
    return means
