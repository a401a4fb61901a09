"""N of prediction-time batch norm, chosen for each model on clean and shifted validation images, never on test ones.

The criterion is the AUROC averaged over the learnt findings, over the kinds, and over the levels asked for with clean
as level 0: clean counts as much as any other level of a kind. The corruptions of validation have a seed of their own.
Among equal values the largest N is taken, which changes the trained network least.

Limits
------
N is chosen under the kinds and levels that the test split is then shifted by: it is right for those, and a shift of an
unforeseen kind may want another. Findings that are not learnt on clean validation do not count; if none is, all do.

References
----------
Schneider et al., Improving robustness against common corruptions by covariate shift adaptation, 2020. arXiv:2006.16971
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from diagnose.adapt import Adaptation
from diagnose.evaluation.prediction_table import PredictionBlock
from diagnose.slice_images import CLEAN, Shift
from diagnose.statistics.metrics import LEARNT_AUROC, auroc
from mrisim.errors import DataError
from mrisim.files import write_text
from mrisim.seeding import stream

GRID = (0.0, 1.0, 4.0, 16.0, 64.0, 256.0)
"""From the batch alone to almost frozen, for batches of 8 to 64 images."""
CRITERION = "AUROC of validation, averaged over learnt findings, kinds, and levels with clean as level 0"

Predictor = Callable[[Adaptation, Shift], PredictionBlock]
"""Gives the predictions of one model on the validation split."""


def validation_shifts(shifts: Sequence[Shift], seed: int) -> tuple[Shift, ...]:
    """Return the shifts of validation: kinds, levels and reconstructions of the test's, with a seed of their own."""
    own_seed = int(stream(seed, "validation corruptions").integers(2**31))
    return tuple(replace(shift, seed=own_seed) for shift in shifts if shift.kind != CLEAN)


def choose_n_pseudo(predictor: Predictor, adaptation: Adaptation, shifts: Sequence[Shift]) -> dict[str, Any]:
    """Return the choice with all that it rests on, as JSON values.

    Parameters
    ----------
    predictor : callable
    adaptation : Adaptation
        With N left open.
    shifts : sequence of Shift
        Of validation, at least one, of one reconstruction, without the clean one.

    Returns
    -------
    dict
        Keys adaptation, criterion, grid, values (one for each N of the grid), n_pseudo, kinds, levels, recon, seed,
        learnt, n_slices.
    """
    clean = Shift(reconstruction=shifts[0].reconstruction)
    frozen = predictor(Adaptation(), clean)
    areas = _areas(frozen)
    learnt = areas >= LEARNT_AUROC
    counted = learnt if learnt.any() else np.ones_like(learnt)
    values = []
    for n_pseudo in GRID:
        candidate = replace(adaptation, n_pseudo=n_pseudo)
        of_clean = float(_areas(predictor(candidate, clean))[counted].mean())
        by_kind: dict[str, list[float]] = {}
        for shift in shifts:
            area = float(_areas(predictor(candidate, shift))[counted].mean())
            by_kind.setdefault(shift.kind, [of_clean]).append(area)
        values.append(float(np.mean([np.mean(of_kind) for of_kind in by_kind.values()])))
    return {
        "adaptation": adaptation.label,
        "criterion": CRITERION,
        "grid": list(GRID),
        "values": values,
        "n_pseudo": max(n_pseudo for n_pseudo, value in zip(GRID, values, strict=True) if value == max(values)),
        "kinds": list(dict.fromkeys(shift.kind for shift in shifts)),
        "levels": sorted({shift.level for shift in shifts}),
        "recon": shifts[0].reconstruction,
        "seed": shifts[0].seed,
        "learnt": dict(zip(frozen.findings, learnt.tolist(), strict=True)),
        "n_slices": len(frozen.items),
    }


def recorded_choice(path: Path, key: str, choose: Callable[[], dict[str, Any]]) -> float:
    """Return N as stored in a file, or choose it and store it with grid, values and criterion.

    Raises
    ------
    DataError
        If the file is damaged or holds the choice of another request (another key).
    """
    if not path.exists():
        # Shards may choose at the same time; they find the same, and each writes under a name of its own first.
        own = path.with_name(f"{path.name}.{os.getpid()}")
        write_text(own, json.dumps({"key": key, **choose()}, indent=2) + "\n")
        own.replace(path)
    try:
        record: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if record["key"] == key:
            return float(record["n_pseudo"])
    except (ValueError, KeyError, TypeError):
        pass
    raise DataError(f"{path.name} is damaged or of another evaluation; expected the N of this one: remove it")


def _areas(block: PredictionBlock) -> np.ndarray:
    return np.array(
        [float(auroc(block.scores[:, index], block.labels[:, index])) for index in range(len(block.findings))]
    )
