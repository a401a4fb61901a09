"""The prediction table of a study as arrays: one set of exams, and for each arm its seeds, shifts and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diagnose.analysis.arms import PUBLISHED_PREFIX, AnalysisPlan, Arm, Protocol, RunFactors
from diagnose.evaluation.prediction_table import PredictionBlock, aligned
from diagnose.slice_images import CLEAN
from diagnose.statistics.clustered_auc import patient_numbers, refusal
from mrisim.errors import DataError


@dataclass(frozen=True, eq=False)
class Exams:
    """The slices of one split, equal for all runs."""

    items: tuple[str, ...]
    patients: np.ndarray
    """(exam,)"""
    labels: np.ndarray
    """(finding, exam), 0 or 1."""

    @property
    def n_patients(self) -> int:
        """Number of patients."""
        return len(np.unique(self.patients))


@dataclass(frozen=True, eq=False)
class ArmScores:
    """Scores of the runs of one arm."""

    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    test: np.ndarray
    """(seed, column, finding, exam): column 0 is clean, then the cells of the table."""
    validation: np.ndarray | None
    """(seed, finding, exam of validation), clean; None where the table has none."""
    shifted_validation: np.ndarray | None
    """(seed, cell, finding, exam of validation); None where the table does not hold every cell."""


@dataclass(frozen=True, eq=False)
class StudyTable:
    """Everything that the analysis reads."""

    findings: tuple[str, ...]
    test: Exams
    validation: Exams | None
    cells: tuple[tuple[str, int], ...]
    """(kind, level), level 1 or more."""
    arms: Mapping[Arm, ArmScores]
    refusals: tuple[str, ...]
    """For each finding why it has no interval, or an empty string."""
    level_tables: tuple[str, ...] = ()
    """Versions: that of the simulator's kinds, then that of the image-domain ones, each where the table has them."""
    notes: tuple[str, ...] = ()

    def cells_of(self, plan: AnalysisPlan) -> tuple[tuple[str, ...], tuple[int, ...], np.ndarray]:
        """Return the kinds and levels of the endpoint, and their columns in ``ArmScores.test``, (kind, level).

        Raises
        ------
        DataError
            If a cell that the plan names is not in the table, or the table has no complete kind.
        """
        column = {cell: index for index, cell in enumerate(self.cells, start=1)}
        if plan.kinds is None:
            every = list(dict.fromkeys(kind for kind, _ in self.cells))
            names = [kind for kind in every if not kind.startswith(PUBLISHED_PREFIX)] or every
            levels = tuple(level for level in plan.levels if any((kind, level) in column for kind in names))
            kinds = tuple(kind for kind in names if all((kind, level) in column for level in levels))
        else:
            kinds, levels = plan.kinds, plan.levels
            missing = [f"{kind}:{level}" for kind in kinds for level in levels if (kind, level) not in column]
            if missing:
                raise DataError(
                    f"the table lacks {', '.join(missing[:5])} for some run; expected every kind and level of the plan"
                )
        if not kinds or not levels:
            raise DataError("the table has no kind with all levels for all runs; expected at least one")
        return kinds, levels, np.array([[column[kind, level] for level in levels] for kind in kinds])


