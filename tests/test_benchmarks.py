"""Every benchmark runs, on tiny inputs, with or without its opponents; what it measures is not judged here."""

import importlib.util
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "experiments" / "benchmarks"
SHARED = {"comparison", "inputs", "undersampled", "growth_report"}
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in SHARED)


@contextmanager
def loaded(name):
    """Give a module of the folder, which is no package."""
    specification = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    environment = dict(os.environ)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[name]
        os.environ.clear()
        os.environ.update(environment)


@pytest.fixture(scope="module")
def comparison():
    with loaded("comparison") as module:
        yield module


@pytest.fixture(scope="module")
def growth_report():
    with loaded("growth_report") as module:
        yield module


@pytest.fixture(scope="module")
def loader_share(comparison):
    with loaded("loader_share") as module:
        yield module


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_runs(script, tmp_path):
    out = tmp_path / "result.json"
    command = [sys.executable, str(FOLDER / f"{script}.py"), "--quick", "--out", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    record = json.loads(out.read_text())
    assert record["quick"] and record["versions"]["numpy"]
    assert len(record["rows"]) >= 2 or record["left_out"]
    for row in record["rows"]:
        assert row["wall_s"] > 0 and row["contender"] in result.stdout
    for line in record["left_out"]:
        assert "is not installed" in line and line in result.stdout
    assert "met" not in result.stdout, "tiny sizes say nothing about a target"


def test_every_benchmark_has_a_committed_result_that_is_not_a_quick_one():
    results = {path.stem: path for path in (FOLDER / "results").glob("*.json")}
    assert sorted(results) == SCRIPTS
    for path in results.values():
        record = json.loads(path.read_text())
        assert not record["quick"] and record["rows"] and record["machine"]["threads_each"] == 1


def test_the_ratio_is_the_median_of_rounds_and_a_target_is_judged_by_it(comparison):
    seconds = {
        "a": {"cpu": [4.0, 6.0, 100.0], "wall": [1.0, 1.0, 1.0], "first": [9.0, 9.0, 9.0]},
        "b": {"cpu": [2.0, 2.0, 2.0], "wall": [1.0, 2.0, 4.0], "first": [3.0, 3.0, 3.0]},
    }
    assert comparison.ratio(seconds, "a", "b") == 3.0
    assert comparison.ratio(seconds, "b", "a", "wall") == 2.0
    for target, met in (
        (comparison.Target("a", "b", 3.0), True),
        (comparison.Target("a", "b", 3.1), False),
        (comparison.Target("a", "b", 2.9, at_most=True), False),
        (comparison.Target("b", "a", 2.0, clock="wall"), True),
    ):
        assert comparison.verdict(target, seconds)["met"] == met
    assert comparison.verdict(comparison.Target("a", "b", 3.0), seconds)["got_first"] == 3.0


def test_peak_memory_is_what_a_call_takes(comparison):
    result, peak = comparison.with_peak(lambda: bytes(bytearray(64 << 20))[:3])
    assert result == b"\0\0\0"
    assert 60 < peak < 400


def test_contenders_alternate_and_the_rounds_before_do_not_count(comparison):
    calls = []
    contenders = [comparison.Contender(name, lambda name=name: calls.append(name)) for name in "abc"]
    _, _, seconds = comparison._alternate(contenders, 2, 0.0)
    assert "".join(calls) == "aabbcc" + "abc" + "cba"
    assert all(len(times["wall"]) == len(times["cpu"]) == 2 for times in seconds.values())


@pytest.mark.parametrize(
    ("turn_s", "expected", "n_calls"),
    [(0.0, (5.0, 10.0, 10.0), 1), (5.0, (5.0, 10.0, 10.0), 1), (6.0, (1.5, 3.0, 10.0), 5)],
)
def test_what_takes_little_is_called_in_a_row_and_its_first_call_is_told_apart(
    comparison, monkeypatch, turn_s, expected, n_calls
):
    clock, calls = {"wall": 0.0}, []

    def run() -> None:
        calls.append(None)
        clock["wall"] += 5.0 if len(calls) == 1 else 1.5

    monkeypatch.setattr(comparison.time, "perf_counter", lambda: clock["wall"])
    monkeypatch.setattr(comparison, "cpu_seconds", lambda: 2 * clock["wall"])
    assert comparison._turn(run, turn_s) == expected
    assert len(calls) == n_calls


def test_an_exponent_is_that_of_the_power_law_and_its_interval_that_of_student(growth_report):
    x = [1.0, 2.0, 4.0, 8.0]
    assert growth_report.exponent(x, [3.0 * value**1.7 for value in x]) == pytest.approx((1.7, 1.7, 1.7))
    assert growth_report.exponent(x, [5.0] * 4)[0] == pytest.approx(0.0, abs=1e-12)
    # residuals +e, -e, -e, +e on log x = 0, 1, 2, 3 (times log 2) leave the slope alone; s^2 = 4 e^2 / 2 and
    # sum (x - mean)^2 = 5 log(2)^2, so its error is e sqrt(2 / 5) / log 2; Student's 97.5 % point of 2 is 4.302653
    e = 0.1
    y = np.exp(np.log(x) + e * np.array([1, -1, -1, 1]))
    half = 4.302653 * e * np.sqrt(2 / 5) / np.log(2)
    assert growth_report.exponent(x, y) == pytest.approx((1.0, 1.0 - half, 1.0 + half), rel=1e-6)


def growth_rows():
    """Costs that follow laws: exponents 2, 1, 1, 0.5, 1; 0.1 s and 3 MB a slice over 0.4 s and 20 MB."""
    laws = {"matrix": 2, "coils": 1, "slices": 1, "poses": 0.5, "files": 1, "listed": 1, "done": 1}
    scale = {"listed": 1e-4, "done": 2e-4}
    rows = [
        {
            "contender": f"{name} {value}",
            "cpu_s": scale.get(name, 0.05) * value**power,
            "wall_s": scale.get(name, 0.05) * value**power,
            "peak_rss_mb": 0.002 * value if name == "done" else 30.0,
        }
        for name, power in laws.items()
        for value in (3, 6, 12)
    ]
    walls = {
        "volume, 1 slices": (0.5, 23), "volume, 3 slices": (0.7, 29), "2 threads, 12 files": (0.375, 1),
        "dask 1, 12 files": (0.75, 1), "dask 2, 12 files": (0.6, 1), "2 shards, 2 files": (3.0, 1),
        "2 shards, 12 files": (3.5, 1),
    }  # fmt: skip
    return rows + [
        {"contender": name, "cpu_s": wall, "wall_s": wall, "peak_rss_mb": peak} for name, (wall, peak) in walls.items()
    ]


def growth_record(growth_report):
    return {
        **growth_report.conclusions(growth_rows(), (1, 3)),
        "rows": growth_rows(),
        "machine": {"cores": 2, "cpu": "a processor", "load_before": 0.1},
        "per_file": {"input_mb_per_slice": 20.0, "output_mb_per_slice": 25.0, "index_bytes": 800.0},
    }


def test_growth_finds_the_laws_that_were_put_in(growth_report):
    record = growth_record(growth_report)
    fits = {name: fit["cpu"] for name, fit in record["exponents"].items()}
    assert fits == pytest.approx(
        {"matrix": 2, "coils": 1, "slices": 1, "poses": 0.5, "files": 1, "listed": 1, "done": 1}
    )
    assert record["memory_mb_per_file"] == {"slope": 0.0, "low": 0.0, "high": 0.0}
    # one thread: 0.05 s a file; two need 0.375 s for 12 files: 0.6 / (2 x 0.375); shards: 10 files in 0.5 s by two
    assert record["workers"] == pytest.approx(
        {"1 thread": 1, "2 threads": 0.8, "dask, 1 process": 0.8, "dask, 2 processes": 0.5, "2 shards": 0.5}
    )
    volume = record["volume"]
    assert volume["seconds"] == pytest.approx(0.4 + 36 * 0.1) and volume["peak_mb"] == pytest.approx(20 + 36 * 3)
    assert [volume[name] for name in ("listed_s", "done_s", "done_mb")] == pytest.approx([1e-4, 2e-4, 0.002])


def test_the_plan_multiplies_the_costs_of_a_volume(growth_report):
    table = "\n".join(growth_report.plan(growth_record(growth_report)))
    for line in (
        "| volumes | 10,000 | 1,000,000 |",
        "| work, core hours | 11 | 1,111 |",  # 4 s a volume
        "| time on 2 cores | 11.1 h | 46.3 d |",  # at half of the work of one thread
        "| time on 1,000 cores | 80.0 s | 2.2 h |",
        "| output on disk | 9.0 TB | 900.0 TB |",
        "| shards | 1 | 100 |",
        "| listing all files, once | 1.0 s | 1.7 min |",
        "| lines of the index | 8.0 MB | 800.0 MB |",
        "| reports in memory, in one process | 20.0 MB | 2.0 GB |",
    ):
        assert line in table


def test_the_readme_tells_what_the_committed_result_says(growth_report):
    result = FOLDER / "results" / "growth.json"
    record = json.loads(result.read_text()) if result.exists() else None
    readme = (FOLDER / "README.md").read_text()
    assert growth_report.with_section(readme, record) == readme
    told = growth_report.with_section(readme, growth_record(growth_report))
    assert "| matrix | 2.00 (2.00 to 2.00) |" in told and "has no result yet" not in told.split("## Growth")[1]
    assert growth_report.with_section(told, record) == readme


def test_steps_are_timed_from_the_end_of_the_epoch_before_and_the_first_epoch_does_not_count(loader_share, monkeypatch):
    now = iter([10.0, 11.0, 20.0, 23.0, 24.0, 30.0, 32.0, 36.0, 39.0])
    monkeypatch.setattr(loader_share.time, "perf_counter", lambda: next(now))
    clock = loader_share.StepClock()
    watch = clock.watch
    watch.say("training bn, seed 0")
    for n_epoch in (1, 2, 3):
        for n_step in (1, 2):
            watch.batch(n_epoch, n_step, 2, 0.5)
        watch.say(f"epoch {n_epoch}/3  loss 0.5")
    # two steps each: 20 to 24, and 30 to 36; validation, after the last step, is not in it
    assert clock.seconds_per_step == [2.0, 3.0]


def test_the_share_is_the_median_over_pairs_of_runs(loader_share):
    found = loader_share.compared([[0.1, 0.1], [0.2, 0.2], [0.1, 0.1]], [[0.11, 0.11], [0.21, 0.21], [0.3, 0.3]], 0.02)
    assert found["share"] == pytest.approx(0.1) and found["share_if_nothing_overlaps"] == pytest.approx(0.2)
    assert found["clean_step_ms"] == pytest.approx(100) and found["shifted_step_ms"] == pytest.approx(210)
