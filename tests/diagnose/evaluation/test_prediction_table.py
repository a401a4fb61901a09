"""The prediction table: what is written comes back, in any order of rows, and bad rows are named by their line."""

import csv
import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diagnose.evaluation import prediction_table
from diagnose.evaluation.prediction_table import Cell, PredictionBlock, aligned, read_table, write_table
from mrisim.errors import DataError


def some_blocks() -> list[PredictionBlock]:
    rng = np.random.default_rng(0)
    items, patients = ("x/002", "x/000", "y/001"), np.array(["p", "p", "q"])
    cells = [
        Cell("a,b", "val", "clean", 0),
        Cell("a,b", "test", "noise", 3, "sense", "precise-bn", "1.0"),
        Cell("c", "test", "noise", 3),
    ]
    return [
        PredictionBlock(
            cell, items, patients, ("two", "one"), rng.normal(size=(3, 2)).astype(np.float32),
            rng.integers(0, 2, (3, 2)).astype(np.int8), rng.normal(size=(3, 2)).astype(np.float32),
        )
        for cell in cells
    ]  # fmt: skip


def written_text(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


def same(block: PredictionBlock, other: PredictionBlock) -> bool:
    """Scores are compared as float32: that is what nine digits keep exactly."""
    names = ("scores", "labels", "logits_present", "patients")
    return (block.cell, block.items, block.findings) == (other.cell, other.items, other.findings) and all(
        np.array_equal(getattr(block, name), getattr(other, name).astype(getattr(block, name).dtype)) for name in names
    )


@pytest.mark.parametrize("piece", [1, 4, 50_000])
@pytest.mark.parametrize("packed", [True, False])
def test_blocks_come_back_exactly_in_pieces_of_any_size(tmp_path: Path, monkeypatch, packed: bool, piece: int):
    monkeypatch.setattr(prediction_table, "_PIECE", piece)
    blocks = some_blocks()
    write_table(tmp_path / "table.csv.gz", blocks)
    if not packed:
        (tmp_path / "table.csv.gz").write_text(written_text(tmp_path / "table.csv.gz"))
    found = read_table(tmp_path / "table.csv.gz")
    assert len(found) == 3 and all(map(same, blocks, found))
    assert found[0].items is found[1].items and found[0].patients is found[2].patients  # memory of large studies


@pytest.mark.parametrize("packed", [True, False])
def test_a_table_that_a_spreadsheet_saved_is_read(tmp_path: Path, packed: bool):
    write_table(tmp_path / "table.csv.gz", some_blocks())
    content = b"\xef\xbb\xbf" + written_text(tmp_path / "table.csv.gz").replace("\n", "\r\n").encode()
    (tmp_path / "table.csv").write_bytes(gzip.compress(content) if packed else content)
    assert all(map(same, some_blocks(), read_table(tmp_path / "table.csv")))


def test_rows_of_cells_may_be_mixed(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(prediction_table, "_PIECE", 5)
    write_table(tmp_path / "t.csv.gz", some_blocks())
    header, *rows = written_text(tmp_path / "t.csv.gz").splitlines()
    mixed = [row for first in (0, 3, 1, 2, 4, 5) for row in rows[first::6]]
    (tmp_path / "t.csv").write_text("\n".join([header, *mixed]))
    by_cell = {block.cell: block for block in read_table(tmp_path / "t.csv")}
    for block in some_blocks():
        assert same(block, aligned(by_cell[block.cell], block))


def test_equal_blocks_give_equal_bytes(tmp_path: Path):
    for name in ("a.csv.gz", "b.csv.gz"):
        write_table(tmp_path / name, some_blocks())
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()
    with gzip.open(tmp_path / "a.csv.gz", "rt") as text:
        assert next(csv.reader(text)) == list(prediction_table.COLUMNS)


@pytest.mark.parametrize(
    ("line", "changed", "message"),
    [
        (3, "i1,p1,haze,1,a,nan,1", "line 3: score 'nan' and label '1'; expected a finite score"),
        (4, "i2,p2,haze,1,a,0.5,2", "line 4: score '0.5' and label '2'; expected a finite score, and 0 or 1"),
        (4, "i2,p2,haze,1,a,0.5,0.5", "line 4: score '0.5' and label '0.5'"),
        (4, "i2,p2,haze,one,a,0.5,0", "line 4: level, score and label are 'one', '0.5', '0'; expected numbers"),
        (2, "i0,p0,haze,1,a,0.5", "line 2 has 6 fields; expected 7"),
        (5, "i3,p3,haze,1,a,0.5,0,more", "line 5 has 8 fields; expected 7"),
        (5, "i2,p3,haze,1,a,0.5,0", "haze level 1 has 5 rows for 4 items"),
    ],
)
def test_the_first_bad_row_is_named_by_its_line(tmp_path: Path, monkeypatch, line: int, changed: str, message: str):
    monkeypatch.setattr(prediction_table, "_PIECE", 2)
    lines = ["item,patient,kind,level,finding,score,label", *(f"i{n},p{n},haze,1,a,{n},{n % 2}" for n in range(5))]
    lines[line - 1] = changed
    (tmp_path / "t.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "t.csv")


def test_an_item_of_two_patients_and_a_truncated_file_are_refused(tmp_path: Path):
    lines = ["item,patient,kind,level,finding,score,label", "i,p,haze,1,a,1,1", "i,q,haze,1,b,1,1"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match="has an item of two patients"):
        read_table(tmp_path / "t.csv")
    write_table(tmp_path / "t.csv.gz", some_blocks())
    whole = (tmp_path / "t.csv.gz").read_bytes()
    (tmp_path / "t.csv.gz").write_bytes(whole[:-30])
    with pytest.raises(DataError, match="cannot be read"):
        read_table(tmp_path / "t.csv.gz")


def test_logits_are_optional_and_blank_lines_are_skipped(tmp_path: Path):
    write_table(tmp_path / "t.csv.gz", [replace(block, logits_present=None) for block in some_blocks()])
    (tmp_path / "t.csv").write_text(written_text(tmp_path / "t.csv.gz").replace("\n", "\n\n"))
    assert [block.logits_present for block in read_table(tmp_path / "t.csv")] == [None] * 3
