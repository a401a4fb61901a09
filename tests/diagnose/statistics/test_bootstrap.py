"""The bootstrap by counts against the bootstrap by hand: whole patients copied, then scikit-learn."""

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student_t
from sklearn.metrics import roc_auc_score

from diagnose.statistics import metrics
from diagnose.statistics.bootstrap import (
    ScoredExams,
    bootstrap_auroc,
    bootstrap_auroc_interval,
    bootstrap_operating_point,
    bootstrap_rates,
    bootstrap_thresholds,
    draw_patient_counts,
    max_t_bands,
    percentile_interval,
)
from diagnose.statistics.clustered_auc import auc_components


def study(seed, n_patients=25, n_columns=2):
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(n_patients), rng.integers(1, 7, n_patients))
    labels = (rng.random(len(patients)) < rng.choice([0, 0.5, 1], n_patients)[patients]).astype(int)
    scores = (
        labels + rng.normal(size=(n_columns, n_patients))[:, patients] + rng.normal(size=(n_columns, len(patients)))
    )
    order = rng.permutation(len(patients))
    names = np.array([f"p{patient:03d}" for patient in patients])
    return np.round(scores[:, order], 1), labels[order], names[order]


def copied(counts, patients):
    """Indices of the exams of one draw, each patient's exams as often as the patient was drawn."""
    names = np.unique(patients)
    parts = [np.flatnonzero(patients == name) for name, count in zip(names, counts, strict=True) for _ in range(count)]
    return np.concatenate(parts)


