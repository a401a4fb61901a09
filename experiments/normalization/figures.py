"""Draw the figures of this folder's README from a finished study: dose and response, the heat map.

python experiments/normalization/figures.py STUDY results/NAME
"""

import json
import sys
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from diagnose.report.svg import style_of

LARGEST = 0.1
"""End of the colour scale of differences in AUROC."""


def dose_response(record: dict, path: Path) -> None:
    """Draw the mean AUROC over levels: a column for each kind, a row for each input scaling."""
    arms = [arm for arm in record["arms"] if not arm["train_shift"] and arm["adaptation"] != "precise-bn"]
    scalings, kinds = list(dict.fromkeys(arm["scaling"] for arm in arms)), record["kinds"]
    figure, panels = plt.subplots(
        len(scalings), len(kinds), figsize=(2.2 * len(kinds), 2.3 * len(scalings)), sharex=True, sharey=True,
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for row, scaling in zip(panels, scalings, strict=True):
        for panel, kind in zip(row, kinds, strict=True):
            for position, arm in enumerate(arm for arm in arms if arm["scaling"] == scaling):
                draw_line(panel, record, arm, kind, position)
            panel.set_title(kind, fontsize=9)
            panel.grid(alpha=0.3)
        row[0].set_ylabel(f"{scaling}\nmean AUROC", fontsize=8)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    figure.suptitle("Simulation result: bands are 95 % over seeds and patients", fontsize=9)
    figure.savefig(path, dpi=110)


def draw_line(panel, record: dict, arm: dict, kind: str, position: int) -> None:
    """Draw one arm under one kind, clean at level 0; the adapted reference is dotted."""
    rows = [
        row for row in record["dose_response"]
        if row["arm"] == arm["id"] and row["finding"] == "mean of learnt" and row["kind"] in ("clean", kind)
    ]  # fmt: skip
    rows.sort(key=lambda row: row["level"])
    style = style_of(arm["norm"], position)
    adapted = arm["adaptation"] != "frozen"
    levels, values = [row["level"] for row in rows], [row["value"] for row in rows]
    label = arm["norm"] + (", prediction-time" if adapted else "")
    panel.plot(levels, values, ":" if adapted else "-", color=style.colour, label=label, linewidth=1.4)
    if not adapted and all(row["low"] is not None for row in rows):
        low, high = ([row[end] for row in rows] for end in ("low", "high"))
        panel.fill_between(levels, low, high, color=style.colour, alpha=0.12, linewidth=0)


def heat_map(record: dict, path: Path) -> None:
    """Draw the difference to the reference by kind and level; a ring where the simultaneous band leaves 0 out."""
    cells, kinds, levels = record["heat_map"]["cells"], record["kinds"], record["levels"]
    arms = list(dict.fromkeys(cell["arm"] for cell in cells))
    names = {arm["id"]: arm["norm"] for arm in record["arms"]}
    figure, panels = plt.subplots(
        1, len(arms), figsize=(2.6 * len(arms) + 1.4, 2.9), squeeze=False, layout="constrained"
    )
    for panel, arm in zip(panels[0], arms, strict=True):
        values = np.full((len(kinds), len(levels)), np.nan)
        for cell in (cell for cell in cells if cell["arm"] == arm):
            place = kinds.index(cell["kind"]), levels.index(cell["level"])
            values[place] = cell["difference"]
            if cell["flagged"]:
                panel.plot(place[1], place[0], "o", color="black", fillstyle="none", markersize=11)
        image = panel.imshow(values, cmap="RdBu", vmin=-LARGEST, vmax=LARGEST, aspect="auto")
        panel.set_title(f"{names[arm]} - {record['plan']['reference']}", fontsize=9)
        panel.set_xticks(range(len(levels)), levels)
        panel.set_yticks(range(len(kinds)), kinds if panel is panels[0][0] else [""] * len(kinds))
        panel.set_xlabel("level", fontsize=8)
    figure.colorbar(image, ax=panels[0].tolist(), label="difference in mean AUROC")
    scaling = record["plan"]["scaling"]
    figure.suptitle(f"Simulation result, {scaling}; ring: the simultaneous 95 % band leaves 0 out", fontsize=9)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Write NAME_dose_response.png and NAME_heat_map.png."""
    study, name = Path(sys.argv[1]), sys.argv[2]
    record = json.loads((study / "analysis.json").read_text(encoding="utf-8"))
    dose_response(record, Path(f"{name}_dose_response.png"))
    heat_map(record, Path(f"{name}_heat_map.png"))


if __name__ == "__main__":
    main()
