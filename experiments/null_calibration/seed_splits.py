"""How often does the paired test of norms reject when there is nothing to find?

Ten runs that differ in nothing but their seed are split into two groups of five, which pretend to be two norms: all 126
splits. Each split goes through the primary analysis; the share with p < 0.05 should be about 5 %.

    python experiments/null_calibration/seed_splits.py STUDY [--norm bn] [--scaling z-score]
    python experiments/null_calibration/seed_splits.py EVALUATION --runs FOLDER_OF_RUN_FOLDERS

Prints one JSON object. The splits share their runs, so their p values depend on each other: the share of one set of ten
runs scatters far more around 5 % than that of 126 independent studies would.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from diagnose.analysis.arms import FROZEN, AnalysisPlan, Arm, RunFactors
from diagnose.analysis.endpoints import study_aurocs
from diagnose.analysis.scores import study_table
from diagnose.evaluate import PREDICTIONS
from diagnose.evaluation.prediction_table import PredictionBlock, read_table
from diagnose.run_folder import read_spec
from diagnose.statistics.multireader import norm_difference
from diagnose.study.spec import EVALUATION, RUNS, STUDY
from mrisim.errors import DataError, MrisimError, UsageError

N_RUNS, ALPHA = 10, 0.05


def split_rejections(
    blocks: Sequence[PredictionBlock], runs: Mapping[str, RunFactors], *, norm: str = "bn", scaling: str | None = None
) -> dict[str, Any]:
    """Return the rejection rate over all splits of the ten runs of the lowest seeds.

    Parameters
    ----------
    blocks : sequence of PredictionBlock
    runs : mapping
        Factors of each run by its name.
    norm, scaling : str
        Whose runs are split; all must share norm, scaling and train shift.

    Raises
    ------
    DataError
        If there are fewer than ten such runs, or a finding that all ten have learnt is missing.
    """
    chosen = {name: run for name, run in runs.items() if run.norm == norm and scaling in (None, run.scaling)}
    protocols = {(run.scaling, run.train_shift) for run in chosen.values()}
    if len(protocols) > 1:
        raise DataError(f"the {norm} runs have {len(protocols)} protocols; expected one: choose it by --scaling")
    names = sorted(chosen, key=lambda name: chosen[name].seed)[:N_RUNS]
    if len(names) < N_RUNS:
        raise DataError(f"{len(names)} runs of {norm}; expected {N_RUNS}")
    chosen = {name: chosen[name] for name in names}
    mine = [block for block in blocks if block.cell.run in chosen and block.cell.adaptation == FROZEN]
    plan = replace(AnalysisPlan.of_runs(chosen, reference=norm), n_draws=1)  # the analysis needs no draws
    aurocs = study_aurocs(study_table(mine, chosen), plan)
    arm = Arm(norm, plan.protocol)
    seeds = aurocs.arms[arm].seeds
    # One set of findings for all splits; else a split would be over others than the next.
    used = np.stack([aurocs.used(arm, seed) for seed in seeds]).min(axis=0)
    if not used.any():
        raise DataError("no finding is learnt by all ten runs; expected one with a clean AUROC of 0.80 or more in each")
    columns = np.outer(used / used.sum(), aurocs.endpoint_columns)
    endpoints = aurocs.arms[arm].combine(np.einsum("st,fc->stfc", np.eye(len(seeds)), columns))
    p_values = []
    for group in combinations(range(N_RUNS), N_RUNS // 2):
        if 0 not in group:  # the mirror image of a split that is counted
            continue
        order = [*group, *(run for run in range(N_RUNS) if run not in group)]
        pair = endpoints.combine(np.eye(N_RUNS)[order])
        covariance = pair.covariance().reshape(2, N_RUNS // 2, 2, N_RUNS // 2)
        result = norm_difference(pair.auc.reshape(2, -1), covariance, norm="second half", reference="first half")
        p_values.append(1.0 if result.p is None else result.p)
    p = np.array(p_values)
    return {
        "norm": norm,
        "protocol": plan.protocol.label,
        "runs": names,
        "findings": [name for name, enters in zip(aurocs.table.findings, used.tolist(), strict=True) if enters],
        "endpoint_mean": float(endpoints.auc.mean()),
        "endpoint_seed_sd": float(endpoints.auc.std(ddof=1)),
        "n_splits": len(p),
        "alpha": ALPHA,
        "n_rejected": int((p < ALPHA).sum()),
        "rejection_rate": float((p < ALPHA).mean()),
        "p_quantiles": {str(share): float(np.quantile(p, share)) for share in (0.05, 0.25, 0.5, 0.75)},
        "n_patients": aurocs.table.test.n_patients,
    }


def main(arguments: list[str] | None = None) -> None:
    """Print the rejection rate of a study or evaluation as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="a study, or an evaluation")
    parser.add_argument("--runs", type=Path, help="where the run folders of an evaluation are")
    parser.add_argument("--norm", default="bn")
    parser.add_argument("--scaling")
    options = parser.parse_args(arguments)
    is_study = (options.folder / STUDY).is_file()
    if not is_study and options.runs is None:
        raise UsageError(f"{options.folder.name} is no study; expected --runs with the folder of its runs")
    evaluation = options.folder / EVALUATION if is_study else options.folder
    blocks = read_table(evaluation / PREDICTIONS)
    place = options.runs or options.folder / RUNS
    names = dict.fromkeys(block.cell.run for block in blocks)
    runs = {name: RunFactors.of(read_spec(place / name)) for name in names}
    print(json.dumps(split_rejections(blocks, runs, norm=options.norm, scaling=options.scaling), indent=1))


if __name__ == "__main__":
    try:
        main()
    except MrisimError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
