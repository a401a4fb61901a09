"""Tuning: the same grid for every norm, judged on clean validation alone, so that no norm is the better tuned one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from diagnose.run_folder import DONE
from diagnose.study.runs import Arm, StudyRun
from mrisim.files import write_text

TUNING = "tuning.json"
CRITERION = "mean AUROC over findings on clean validation, best epoch; ties: the first of the grid"


def choose(study: Path, runs: Iterable[StudyRun]) -> dict[Arm, dict[str, float]]:
    """Return lr and weight decay of each norm and scaling, and write the whole grid to tuning.json.

    A point whose run failed (its loss diverged, say) counts as tried and cannot win. An arm of which every point failed
    is not in the answer.

    Parameters
    ----------
    study : Path
    runs : iterable of StudyRun
        Of the grid, from `diagnose.study.runs.tuning_runs`.
    """
    grid: list[dict[str, Any]] = []
    best: dict[Arm, dict[str, Any]] = {}
    for run in runs:
        spec = run.spec
        entry = {
            "norm": spec.norm, "scaling": spec.scaling, "lr": spec.lr, "weight_decay": spec.weight_decay,
            "validation_auroc": _validation_auroc(run.folder(study)),
        }  # fmt: skip
        grid.append(entry)
        arm = (spec.norm, spec.scaling)
        area = entry["validation_auroc"]
        if area is not None and (arm not in best or area > best[arm]["validation_auroc"]):
            best[arm] = entry
    record = {"criterion": CRITERION, "chosen": list(best.values()), "grid": grid}
    write_text(study / TUNING, json.dumps(record, indent=2) + "\n")
    return {arm: {name: entry[name] for name in ("lr", "weight_decay")} for arm, entry in best.items()}


def _validation_auroc(folder: Path) -> float | None:
    if not (folder / DONE).exists():
        return None
    return float(json.loads((folder / "results.json").read_text(encoding="utf-8"))["validation_auroc"])