def study_table(blocks: Sequence[PredictionBlock], runs: Mapping[str, RunFactors]) -> StudyTable:
    """Arrange blocks by arm and seed.

    Raises
    ------
    DataError
        If a run is not known, its exams differ from those of the others, it was evaluated with another level table of
        its kinds or twice, has no clean test rows, or has a level 0 that differs from clean; if two runs are one arm
        and seed.
    """
    unknown = sorted({block.cell.run for block in blocks} - set(runs))
    if unknown:
        raise DataError(f"{unknown[0]} is in the predictions and no known run; expected the run folders of all of them")
    level_tables = _level_tables(blocks)
    tests = [block for block in blocks if block.cell.split == "test"]
    if not tests:
        raise DataError("no rows of the split test; expected some")
    base = next((block for block in tests if block.cell.kind == CLEAN), tests[0])
    base_val = next((block for block in blocks if block.cell.split == "val"), None)
    usable, notes = _usable_findings(base)
    grouped = _grouped(blocks, runs, base, base_val)
    common, dropped = _common_cells(grouped)
    notes += dropped
    arms: dict[Arm, ArmScores] = {}
    for arm in dict.fromkeys(arm for arm, _ in grouped):
        arms[arm] = _arm_scores(arm, grouped, common, usable)
    return StudyTable(
        findings=tuple(base.findings[index] for index in usable),
        test=Exams(base.items, base.patients, base.labels.T[usable].astype(np.int8)),
        validation=None
        if base_val is None
        else Exams(base_val.items, base_val.patients, _in_order(base_val, base).T[usable]),
        cells=common,
        arms=arms,
        refusals=tuple(refusal(base.labels[:, index], base.patients) for index in usable),
        level_tables=level_tables,
        notes=tuple(notes),
    )


def _level_tables(blocks: Sequence[PredictionBlock]) -> tuple[str, ...]:
    """Return the one version of each family of kinds; clean rows are of the simulator's."""
    found = []
    for published, family in ((False, "k-space kinds"), (True, f"kinds {PUBLISHED_PREFIX}...")):
        cells = [block.cell for block in blocks if block.cell.kind.startswith(PUBLISHED_PREFIX) == published]
        versions = sorted({cell.level_table for cell in cells})
        if len(versions) > 1:
            raise DataError(
                f"the predictions for {family} were made with the level tables {', '.join(versions)}; expected one"
            )
        found += versions
    return tuple(found)


def base_reconstruction(blocks: Sequence[PredictionBlock]) -> str:
    """Return the reconstruction that norms are compared in where no plan names one: rss, else the table's first."""
    found = list(dict.fromkeys(block.cell.recon for block in blocks if block.cell.split == "test"))
    return "rss" if "rss" in found or not found else found[0]


@dataclass(eq=False)
class _RunRows:
    run: str
    test: dict[tuple[str, int], np.ndarray]
    """Scores (exam, finding) by kind and level."""
    validation: dict[tuple[str, int], np.ndarray]


def _grouped(
    blocks: Sequence[PredictionBlock],
    runs: Mapping[str, RunFactors],
    base: PredictionBlock,
    base_val: PredictionBlock | None,
) -> dict[tuple[Arm, int], _RunRows]:
    rows: dict[tuple[Arm, int], _RunRows] = {}
    validation: dict[tuple[str, str, str], dict[tuple[str, int], np.ndarray]] = {}
    for block in blocks:
        cell, factors = block.cell, runs[block.cell.run]
        place = (CLEAN, 0) if cell.kind == CLEAN else (cell.kind, cell.level)
        if cell.split == "test":
            arm = Arm(factors.norm, Protocol(factors.scaling, factors.train_shift, cell.recon), cell.adaptation)
            entry = rows.setdefault((arm, factors.seed), _RunRows(cell.run, {}, {}))
            if entry.run != cell.run:
                raise DataError(f"{entry.run} and {cell.run} are both {arm.id} with seed {factors.seed}; expected one")
            target, scores = entry.test, aligned(block, base).scores
        elif cell.split == "val" and base_val is not None:
            target = validation.setdefault((cell.run, cell.adaptation, cell.recon), {})
            scores = _columns(aligned(block, base_val), base)
        else:
            continue
        if place in target:
            raise DataError(f"{cell.run}: {cell.kind} level {cell.level} is there twice ({cell.split}); expected once")
        target[place] = scores
    for (arm, _), entry in rows.items():
        _settle_clean(entry, arm)
        # The operating point belongs to the model: another reconstruction is a shift like any other.
        # Its own comes last, and wins where there are several.
        for (run, adaptation, recon), found in sorted(
            validation.items(), key=lambda pair: pair[0][2] == arm.protocol.recon
        ):
            if run == entry.run and adaptation == arm.adaptation:
                for place, scores in found.items():
                    if place[1] == 0:
                        entry.validation[CLEAN, 0] = scores
                    elif recon == arm.protocol.recon:
                        entry.validation[place] = scores
    return rows


