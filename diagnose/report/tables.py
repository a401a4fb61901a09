"""Tables of the report, from the rows of analysis.json: what stands in which cell, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diagnose.evaluation.shift_results import MEAN
from diagnose.report.wording import arm_name, interval, number, p_value, percent, signed
from diagnose.slice_images import CLEAN

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """One cell: a number, what stands small below it, how it is marked and shaded."""

    text: str
    below: str = ""
    mark: str = ""
    """CSS class."""
    shade: float | None = None
    """-1 (much worse than the reference) to 1 (much better); None is not shaded."""


@dataclass(frozen=True)
class Table:
    """A table with a heading for each row and column."""

    caption: str
    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    scores: bool = True
    """Holds scores: on simulated data it is labelled so."""


def estimate_cell(estimate: Record, *, digits: int = 3, mark: str = "") -> Cell:
    """Return value and interval; where there is no interval, the reason as the cell's second line."""
    below = interval(estimate["low"], estimate["high"], digits)
    return Cell(
        number(estimate["value"], digits), below or ("no interval" if estimate["value"] is not None else ""), mark
    )


def clean_table(analysis: Record, arms: Sequence[Record]) -> Table:
    """Return clean AUROC, findings in rows and norms in columns; how many seeds have learnt a finding stands below."""
    rows = {(row["arm"], row["finding"]): row for row in analysis["clean"]}
    findings = [entry["finding"] for entry in analysis["data"]["findings"]]
    table = []
    for finding in [*findings, MEAN]:
        cells = []
        for arm in arms:
            estimate = rows.get((arm["id"], finding))
            if estimate is None:
                cells.append(Cell("\N{EN DASH}", "not learnt" if finding == MEAN else ""))
                continue
            cell, runs = estimate_cell(estimate), _learnt_runs(analysis, arm, finding)
            n_learnt = sum(run["learnt"] for run in runs)
            if n_learnt < len(runs):
                below = number(analysis["plan"]["min_auroc"], 2)
                text = f"not learnt (below {below})" if not n_learnt else f"learnt in {n_learnt} of {len(runs)}"
                cell = Cell(cell.text, f"{cell.below}\n{text}", "unlearnt" if not n_learnt else "partly")
            cells.append(cell)
        table.append((finding, tuple(cells)))
    return Table(
        "AUROC on the clean test split, mean over seeds, with 95 % interval",
        "finding",
        tuple(arm["label"] for arm in arms),
        tuple(table),
    )


def _learnt_runs(analysis: Record, arm: Record, finding: str) -> list[Record]:
    return [row for row in analysis["learnt"] if row["arm"] == arm["id"] and row["finding"] == finding]


def comparison_table(caption: str, comparisons: Sequence[Record], *, confirmatory: bool = False) -> Table:
    """Return differences to the reference, 95 % intervals below, one row each; Holm's p only where it was planned."""
    noted = any(entry["message"] for entry in comparisons)
    columns = ("difference", "p", *(("p (Holm)",) if confirmatory else ()), "seeds", *(("note",) if noted else ()))
    rows = []
    for entry in comparisons:
        cells = [Cell(signed(entry["difference"]), interval(entry["low"], entry["high"])), Cell(p_value(entry["p"]))]
        if confirmatory:
            cells.append(Cell(p_value(entry["p_holm"]), mark="key"))
        cells.append(Cell(str(entry["n_seeds"])))
        if noted:
            cells.append(Cell(entry["message"], mark="words"))
        measure = f", {entry['measure']}" if "measure" in entry else ""
        name = (
            f"{arm_name(entry['norm'])} {_protocol(entry)}\N{MINUS SIGN} {arm_name(entry['reference_norm'])}{measure}"
        )
        rows.append((name, tuple(cells)))
    return Table(caption, "comparison", columns, tuple(rows))


def _protocol(entry: Record) -> str:
    """Return the parts of an arm's protocol in which it differs from its reference, in brackets.

    The statistics at test time are in the label already.
    """
    parts = [
        dict(zip(("norm", "scaling", "shift", "adaptation", "recon"), identity.split("/"), strict=True))
        for identity in (entry["arm"], entry["reference"])
    ]
    differing = [parts[0][name] for name in ("scaling", "shift", "recon") if parts[0][name] != parts[1][name]]
    return f"({', '.join(differing)}) " if differing else ""


