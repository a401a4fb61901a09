"""The frozen prediction table: one row for each slice, finding and shift, from which every later number is made.

CSV: ours is gzipped, a stranger's may be, and needs only the columns of `REQUIRED`.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from diagnose.evaluation.gzipped_csv import write_gzipped_csv
from mrisim.errors import DataError

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
_CELL_TEXTS = ("run", "split", "kind", "recon", "adaptation", "level_table")
_NAMES = ("item", "patient", "finding")
_NUMBERS = ("level", "score", "label")
_PIECE = 50_000
"""Rows that are read at a time: their texts are in memory, those of the whole table would not fit."""


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
    write_gzipped_csv(path, COLUMNS, (row for block in blocks for row in _rows(block)))


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

    About 2.5 microseconds and 30 bytes a row: a study of 40 runs has some millions.

    Raises
    ------
    DataError
        A missing column, a value that is no number, or a slice that lacks a finding or has one twice.
    """
    if not path.is_file():
        raise DataError(f"{path.name} does not exist; expected a prediction table (CSV)")
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    rows = _Rows(path.name)
    try:
        # A spreadsheet writes a byte order mark, which -sig takes away.
        with (gzip.open if packed else open)(path, "rt", newline="", encoding="utf-8-sig") as text:
            reader = csv.reader(text)
            rows.set_header(next(reader, []))
            while piece := list(islice(reader, _PIECE)):
                rows.add(piece, reader.line_num)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path.name} cannot be read ({error}); expected a whole CSV file") from None
    return rows.blocks()


