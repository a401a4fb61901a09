"""Figures of an evaluation of reconstruction: curves over epochs, effective robustness, similarity against SSIM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diagnose.reconstruction.quality_table import CLEAN, OUTPUT
from mrisim.files import written_whole

if TYPE_CHECKING:
    from diagnose.reconstruction.evaluation_results import EvaluationTables

MAX_PANELS = 12


def draw_figures(folder: Path, tables: EvaluationTables) -> None:
    """Draw what there are rows for."""
    if tables.curves:
        _draw(folder / "curves.png", lambda figure: _curves(figure, tables))
    if tables.robustness:
        _draw(folder / "effective_robustness.png", lambda figure: _robustness(figure, tables))
    if tables.similarity:
        _draw(folder / "similarity.png", lambda figure: _similarity(figure, tables))


def _draw(path: Path, fill: Callable[[Any], None]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    fill(figure)
    with written_whole(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def _curves(figure: Any, tables: EvaluationTables) -> None:
    """One panel a run: validation SSIM after each epoch, solid in distribution, dashed outside of it."""
    runs = list(dict.fromkeys(point.run for point in tables.curves))[:MAX_PANELS]
    n_columns = min(3, len(runs))
    n_rows = -(-len(runs) // n_columns)
    figure.set_size_inches(4.4 * n_columns, 3.2 * n_rows)
    panels = np.atleast_1d(figure.subplots(n_rows, n_columns, squeeze=False)).ravel()
    for panel in panels[len(runs) :]:
        panel.set_axis_off()
    for panel, run in zip(panels, runs, strict=False):
        points = [point for point in tables.curves if point.run == run]
        for name in dict.fromkeys(point.distribution for point in points):
            own = sorted((point for point in points if point.distribution == name), key=lambda point: point.epoch)
            style = "-" if own[0].in_distribution else "--"
            panel.plot([point.epoch + 1 for point in own], [point.ssim for point in own], style, label=name)
        panel.set(xlabel="epoch", ylabel="SSIM, validation")
        panel.set_title(run, fontsize=7)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="x-small")


def _robustness(figure: Any, tables: EvaluationTables) -> None:
    """One panel for each P, Q and network: the line of networks trained on P alone, and those trained on both."""
    keys = list(dict.fromkeys((point.network, point.p, point.q) for point in tables.robustness))[:MAX_PANELS]
    n_columns = min(3, len(keys))
    n_rows = -(-len(keys) // n_columns)
    figure.set_size_inches(4.0 * n_columns, 3.4 * n_rows)
    panels = np.atleast_1d(figure.subplots(n_rows, n_columns, squeeze=False)).ravel()
    for panel in panels[len(keys) :]:
        panel.set_axis_off()
    for panel, (network, p, q) in zip(panels, keys, strict=False):
        points = [one for one in tables.robustness if (one.network, one.p, one.q) == (network, p, q)]
        alone = points_of_p_alone(tables, network, p, q)
        panel.plot(*alone, "o", color="grey", markersize=3, label="P alone, after each epoch or seed")
        on_p = np.array([*alone[0], *(one.ssim_p for one in points)])
        line = np.array([on_p.min(), on_p.max()])
        panel.plot(line, points[0].slope * line + points[0].intercept, color="grey", linewidth=1)
        panel.plot([one.ssim_p for one in points], [one.ssim_q for one in points], "^", color="C3", label="P and Q")
        panel.set(xlabel=f"SSIM on P = {p}", ylabel=f"SSIM on Q = {q}")
        panel.set_title(network, fontsize=8)
    panels[0].legend(fontsize="x-small")


def points_of_p_alone(tables: EvaluationTables, network: str, p: str, q: str) -> tuple[list[float], list[float]]:
    """Return the points (SSIM on P, SSIM on Q) of the runs of a network that were trained on P alone."""
    members = {run for run, name in tables.networks.items() if name == network}
    if tables.curves:
        found = {
            (one.run, one.epoch, one.distribution): one.ssim
            for one in tables.curves
            if one.train_on == p and one.run in members
        }
    else:
        found = {
            (one.run, 0, one.distribution): one.mean
            for one in tables.cells
            if one.train_on == p
            and one.run in members
            and (one.kind, one.intensities, one.metric) == (CLEAN, OUTPUT, "ssim")
        }
    keys = [key for key in found if key[2] == p]
    return [found[key] for key in keys], [found[key[0], key[1], q] for key in keys]


def _similarity(figure: Any, tables: EvaluationTables) -> None:
    """Return one panel: mean similarity to the training slices against mean SSIM, a point a run and distribution."""
    figure.set_size_inches(5.0, 4.0)
    panel = figure.subplots()
    ssim = {
        (one.run, one.distribution): one.mean
        for one in tables.cells
        if (one.kind, one.intensities, one.metric) == (CLEAN, OUTPUT, "ssim")
    }
    for name in dict.fromkeys(row.distribution for row in tables.similarity):
        own = [row for row in tables.similarity if row.distribution == name]
        panel.plot([row.similarity for row in own], [ssim[row.run, name] for row in own], "o", markersize=4, label=name)
    panel.set(xlabel="cosine with the nearest training slice, mean", ylabel="SSIM, test")
    panel.legend(fontsize="x-small")
