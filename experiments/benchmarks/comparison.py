"""Compare programs that do one thing: alternated, one thread each, medians, peak memory, agreement; a table and JSON.

A benchmark builds its contenders and calls `main`. Its command line:

    python experiments/benchmarks/NAME.py [--quick] [--repetitions N] [--out FILE.json]

`--quick`: tiny sizes, one repetition; it shows that the script runs, and nothing else.

Peak memory is what the resident set grows by while a contender runs once, or the whole of a child process.

Seconds are given twice: by the wall clock, and as CPU time of this process and its children. With one thread each they
are equal on an idle machine; on a busy one the CPU time is the steadier of the two, and the targets are judged by it.

What takes less than `TURN_S` is called several times in a row at each turn: what counts is a call of that row. The
first call of a turn meets caches that other programs have filled with theirs; it is timed by itself, and its ratio
stands beside the other.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.metadata
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LIBRARIES = ("numpy", "scipy", "numba", "sigpy", "PyWavelets", "torch", "torchio", "monai", "SimpleITK", "distributed")
N_REPETITIONS = 7
TURN_S = 0.02
"""How long a contender is called in a row, at least."""
ONE_THREAD = dict.fromkeys(
    (
        *(f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")),
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    ),
    "1",
)
"""What has to stand in the environment before any of the libraries is imported."""


@dataclass(frozen=True)
class Contender:
    """One program in the comparison."""

    name: str
    run: Callable[[], Any]
    """What is timed; what it returns may be compared in `Benchmark.agreement`."""
    physics: str = "the same"
    """"the same", or what differs."""


@dataclass(frozen=True)
class Target:
    """A claim: `slower` takes at least (or `faster` at most) so many times as long as the other."""

    slower: str
    faster: str
    factor: float
    at_most: bool = False
    clock: str = "cpu"
    """"cpu", or "wall" where the point is to use more than one core."""


@dataclass
class Benchmark:
    """Contenders, the first of them ours, and what is claimed of them."""

    contenders: list[Contender]
    targets: Sequence[Target] = ()
    agreement: Callable[[Mapping[str, Any]], dict[str, float]] = lambda results: {}
    left_out: list[str] = field(default_factory=list)
    """One line for each opponent that is not installed here."""


def main(title: str, build: Callable[[bool], Benchmark]) -> None:
    """Run a benchmark from the command line; `build` is told whether it shall be quick."""
    options = command_line(title)
    record = measured(title, build(options.quick), options)
    save(record, options.out)


def command_line(title: str, n_repetitions: int = N_REPETITIONS) -> argparse.Namespace:
    """Return the options quick, repetitions and out; start the script again if a library could use several threads."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one repetition")
    parser.add_argument("--repetitions", type=int, default=n_repetitions)
    parser.add_argument("--out", type=Path, help="write the results here, as JSON")
    options = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})
    return options


def measured(title: str, benchmark: Benchmark, options: argparse.Namespace) -> dict[str, Any]:
    """Run the contenders, print a table, and return the record."""
    print(title)
    for line in benchmark.left_out:
        print(f"left out: {line}")
    load = os.getloadavg()[0]
    n_repetitions = 1 if options.quick else options.repetitions
    results, peaks, seconds = _alternate(benchmark.contenders, n_repetitions, 0.0 if options.quick else TURN_S)
    record = {
        "title": title,
        "quick": options.quick,
        "repetitions": n_repetitions,
        "machine": {**machine(), "load_before": round(load, 1)},
        "versions": versions(),
        "rows": _rows(benchmark.contenders, seconds, peaks),
        "agreement": benchmark.agreement(results),
        "targets": [verdict(target, seconds) for target in benchmark.targets if _there(target, seconds)],
        "left_out": benchmark.left_out,
    }
    _print(record)
    return record


def save(record: Mapping[str, Any], out: Path | None) -> None:
    """Write a record as JSON, if it is wanted."""
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _alternate(
    contenders: Sequence[Contender], n_repetitions: int, turn_s: float
) -> tuple[dict[str, Any], dict[str, float], dict[str, dict[str, list[float]]]]:
    """Run A, B, C, then C, B, A, and so on; two rounds come before: one to warm up, and one to watch the memory."""
    results: dict[str, Any] = {}
    peaks: dict[str, float] = {}
    for contender in contenders:
        contender.run()
        results[contender.name], peaks[contender.name] = with_peak(contender.run)
    clocks = ("wall", "cpu", "first")
    seconds: dict[str, dict[str, list[float]]] = {c.name: {clock: [] for clock in clocks} for c in contenders}
    for repetition in range(n_repetitions):
        for contender in contenders[:: -1 if repetition % 2 else 1]:
            for clock, value in zip(clocks, _turn(contender.run, turn_s), strict=True):
                seconds[contender.name][clock].append(value)
    return results, peaks, seconds


