"""The report of an evaluation of reconstruction: image quality by training set and distribution, curves, robustness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diagnose.reconstruction.quality_table import OUTPUT, ZERO_FILLED, QualityRow, mean_quality, read_quality
from diagnose.report.run_groups import group_runs
from diagnose.report.tables import Table
from diagnose.report.task_results import TaskResults, dose_results, estimate_cell, listed_seeds
from diagnose.slice_images import CLEAN
from diagnose.statistics.clustered_auc import Estimate
from mrisim.errors import DataError

QUALITY = "quality.csv.gz"
NAMES = {"ssim": "SSIM", "psnr_db": "PSNR in dB", "nrmse": "NRMSE"}
FIGURES = (
    ("curves.png", "SSIM on validation after each epoch; solid in distribution, dashed out of it."),
    ("effective_robustness.png", "SSIM on Q against SSIM on P: networks trained on P alone, and on both."),
    ("similarity.png", "SSIM against the similarity of test slices to the nearest training slice."),
)
TABLES = ("matrix.csv", "curves.csv", "effective_robustness.csv", "similarity.csv", "regularisation.csv")


def results_of(folder: Path, configs: Mapping[str, Mapping[str, Any]]) -> TaskResults:
    """Read an evaluation's folder; the seeds of a network and training set are pooled.

    Parameters
    ----------
    folder : Path
    configs : mapping
        Request of each run by its name.

    Raises
    ------
    DataError
        If the table is damaged, or rows are missing.
    """
    rows = [row for row in read_quality(folder / QUALITY) if row.split == "test" and row.intensities == OUTPUT]
    _check_whole(rows, list(configs))
    members = group_runs(configs, _label)
    # what is no run stands beside them under its own name: zero-filling, the tuned classical baseline
    members |= {name: [name] for name in dict.fromkeys(row.run for row in rows) if name not in configs}
    distributions = list(dict.fromkeys(row.distribution for row in rows))
    clean = tuple(
        Table(
            f"{NAMES[metric]} on the clean test volumes of each distribution",
            "trained on",
            tuple(distributions),
            tuple(
                (group, tuple(estimate_cell(_mean(rows, names, name, metric)) for name in distributions))
                for group, names in members.items()
            ),
        )
        for metric in NAMES
    )
    means = {
        (group, kind, level): mean_quality(_of(rows, names, kind, level), "ssim")
        for group, names in members.items()
        for kind, level in dict.fromkeys((row.kind, row.level) for row in rows)
        if _of(rows, names, kind, level)
    }
    legend, panels, numbers = dose_results(means, list(members), "SSIM, all distributions")
    seeds = tuple(
        (f"Seeds of {group}", listed_seeds([configs[name] for name in names]))
        for group, names in members.items()
        if names[0] in configs
    )
    n_patients, n_volumes = (len({getattr(row, name) for row in rows}) for name in ("patient", "item"))
    return TaskResults(
        "How well do learned reconstructions do on data they were, and were not, trained on?",
        (("Test split", f"{n_patients} patients, {n_volumes} volumes"), *seeds),
        clean, legend, panels, numbers,
        figures=tuple((name, text) for name, text in FIGURES if (folder / name).is_file()),
        files=(QUALITY, *(name for name in TABLES if (folder / name).is_file()))
    )  # fmt: skip


def _check_whole(rows: Sequence[QualityRow], runs: Sequence[str]) -> None:
    """Refuse a table in which a run was not measured wherever zero-filling was: means would be of other volumes."""
    places: dict[str, set[tuple[str, str, str, int]]] = {name: set() for name in (ZERO_FILLED, *runs)}
    for row in rows:
        places.setdefault(row.run, set()).add((row.item, row.distribution, row.kind, row.level))
    for name in runs:
        if places[name] != places[ZERO_FILLED] or not places[name]:
            raise DataError(
                f"{QUALITY} has {len(places[name])} test rows of {name}, {len(places[ZERO_FILLED])} of {ZERO_FILLED}; "
                "expected the same volumes and shifts for both"
            )


def _label(config: Mapping[str, Any]) -> str:
    fraction = config["fraction"]  # none: that of `diagnose.reconstruction.request`, or all
    selection = config["selection"] + ("" if fraction is None else f" {fraction:g}")
    return f"{config['network']}: {' + '.join(config['train_on'])}" + (
        "" if selection == "joint" else f" ({selection})"
    )


def _of(rows: Sequence[QualityRow], names: Sequence[str], kind: str, level: int) -> list[QualityRow]:
    return [row for row in rows if row.run in names and (row.kind, row.level) == (kind, level)]


def _mean(rows: Sequence[QualityRow], names: Sequence[str], distribution: str, metric: str) -> Estimate:
    return mean_quality([row for row in _of(rows, names, CLEAN, 0) if row.distribution == distribution], metric)
