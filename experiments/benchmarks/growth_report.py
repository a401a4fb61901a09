"""What the rows of growth.py say: exponents, work per worker, a plan for many volumes; figure and README tables.

    python experiments/benchmarks/growth_report.py results/growth.json

writes the tables between the two marks of README.md. Nothing is measured here.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

QUANTITIES = ("matrix", "coils", "slices", "poses", "files", "listed", "done")
CONFIDENCE = 0.95
VOLUME_SLICES = 36
"""Of a fastMRI knee, about."""
VOLUMES = (10_000, 1_000_000)
VOLUMES_PER_SHARD = 10_000
CORES = (2, 64, 1000)
BEGIN, END = "<!-- growth: begin -->", "<!-- growth: end -->"
README = Path(__file__).with_name("README.md")
FIGURE = "results/growth.svg"


def exponent(quantity: Sequence[float], cost: Sequence[float]) -> tuple[float, float, float]:
    """Fit cost = a quantity^b by least squares on logarithms; return b and its confidence interval.

    Parameters
    ----------
    quantity, cost : sequence of float
        At least three points, all positive. The interval is Student's, from the points' distance to the line: it tells
        how far from a power law they are, too.

    Returns
    -------
    (b, low, high)
    """
    return slope(np.log(quantity), np.log(cost))


def slope(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """Fit a line by least squares; return its slope and Student's confidence interval."""
    from scipy.stats import t

    from_mean_x, from_mean_y = (np.asarray(values, float) - np.mean(values) for values in (x, y))
    spread = float(from_mean_x @ from_mean_x)
    fitted = float(from_mean_x @ from_mean_y) / spread
    residuals = from_mean_y - fitted * from_mean_x
    half = t.ppf((1 + CONFIDENCE) / 2, len(x) - 2) * np.sqrt(residuals @ residuals / (len(x) - 2) / spread)
    return fitted, float(fitted - half), float(fitted + half)


def series(rows: Sequence[Mapping[str, Any]], quantity: str, cost: str) -> tuple[list[float], list[float]]:
    """Return a quantity's values and their costs: the rows named ``quantity value``."""
    points = [
        (float(match[1]), float(row[cost]))
        for row in rows
        if (match := re.fullmatch(rf"{quantity} (\d+)", row["contender"]))
    ]
    return [x for x, _ in points], [y for _, y in points]


def conclusions(rows: Sequence[Mapping[str, Any]], volume_slices: tuple[int, int]) -> dict[str, Any]:
    """Return exponents, memory per file, work per worker, and the costs of one volume, from the rows of growth.py."""
    exponents = {}
    for quantity in QUANTITIES:
        b, low, high = exponent(*series(rows, quantity, "cpu_s"))
        exponents[quantity] = {"cpu": round(b, 3), "low": round(low, 3), "high": round(high, 3)}
    seconds = {row["contender"]: row["wall_s"] for row in rows}
    few, many = volume_slices
    first, last = (seconds[f"volume, {n_slices} slices"] for n_slices in volume_slices)
    per_slice = (last - first) / (many - few)
    memory = {row["contender"]: row["peak_rss_mb"] for row in rows}
    of_files = slope(*series(rows, "files", "peak_rss_mb"))
    mb_per_slice = (memory[f"volume, {many} slices"] - memory[f"volume, {few} slices"]) / (many - few)
    return {
        "exponents": exponents,
        "memory_mb_per_file": dict(zip(("slope", "low", "high"), (round(value, 3) for value in of_files), strict=True)),
        "workers": work_per_worker(seconds),
        "volume": {
            "slices": VOLUME_SLICES,
            "seconds_per_slice": per_slice,
            "seconds": max(0.0, first - few * per_slice) + VOLUME_SLICES * per_slice,
            "peak_mb": memory[f"volume, {few} slices"] + (VOLUME_SLICES - few) * mb_per_slice,
            "listed_s": slope(*series(rows, "listed", "wall_s"))[0],
            "done_s": slope(*series(rows, "done", "wall_s"))[0],
            "done_mb": slope(*series(rows, "done", "peak_rss_mb"))[0],
        },
    }


