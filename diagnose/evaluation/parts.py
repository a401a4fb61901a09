"""Parts of an evaluation that is under way: the predictions under one shift, kept so that a kill costs one shift.

A part holds numbers alone, exactly as the networks gave them; slices, patients and labels are those of the data. It is
bound to its request by a key, and gone once the frozen table is written.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from diagnose.dataset import SliceTable
from diagnose.evaluation.prediction_table import Cell, PredictionBlock
from mrisim.errors import DataError
from mrisim.files import written_whole


def write_part(path: Path, blocks: list[PredictionBlock], key: str) -> None:
    """Write the blocks of one shift whole; all are of one split.

    Parameters
    ----------
    path : Path
    blocks : list of PredictionBlock
        With logits of present, as those of our own networks have.
    key : str
        Hash of what the predictions depend on.
    """
    logits = [block.logits_present for block in blocks]
    assert all(array is not None for array in logits)
    described = json.dumps({"key": key, "cells": [asdict(block.cell) for block in blocks]})
    buffer = io.BytesIO()
    np.savez(
        buffer,
        described=np.array(described),
        scores=np.stack([block.scores for block in blocks]),
        logits_present=np.stack([array for array in logits if array is not None]),
    )
    with written_whole(path) as partial:
        partial.write_bytes(buffer.getvalue())


def has_part(path: Path, key: str) -> bool:
    """Return whether a part lies there that need not be made; one of other code or another request must.

    A damaged one counts as there: `read_part` says so, and it is not replaced without a word.
    """
    if not path.exists():
        return False
    try:
        return bool(_content(path)["key"] == key)
    except DataError:
        return True


def read_part(path: Path, table: SliceTable, key: str) -> list[PredictionBlock]:
    """Return the blocks of a part, bit for bit as they were written.

    Parameters
    ----------
    path : Path
    table : SliceTable
        The split that was predicted.
    key : str

    Raises
    ------
    DataError
        If the part is damaged, or of another request or other data.
    """
    described = _content(path)
    scores, logits = described["scores"], described["logits_present"]
    shape = (len(described["cells"]), *table.labels.shape)
    if described["key"] != key or scores.shape != shape or logits.shape != shape:
        raise DataError(f"{path.name} is of another evaluation; expected a part of this one: remove it")
    items, patients = tuple(table.items), table.patients
    return [
        PredictionBlock(Cell(**cell), items, patients, table.findings, scores[index], table.labels, logits[index])
        for index, cell in enumerate(described["cells"])
    ]


def _content(path: Path) -> dict[str, Any]:
    """Return the whole content of a part."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
            described: dict[str, Any] = json.loads(str(content["described"]))
            return described | {name: content[name] for name in ("scores", "logits_present")}
    except Exception as error:
        raise DataError(f"{path.name} cannot be read ({type(error).__name__}); expected a part: remove it") from None
