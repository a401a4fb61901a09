"""The frozen table of image quality: one row for each volume, method and shift, from which every later number is made.

CSV, gzipped. ``run`` is the name of a run, or that of a method without training; ``epoch`` is 0-based, empty where
there is none; ``intensities`` says whether mean and standard deviation were matched to the target first.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from diagnose.evaluation.gzipped_csv import write_gzipped_csv
from diagnose.reconstruction.quality import METRICS
from diagnose.statistics.bootstrap import draw_patient_counts, percentile_interval
from diagnose.statistics.clustered_auc import MIN_PATIENTS, Estimate
from mrisim.errors import DataError
from mrisim.seeding import stream

ZERO_FILLED = "zero-filled"
"""The trivial method: root sum of squares of the measured lines."""
OUTPUT, MATCHED = "output", "matched"
CLEAN = "clean"
N_DRAWS = 2000


@dataclass(frozen=True)
class QualityRow:
    """How good the image of one volume is."""

    item: str
    """Stem of the volume's file."""
    patient: str
    split: str
    run: str
    epoch: int | None
    distribution: str
    kind: str
    """Of artifact, in the k-space before it is undersampled; `CLEAN` without."""
    level: int
    intensities: str
    ssim: float
    psnr_db: float
    nrmse: float


COLUMNS = tuple(field.name for field in fields(QualityRow))


def write_quality(path: Path, rows: Iterable[QualityRow]) -> None:
    """Write the table whole; equal tables are equal files."""
    described = ([*astuple(row)[:-3], *(f"{getattr(row, metric):.7g}" for metric in METRICS)] for row in rows)
    write_gzipped_csv(path, COLUMNS, described)


def read_quality(path: Path) -> list[QualityRow]:
    """Read a table.

    Raises
    ------
    DataError
        If it cannot be read, or a column or a value is not what it should be.
    """
    try:
        with gzip.open(path, "rt", newline="", encoding="utf-8") as text:
            reader = csv.DictReader(text)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise DataError(f"{path.name} has columns {reader.fieldnames}; expected {', '.join(COLUMNS)}")
            return [_row(record) for record in reader]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, TypeError, ValueError) as error:
        raise DataError(f"{path.name} cannot be read ({error}); expected a whole table of image quality") from None


def _row(record: dict[str, str]) -> QualityRow:
    makers: dict[str, Callable[[str], object]] = {
        "epoch": lambda text: int(text) if text else None,
        "level": int,
        **dict.fromkeys(METRICS, float),
    }
    return QualityRow(**{name: makers.get(name, str)(record[name]) for name in COLUMNS})  # type: ignore[arg-type]


def mean_quality(rows: Sequence[QualityRow], metric: str, *, minus: Sequence[QualityRow] | None = None) -> Estimate:
    """Return the mean of a metric over volumes, with its 95 % patient-bootstrap interval.

    Parameters
    ----------
    rows : sequence of QualityRow
        One for each volume.
    metric : str
        One of `diagnose.reconstruction.quality.METRICS`.
    minus : sequence of QualityRow, optional
        Of the same volumes in the same order: the mean difference to them, paired by volume.

    Returns
    -------
    Estimate
        Without an interval below ten patients.

    Raises
    ------
    ValueError
        If the two are not of the same volumes.
    """
    values = np.array([getattr(row, metric) for row in rows])
    if minus is not None:
        if [row.item for row in rows] != [row.item for row in minus]:
            raise ValueError("the rows are not of the same volumes in the same order; expected pairs")
        values = values - np.array([getattr(row, metric) for row in minus])
    patients, index = np.unique([row.patient for row in rows], return_inverse=True)
    if len(patients) < MIN_PATIENTS:
        reason = f"{len(patients)} patients: at least {MIN_PATIENTS} are needed for an interval"
        return Estimate(float(values.mean()), reason=reason)
    # The draws have a stream of their own: equal rows give equal intervals.
    counts = draw_patient_counts(len(patients), N_DRAWS, rng=stream(0, "bootstrap"))
    sums, numbers = np.bincount(index, weights=values), np.bincount(index)
    return percentile_interval(float(values.mean()), (counts @ sums) / (counts @ numbers))
