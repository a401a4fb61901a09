"""Can a knee's label be read off something that is no lesion? Linear probes within each slice position.

    python experiments/phantoms/shortcuts.py COHORT

A logistic regression is fitted for each position of the stack and each finding, folds by patient, on (a) global
intensity, (b) what is left of the image outside of every box that any patient has anywhere, (c) attributes of the
file. AUROC over pairs of one position, with a patient bootstrap; above 0.65 the cohort has a shortcut. Also the AUROC
of the position alone, which is anatomy, no leak. Writes `shortcuts.json`. Simulation results.
"""

import argparse
import json
from pathlib import Path

import h5py
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from diagnose.dataset import DataRequest, load_slice_table
from diagnose.statistics.metrics import auroc
from diagnose.statistics.stratified_auroc import stratified_auroc
from mrisim.datasets.label_map import box_in_array, read_annotations
from mrisim.files import write_text
from mrisim.seeding import stream

HERE = Path(__file__).parent
LABEL_MAP = "fastmri_plus_knee_4way"
LIMIT = 0.65
MARGIN_PX = 4
TILE_PX = 24
LEAST_POSITIVES = 10
"""A position with fewer positive slices has no probe."""


def features(cohort: Path, files: list[Path]) -> dict[str, np.ndarray]:
    """Return the probes' inputs, each (slice, feature), files in order."""
    images, attributes = [], []
    for path in files:
        with h5py.File(path) as file:
            volume = file["reconstruction_rss"][()]
            values = [float(file.attrs[name]) for name in ("mrisim_noise_std", "mrisim_gain", "max", "norm")]
        images.append(volume)
        attributes += [[*values, float(path.stem[4:]), path.stat().st_size]] * len(volume)
    stack = np.concatenate(images)
    flat = stack.reshape(len(stack), -1)
    quantiles = np.percentile(flat, [1, 5, 25, 50, 75, 90, 95, 99], axis=1).T
    intensity = np.column_stack([flat.mean(1), flat.std(1), flat.max(1), quantiles])
    # One mask for all slices: the shape of a slice's own mask would tell its label.
    free = np.ones(stack.shape[1:], bool)
    for annotation in read_annotations(cohort / "Annotations" / "knee.csv"):
        x, y, width, height = box_in_array(annotation.box, stack.shape[1])
        free[max(y - MARGIN_PX, 0) : y + height + MARGIN_PX, max(x - MARGIN_PX, 0) : x + width + MARGIN_PX] = False
    background = []
    for row in range(0, stack.shape[1], TILE_PX):
        for column in range(0, stack.shape[2], TILE_PX):
            place = slice(row, row + TILE_PX), slice(column, column + TILE_PX)
            if free[place].sum() >= TILE_PX:
                tile = stack[:, place[0], place[1]][:, free[place]]
                background += [tile.mean(1), tile.std(1), *np.percentile(tile, [10, 90], axis=1)]
    return {
        "global intensity": np.log(intensity + 1e-9),
        "lesion-free background": np.log(np.column_stack(background) + 1e-9),
        "file attributes": np.array(attributes),
    }


def held_out_scores(
    inputs: np.ndarray, labels: np.ndarray, position: np.ndarray, patients: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of slices by a probe that has not seen their patient, and which slices have one."""
    scores, used = np.zeros(len(labels)), np.zeros(len(labels), bool)
    for place in np.unique(position):
        rows = np.flatnonzero(position == place)
        if labels[rows].sum() < LEAST_POSITIVES:
            continue
        used[rows] = True
        for train, test in GroupKFold(5).split(rows, groups=patients[rows]):
            if len(np.unique(labels[rows[train]])) == 2:
                probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
                probe.fit(inputs[rows[train]], labels[rows[train]])
                scores[rows[test]] = probe.decision_function(inputs[rows[test]])
    return scores, used


def main() -> None:
    """Probe the cohort, write the table; exit with 1 where a probe is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    cohort = parser.parse_args().cohort
    table = load_slice_table(DataRequest(cohort, None, LABEL_MAP, None, 0, False))
    files = {path.stem: path for path in cohort.glob("multicoil_*/*.h5")}
    stems = list(dict.fromkeys(item.rpartition("/")[0] for item in table.items))
    position = np.array([int(item.rpartition("/")[2]) for item in table.items])
    inputs = features(cohort, [files[stem] for stem in stems])
    record: dict[str, dict[str, object]] = {"slice position alone": {}}
    worst = 0.0
    for column, finding in enumerate(table.findings):
        labels = table.labels[:, column]
        rate = np.array([labels[position == place].mean() for place in range(position.max() + 1)])
        record["slice position alone"][finding] = round(float(auroc(rate[position], labels)), 3)
        for name, values in inputs.items():
            scores, used = held_out_scores(values, labels, position, table.patients)
            area = stratified_auroc(
                scores[used], labels[used], position[used], table.patients[used], rng=stream(0, "shortcuts")
            )
            bounds = [round(float(bound), 3) for bound in (area.value, area.low, area.high)]
            record.setdefault(name, {})[finding] = bounds
            worst = max(worst, bounds[2])
            print(f"{name:24} {finding:10} {bounds[0]:.3f} [{bounds[1]:.3f}, {bounds[2]:.3f}]", flush=True)
    print("slice position alone", record["slice position alone"])
    write_text(HERE / "shortcuts.json", json.dumps(record, indent=1) + "\n")
    print(f"highest upper bound {worst:.3f}, limit {LIMIT}")
    raise SystemExit(worst >= LIMIT)


if __name__ == "__main__":
    main()
