"""The frozen prediction table: one row for each slice, finding and shift, from which every later number is made.

CSV, gzipped where the name ends in .gz. A stranger's table needs only the columns of `REQUIRED`.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mrisim.errors import DataError
from mrisim.files import written_whole

COLUMNS = (
    "item", "patient", "split", "run", "kind", "level", "recon", "adaptation", "finding",
    "score", "logit_present", "label", "level_table",
)  # fmt: skip
REQUIRED = ("item", "patient", "kind", "level", "finding", "score", "label")
_DEFAULTS = {
    "split": "test",
    "run": "run",
    "recon": "rss",
    "adaptation": "frozen",
    "logit_present": "",
    "level_table": "",
}


@dataclass(frozen=True)
class Cell:
    """What all rows of a block have in common."""

    run: str
    split: str
    kind: str
    level: int
    recon: str = "rss"
    adaptation: str = "frozen"
    level_table: str = ""


@dataclass(frozen=True, eq=False)
class PredictionBlock:
    """Predictions of one model on one split under one shift."""

    cell: Cell
    items: tuple[str, ...]
    patients: np.ndarray
    """(slice,)"""
    findings: tuple[str, ...]
    scores: np.ndarray
    """(slice, finding), float32: logit of present minus logit of absent; higher means present."""
    labels: np.ndarray
    """(slice, finding), 0 or 1."""
    logits_present: np.ndarray | None = None
    """(slice, finding), float32: what the paper ranks by."""


def write_table(path: Path, blocks: Iterable[PredictionBlock]) -> None:
    """Write blocks as one table; equal blocks give equal bytes."""
    with written_whole(path) as partial, partial.open("wb") as raw:
        # No time and no file name in the gzip header: they would make equal tables differ.
        packed = gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6)
        with packed, io.TextIOWrapper(packed, encoding="utf-8", newline="") as text:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(COLUMNS)
            for block in blocks:
                writer.writerows(_rows(block))


def _rows(block: PredictionBlock) -> Iterable[tuple[object, ...]]:
    cell = block.cell
    for index, item in enumerate(block.items):
        for column, finding in enumerate(block.findings):
            present = "" if block.logits_present is None else f"{block.logits_present[index, column]:.9g}"
            yield (
                item, block.patients[index], cell.split, cell.run, cell.kind, cell.level, cell.recon, cell.adaptation,
                finding, f"{block.scores[index, column]:.9g}", present, int(block.labels[index, column]),
                cell.level_table,
            )  # fmt: skip


def read_table(path: Path) -> list[PredictionBlock]:
    """Read a table, ours or a stranger's; missing optional columns take their defaults.

    Raises
    ------
    DataError
        A missing column, a value that is no number, or a slice that lacks a finding or has one twice.
    """
    if not path.is_file():
        raise DataError(f"{path.name} does not exist; expected a prediction table (CSV)")
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    groups: dict[Cell, list[tuple[str, str, str, float, str, int]]] = {}
    try:
        with gzip.open(path, "rt", newline="") if packed else path.open(newline="", encoding="utf-8") as text:
            reader = csv.DictReader(text)
            missing = [name for name in REQUIRED if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{path.name} lacks the columns {', '.join(missing)}; expected {', '.join(REQUIRED)}")
            for row in reader:
                cell, entry = _parsed(_DEFAULTS | row, f"{path.name} line {reader.line_num}")
                groups.setdefault(cell, []).append(entry)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} cannot be read ({error}); expected a whole CSV file") from None
    if not groups:
        raise DataError(f"{path.name} has no row; expected one for each slice, finding and shift")
    return [_block(cell, entries, path.name) for cell, entries in groups.items()]


def _parsed(row: dict[str, str], where: str) -> tuple[Cell, tuple[str, str, str, float, str, int]]:
    try:
        cell = Cell(
            row["run"],
            row["split"],
            row["kind"],
            int(row["level"]),
            row["recon"],
            row["adaptation"],
            row["level_table"],
        )
        score, label = float(row["score"]), int(float(row["label"]))
    except (TypeError, ValueError):
        raise DataError(f"{where}: level, score and label are {row.get('level')!r}, {row.get('score')!r}, "
                        f"{row.get('label')!r}; expected numbers") from None  # fmt: skip
    if not np.isfinite(score) or label not in (0, 1):
        raise DataError(
            f"{where}: score {row['score']!r} and label {row['label']!r}; expected a finite score, and 0 or 1"
        )
    return cell, (row["item"], row["patient"], row["finding"], score, row["logit_present"], label)


def _block(cell: Cell, entries: list[tuple[str, str, str, float, str, int]], name: str) -> PredictionBlock:
    findings = tuple(dict.fromkeys(entry[2] for entry in entries))
    patient_of = {entry[0]: entry[1] for entry in entries}
    items = tuple(patient_of)
    place = {(item, finding): i for i, (item, finding) in enumerate((i, f) for i in items for f in findings)}
    found = {(entry[0], entry[2]) for entry in entries}
    if len(entries) != len(place) or found != set(place):
        raise DataError(
            f"{name}: {cell.kind} level {cell.level} has {len(entries)} rows for {len(items)} items and "
            f"{len(findings)} findings; expected each finding once for each item"
        )
    order = np.argsort([place[entry[0], entry[2]] for entry in entries])
    shape = (len(items), len(findings))
    scores = np.array([entry[3] for entry in entries], np.float64)[order].reshape(shape)
    labels = np.array([entry[5] for entry in entries], np.int8)[order].reshape(shape)
    present = None
    if all(entry[4] for entry in entries):
        present = np.array([float(entry[4]) for entry in entries], np.float32)[order].reshape(shape)
    return PredictionBlock(cell, items, np.array(list(patient_of.values())), findings, scores, labels, present)


def aligned(block: PredictionBlock, reference: PredictionBlock) -> PredictionBlock:
    """Return a block in the slice and finding order of another.

    Raises
    ------
    DataError
        If the slices, findings or labels are not the same.
    """
    if set(block.items) != set(reference.items) or set(block.findings) != set(reference.findings):
        raise DataError(f"{block.cell.kind} level {block.cell.level} has other items or findings than the clean rows")
    position = {item: index for index, item in enumerate(block.items)}
    rows = np.array([position[item] for item in reference.items])
    columns = np.array([block.findings.index(finding) for finding in reference.findings])
    labels, patients = block.labels[np.ix_(rows, columns)], block.patients[rows]
    if not np.array_equal(labels, reference.labels) or not np.array_equal(patients, reference.patients):
        raise DataError(f"{block.cell.kind} level {block.cell.level} has other labels or patients than the clean rows")
    present = None if block.logits_present is None else block.logits_present[np.ix_(rows, columns)]
    return replace(
        block, items=reference.items, patients=patients, findings=reference.findings,
        scores=block.scores[np.ix_(rows, columns)], labels=labels, logits_present=present,
    )  # fmt: skip
