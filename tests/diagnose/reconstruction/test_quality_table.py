"""The table of image quality: it comes back as it was written; means are over volumes, intervals over patients."""

import gzip
from dataclasses import replace

import numpy as np
import pytest

from diagnose.reconstruction.quality_table import COLUMNS, QualityRow, mean_quality, read_quality, write_quality
from mrisim.errors import DataError


def rows_of(values, patients=None, **changes):
    row = QualityRow("", "", "test", "run", 3, "P", "clean", 0, "output", 0.5, 30.0, 0.1)
    patients = range(len(values)) if patients is None else patients
    return [
        replace(row, item=f"file{number}", patient=f"p{patient}", ssim=float(value), **changes)
        for number, (value, patient) in enumerate(zip(values, patients, strict=True))
    ]


def test_the_table_comes_back_and_equal_tables_are_equal_files(tmp_path):
    rows = rows_of([0.25, 0.5]) + rows_of([0.125], epoch=None, kind="motion", level=2, intensities="matched")
    write_quality(tmp_path / "a.csv.gz", rows)
    write_quality(tmp_path / "b.csv.gz", rows)
    assert read_quality(tmp_path / "a.csv.gz") == rows
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


def test_the_mean_is_over_volumes_and_the_interval_has_the_width_of_independent_patients():
    values = np.random.default_rng(0).normal(0.7, 0.05, 200)
    found = mean_quality(rows_of(values), "ssim")
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(200), rel=0.05)


def test_more_volumes_of_the_same_patients_do_not_narrow_the_interval():
    values = np.random.default_rng(1).normal(0.7, 0.05, 40)
    once = mean_quality(rows_of(values), "ssim")
    four = mean_quality(rows_of(np.repeat(values, 4), np.repeat(np.arange(40), 4)), "ssim")
    assert (four.low, four.high) == pytest.approx((once.low, once.high))


def test_differences_are_paired_by_volume():
    values = np.random.default_rng(2).normal(0.7, 0.2, 12)
    found = mean_quality(rows_of(values + 0.01), "ssim", minus=rows_of(values))
    assert (found.value, found.low, found.high) == pytest.approx((0.01, 0.01, 0.01))
    with pytest.raises(ValueError, match="expected pairs"):
        mean_quality(rows_of(values), "ssim", minus=rows_of(values)[::-1])


def test_few_patients_give_no_interval():
    found = mean_quality(rows_of(np.ones(27), np.arange(27) % 9), "ssim")
    assert found.low is None and "9 patients: at least 10" in found.reason


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item,patient\na,b\n", "has columns"),
        (",".join(COLUMNS) + "\na,p,test,r,0,P,clean,0,output,high,1,1\n", "could not convert"),
        (",".join(COLUMNS) + "\na,p\n", "cannot be read"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, text, message):
    path = tmp_path / "quality.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(DataError, match=message):
        read_quality(path)
    path.write_bytes(b"no gzip")
    with pytest.raises(DataError, match="cannot be read"):
        read_quality(path)