class _Rows:
    """The rows read so far, by cell, as numbers: texts that recur are kept once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.header: list[str] = []
        self.codes: dict[str, dict[Any, int]] = {column: {} for column in ("item", "patient", "finding", "cell")}
        self.parts: list[list[np.ndarray]] = []
        """For each cell its pieces (column, row): item, patient, finding, label, score, logit of present."""
        self.shared: dict[bytes, tuple[tuple[str, ...], np.ndarray]] = {}
        """Items and patients by their codes: equal ones are one object in all blocks."""

    def set_header(self, header: list[str]) -> None:
        missing = [name for name in REQUIRED if name not in header]
        if missing:
            raise DataError(f"{self.name} lacks the columns {', '.join(missing)}; expected {', '.join(REQUIRED)}")
        self.header = header

    def add(self, piece: list[list[str]], last_line: int) -> None:
        """Add rows, of which ``last_line`` is the line of the last one."""
        where = f"{self.name} line {last_line - len(piece) + 1}"
        rows = [row for row in piece if row]
        if not rows:
            return
        try:
            texts = dict(zip(self.header, zip(*rows, strict=True), strict=True))
            levels, score, label = list(map(int, texts["level"])), _numbers(texts["score"]), _numbers(texts["label"])
        except ValueError:
            raise self._error(piece, last_line) from None
        named = all(all(map(str.strip, texts[column])) for column in _NAMES)
        if not (named and np.isfinite(score).all() and np.isin(label, (0, 1)).all()):
            raise self._error(piece, last_line)
        texts = {column: (default,) * len(rows) for column, default in _DEFAULTS.items()} | texts
        try:
            logit = _numbers([text or "nan" for text in texts["logit_present"]])
        except ValueError:
            raise DataError(f"{where} or later: a logit_present is no number; expected numbers, or none") from None
        codes = [_coded(texts[column], self.codes[column]) for column in ("item", "patient", "finding")]
        cells = _coded(zip(*(texts[name] for name in _CELL_TEXTS), levels, strict=True), self.codes["cell"])
        self.parts += [[] for _ in range(len(self.codes["cell"]) - len(self.parts))]
        values, order = np.stack([*codes, label, score, logit]), np.argsort(cells, kind="stable")
        starts = np.flatnonzero(np.diff(cells[order], prepend=-1))
        for cell, part in zip(cells[order][starts], np.split(values[:, order], starts[1:], axis=1), strict=True):
            self.parts[cell].append(part)

    def _error(self, piece: list[list[str]], last_line: int) -> DataError:
        """Return what is wrong with the first row of a piece that cannot be used."""
        for place, values in enumerate(piece, start=last_line - len(piece) + 1):
            where = f"{self.name} line {place}"
            if values and len(values) != len(self.header):
                return DataError(f"{where} has {len(values)} fields; expected {len(self.header)}, as in the first line")
            row = dict(zip(self.header, values, strict=False))
            for name in _NAMES:
                # Nameless patients would be taken for one patient.
                if not row.get(name, name).strip():
                    return DataError(f"{where} has no {name}; expected one in each row")
            level, score, label = (row.get(name, "0") for name in _NUMBERS)
            try:
                usable = bool(np.isfinite(float(score))) and float(label) in (0, 1)
                int(level)
            except ValueError:
                found = f"level, score and label are {level!r}, {score!r}, {label!r}"
                return DataError(f"{where}: {found}; expected numbers")
            if not usable:
                return DataError(f"{where}: score {score!r} and label {label!r}; expected a finite score, and 0 or 1")
        raise AssertionError("called without a wrong row")

    def blocks(self) -> list[PredictionBlock]:
        """Return the blocks, in the order of their first rows; they may be asked for once."""
        if not self.parts:
            raise DataError(f"{self.name} has no row; expected one for each slice, finding and shift")
        items, patients, findings = (np.array(list(self.codes[name])) for name in ("item", "patient", "finding"))
        blocks = []
        for number, texts in enumerate(self.codes["cell"]):
            cell = Cell(**dict(zip((*_CELL_TEXTS, "level"), texts, strict=True)))
            item, patient, finding, label, score, logit = np.concatenate(self.parts[number], axis=1)
            self.parts[number] = []
            shown, row, first = _places(item.astype(int))
            known, column, _ = _places(finding.astype(int))
            place = row * len(known) + column
            if len(place) != len(shown) * len(known) or not (np.bincount(place, minlength=len(place)) == 1).all():
                raise DataError(
                    f"{self.name}: {cell.kind} level {cell.level} has {len(place)} rows for {len(shown)} items and "
                    f"{len(known)} findings; expected each finding once for each item"
                )
            of_item = patient[first].astype(int)
            if not (of_item[row] == patient).all():
                raise DataError(
                    f"{self.name}: {cell.kind} level {cell.level} has an item of two patients; expected one"
                )
            key = np.stack([shown, of_item]).tobytes()
            if key not in self.shared:
                self.shared[key] = tuple(items[shown].tolist()), patients[of_item]
            order, shape = np.argsort(place), (len(shown), len(known))
            blocks.append(
                PredictionBlock(
                    cell, self.shared[key][0], self.shared[key][1], tuple(findings[known].tolist()),
                    score[order].reshape(shape), label[order].reshape(shape).astype(np.int8),
                    None if np.isnan(logit).any() else logit[order].reshape(shape).astype(np.float32),
                )
            )  # fmt: skip
        return blocks


def _numbers(texts: Iterable[str]) -> np.ndarray:
    return np.array(list(map(float, texts)))


def _coded(values: Iterable[Any], codes: dict[Any, int]) -> np.ndarray:
    """Return the number of each value, in the order of first appearance; new values are added to ``codes``."""
    return np.array([codes.setdefault(value, len(codes)) for value in values])


def _places(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct codes by first appearance, the place of each row among them, and their first rows."""
    distinct, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return distinct[order], rank[inverse], first[order]


def aligned(block: PredictionBlock, reference: PredictionBlock) -> PredictionBlock:
    """Return a block in the slice and finding order of another.

    Raises
    ------
    DataError
        If the slices, findings or labels are not the same.
    """
    if set(block.items) != set(reference.items) or set(block.findings) != set(reference.findings):
        raise DataError(f"{block.cell.kind} level {block.cell.level} has other items or findings than the clean rows")
    same_order = block.items == reference.items and block.findings == reference.findings
    if same_order and block.patients is reference.patients and np.array_equal(block.labels, reference.labels):
        return block
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
