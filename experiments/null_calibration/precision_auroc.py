"""Does the number format of training change the AUROC? Runs in bfloat16 against runs in float32, paired by seed.

    python experiments/null_calibration/precision_auroc.py EVALUATION --runs FOLDER_OF_RUN_FOLDERS

All runs have one norm, scaling and train shift, and each seed was trained once in each format: the formats stand where
an analysis has its norms. Prints one JSON object: the difference in AUROC under shift, and in clean AUROC.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diagnose.analysis.analyse import analyse
from diagnose.analysis.arms import AnalysisPlan, RunFactors
from diagnose.evaluate import PREDICTIONS
from diagnose.evaluation.prediction_table import PredictionBlock, read_table
from diagnose.run_folder import is_simulated, read_spec, recall_execution
from mrisim.errors import DataError, MrisimError

FORMATS = ("float32", "bfloat16")


def compare_formats(
    blocks: Sequence[PredictionBlock], runs: Mapping[str, RunFactors], formats: Mapping[str, str], *, simulated: bool
) -> dict[str, Any]:
    """Return the difference that bfloat16 makes over paired seeds.

    Parameters
    ----------
    blocks : sequence of PredictionBlock
    runs : mapping
        Factors of each run by its name.
    formats : mapping
        "float32" or "bfloat16" of each run.
    simulated : bool
        Whether the data are.

    Raises
    ------
    DataError
        If the runs have more than one norm or protocol, or a seed is not there in both formats.
    """
    kinds = {(run.norm, run.scaling, run.train_shift) for run in runs.values()}
    if len(kinds) != 1:
        raise DataError(f"the runs have {len(kinds)} norms and protocols; expected one")
    seeds = [{run.seed for name, run in runs.items() if formats[name] == wanted} for wanted in FORMATS]
    if seeds[0] != seeds[1] or len(runs) != 2 * len(seeds[0]):
        found = ", ".join(f"{sorted(some)} in {wanted}" for some, wanted in zip(seeds, FORMATS, strict=True))
        raise DataError(f"seeds {found}; expected the same ones, each once")
    factors = {name: replace(run, norm=formats[name]) for name, run in runs.items()}
    analysis = analyse(blocks, factors, AnalysisPlan.of_runs(factors, reference=FORMATS[0]), simulated=simulated)
    tables = {table["name"]: table["comparisons"] for table in analysis["descriptive"]}
    return {
        "norm": next(iter(kinds))[0],
        "seeds": sorted(seeds[0]),
        "under_shift": analysis["primary"]["comparisons"],
        "endpoints": analysis["primary"]["endpoints"],
        "clean": tables.get("clean AUROC", []),
        "notes": analysis["notes"],
        "flag": analysis["flag"],
    }


def main(arguments: list[str] | None = None) -> None:
    """Print the comparison of an evaluation as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("evaluation", type=Path)
    parser.add_argument("--runs", type=Path, required=True, help="where the run folders are")
    options = parser.parse_args(arguments)
    blocks = read_table(options.evaluation / PREDICTIONS)
    folders = {name: options.runs / name for name in dict.fromkeys(block.cell.run for block in blocks)}
    formats = {}
    for name, folder in folders.items():
        execution = recall_execution(folder)
        if execution is None:
            raise DataError(f"{name} says nothing of how it was computed; expected a finished run")
        formats[name] = execution.precision
    runs = {name: RunFactors.of(read_spec(folder)) for name, folder in folders.items()}
    simulated = is_simulated(list(folders.values()))
    print(json.dumps(compare_formats(blocks, runs, formats, simulated=simulated), indent=1))


if __name__ == "__main__":
    try:
        main()
    except MrisimError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
