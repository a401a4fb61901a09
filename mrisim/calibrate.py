"""Find the physical severity of every level: equal dose, measured on the reference scans that the project ships.

Dose is the median foreground NRMSE of the RSS magnitude over reference scans and seeds. A severity only scales fixed
unit latents, so that the dose grows with it and bisection finds the target. Undersampling keeps the field's R = 2, 3,
4, 6, 8: its dose is measured, not set.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mrisim import __version__
from mrisim.artifacts import KINDS, ArtifactSpec
from mrisim.corrupt import apply as apply_realisations
from mrisim.corrupt import draw
from mrisim.files import write_text
from mrisim.quality import nrmse, rss, ssim
from mrisim.reference import reference_of
from mrisim.scan import Scan, coil_images
from mrisim.sidecar import sha256_of_array

DOSE_TARGETS = (0.04, 0.08, 0.13, 0.20, 0.30)
"""Median foreground NRMSE of levels 1..5."""
FIELD_ACCELERATIONS = (2.0, 3.0, 4.0, 6.0, 8.0)
NOISE_COILS = (1, 4, 8, 16, 32)
N_BISECTIONS = 14
SEARCH = {
    "noise": (1.5, 200.0),
    "motion": (0.02, 20.0),
    "ghosting": (0.01, float(np.pi)),
    "ghosting-pulsation": (0.01, 1.0),
    "spikes": (0.005, 2.0),
    "bias-field": (1.01, 60.0),
}
"""Bounds of the search for each ladder."""
EXTRA_PARAMETERS: dict[str, dict[str, Any]] = {"ghosting-pulsation": {"mode": "pulsation"}}


@dataclass(frozen=True)
class Dose:
    """Image error of one ladder at one severity: one value for each reference scan and seed."""

    nrmse: np.ndarray
    ssim: np.ndarray


def calibrate(
    scans_of: Callable[[int], Sequence[Scan]], *, n_seeds: int = 3, progress: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Return a level table.

    Parameters
    ----------
    scans_of : callable
        Gives the reference scans for a number of coils.
    n_seeds : int
        Draws of each artifact on each scan.
    progress : callable
        Told one line for each finished ladder.
    """
    scans = scans_of(8)
    table: dict[str, Any] = {
        "version": __version__,
        "dose": "median foreground NRMSE of the RSS magnitude",
        "targets": list(DOSE_TARGETS),
        "reference": {
            "n_scans": len(scans),
            "n_seeds": n_seeds,
            "n_coils": scans[0].n_coils,
            "matrix": list(scans[0].matrix),
            "kspace_sha256": [sha256_of_array(scan.kspace) for scan in scans],
        },
        "kinds": {},
    }
    for ladder in ["noise", "motion", "ghosting", "ghosting-pulsation", "spikes", "bias-field", "undersampling"]:
        by_coils = {n: scans_of(n) for n in NOISE_COILS} if ladder == "noise" else {8: scans}
        table["kinds"][ladder] = _ladder_entry(ladder, by_coils, n_seeds)
        progress(f"{ladder}: {table['kinds'][ladder]['values'][-1]}")
    return table


def save_table(path: Path, table: dict[str, Any]) -> None:
    """Write a level table as the committed one is written."""
    write_text(path, json.dumps(table, indent=1) + "\n")


def measure_dose(ladder: str, severity: float, scans: Sequence[Scan], n_seeds: int) -> Dose:
    """Corrupt every reference scan with `n_seeds` seeds at one severity and measure the image error."""
    spec = _spec(ladder, severity)
    errors, similarities = [], []
    for index, scan in enumerate(scans):
        reference = reference_of(scan)
        scan = replace(scan, reference=reference)
        for seed in range(n_seeds):
            realisations = draw(scan, [spec], seed=seed, item_id=f"reference-{index}")
            image = rss(coil_images(apply_realisations(scan, realisations).scan))
            errors.append(nrmse(image, reference.magnitude, reference.foreground))
            similarities.append(ssim(image, reference.magnitude))
    return Dose(np.array(errors), np.array(similarities))


def _spec(ladder: str, severity: float) -> ArtifactSpec:
    kind = ladder.split("-pulsation")[0]
    parameters = EXTRA_PARAMETERS.get(ladder, {})
    _, name = KINDS[kind].ladder(parameters)
    return KINDS[kind](**{name: severity, **parameters})


def _ladder_entry(ladder: str, by_coils: dict[int, Sequence[Scan]], n_seeds: int) -> dict[str, Any]:
    kind = ladder.split("-pulsation")[0]
    rows, doses = [], {}
    for n_coils, scans in by_coils.items():
        if ladder == "undersampling":
            row = list(FIELD_ACCELERATIONS)
        else:
            row = [_severity_for(ladder, target, scans, n_seeds) for target in DOSE_TARGETS]
        rows.append(row)
        doses[n_coils] = [measure_dose(ladder, value, scans, n_seeds) for value in row]
    reported = doses[8]
    steps = np.diff([dose.nrmse for dose in reported], axis=0)
    return {
        "parameter": KINDS[kind].ladder(EXTRA_PARAMETERS.get(ladder, {}))[1],
        "n_coils": list(by_coils),
        "values": rows,
        "nrmse_median": [round(float(np.median(dose.nrmse)), 4) for dose in reported],
        "nrmse_p10": [round(float(np.percentile(dose.nrmse, 10)), 4) for dose in reported],
        "nrmse_p90": [round(float(np.percentile(dose.nrmse, 90)), 4) for dose in reported],
        "ssim_median": [round(float(np.median(dose.ssim)), 4) for dose in reported],
        "inversion_rate": float(np.mean((steps <= 0).any(axis=0))),
    }


def _severity_for(ladder: str, target: float, scans: Sequence[Scan], n_seeds: int) -> float:
    """Bisect in the logarithm of the severity; the result keeps three digits."""
    low, high = np.log(SEARCH[ladder])
    for _ in range(N_BISECTIONS):
        middle = (low + high) / 2
        dose = float(np.median(measure_dose(ladder, float(np.exp(middle)), scans, n_seeds).nrmse))
        # noise: a higher SNR is a lower dose
        if (dose < target) == (ladder != "noise"):
            low = middle
        else:
            high = middle
    return float(f"{np.exp((low + high) / 2):.3g}")
