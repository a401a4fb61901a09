"""Frozen tables are gzipped CSV files: written whole, and equal tables are equal bytes."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable
from pathlib import Path

from mrisim.files import written_whole


def write_gzipped_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a heading and rows; lines end in a line feed."""
    with written_whole(path) as partial, partial.open("wb") as raw:
        # No time and no file name in the gzip header: they would make equal tables differ.
        packed = gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6)
        with packed, io.TextIOWrapper(packed, encoding="utf-8", newline="") as text:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)
