"""Compare finished runs, or what evaluations made of them, with one norm: the table of `diagnose compare`.

Of evaluations: the endpoint under all shifts, as in a study. Of runs alone, which know clean images only: the clean
AUROC. Norms are compared over paired seeds; nothing here was planned before training, so the p values describe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diagnose.analysis.analyse import analyse
from diagnose.analysis.arms import AnalysisPlan, RunFactors
from diagnose.analysis.comparisons import DESCRIPTIVE
from diagnose.analysis.scores import base_reconstruction
from diagnose.evaluate import PREDICTIONS
from diagnose.evaluation.prediction_table import PredictionBlock, aligned, read_table
from diagnose.report.evaluation_report import is_evaluation
from diagnose.report.wording import MINUS, interval, p_value, signed
from diagnose.run_folder import DONE, is_simulated, read_lock, read_spec
from diagnose.slice_images import CLEAN
from diagnose.statistics.inference import ShiftedScores, compare_norms
from diagnose.statistics.metrics import auroc
from diagnose.study.spec import EVALUATION, RUNS, STUDY, read_study
from mrisim.errors import DataError, UsageError

CLEAN_TEXT = "clean AUROC, mean over the findings that all norms have learnt with a seed; paired by seed"
SECOND_DESCRIBE = "the first table was fixed before training; intervals and p of the others describe, not corrected"
NOT_PLANNED = "p values are descriptive: this comparison was not fixed before training"


@dataclass(frozen=True)
class Comparison:
    """What was compared, and the rows of the table."""

    text: str
    reference: str
    comparisons: list[dict[str, Any]]
    """COMPARISONs of `diagnose.analysis.analyse`, but for the ids of arms where only clean runs were compared."""
    secondary: list[dict[str, Any]]
    """Descriptive tables: name, text, comparisons."""
    notes: list[str]
    flag: str
    planned: bool = False
    """Fixed in a study's file before training."""

    @property
    def record(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    @property
    def lines(self) -> list[str]:
        """The table as text."""
        lines = [self.text, *_rows(self.comparisons)]
        for table in self.secondary:
            lines += ["", table["text"].removesuffix(DESCRIPTIVE).rstrip(". "), *_rows(table["comparisons"])]
        lines += ["", SECOND_DESCRIBE if self.planned else NOT_PLANNED]
        return [*lines, *(f"note: {note}" for note in self.notes), *([self.flag] if self.flag else [])]


def compare(paths: Sequence[Path], *, reference: str | None = None) -> Comparison:
    """Compare norms over run folders, evaluation folders, or the folder of a study.

    Parameters
    ----------
    paths : sequence of Path
        The runs of an evaluation are looked for among the paths, beside it in ``runs``, and in ``runs`` here.
    reference : str, optional
        A norm; ``bn`` by default, where it is there.

    Raises
    ------
    UsageError
        If a path is given twice.
    DataError
        If a folder is neither, a run is not finished or not found, runs are of different data, or of one norm.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError("a folder is given twice; expected each one once")
    runs, evaluations = _sorted_out(paths)
    blocks = [block for folder in evaluations for block in read_table(folder / PREDICTIONS)]
    for name in dict.fromkeys(block.cell.run for block in blocks):
        if name not in runs:
            runs[name] = _found(name, evaluations)
    _check_data(runs)
    factors = {name: RunFactors.of(read_spec(folder)) for name, folder in runs.items()}
    plan, planned = _plan(paths, factors, reference, base_reconstruction(blocks))
    if not (plan.compared or plan.apart):
        raise DataError(f"all runs have the norm {plan.reference}; expected another one to compare it with")
    if not evaluations:
        return _compare_clean(runs, factors, plan)
    analysis = analyse(blocks, factors, plan, simulated=is_simulated(list(runs.values())))
    secondary = [table for table in analysis["descriptive"] if not table["name"].startswith("protocol: ")]
    return Comparison(
        analysis["primary"]["text"],
        plan.reference,
        analysis["primary"]["comparisons"],
        secondary,
        analysis["notes"],
        analysis["flag"],
        planned,
    )


def _plan(
    paths: Sequence[Path], factors: dict[str, RunFactors], reference: str | None, recon: str
) -> tuple[AnalysisPlan, bool]:
    """Return the plan of the study, if one is all that is compared with its own reference; else that of the runs."""
    if len(paths) == 1 and (paths[0] / STUDY).is_file():
        plan = AnalysisPlan.of_study(read_study(paths[0]))
        if reference in (None, plan.reference):
            return plan, True
    return AnalysisPlan.of_runs(factors, reference=reference, recon=recon), False


def _sorted_out(paths: Sequence[Path]) -> tuple[dict[str, Path], list[Path]]:
    """Return runs by name, and evaluation folders."""
    runs: dict[str, Path] = {}
    evaluations = []
    for path in paths:
        folder = path / EVALUATION if (path / STUDY).is_file() else path
        if (folder / "config.yaml").is_file():
            if not (folder / DONE).exists():
                raise DataError(f"{folder.name} is not finished; run the same `diagnose train` command again")
            name = folder.resolve().name
            if name in runs:
                raise DataError(f"two runs have the name {name}; expected different ones, because rows go by it")
            runs[name] = folder
        elif is_evaluation(folder):
            raise DataError(
                f"{folder.name} is an evaluation of segmentation or reconstruction; expected one of classification "
                "(`diagnose report` shows the others)"
            )
        elif (folder / PREDICTIONS).is_file():
            evaluations.append(folder)
        else:
            raise DataError(
                f"{path.name} has neither config.yaml nor {PREDICTIONS}; expected a run of `diagnose train`, "
                "a folder of `diagnose evaluate`, or a study that is evaluated"
            )
    return runs, evaluations


def _found(name: str, evaluations: Sequence[Path]) -> Path:
    """Return the folder of a run that an evaluation names."""
    places = [*(folder.resolve().parent / RUNS / name for folder in evaluations), Path(RUNS) / name]
    for place in places:
        if (place / "config.yaml").is_file():
            return place
    raise DataError(
        f"the evaluation names the run {name}, which is not found; expected its run folder among the arguments"
    )


def _check_data(runs: dict[str, Path]) -> None:
    """Refuse runs of different data: their scores are of other slices, or of other labels."""
    locks = {name: read_lock(folder) for name, folder in runs.items()}
    first = next(iter(locks))
    for name, lock in locks.items():
        if lock != locks[first]:
            raise DataError(f"{name} and {first} were trained on different data, labels or splits; expected the same")


def _compare_clean(runs: dict[str, Path], factors: dict[str, RunFactors], plan: AnalysisPlan) -> Comparison:
    """Compare clean test rows of the runs of the plan's protocol, over the seeds that all norms have."""
    norms, notes = [plan.reference, *plan.compared, *plan.apart], []
    by_place: dict[tuple[str, int], str] = {}
    for name, run in factors.items():
        if (run.scaling, run.train_shift) != (plan.protocol.scaling, plan.protocol.train_shift):
            notes.append(f"{name} has another input scaling or training shift than most: not compared")
        elif (run.norm, run.seed) in by_place:
            raise DataError(
                f"{by_place[run.norm, run.seed]} and {name} are both {run.norm} with seed {run.seed}; expected one"
            )
        else:
            by_place[run.norm, run.seed] = name
    norms = [norm for norm in norms if any(place[0] == norm for place in by_place)]
    seeds = sorted(seed for _, seed in by_place if all((norm, seed) in by_place for norm in norms))
    seeds = list(dict.fromkeys(seeds))
    if len(norms) < 2 or not seeds:
        raise DataError(f"no seed was trained with each of {', '.join(norms)}; expected at least one, to pair runs by")
    used = {by_place[norm, seed] for norm in norms for seed in seeds}
    notes += [f"{name} has no pair in every norm: not compared" for name in by_place.values() if name not in used]
    table, clean = _clean_scores(runs, by_place, norms, seeds)
    try:
        results = compare_norms(table, clean, reference=plan.reference)
    except ValueError as error:
        raise DataError(
            f"{error}; expected a finding with a clean AUROC of {plan.learnt_auroc:.2f} in every run"
        ) from None
    rows = [
        {
            "norm": row.norm,
            "reference_norm": row.reference,
            "seeds": seeds,
            **{name: value for name, value in asdict(row).items() if name not in ("norm", "reference")},
        }
        for row in results
    ]
    flag = {True: "simulation result", False: "", None: "it is not known whether the images are simulated"}
    return Comparison(CLEAN_TEXT, plan.reference, rows, [], notes, flag[is_simulated(list(runs.values()))])


def _clean_scores(
    runs: dict[str, Path], by_place: dict[tuple[str, int], str], norms: Sequence[str], seeds: Sequence[int]
) -> tuple[ShiftedScores, np.ndarray]:
    """Return the clean test rows as the one cell of a table, and clean AUROCs (norm, seed, finding)."""
    blocks = [[_clean_block(runs[by_place[norm, seed]]) for seed in seeds] for norm in norms]
    base = blocks[0][0]
    scores = np.array([[aligned(block, base).scores.T for block in row] for row in blocks], float)
    areas = np.array(
        [
            [[float(auroc(one, labels)) for one, labels in zip(run, base.labels.T, strict=True)] for run in row]
            for row in scores
        ]
    )
    return ShiftedScores(scores[:, :, None, None], base.labels.T, base.patients, tuple(norms)), areas


def _clean_block(run: Path) -> PredictionBlock:
    for block in read_table(run / PREDICTIONS):
        if (block.cell.split, block.cell.kind) == ("test", CLEAN):
            return block
    raise DataError(f"{run.name} has no clean test rows; expected the {PREDICTIONS} of a finished run")


def _rows(comparisons: Sequence[dict[str, Any]]) -> list[str]:
    """Return one line a comparison."""
    names = [
        f"{row['norm']} {MINUS} {row['reference_norm']}" + (f", {row['measure']}" if "measure" in row else "")
        for row in comparisons
    ]
    width = max(map(len, names), default=0)
    lines = []
    for name, row in zip(names, comparisons, strict=True):
        text = f"  {name:{width}}  {signed(row['difference']):>7}  {interval(row['low'], row['high']):18}"
        if row["p"] is not None:
            text += f"  p {p_value(row['p'])}" + (
                f", Holm {p_value(row['p_holm'])}" if row["p_holm"] is not None else ""
            )
        text += f"  ({row['n_seeds']} seed{'s' if row['n_seeds'] != 1 else ''})"
        lines.append(f"{text}  {row['message']}".rstrip())
    return lines
