"""Every benchmark runs, on tiny inputs, with or without its opponents; what it measures is not judged here."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "experiments" / "benchmarks"
SHARED = {"comparison", "inputs", "undersampled"}
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in SHARED)


@pytest.fixture(scope="module")
def comparison():
    specification = importlib.util.spec_from_file_location("comparison", FOLDER / "comparison.py")
    module = importlib.util.module_from_spec(specification)
    environment = dict(os.environ)
    sys.modules["comparison"] = module
    try:
        specification.loader.exec_module(module)
        yield module
    finally:
        del sys.modules["comparison"]
        os.environ.clear()
        os.environ.update(environment)


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
        "a": {"cpu": [4.0, 6.0, 100.0], "wall": [1.0, 1.0, 1.0]},
        "b": {"cpu": [2.0, 2.0, 2.0], "wall": [1.0, 2.0, 4.0]},
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


def test_peak_memory_is_what_a_call_takes(comparison):
    result, peak = comparison.with_peak(lambda: bytes(bytearray(64 << 20))[:3])
    assert result == b"\0\0\0"
    assert 60 < peak < 400


def test_contenders_alternate_and_the_rounds_before_do_not_count(comparison):
    calls = []
    contenders = [comparison.Contender(name, lambda name=name: calls.append(name)) for name in "abc"]
    _, _, seconds = comparison._alternate(contenders, 2)
    assert "".join(calls) == "aabbcc" + "abc" + "cba"
    assert all(len(times["wall"]) == len(times["cpu"]) == 2 for times in seconds.values())