def _turn(run: Callable[[], Any], turn_s: float) -> tuple[float, float, float]:
    """Return wall and CPU time of a call in a row, and the CPU time of the first one, which may be the only one."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    run()
    first, first_cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    if first >= turn_s:
        return first, first_cpu, first_cpu
    wall, cpu, n_calls = time.perf_counter(), cpu_seconds(), 0
    while time.perf_counter() - wall < turn_s:
        run()
        n_calls += 1
    return (time.perf_counter() - wall) / n_calls, (cpu_seconds() - cpu) / n_calls, first_cpu


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    # children's times come in steps of 1/100 s from os.times, in microseconds from here
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def with_peak(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a call returns, and by how many MB the resident set grew at its peak - or that of a child process."""
    ctypes.CDLL(None).malloc_trim(0)  # what an earlier call freed would hide what this one takes
    Path("/proc/self/clear_refs").write_text("5")  # the kernel forgets the peak so far
    before, children = _status_mb("VmRSS"), resource.getrusage(resource.RUSAGE_CHILDREN).ru_nvcsw
    result = run()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    of_children = usage.ru_maxrss / 1024 if usage.ru_nvcsw > children else 0.0
    return result, max(_status_mb("VmHWM") - before, of_children)


def _status_mb(field_name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(field_name))


def ratio(seconds: Mapping[str, Mapping[str, Sequence[float]]], slower: str, faster: str, clock: str = "cpu") -> float:
    """Return the median, over rounds, of the ratio of two contenders' times."""
    pairs = zip(seconds[slower][clock], seconds[faster][clock], strict=True)
    return statistics.median(a / b if b else float("nan") for a, b in pairs)


def verdict(target: Target, seconds: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, Any]:
    """Return what is claimed and what came out."""
    got = ratio(seconds, target.slower, target.faster, target.clock)
    return {
        "claim": f"{target.slower} over {target.faster}",
        "target": f"at {'most' if target.at_most else 'least'} {target.factor:g}",
        "got": round(got, 2),
        "got_wall": round(ratio(seconds, target.slower, target.faster, "wall"), 2),
        "got_first": round(ratio(seconds, target.slower, target.faster, "first"), 2),
        "met": bool(got <= target.factor if target.at_most else got >= target.factor),
    }


def _there(target: Target, seconds: Mapping[str, Any]) -> bool:
    return target.slower in seconds and target.faster in seconds


def _rows(
    contenders: Sequence[Contender], seconds: Mapping[str, Mapping[str, Sequence[float]]], peaks: Mapping[str, float]
) -> list[dict[str, Any]]:
    return [
        {
            "contender": contender.name,
            "wall_s": statistics.median(seconds[contender.name]["wall"]),
            "cpu_s": statistics.median(seconds[contender.name]["cpu"]),
            "first_call_cpu_s": statistics.median(seconds[contender.name]["first"]),
            "over_first": ratio(seconds, contender.name, contenders[0].name),
            "peak_rss_mb": round(peaks[contender.name], 1),
            "physics": contender.physics,
        }
        for contender in contenders
    ]


def machine() -> dict[str, Any]:
    """Return the kind of machine, nothing that names it."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "threads_each": 1}


def versions() -> dict[str, str]:
    """Return the versions of the libraries that are installed, and of BART."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if shutil.which("bart"):
        found["bart"] = subprocess.run(["bart", "version"], capture_output=True, text=True, check=True).stdout.strip()
    return found


def _print(record: Mapping[str, Any]) -> None:
    width = max(len(row["contender"]) for row in record["rows"])
    print(f"{'':{width}}  {'CPU ms':>9}  {'wall ms':>9}  {'x first':>7}  {'peak MB':>7}  physics")
    for row in record["rows"]:
        print(
            f"{row['contender']:{width}}  {1e3 * row['cpu_s']:9.2f}  {1e3 * row['wall_s']:9.2f}  "
            f"{row['over_first']:7.2f}  {row['peak_rss_mb']:7.1f}  {row['physics']}"
        )
    for name, value in record["agreement"].items():
        print(f"{name}: {value:.3g}")
    if not record["quick"]:
        for target in record["targets"]:
            met = "met" if target["met"] else "NOT met"
            others = f"{target['got_wall']} by the clock, {target['got_first']} for the first call"
            print(f"{target['claim']}: {target['got']} ({others}), {target['target']}: {met}")