def _settle_clean(entry: _RunRows, arm: Arm) -> None:
    """Keep one clean column; every level 0 must be equal to it."""
    zeros = [place for place in entry.test if place[1] == 0]
    if not zeros:
        raise DataError(f"{entry.run} ({arm.id}) has no clean test rows; expected kind `{CLEAN}`, or level 0 of a kind")
    clean = entry.test[(CLEAN, 0) if (CLEAN, 0) in zeros else zeros[0]]
    for place in zeros:
        if not np.array_equal(entry.test.pop(place), clean):
            raise DataError(f"{entry.run} ({arm.id}): {place[0]} level 0 differs from clean; expected the same scores")
    entry.test[CLEAN, 0] = clean


def _common_cells(
    grouped: Mapping[tuple[Arm, int], _RunRows],
) -> tuple[tuple[tuple[str, int], ...], list[str]]:
    """Return the cells that every run has, by kind and level, and what was left out."""
    everything = dict.fromkeys(place for entry in grouped.values() for place in entry.test if place[1] > 0)
    common = [place for place in everything if all(place in entry.test for entry in grouped.values())]
    kinds = list(dict.fromkeys(kind for kind, _ in common))
    left_out = [f"{kind}:{level}" for kind, level in everything if (kind, level) not in common]
    notes = [f"not all runs were evaluated on {', '.join(left_out)}: left out for all of them"] if left_out else []
    return tuple(sorted(common, key=lambda place: (kinds.index(place[0]), place[1]))), notes


def _arm_scores(
    arm: Arm,
    grouped: Mapping[tuple[Arm, int], _RunRows],
    cells: tuple[tuple[str, int], ...],
    usable: list[int],
) -> ArmScores:
    entries = sorted(
        ((seed, entry) for (other, seed), entry in grouped.items() if other == arm), key=lambda pair: pair[0]
    )
    rows = [entry for _, entry in entries]
    columns = ((CLEAN, 0), *cells)
    test = np.stack([[entry.test[place].T[usable] for place in columns] for entry in rows])
    has_clean = all((CLEAN, 0) in entry.validation for entry in rows)
    has_cells = bool(cells) and all(place in entry.validation for entry in rows for place in cells)
    return ArmScores(
        seeds=tuple(seed for seed, _ in entries),
        runs=tuple(entry.run for entry in rows),
        test=test,
        validation=np.stack([entry.validation[CLEAN, 0].T[usable] for entry in rows]) if has_clean else None,
        shifted_validation=np.stack([[entry.validation[place].T[usable] for place in cells] for entry in rows])
        if has_cells
        else None,
    )


def _usable_findings(base: PredictionBlock) -> tuple[list[int], list[str]]:
    """Return the findings that have an AUROC and a variance, and what was left out."""
    usable, notes = [], []
    for index, finding in enumerate(base.findings):
        n_positive, n_negative = patient_numbers(base.labels[:, index], base.patients)
        if min(n_positive, n_negative) >= 2:
            usable.append(index)
        else:
            notes.append(
                f"{finding}: {n_positive} positive and {n_negative} negative patients in the test split: left out"
            )
    if not usable:
        raise DataError("no finding has 2 positive and 2 negative patients in the test split; expected at least one")
    return usable, notes


def _columns(block: PredictionBlock, base: PredictionBlock) -> np.ndarray:
    """Return scores (exam, finding) in the finding order of the test rows."""
    if set(block.findings) != set(base.findings):
        raise DataError(f"validation has the findings {', '.join(block.findings)}; expected those of the test rows")
    return block.scores[:, [block.findings.index(finding) for finding in base.findings]]


def _in_order(block: PredictionBlock, base: PredictionBlock) -> np.ndarray:
    return block.labels[:, [block.findings.index(finding) for finding in base.findings]]