def heat_table(analysis: Record, arm: Record) -> Table:
    """Return the differences of one arm to the reference by kind and level; what the bands leave standing is marked."""
    heat = analysis["heat_map"]
    cells = {(cell["kind"], cell["level"]): cell for cell in heat["cells"] if cell["arm"] == arm["id"]}
    reach = max((abs(cell["difference"]) for cell in heat["cells"] if cell["difference"] is not None), default=1) or 1
    rows = []
    for kind in heat["kinds"]:
        row = []
        for level in heat["levels"]:
            cell = cells.get((kind, level))
            if cell is None or cell["difference"] is None:
                row.append(Cell("\N{EN DASH}"))
                continue
            mark = "flagged" if cell["flagged"] else ""
            row.append(
                Cell(signed(cell["difference"]), interval(cell["low"], cell["high"]), mark, cell["difference"] / reach)
            )
        rows.append((kind, tuple(row)))
    reference = next((each["label"] for each in analysis["arms"] if each["id"] == heat["reference"]), "reference")
    return Table(
        f"{arm['label']} minus {reference}: AUROC, mean of learnt findings",
        "kind",
        tuple(f"level {level}" for level in heat["levels"]),
        tuple(rows),
    )


def dose_table(analysis: Record, arms: Sequence[Record], kind: str) -> Table:
    """Return AUROC with interval; below it the drop from clean, and the retained share of (AUROC - 1/2)."""
    rows = by_place(analysis["dose_response"])
    levels = [0, *analysis["levels"]]
    table = []
    for arm in arms:
        clean, cells = rows.get((arm["id"], CLEAN, 0, MEAN)), []
        for level in levels:
            row = clean if level == 0 else rows.get((arm["id"], kind, level, MEAN))
            if row is None or row["value"] is None:
                cells.append(Cell("\N{EN DASH}"))
                continue
            below = interval(row["low"], row["high"])
            if level and clean is not None and clean["value"] is not None:
                drop = signed(row["value"] - clean["value"])
                below = f"{below}\n{drop}, {percent(row['retained']['value'])} kept".strip()
            cells.append(Cell(number(row["value"]), below))
        table.append((arm["label"], tuple(cells)))
    columns = ("clean", *(f"level {level}" for level in analysis["levels"]))
    return Table(f"{kind}: AUROC, mean of learnt findings", "norm", columns, tuple(table))


def error_table(analysis: Record, arms: Sequence[Record], caption: str) -> Table:
    """Return corruption errors of some arms: of each kind, their mean, and the mean with the clean error taken off."""
    records, rows = {row["arm"]: row for row in analysis["corruption_error"]}, []
    for arm in arms:
        row = records.get(arm["id"])
        if row is None:
            continue
        if row["arm"] == row["reference"]:  # 100 by definition: no interval
            rows.append(
                (arm["label"], (Cell("100", "the reference", "key"), *(Cell("100") for _ in (0, *row["kinds"]))))
            )
            continue
        kinds = {entry["kind"]: entry for entry in row["kinds"]}
        cells = [
            Cell(number(row["mce"], 1), interval(row["mce_low"], row["mce_high"], 1), "key"),
            Cell(
                number(row["relative_mce"], 1),
                interval(row["relative_mce_low"], row["relative_mce_high"], 1) or row["relative_reason"],
            ),
        ]
        rows.append((arm_name(arm["label"]), (*cells, *(_times_100(kinds[kind]) for kind in kinds))))
    return Table(caption, "norm", ("mCE", "relative mCE", *analysis["plan"]["kinds"]), tuple(rows))


def _times_100(entry: Record) -> Cell:
    if entry["ce"] is None:
        return Cell("\N{EN DASH}")
    low, high = (None if bound is None else 100 * bound for bound in (entry["low"], entry["high"]))
    return Cell(number(100 * entry["ce"], 1), interval(low, high, 1))


def by_place(rows: Iterable[Record]) -> dict[tuple[str, str, int, str], Record]:
    """Return rows by (arm, kind, level, finding)."""
    return {(row["arm"], row["kind"], row["level"], row["finding"]): row for row in rows}
