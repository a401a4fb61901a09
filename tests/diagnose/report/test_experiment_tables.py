"""The tables of experiments/normalization, from a real, tiny study."""

import importlib.util
import json
from pathlib import Path

import pytest

FILE = Path(__file__).parents[3] / "experiments" / "normalization" / "tables.py"


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("normalization_tables", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_table_is_there_and_holds_the_numbers_of_the_analysis(tables, study: Path):
    record = json.loads((study / "analysis.json").read_text())
    drift = json.loads((study / "drift" / "drift.json").read_text())
    text = tables.report(record, drift)
    (primary,) = record["primary"]["comparisons"]
    assert f"| primary | gn - bn | {tables.interval(primary)} |" in text
    for row in record["clean"]:
        assert tables.interval(row) in text
    for cell in record["heat_map"]["cells"]:
        assert f"| {cell['kind']} | {cell['level']} | {tables.interval(cell)}" in text
    swap = next(row for row in drift["swap"] if row["finding"] == tables.MEAN and row["swap"] == "variance")
    assert (
        f"| frozen | {' | '.join(dict.fromkeys(r['swap'] for r in drift['swap'] if r['swap'] != 'frozen'))} |" in text
    )
    assert swap["minus_frozen"] is None or f"{swap['minus_frozen']:.3f}" in text
    widths = [{line.count("|") for line in part.splitlines()} for part in text.split("\n\n") if part.startswith("|")]
    assert len(widths) == 7 and all(len(width) == 1 for width in widths), "as many cells in every line of a table"


def test_arms_are_told_apart(tables, study: Path):
    record = json.loads((study / "analysis.json").read_text())
    labels = tables.labels_of(record)
    assert len(set(labels.values())) == len(record["arms"]) and set(labels.values()) >= {"bn", "gn"}
    other = {**record["arms"][0], "id": "x", "train_shift": "random", "scaling": "p99"}
    assert tables.labels_of({**record, "arms": [other]}) == {"x": "bn, p99, trained on random"}


def test_without_drift_or_an_interval_the_rest_is_there(tables, study: Path):
    record = json.loads((study / "analysis.json").read_text())
    assert "frozen statistics" not in tables.report(record, None)
    assert tables.interval({"value": None}) == "-" and tables.interval({"value": 0.5, "low": None}) == "0.500"
