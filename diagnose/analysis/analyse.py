"""The analysis of a study: from the frozen prediction table to every number that its report prints.

`analyse_study` writes ``STUDY/analysis.json``; `analyse` works on blocks of any prediction table whose runs are known.
Equal tables give equal bytes: bootstrap streams are named, floats are kept to 7 significant digits.

The record
----------
JSON; a number that does not exist is null, never NaN. An *arm* is a norm under one protocol; where a row says
``arm``, it holds the arm's ``id``: ``NORM/SCALING/TRAIN_SHIFT/ADAPTATION/RECON``, with ``clean`` for no train shift.

An ESTIMATE is the dict::

    value        number, mean over seeds
    low, high    95 % interval or null
    interval     "seeds and patients" (multi-reader analysis), "patients" (one trained model), "" where there is none
    seed_values  list, in the order of ``seeds``; ``seeds`` list of int; seed_sd number (null for one seed)
    reason       why there is no interval, or what weakens it ("one seed: no statement about norms"); else ""

A COMPARISON (about a norm, over paired seeds) is the dict::

    arm, reference         ids;  norm, reference_norm  short labels such as "gn", "bn+precise-bn"
    difference, low, high, standard_error, degrees_of_freedom, p, p_holm
                           arm minus reference; p_holm only in the primary table; all but difference may be null
    n_seeds, seeds         paired seeds that enter
    message                why there is no test, or what weakens it; else ""

Top level::

    schema        1
    simulated     true, false or null (not known);  flag: "simulation result: ..." to be printed with every score, or ""
    plan          reference, compared [norm], apart [norm], scaling, train_shift, recon, adaptation, kinds, levels (of
                  the endpoint), n_draws, confidence, min_auroc, endpoint (text)
    data          n_patients, n_slices, n_validation_patients, n_validation_slices, level_tables ([version]: of k-space
                  kinds, of image-domain kinds), findings: [{finding, n_positive_slices, prevalence,
                  n_positive_patients, n_negative_patients, refusal ("" or why there is no interval)}]
    kinds, levels lists, levels without 0
    arms          [{id, label, norm, scaling, train_shift, adaptation, recon, seeds, role}]; role is "primary"
                  (reference and compared norms of the primary protocol), "apart", or "descriptive"
    notes         [text]: runs without a pair, seeds left out, cells that are missing
    clean         [{arm, finding, ...ESTIMATE}], finding may be `MEAN` ("mean of learnt")
    learnt        [{run, arm, norm, scaling, train_shift, seed, finding, clean_auroc, learnt, used}]: learnt = clean
                  AUROC >= .80; used = learnt by all compared norms of its protocol for this seed (leaves otherwise)
    primary       {text, comparisons: [COMPARISON], endpoints: [{arm, ...ESTIMATE}]}
    descriptive   [{name, text, comparisons: [COMPARISON]}]: name is one of "clean AUROC", "degradation",
                  "retained discrimination", "apart", "protocol: SCALING/TRAIN_SHIFT/RECON",
                  "reference with ADAPTATION"; rows of "apart" have ``measure`` too: "endpoint", or of the first three
    adaptation_text  "without these rows, a difference ... is no finding", to stand beside the primary result where the
                  reference was evaluated frozen only; else a sentence that points to the tables
    matched       {text, slope, slope_standard_error, ranges: [{arm, low, high}], comparisons: [COMPARISON + {overlap:
                  bool}]}; only {reason} where it cannot be done
    dose_response [{arm, kind, level, finding, ...ESTIMATE, retained: ESTIMATE}]; finding may be MEAN; level 0 is clean
    heat_map      {text, reference, arms: [id], kinds, levels, critical, n_cells, reason, cells: [{arm, kind, level,
                  difference, low, high, p, p_kind ("max-T"), flagged}]}; simultaneous over all cells of all arms
    corruption_error [{arm, reference, seeds, mce, mce_low, mce_high, relative_mce, relative_mce_low, relative_mce_high,
                  relative_reason, kinds: [{kind, ce, low, high, relative_ce, reason}]}]; 100 x mean, reference 100
    operating_point {threshold: text, clean: ROWS, clean_reason, retuned: ROWS, retuned_reason}; ROWS = [{arm, kind,
                  level, finding, sensitivity: ESTIMATE, specificity: ESTIMATE, balanced_accuracy: ESTIMATE}]; kind
                  "clean", level 0 too, but for retuned; clean_reason: why rows or intervals are missing for want of
                  validation, else ""
    calibration   {text, reason, fits: [{run, arm, seed, finding, temperature, prior_log_odds, at_bound}], rows: [{arm,
                  kind, level, finding, ece_raw, brier_raw, ece, brier}]}; each a plain mean over seeds; finding may be
                  MEAN; kind "clean", level 0 too
    worst_flips   {text, flips: [{arm, norm, item, file, slice, patient, finding, label, kind, level, n_seeds_flipped,
                  n_seeds_right_on_clean, n_seeds, seeds, clean_score, shifted_score, score_change}]}: at most 12
    cannot_tell   [text]: what this analysis cannot say
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diagnose.analysis.arms import FROZEN, AnalysisPlan, Arm, RunFactors
from diagnose.analysis.calibration import calibration
from diagnose.analysis.comparisons import descriptive, primary
from diagnose.analysis.decisions import MEAN, operating_points, worst_flips
from diagnose.analysis.endpoints import StudyAurocs, study_aurocs
from diagnose.analysis.heat_map import corruption_errors, heat_map
from diagnose.analysis.matching import matched
from diagnose.analysis.scores import base_reconstruction, study_table
from diagnose.analysis.tables import arm_records, clean_records, data_record, dose_response, learnt_records
from diagnose.evaluate import PREDICTIONS
from diagnose.evaluation.prediction_table import PredictionBlock, read_table
from diagnose.run_folder import is_simulated, read_spec
from diagnose.study.spec import EVALUATION, RUNS, read_study
from mrisim.files import write_text

__all__ = ["ANALYSIS", "MEAN", "SCHEMA", "analyse", "analyse_study"]

SCHEMA = 1
ANALYSIS = "analysis.json"
SIGNIFICANT_DIGITS = 7
SIMULATED_FLAG = "simulation result: the images are simulated, and no score here says how a model does on patients"
UNKNOWN_FLAG = "it is not known whether the images are simulated"
NO_FINDING_WITHOUT = "without these rows, a difference of a norm to BN is no finding"
CANNOT_TELL = (
    "Seeds stand for the luck of initialisation and batch order; data, split, network and tuning were not drawn anew.",
    "The intervals assume that test patients are a sample of those one asks about; a shifted prevalence changes "
    "calibration and decisions, not the AUROC.",
    "Which findings count as learnt is decided on the clean test rows that are also analysed.",
    "Levels are comparable within a kind; the mean over kinds weighs them equally, which no clinic does.",
    "Only the primary table is a test; every other interval and p describes.",
)


def analyse_study(folder: Path) -> dict[str, Any]:
    """Analyse a finished study and write ``analysis.json`` into its folder.

    Parameters
    ----------
    folder : Path
        With ``study.yaml``, ``runs/<run>/config.yaml`` and ``evaluation/predictions.csv.gz``.

    Returns
    -------
    dict
        The record, as it was written.

    Raises
    ------
    DataError
        If a part is missing or does not fit the others.
    """
    study = read_study(folder)
    blocks = read_table(folder / EVALUATION / PREDICTIONS)
    names = dict.fromkeys(block.cell.run for block in blocks)
    runs = {name: folder / RUNS / name for name in names}
    factors = {name: RunFactors.of(read_spec(place)) for name, place in runs.items()}
    record = analyse(blocks, factors, AnalysisPlan.of_study(study), simulated=is_simulated(list(runs.values())))
    wanted = [
        (norm, scaling, shift, seed)
        for norm in study.all_norms
        for scaling in study.scalings
        for shift in study.train_shifts
        for seed in study.seeds
    ]
    found = {(run.norm, run.scaling, run.train_shift, run.seed) for run in factors.values()}
    missing = [f"{norm} {scaling} {shift or 'clean'} seed {seed}" for norm, scaling, shift, seed in wanted
               if (norm, scaling, shift, seed) not in found]  # fmt: skip
    if missing:
        record["notes"].insert(0, f"{len(missing)} of {len(wanted)} runs are not in the table: {', '.join(missing)}")
    write_text(folder / ANALYSIS, json.dumps(record, indent=1, allow_nan=False) + "\n")
    return record


def analyse(
    blocks: Sequence[PredictionBlock],
    runs: Mapping[str, RunFactors],
    plan: AnalysisPlan | None = None,
    *,
    simulated: bool | None = None,
) -> dict[str, Any]:
    """Return the record of a prediction table whose runs are known.

    Parameters
    ----------
    blocks : sequence of PredictionBlock
        Clean test rows and shifted ones of every run; clean validation rows for decisions and calibration.
    runs : mapping
        Norm, scaling, train shift and seed of each run, by its name in the table.
    plan : AnalysisPlan, optional
        By default that of a plain evaluation (`AnalysisPlan.of_runs`), in rss where the table has it.
    simulated : bool, optional
        Whether the images are; None where it is not known.

    Raises
    ------
    DataError
        If rows do not fit each other, the runs or the plan.
    """
    used = {block.cell.run for block in blocks}
    runs = {name: run for name, run in runs.items() if name in used}
    plan = plan or AnalysisPlan.of_runs(runs, recon=base_reconstruction(blocks))
    aurocs = study_aurocs(study_table(blocks, runs), plan)
    doses = dose_response(aurocs)
    record = {
        "schema": SCHEMA,
        "simulated": simulated,
        "flag": {True: SIMULATED_FLAG, False: "", None: UNKNOWN_FLAG}[simulated],
        "plan": _plan_record(aurocs),
        "data": data_record(aurocs),
        "kinds": list(dict.fromkeys(kind for kind, _ in aurocs.table.cells)),
        "levels": sorted({level for _, level in aurocs.table.cells}),
        "arms": arm_records(aurocs),
        "notes": [*aurocs.table.notes, *_pairing_notes(aurocs)],
        "clean": clean_records(aurocs, doses),
        "learnt": learnt_records(aurocs),
        "primary": primary(aurocs),
        "descriptive": descriptive(aurocs),
        "adaptation_text": _adaptation_text(aurocs),
        "matched": matched(aurocs),
        "dose_response": doses,
        "heat_map": heat_map(aurocs),
        "corruption_error": corruption_errors(aurocs),
        "operating_point": operating_points(aurocs),
        "calibration": calibration(aurocs),
        "worst_flips": worst_flips(aurocs),
        "cannot_tell": list(CANNOT_TELL),
    }
    return _plain(record)


def _plan_record(aurocs: StudyAurocs) -> dict[str, Any]:
    plan = aurocs.plan
    return {
        "reference": plan.reference,
        "compared": list(plan.compared),
        "apart": list(plan.apart),
        "scaling": plan.protocol.scaling,
        "train_shift": plan.protocol.train_shift,
        "recon": plan.protocol.recon,
        "adaptation": FROZEN,
        "kinds": list(aurocs.kinds),
        "levels": list(aurocs.levels),
        "min_auroc": plan.learnt_auroc,
        "n_draws": plan.n_draws,
        "confidence": 0.95,
        "endpoint": "AUROC averaged over learnt findings, kinds and levels, each with equal weight",
    }


def _pairing_notes(aurocs: StudyAurocs) -> list[str]:
    """Say which norms and seeds are not in the primary comparison, and why."""
    plan, notes = aurocs.plan, []
    arms = [arm for arm in (Arm(norm, plan.protocol) for norm in plan.family) if arm in aurocs.arms]
    absent = [norm for norm in plan.family if Arm(norm, plan.protocol) not in aurocs.arms]
    if absent:
        notes.append(f"no run of {', '.join(absent)} under {plan.protocol.label}: not compared")
    if not arms:
        return notes
    shared = set.intersection(*(set(aurocs.arms[arm].seeds) for arm in arms))
    for arm in arms:
        alone = sorted(set(aurocs.arms[arm].seeds) - shared)
        if alone:
            notes.append(f"{arm.label}: seed {', '.join(map(str, alone))} has no pair in every norm: not compared")
    without = sorted(shared - set(aurocs.usable_seeds(*arms)))
    if without:
        notes.append(
            f"seed {', '.join(map(str, without))} has no finding that all compared norms learnt "
            f"(clean AUROC {plan.learnt_auroc:.2f}): not compared"
        )
    return notes


def _adaptation_text(aurocs: StudyAurocs) -> str:
    """Say what stands beside a lead over the reference as trained."""
    plan = aurocs.plan
    found = [arm.label for arm in aurocs.arms
             if arm.norm == plan.reference and arm.protocol == plan.protocol and arm.adaptation != FROZEN]  # fmt: skip
    if plan.reference != "bn":
        return ""
    if not found:
        return (
            "bn was evaluated with the statistics of training only, not with precise-bn or prediction-time ones; "
            + NO_FINDING_WITHOUT
        )
    return f"bn was also evaluated as {', '.join(found)}: see the tables of those names; {NO_FINDING_WITHOUT}"


def _plain(value: Any) -> Any:
    """Return JSON values: floats to 7 significant digits, what is not finite as null."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if math.isfinite(value) else None
    return value
