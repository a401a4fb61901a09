"""The frozen table of a segmentation: one row for each case, class, run and shift, from which every number is made."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diagnose.evaluation.gzipped_csv import write_gzipped_csv
from mrisim.errors import DataError

COLUMNS = (
    "case", "patient", "split", "run", "kind", "level", "class", "dice", "reference_voxels", "table_version",
)  # fmt: skip


@dataclass(frozen=True)
class DiceCell:
    """What all rows of a block have in common."""

    run: str
    split: str
    kind: str = "clean"
    level: int = 0
    table_version: str = ""
    """Of the level table: a level means nothing without it."""


@dataclass(frozen=True, eq=False)
class DiceBlock:
    """Dice overlaps of one model, or rule, on one split under one shift."""

    cell: DiceCell
    cases: tuple[str, ...]
    patients: tuple[str, ...]
    classes: tuple[str, ...]
    dice: np.ndarray
    """(case, class)"""
    reference_voxels: np.ndarray
    """(case, class): size of the class in the labels; the overlap of an absent class is 1 or 0."""


def write_dice_table(path: Path, blocks: Iterable[DiceBlock]) -> None:
    """Write blocks as one gzipped CSV; equal blocks give equal bytes, and Dice is read back exactly."""
    write_gzipped_csv(path, COLUMNS, (row for block in blocks for row in _rows(block)))


def _rows(block: DiceBlock) -> Iterable[tuple[object, ...]]:
    cell = block.cell
    for row, case in enumerate(block.cases):
        for column, name in enumerate(block.classes):
            yield (
                case, block.patients[row], cell.split, cell.run, cell.kind, cell.level, name,
                repr(float(block.dice[row, column])), int(block.reference_voxels[row, column]), cell.table_version,
            )  # fmt: skip


def read_dice_table(path: Path) -> list[DiceBlock]:
    """Read a table that `write_dice_table` wrote.

    Raises
    ------
    DataError
        If it is no such table, or a case lacks a class.
    """
    try:
        with gzip.open(path, "rt", newline="", encoding="utf-8") as text:
            reader = csv.DictReader(text)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise DataError(f"{path.name} has columns {reader.fieldnames}; expected {list(COLUMNS)}")
            rows = list(reader)
    except (OSError, EOFError) as error:
        raise DataError(f"{path.name} cannot be read ({type(error).__name__}); expected a table of Dice") from None
    grouped: dict[DiceCell, list[dict[str, str]]] = {}
    for row in rows:
        cell = DiceCell(row["run"], row["split"], row["kind"], int(row["level"]), row["table_version"])
        grouped.setdefault(cell, []).append(row)
    return [_block(cell, of_cell, path.name) for cell, of_cell in grouped.items()]


def _block(cell: DiceCell, rows: list[dict[str, str]], name: str) -> DiceBlock:
    classes = tuple(dict.fromkeys(row["class"] for row in rows))
    patients = {row["case"]: row["patient"] for row in rows}
    shape = (len(patients), len(classes))
    if [(row["case"], row["class"]) for row in rows] != [(case, part) for case in patients for part in classes]:
        raise DataError(f"{name}: {cell.run}, {cell.kind} {cell.level}: expected every class of every case once")
    dice = np.array([float(row["dice"]) for row in rows]).reshape(shape)
    voxels = np.array([int(row["reference_voxels"]) for row in rows]).reshape(shape)
    return DiceBlock(cell, tuple(patients), tuple(patients.values()), classes, dice, voxels)
