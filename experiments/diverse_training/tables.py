"""Committed results: frozen table, summaries and figures of the evaluations, and the comparisons behind each claim."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import claims
from claims import Comparison, Measured
from plan import PlannedRun

from diagnose.reconstruction.evaluation_results import csv_of
from diagnose.reconstruction.quality_table import read_quality
from mrisim.files import write_text, written_whole

COPIED = {
    "test": ("quality.csv.gz", "matrix.csv", "similarity.csv", "regularisation.csv", "similarity.png"),
    "curves": ("curves.csv", "effective_robustness.csv", "curves.png", "effective_robustness.png"),
}
ORIGIN = "simulated knees and heads: every score is a simulation result"


def write_results(
    settings: dict[str, Any], planned: list[PlannedRun], folders: dict[str, Path], out: Path
) -> None:  # fmt: skip
    """Write everything below ``out``, in place of what was there."""
    out.mkdir(parents=True, exist_ok=True)
    for name, files in COPIED.items():
        for file in files:
            with written_whole(out / file) as partial:
                shutil.copyfile(folders[name] / file, partial)
    measured = Measured(read_quality(folders["test"] / "quality.csv.gz"), planned)
    shifted = Measured(read_quality(folders["shifts"] / "quality.csv.gz"), planned)
    pairs = settings["pairs"]
    varnet = settings.get("arms", {}).get("varnet")
    found = [
        *claims.pair_comparisons(measured, pairs),
        *(claims.pair_comparisons(measured, {varnet["pair"]: pairs[varnet["pair"]]}, arm="varnet") if varnet else ()),
        *claims.arm_comparisons(measured, settings),
        *claims.finding_comparisons(folders["test"] / "findings.csv.gz", measured, pairs),
        *claims.shift_comparisons(shifted, pairs),
    ]
    write_text(out / "comparisons.csv", csv_of([asdict(one) | {"verdict": one.verdict} for one in found]))
    curves = claims.overfitting(_read(folders["curves"] / "curves.csv"))
    write_text(out / "overfitting.csv", csv_of(curves))
    correlations = claims.similarity_correlations(
        _read(folders["test"] / "similarity.csv"), _read(folders["test"] / "matrix.csv"), planned
    )
    write_text(out / "subsets.csv", csv_of(subset_rows(measured, settings)))
    summary = {
        "origin": ORIGIN,
        "settings": settings["name"],
        "seeds": settings["seeds"],
        "seeds_are_few": "3 seeds: intervals over seeds are exploratory, 5 or more are advised",
        "n_runs": len(planned),
        "similarity_and_ssim": correlations,
        "verdicts": counted(found),
    }
    write_text(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    draw_differences(out / "differences.png", [one for one in found if one.claim[0] in "12"], pairs)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def counted(found: list[Comparison]) -> dict[str, dict[str, int]]:
    """Return how often each claim's comparisons came out which way."""
    verdicts: dict[str, dict[str, int]] = {}
    for one in found:
        of_claim = verdicts.setdefault(f"{one.claim} ({one.network})", {})
        of_claim[one.verdict] = of_claim.get(one.verdict, 0) + 1
    return verdicts


def subset_rows(measured: Measured, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the mean test SSIM of joint training on shares of the patients, all of them first."""
    entry = settings["arms"]["subset"]
    pair = tuple(settings["pairs"][entry["pair"]])
    rows = []
    for run in measured.planned:
        if run.train_on == pair and run.arm in ("main", "subset") and run.seed in entry["seeds"]:
            for name in measured.distributions:
                ssim = [row.ssim for row in measured.rows(run, name)]
                rows.append({
                    "pair": entry["pair"], "seed": run.seed, "fraction": run.fraction or 1.0, "distribution": name,
                    "in_distribution": name in pair, "ssim": sum(ssim) / len(ssim),
                })  # fmt: skip
    return sorted(rows, key=lambda row: (row["distribution"], -row["fraction"]))


def draw_differences(path: Path, found: list[Comparison], pairs: dict[str, list[str]]) -> None:
    """Draw SSIM of P+Q minus that of P alone, by distribution, with intervals over seeds and patients."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, (name, (p, q)) in zip(figure.subplots(1, len(pairs), squeeze=False)[0], pairs.items(), strict=True):
        own = [one for one in found if one.pair == name and one.network.startswith("unet") and one.claim in
               ("1 in distribution", "2 out of distribution")]  # fmt: skip
        names = list(dict.fromkeys(one.distribution for one in own))
        for offset, colour, alone in ((-0.12, "C0", p), (0.12, "C1", q)):
            for one in own:
                if one.reference == f"{alone} alone":
                    y = names.index(one.distribution) + offset
                    panel.plot(one.difference, y, "o", color=colour, markersize=4)
                    if one.low is not None:
                        panel.plot([one.low, one.high], [y, y], color=colour)
            panel.plot([], [], "o-", color=colour, label=f"minus {alone} alone")
        panel.axvline(0, color="grey", linewidth=0.8)
        panel.set_yticks(range(len(names)), [f"{one} *" if one in (p, q) else one for one in names], fontsize=7)
        panel.invert_yaxis()
        panel.set_xlabel("SSIM of P+Q minus that of one alone")
        panel.set_title(f"{name} (* trained on)", fontsize=9)
        panel.legend(fontsize="xx-small")
    with written_whole(path) as partial:
        figure.savefig(partial, format="png", dpi=110)