def test_counts_are_draws_of_whole_patients():
    counts = draw_patient_counts(40, 3000, rng=np.random.default_rng(0))
    assert counts.shape == (3000, 40)
    assert (counts.sum(axis=1) == 40).all()
    # Multinomial: mean 1, variance 1 - 1/40, covariance -1/40; 5 standard errors.
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=5 / 3000**0.5)
    covariance = np.cov(counts.T)
    np.testing.assert_allclose(np.diag(covariance), 0.975, atol=0.2)
    assert covariance[~np.eye(40, dtype=bool)].mean() == pytest.approx(-1 / 40, abs=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_draws_equal_copied_patients_in_scikit_learn(seed):
    scores, labels, patients = study(seed)
    counts = draw_patient_counts(25, 40, rng=np.random.default_rng(seed))
    draws = bootstrap_auroc(scores, labels, patients, counts)
    for row, drawn in zip(draws, counts, strict=True):
        exams = copied(drawn, patients)
        expected = [roc_auc_score(labels[exams], column[exams]) for column in scores]
        np.testing.assert_allclose(row, expected, rtol=1e-12)


def test_a_draw_of_one_class_is_nan_and_left_out():
    scores, labels, patients = study(5)
    only_absent = np.array([labels[patients == name].max() == 0 for name in np.unique(patients)])
    counts = np.ones((200, 25), dtype=int)
    counts[7] = only_absent
    draws = bootstrap_auroc(scores, labels, patients, counts)
    assert np.isnan(draws[7]).all()
    assert np.isfinite(np.delete(draws, 7, axis=0)).all()
    interval = percentile_interval(0.6, draws[:, 0])
    assert interval.low == pytest.approx(roc_auc_score(labels, scores[0]), abs=1e-12)


def test_spread_agrees_with_the_clustered_variance():
    scores, labels, patients = study(6, n_patients=120, n_columns=1)
    counts = draw_patient_counts(120, 4000, rng=np.random.default_rng(1))
    spread = bootstrap_auroc(scores, labels, patients, counts).std()
    analytic = np.sqrt(auc_components(scores, labels, patients).covariance()[0, 0])
    assert spread == pytest.approx(analytic, rel=0.05)


def test_interval_and_refusals():
    scores, labels, patients = study(7, n_patients=60)
    rng = np.random.default_rng(2)
    interval = bootstrap_auroc_interval(scores[0], labels, patients, n_draws=400, rng=rng)
    assert interval.low < interval.value < interval.high
    few = np.isin(patients, np.unique(patients)[:9])
    assert (
        "at least 10 are needed" in bootstrap_auroc_interval(scores[0][few], labels[few], patients[few], rng=rng).reason
    )
    assert percentile_interval(0.5, np.full(99, 0.5)).reason.startswith("99 valid bootstrap draws")
    with pytest.raises(ValueError, match=r"counts has shape \(3, 5\); expected \(draw, 60\)"):
        bootstrap_auroc(scores, labels, patients, np.ones((3, 5), dtype=int))


def test_operating_point_is_found_anew_in_each_draw():
    validation, test = (ScoredExams(scores[0], labels, patients) for scores, labels, patients in (study(8), study(9)))
    counts = [draw_patient_counts(25, 50, rng=np.random.default_rng(seed)) for seed in (3, 4)]
    draws = bootstrap_operating_point(validation, test, *counts)
    assert draws.shape == (50, 3)
    for row, drawn_validation, drawn_test in zip(draws, *counts, strict=True):
        one, two = copied(drawn_validation, validation.patients), copied(drawn_test, test.patients)
        threshold = metrics.operating_point(validation.scores[one], validation.labels[one])
        decisions = metrics.decide(test.scores[two], threshold)
        expected = metrics.sensitivity_specificity(decisions, test.labels[two])
        np.testing.assert_allclose(row, [*expected, np.mean(expected)], rtol=1e-12)


def test_resampling_validation_widens_the_interval():
    validation, test = (ScoredExams(scores[0], labels, patients) for scores, labels, patients in (study(10), study(11)))
    counts = [draw_patient_counts(25, 600, rng=np.random.default_rng(seed)) for seed in (5, 6)]
    both = bootstrap_operating_point(validation, test, *counts)
    fixed = bootstrap_operating_point(validation, test, np.ones_like(counts[0]), counts[1])
    assert both[:, 0].std() > 1.15 * fixed[:, 0].std()


def test_bands_of_one_value_and_of_one_value_repeated_are_the_normal_interval():
    draws = np.random.default_rng(7).normal(0.3, 0.1, size=(20_000, 1))
    for repeated in (1, 12):
        bands = max_t_bands(np.full(repeated, 0.2), np.repeat(draws, repeated, axis=1))
        assert bands.critical == pytest.approx(1.96, abs=0.03)
        np.testing.assert_allclose(bands.high - 0.2, 0.196, rtol=0.03)
        np.testing.assert_allclose(bands.p, 2 * norm.sf(2), atol=0.005)


def test_bands_of_independent_values_are_those_of_sidak():
    draws = np.random.default_rng(8).normal(size=(20_000, 10))
    bands = max_t_bands(np.r_[3.0, np.zeros(9)], draws)
    assert bands.critical == pytest.approx(norm.ppf((1 + 0.95**0.1) / 2), abs=0.05)
    assert bands.p[0] == pytest.approx(1 - (1 - 2 * norm.sf(3)) ** 10, abs=0.006)
    assert (bands.p[1:] == 1).all()


def test_bands_cover_all_values_at_once():
    rng = np.random.default_rng(9)
    mixing = rng.normal(size=(15, 6)) / 3
    truth = rng.normal(size=15)

    def sample(n_samples):
        return rng.normal(size=(n_samples, 6)) @ mixing.T + 0.5 * rng.normal(size=(n_samples, 15))

    covered = 0
    for _ in range(400):
        estimate = truth + sample(1)[0]
        bands = max_t_bands(estimate, estimate + sample(500))
        covered += bool(((bands.low <= truth) & (truth <= bands.high)).all())
    assert covered / 400 == pytest.approx(0.95, abs=0.035)  # 3 binomial standard errors


def test_given_standard_errors_and_freedom_make_a_t_interval():
    draws = np.random.default_rng(10).normal(size=(20_000, 1))
    bands = max_t_bands(np.array([0.9]), draws, standard_errors=np.array([0.3]), degrees_of_freedom=4)
    assert bands.high[0] - 0.9 == pytest.approx(0.3 * student_t.ppf(0.975, 4), rel=0.04)
    assert bands.p[0] == pytest.approx(2 * student_t.sf(3, 4), abs=0.006)


def test_cells_that_never_move_get_no_band():
    draws = np.random.default_rng(11).normal(size=(500, 2, 2))
    draws[:, 0, 0], draws[:, 1, 1] = 0, 0.4
    bands = max_t_bands(np.array([[0, 0.5], [0.1, 0.4]]), draws)
    assert (bands.low[0, 0], bands.high[0, 0], bands.p[0, 0]) == (0, 0, 1)
    assert np.isnan(bands.p[1, 1])
    with pytest.raises(ValueError, match="expected at least 100"):
        max_t_bands(np.zeros((2, 2)), draws[:99])
    with pytest.raises(ValueError, match=r"draws has shape \(500, 2, 2\); expected one axis of draws, then \(3,\)"):
        max_t_bands(np.zeros(3), draws)


def test_rates_of_several_columns_are_those_of_each_alone_ties_with_the_threshold_included():
    scores, labels, patients = study(11, n_columns=3)
    scores = np.round(scores)  # many ties
    rng = np.random.default_rng(3)
    n_patients = len(np.unique(patients))
    counts = [draw_patient_counts(n_patients, 40, rng=rng) for _ in range(2)]
    thresholds = bootstrap_thresholds(ScoredExams(scores[0], labels, patients), counts[0])
    together = bootstrap_rates(thresholds, ScoredExams(scores, labels, patients), counts[1])
    of_exam = counts[1][:, np.unique(patients, return_inverse=True)[1]]
    for draw, column in np.ndindex(40, 3):
        exams = np.repeat(np.arange(len(labels)), of_exam[draw])
        decisions = metrics.decide(scores[column, exams], thresholds[draw])
        rates = metrics.sensitivity_specificity(decisions, labels[exams])
        assert together[draw, column] == pytest.approx([*rates, np.mean(rates)])
