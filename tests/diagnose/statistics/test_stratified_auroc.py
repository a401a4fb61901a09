"""AUROC within strata: what the stratum tells must earn nothing, what the score tells within it everything."""

import numpy as np
import pytest

from diagnose.statistics.metrics import auroc
from diagnose.statistics.stratified_auroc import stratified_auroc


def exams(rng, n=400):
    strata = rng.integers(0, 4, n)
    labels = (rng.random(n) < np.array([0.1, 0.3, 0.6, 0.9])[strata]).astype(int)
    return strata, labels, np.arange(n) // 4


def test_a_score_that_only_knows_the_stratum_gets_exactly_one_half():
    strata, labels, patients = exams(np.random.default_rng(0))
    assert auroc(strata.astype(float), labels) > 0.75
    assert stratified_auroc(strata, labels, strata, patients, rng=np.random.default_rng(1)).value == 0.5


def test_one_stratum_is_the_ordinary_area():
    rng = np.random.default_rng(2)
    _, labels, patients = exams(rng)
    scores = labels + rng.normal(size=len(labels))
    got = stratified_auroc(scores, labels, np.zeros(len(labels)), patients, rng=rng)
    assert got.value == pytest.approx(float(auroc(scores, labels)), abs=1e-12)
    assert got.low < got.value < got.high


def test_strata_count_by_their_pairs():
    # Stratum 0: 1 x 1 pair ranked rightly; stratum 1: 2 x 3 pairs, 3 of them right; by hand (1 + 3) / 7.
    scores = np.array([2.0, 1.0, 5.0, 0.0, 1.0, 2.0, 3.0])
    labels = np.array([1, 0, 1, 1, 0, 0, 0])
    strata = np.array([0, 0, 1, 1, 1, 1, 1])
    got = stratified_auroc(scores, labels, strata, np.arange(7), rng=np.random.default_rng(0))
    assert got.value == pytest.approx(4 / 7)
    assert got.low is None and "10" in got.reason


def test_the_interval_covers_the_truth_of_patients_who_repeat_themselves():
    rng, truth, covered = np.random.default_rng(3), 0.7602, 0  # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt 2)
    for _ in range(200):
        patients = np.repeat(np.arange(60), 3)
        strata = np.tile(np.arange(3), 60)
        labels = np.repeat(rng.integers(0, 2, 60), 3)
        scores = labels + np.repeat(rng.normal(size=60), 3)  # three copies of one exam: a third of the information
        got = stratified_auroc(scores, labels, strata, patients, n_draws=400, rng=rng)
        covered += got.low <= truth <= got.high
    assert 0.89 <= covered / 200 <= 0.985


def test_strata_of_one_class_each_are_refused():
    labels = np.array([0, 0, 1, 1])
    with pytest.raises(ValueError, match="no stratum holds both classes"):
        stratified_auroc(np.arange(4.0), labels, labels, np.arange(4), rng=np.random.default_rng(0))
