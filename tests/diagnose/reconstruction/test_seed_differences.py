"""Covariances over patients in closed form, and what pairs of seeds make of a difference."""

from dataclasses import replace

import numpy as np
import pytest

from diagnose.reconstruction.quality_table import QualityRow
from diagnose.reconstruction.seed_differences import covariance_of_means, seed_difference


def rows_of(values, patients=None):
    row = QualityRow("", "", "test", "run", 3, "P", "clean", 0, "output", 0.5, 30.0, 0.1)
    patients = range(len(values)) if patients is None else patients
    return [
        replace(row, item=f"file{number:03d}", patient=f"p{patient}", ssim=float(value))
        for number, (value, patient) in enumerate(zip(values, patients, strict=True))
    ]


def test_one_volume_a_patient_gives_the_covariance_of_sample_means():
    values = np.random.default_rng(0).normal(size=(3, 15))
    found = covariance_of_means(values, [str(number) for number in range(15)])
    assert found == pytest.approx(np.cov(values) / 15)


def test_copies_of_volumes_carry_no_information():
    values = np.random.default_rng(1).normal(size=(2, 12))
    patients = [str(number) for number in range(12)]
    once = covariance_of_means(values, patients)
    assert covariance_of_means(np.repeat(values, 3, axis=1), np.repeat(patients, 3).tolist()) == pytest.approx(once)


def test_the_difference_is_paired_by_seed_and_the_order_of_rows_does_not_count():
    rng = np.random.default_rng(2)
    patients = rng.normal(0.8, 0.1, 30)
    seeds = [0.03, -0.02, 0.01]
    reference = [rows_of(patients + seed) for seed in seeds]
    other = [rows_of(patients + seed + 0.02 + 1e-4 * rng.normal(size=30))[::-1] for seed in seeds]
    found = seed_difference(reference, other, "ssim", names=("P", "P+Q"))
    assert found.difference == pytest.approx(0.02, abs=1e-4) and found.n_seeds == 3
    assert 0 < found.low < 0.02 < found.high < 0.021 and "exploratory" in found.message
    unpaired = seed_difference(reference, other[1:] + other[:1], "ssim", names=("P", "P+Q"))
    assert unpaired.high - unpaired.low > 10 * (found.high - found.low)


def test_one_seed_has_no_interval_and_other_volumes_are_refused():
    one = [rows_of(np.linspace(0.1, 0.9, 12))]
    assert seed_difference(one, one, "ssim", names=("a", "b")).low is None
    with pytest.raises(ValueError, match="same volumes"):
        seed_difference(one, [one[0][:-1]], "ssim", names=("a", "b"))
    with pytest.raises(ValueError, match="as many of both"):
        seed_difference(one, one * 2, "ssim", names=("a", "b"))
