"""Tables of a drift analysis: what their columns mean, as CSV, as JSON and as text."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diagnose.drift.activation_statistics import QUANTILES
from diagnose.drift.statistic_swap import BOTH, FROZEN, TRANSPLANTED
from diagnose.evaluation.shift_results import MEAN
from diagnose.slice_images import CLEAN
from mrisim.files import write_text

GAIN = "gain"
RUNNING, BEFORE, AFTER = "running", "before", "after"

CELL_COLUMNS = {
    "run": "name of the run",
    "norm": "its norm layer",
    "scaling": "its input scaling; z-score and p99 undo a gain by construction",
    "split": "split of the images",
    "recon": "reconstruction",
    "kind": f"kind of artifact, {CLEAN}, or the control {GAIN}: clean images times a factor",
    "level": f"level of the kind; 0 for {CLEAN} and {GAIN}",
    "gain": "factor on the images; 1 but for the control",
}
_QUANTILE_NAMES = [f"p{round(100 * quantile):02d}" for quantile in QUANTILES]
DRIFT_COLUMNS = CELL_COLUMNS | {
    "layer_number": "place of the norm layer in the network, from 1",
    "layer": "its name",
    "side": f"{BEFORE}: what enters the norm layer; {AFTER}: what leaves it",
    "reference": f"{RUNNING}: the stored statistics of batch norm; {CLEAN}: the same network on the clean images",
    "n_slices": "slices that the statistics are of",
    "n_channels": "channels of the layer",
    "n_constant_channels": "channels without spread, left out of the averages",
    "mean_shift": "|mean - reference mean| / reference standard deviation, averaged over channels",
    "log_variance_ratio": "ln(variance / reference variance), averaged over channels",
    "abs_log_variance_ratio": "its modulus, averaged over channels",
    "n_groups": "groups that one image's statistics are taken over; a channel each for batch norm and none",
    **{
        f"sample_mean_{name}": f"quantile {name[1:]} % over images and groups of (an image's mean - clean set's mean)"
        " / clean set's standard deviation; of what enters, against clean, else empty"
        for name in _QUANTILE_NAMES
    },
    **{
        f"sample_sd_{name}": f"quantile {name[1:]} % of an image's standard deviation / that of the clean set"
        for name in _QUANTILE_NAMES
    },
}
SWAP_COLUMNS = CELL_COLUMNS | {
    "swap": f"{FROZEN}: nothing replaced; mean, variance, {BOTH}: in all batch norms; first-k, last-k: both in k; each "
    f"layer takes what really enters it, but for ...{TRANSPLANTED}: that of the network with {BOTH} replaced",
    "finding": f"finding, or {MEAN} findings",
    "learnt": "clean AUROC under frozen statistics of 0.80 or more in this split",
    "auroc": "AUROC of all slices of the split",
    "low": "95 % interval, bootstrap over patients, of one trained model",
    "high": "",
    "minus_frozen": "AUROC minus that of the frozen statistics, with its paired interval",
    "minus_frozen_low": "",
    "minus_frozen_high": "",
    "minus_both": "AUROC minus that of both statistics replaced in all layers, with its paired interval",
    "minus_both_low": "",
    "minus_both_high": "",
    "n_positive_patients": "patients with the finding; of the mean: the fewest of a finding",
    "n_negative_patients": "patients with a slice without it",
    "no_interval": "why there is no interval",
}


def quantile_columns(means: Sequence[float | None], spreads: Sequence[float | None]) -> dict[str, float | None]:
    """Return the quantiles of single images' statistics under the names of their columns."""
    return {f"sample_mean_{name}": value for name, value in zip(_QUANTILE_NAMES, means, strict=True)} | {
        f"sample_sd_{name}": value for name, value in zip(_QUANTILE_NAMES, spreads, strict=True)
    }


def write_rows(path: Path, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table as CSV; numbers with six digits, None as an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([f"{row[name]:.6g}" if isinstance(row[name], float) else row[name] for name in columns])
    write_text(path, text.getvalue())


def by_layer(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one record for each run, cell, side and reference, its numbers as lists over the layers."""
    shared = [*CELL_COLUMNS, "side", "reference", "n_slices"]
    records: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        record = records.setdefault(tuple(row[name] for name in shared), {name: row[name] for name in shared})
        for name in DRIFT_COLUMNS:
            if name not in shared and not (row[name] is None and name.startswith("sample_")):
                record.setdefault(name, []).append(rounded(row[name]))
    return list(records.values())


def rounded(value: Any) -> Any:
    """Return a float with the six digits that the CSV has, anything else as it is."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def drift_lines(rows: Sequence[Mapping[str, Any]], swaps: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the drift behind the norm layers and, for batch norm, what each swap gains, as text."""
    lines: list[str] = []
    for group in dict.fromkeys((row["run"], row["recon"]) for row in rows):
        mine = [row for row in rows if (row["run"], row["recon"]) == group]
        first = mine[0]
        lines += [
            "",
            f"{group[0]}  ({first['norm']}, {first['scaling']}, {group[1]}, {first['split']}, "
            f"{first['n_slices']} slices)",
            "  drift from clean behind the norm layers: |mean shift| / sd, and ln variance ratio",
            f"    {'':18}{'all layers':>18}{'first':>18}{'last':>18}",
        ]
        lines += _drift_lines([row for row in mine if (row["side"], row["reference"]) == (AFTER, CLEAN)])
        lines += _swap_lines([row for row in swaps if (row["run"], row["recon"]) == group])
    return lines


def _drift_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for cell in dict.fromkeys(map(_cell_name, rows)):
        layers = [row for row in rows if _cell_name(row) == cell]
        texts = [_drift_text(part) for part in (layers, layers[:1], layers[-1:])]
        lines.append(f"    {cell:18}" + "".join(f"{text:>18}" for text in texts))
    return lines


def _drift_text(layers: Sequence[Mapping[str, Any]]) -> str:
    counted = [row for row in layers if row["mean_shift"] is not None]
    if not counted:
        return "constant"
    shift, ratio = (float(np.mean([row[name] for row in counted])) for name in ("mean_shift", "log_variance_ratio"))
    return f"{shift:.3f}  {ratio + 0.0:+.2f}"


def _swap_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    means = [row for row in rows if row["finding"] == MEAN]
    if not means:
        return ["  swaps: no finding is learnt (clean AUROC of 0.80 or more): no statement about swaps"]
    names = list(dict.fromkeys(row["swap"] for row in means if row["swap"] != FROZEN))
    lines = [
        f"  AUROC, {MEAN} findings: frozen statistics, and what replacing them by the shifted images' changes",
        f"    {'':18}{FROZEN:>8}" + "".join(f"{name:>24}" for name in names),
    ]
    for cell in dict.fromkeys(map(_cell_name, means)):
        of_swap = {row["swap"]: row for row in means if _cell_name(row) == cell}
        texts = [_difference(of_swap[name]) for name in names]
        lines.append(f"    {cell:18}{of_swap[FROZEN]['auroc']:8.3f}" + "".join(f"{text:>24}" for text in texts))
    return lines


def _difference(row: Mapping[str, Any]) -> str:
    value, low, high = (row[f"minus_frozen{end}"] for end in ("", "_low", "_high"))
    return f"{value:+.3f}" if low is None else f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def _cell_name(row: Mapping[str, Any]) -> str:
    if row["kind"] == GAIN:
        return f"{GAIN} x{row['gain']:g}"
    return str(row["kind"]) if row["kind"] == CLEAN else f"{row['kind']} {row['level']}"
