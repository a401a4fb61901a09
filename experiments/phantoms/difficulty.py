"""How hard are the findings of a simulated knee cohort? Clean AUROC, given position, and by conspicuity.

    python experiments/phantoms/difficulty.py COHORT RUN [RUN ...]

Reads the clean test predictions of finished runs of `diagnose train`, and writes `difficulty.json` and
`difficulty.png` here. Simulation results; one seed a norm says nothing about norms.

Given position: pairs of slices at the same place of the stack only. Conspicuity: slices of one third of the
conspicuities against all slices without the finding.
"""

import argparse
import csv
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from diagnose.evaluation.prediction_table import PredictionBlock, read_table
from diagnose.run_folder import read_spec
from diagnose.statistics.bootstrap import bootstrap_auroc_interval
from diagnose.statistics.clustered_auc import Estimate
from diagnose.statistics.stratified_auroc import stratified_auroc
from mrisim.datasets.label_map import head_of, load_label_map
from mrisim.files import write_text, written_whole
from mrisim.seeding import stream

HERE = Path(__file__).parent


def conspicuities(cohort: Path, label_map: str) -> dict[tuple[str, str], float]:
    """Return the highest conspicuity of each (slice, finding): items are named file/slice."""
    highest: dict[tuple[str, str], float] = {}
    heads = load_label_map(label_map)
    with (cohort / "Annotations" / "knee_conspicuity.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            key = f"{row['file']}/{int(row['slice']):03d}", str(head_of(row["label"], heads))
            highest[key] = max(highest.get(key, 0.0), float(row["conspicuity"]))
    return highest


def finding_record(block: PredictionBlock, column: int, conspicuity: dict[tuple[str, str], float]) -> dict[str, object]:
    """Return one finding of one run."""
    finding, scores, labels = block.findings[column], block.scores[:, column], block.labels[:, column]
    position = np.array([int(item.rpartition("/")[2]) for item in block.items])
    grades = np.array([conspicuity.get((item, finding), np.nan) for item in block.items])
    edges = np.quantile(grades[labels == 1], [0, 1 / 3, 2 / 3, 1])
    thirds = []
    for low, high in pairwise(edges):
        keep = (labels == 0) | ((grades >= low) & (grades <= high))
        area = bootstrap_auroc_interval(scores[keep], labels[keep], block.patients[keep], rng=stream(0, "difficulty"))
        thirds.append({"conspicuity": [round(float(low), 3), round(float(high), 3)], **numbers(area)})
    return {
        "n_positive_slices": int(labels.sum()),
        "prevalence": round(float(labels.mean()), 3),
        "auroc": numbers(bootstrap_auroc_interval(scores, labels, block.patients, rng=stream(0, "difficulty"))),
        "auroc_given_position": numbers(
            stratified_auroc(scores, labels, position, block.patients, rng=stream(0, "difficulty"))
        ),
        "auroc_by_conspicuity": thirds,
    }


def numbers(estimate: Estimate) -> dict[str, object]:
    """Return a value and its interval, rounded."""
    bounds = {"low": estimate.low, "high": estimate.high}
    return {
        "value": round(estimate.value, 3),
        **{name: None if bound is None else round(bound, 3) for name, bound in bounds.items()},
    }


def draw(record: dict[str, dict[str, dict[str, object]]], path: Path) -> None:
    """Draw AUROC against conspicuity, one panel a finding, one line a run."""
    findings = list(next(iter(record.values())))
    figure = Figure(figsize=(3 * len(findings), 3), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, finding in zip(figure.subplots(1, len(findings), sharey=True), findings, strict=True):
        axis.axhspan(0.80, 0.95, color="0.92")
        for run, entries in record.items():
            thirds = entries[finding]["auroc_by_conspicuity"]
            middle = [np.mean(third["conspicuity"]) for third in thirds]
            axis.plot(middle, [third["value"] for third in thirds], marker="o", label=run)
        axis.set(title=finding, xlabel="conspicuity", ylim=(0.5, 1))
    figure.axes[0].set_ylabel("clean AUROC (simulation)")
    figure.axes[0].legend(fontsize="small", loc="lower right")
    with written_whole(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def main() -> None:
    """Read the runs, write table and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    given = parser.parse_args()
    record = {}
    for run in given.runs:
        spec = read_spec(run)
        block = next(block for block in read_table(run / "predictions.csv.gz") if block.cell.split == "test")
        graded = conspicuities(given.cohort, spec.label_map)
        record[f"{spec.norm}, seed {spec.seed}"] = {
            finding: finding_record(block, column, graded) for column, finding in enumerate(block.findings)
        }
    write_text(HERE / "difficulty.json", json.dumps(record, indent=1) + "\n")
    draw(record, HERE / "difficulty.png")
    for run, entries in record.items():
        for finding, entry in entries.items():
            print(f"{run:14} {finding:10}", *(f"{name} {value}" for name, value in entry.items()), sep="  ")


if __name__ == "__main__":
    main()