def work_per_worker(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return files per second and worker, over those of one thread; shards are freed of their programs' start.

    Parameters
    ----------
    seconds : mapping from contender to seconds of wall time
    """
    n_files = max(int(match[1]) for name in seconds if (match := re.fullmatch(r"files (\d+)", name)))
    alone = seconds[f"files {n_files}"] / n_files
    found = {"1 thread": 1.0, "2 threads": alone / (2 * seconds[f"2 threads, {n_files} files"] / n_files)}
    for n_processes in (1, 2):
        name = f"dask {n_processes}, {n_files} files"
        if name in seconds:
            found[f"dask, {n_processes} process{'es' * (n_processes > 1)}"] = alone / (
                n_processes * seconds[name] / n_files
            )
    more = seconds[f"2 shards, {n_files} files"] - seconds["2 shards, 2 files"]
    if more > 0:  # a few tiny files are lost in the time that a program takes to start
        found["2 shards"] = alone / (2 * more / (n_files - 2))
    return {name: round(value, 3) for name, value in found.items()}


def lines(record: Mapping[str, Any]) -> list[str]:
    """Return the conclusions as text."""
    found = [
        f"exponent of CPU time in {quantity}: {fit['cpu']:.2f} ({fit['low']:.2f} to {fit['high']:.2f})"
        for quantity, fit in record["exponents"].items()
    ]
    memory = record["memory_mb_per_file"]
    found.append(f"peak memory, MB a file: {memory['slope']:+.2f} ({memory['low']:.2f} to {memory['high']:.2f})")
    return found + [f"work per worker, {name}: {value:.2f}" for name, value in record["workers"].items()]


def draw(record: Mapping[str, Any], path: Path) -> None:
    """Draw CPU time and peak memory against each quantity, with the fitted lines."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "growth"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(QUANTITIES), figsize=(2.4 * len(QUANTITIES), 4.8), layout="constrained")
    for column, quantity in zip(axes.T, QUANTITIES, strict=True):
        for axis, cost, label in zip(column, ("cpu_s", "peak_rss_mb"), ("CPU time, s", "peak memory, MB"), strict=True):
            x, y = (np.array(values) for values in series(record["rows"], quantity, cost))
            axis.plot(x, y, "o", color="black", markersize=4)
            axis.set(xscale="log", xlabel=quantity, ylabel=label if axis in axes[:, 0] else "")
            if cost == "cpu_s":
                b, low, high = exponent(x, y)
                axis.plot(x, np.exp(np.log(y).mean() + b * (np.log(x) - np.log(x).mean())), color="tab:blue")
                axis.set(yscale="log", title=f"{b:.2f} ({low:.2f} to {high:.2f})")
            else:
                axis.set_ylim(0, max(1.0, 1.2 * float(y.max())))
            axis.set_xticks(x, [f"{value:g}" for value in x])
            axis.minorticks_off()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def section(record: Mapping[str, Any] | None) -> str:
    """Return the README's tables: growth, work per worker, and the plan; one sentence where nothing is measured yet."""
    if record is None:
        return "`growth` has no result yet."
    growth = ["| against | exponent of CPU time (95 %) |", "|---|---|"]
    growth += [
        f"| {quantity} | {fit['cpu']:.2f} ({fit['low']:.2f} to {fit['high']:.2f}) |"
        for quantity, fit in record["exponents"].items()
    ]
    memory = record["memory_mb_per_file"]
    workers = ["| workers | work per worker, one thread = 1 |", "|---|---|"]
    workers += [f"| {name} | {value:.2f} |" for name, value in record["workers"].items()]
    machine = record["machine"]
    return "\n".join(
        [
            f"Measured on {machine['cores']} cores of {machine['cpu']}, load before {machine['load_before']:g}.",
            "", f"![growth]({FIGURE})", "", *growth, "",
            f"Peak memory grows by {memory['slope']:.2f} MB a file ({memory['low']:.2f} to {memory['high']:.2f}).",
            "", *workers, "", *plan(record),
        ]
    )  # fmt: skip


def plan(record: Mapping[str, Any]) -> list[str]:
    """Return the costs of many volumes as a table; per-file costs are measured, the rest is multiplication."""
    volume, files = record["volume"], record["per_file"]
    n_slices = volume["slices"]
    pair = [value for name, value in record["workers"].items() if name in ("2 threads", "2 shards")]
    efficiency = min(1.0, *pair)
    rows: dict[str, list[str]] = {
        "work, core hours": [f"{n * volume['seconds'] / 3600:,.0f}" for n in VOLUMES],
        **{
            f"time on {cores:,} cores": [_time(n * volume["seconds"] / (cores * efficiency)) for n in VOLUMES]
            for cores in CORES
        },
        "input on disk": [_size(n * n_slices * files["input_mb_per_slice"]) for n in VOLUMES],
        "output on disk": [_size(n * n_slices * files["output_mb_per_slice"]) for n in VOLUMES],
        "memory of a worker": [_size(volume["peak_mb"]) for _ in VOLUMES],
        "shards": [f"{max(1, n // VOLUMES_PER_SHARD):,}" for n in VOLUMES],
        "listing all files, once": [_time(n * volume["listed_s"]) for n in VOLUMES],
        "resuming when all is done": [_time(n * volume["done_s"]) for n in VOLUMES],
        "lines of the index": [_size(n * files["index_bytes"] / 1e6) for n in VOLUMES],
        "reports in memory, in one process": [_size(n * max(0.0, volume["done_mb"])) for n in VOLUMES],
    }
    return [
        f"One volume of {n_slices} slices, 15 coils, 480 x 480: {volume['seconds']:.1f} s on one worker "
        f"({volume['seconds_per_slice']:.2f} s a slice), coil maps estimated. Times on many cores take the work "
        f"per worker of two ({efficiency:.2f}) for all.",
        "",
        "| volumes | " + " | ".join(f"{n:,}" for n in VOLUMES) + " |",
        "|---|" + "---|" * len(VOLUMES),
        *(f"| {name} | " + " | ".join(values) + " |" for name, values in rows.items()),
    ]


def _time(seconds: float) -> str:
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.1f} s"


def _size(megabytes: float) -> str:
    for unit, length in (("TB", 1e6), ("GB", 1e3)):
        if megabytes >= length:
            return f"{megabytes / length:,.1f} {unit}"
    return f"{megabytes:.1f} MB"


def with_section(readme: str, record: Mapping[str, Any] | None) -> str:
    """Return a README with the tables between its marks."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{section(record)}\n{END}{after}"


if __name__ == "__main__":
    result = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    README.write_text(with_section(README.read_text(encoding="utf-8"), result), encoding="utf-8")
