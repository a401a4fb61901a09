"""Metrics against scikit-learn, closed forms and their own definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from sklearn.linear_model import LogisticRegression

from diagnose.statistics import metrics


def scores_and_labels(seed, n_exams=211, n_distinct=None):
    """Scores of both classes; with ``n_distinct`` they are rounded, so that most of them tie."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n_exams) < 0.3
    labels[:2] = (False, True)
    scores = rng.normal(size=n_exams) + labels
    if n_distinct:
        scores = np.round(scores * n_distinct / 4)
    return scores, labels.astype(int)


@pytest.mark.parametrize("n_distinct", [None, 3, 12])
@pytest.mark.parametrize("seed", range(5))
def test_auroc_and_auprc_agree_with_scikit_learn(seed, n_distinct):
    scores, labels = scores_and_labels(seed, n_distinct=n_distinct)
    assert metrics.auroc(scores, labels) == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), abs=1e-12)
    expected = sklearn_metrics.average_precision_score(labels, scores)
    assert metrics.auprc(scores, labels) == pytest.approx(expected, abs=1e-12)


def test_auroc_is_vectorised_over_leading_axes():
    rng = np.random.default_rng(0)
    labels = scores_and_labels(1)[1]
    scores = rng.integers(0, 9, size=(2, 3, len(labels)))
    areas = metrics.auroc(scores, labels)
    assert areas.shape == (2, 3)
    for index in np.ndindex(2, 3):
        assert areas[index] == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores[index]), abs=1e-12)


@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=30))
def test_auroc_is_the_share_of_pairs_and_flips_with_the_sign(exams):
    scores, labels = np.array([exam[0] for exam in exams]), np.array([exam[1] for exam in exams])
    if labels.all() or not labels.any():
        return
    differences = scores[labels][:, None] - scores[~labels][None, :]
    pairs = np.mean((differences > 0) + 0.5 * (differences == 0))
    assert metrics.auroc(scores, labels) == pytest.approx(pairs, abs=1e-12)
    assert metrics.auroc(-scores, labels) == pytest.approx(1 - pairs, abs=1e-12)


def test_permuted_labels_give_a_half():
    scores, labels = scores_and_labels(3, n_exams=20_000)
    permuted = np.random.default_rng(4).permutation(labels)
    assert metrics.auroc(scores, labels) > 0.7
    assert metrics.auroc(scores, permuted) == pytest.approx(
        0.5, abs=0.02
    )  # 4 standard errors: sqrt(1/12 (1/6k + 1/14k))


@pytest.mark.parametrize("seed", range(8))
def test_operating_point_is_the_first_of_scikit_learns_curve(seed):
    scores, labels = scores_and_labels(seed, n_distinct=(None, 12)[seed % 2])
    _, hit_rate, thresholds = sklearn_metrics.roc_curve(labels, scores, drop_intermediate=False)
    assert metrics.operating_point(scores, labels) == thresholds[np.flatnonzero(1 - hit_rate < 0.1 - 1e-9)[0]]


def test_operating_point_by_hand_and_decision_is_strict():
    scores, labels = np.arange(20.0), np.r_[np.zeros(9), np.ones(1), np.zeros(1), np.ones(9)].astype(int)
    # Ten are present, at 9 and 11..19. FNR at 11 is 1/10, not below it; at 9 it is 0.
    threshold = metrics.operating_point(scores, labels)
    assert threshold == 9
    sensitivity, specificity = metrics.sensitivity_specificity(metrics.decide(scores, threshold), labels)
    assert (sensitivity, specificity) == (0.9, 0.9)  # the exam at the threshold is missed: '>' as published


def test_decision_metrics_agree_with_scikit_learn():
    scores, labels = scores_and_labels(5)
    decisions = metrics.decide(scores, 0.4)
    sensitivity, specificity = metrics.sensitivity_specificity(decisions, labels)
    assert sensitivity == pytest.approx(sklearn_metrics.recall_score(labels, decisions), abs=1e-12)
    assert specificity == pytest.approx(sklearn_metrics.recall_score(1 - labels, ~decisions), abs=1e-12)
    expected = sklearn_metrics.balanced_accuracy_score(labels, decisions)
    assert metrics.balanced_accuracy(decisions, labels) == pytest.approx(expected, abs=1e-12)


def test_learnt_findings_leave_all_norms_of_a_seed_together():
    clean = np.array([[[0.95, 0.80], [0.90, 0.91]], [[0.92, 0.85], [0.79, 0.88]]])  # (norm, seed, finding)
    learnt = metrics.learnt_findings(clean)
    assert learnt.tolist() == [[True, True], [False, True]]
    averages = metrics.macro_average(clean, learnt)
    np.testing.assert_allclose(averages, [[0.875, 0.91], [0.885, 0.88]], atol=1e-12)
    assert np.isnan(metrics.macro_average(clean[0, 0], np.array([False, False])))


def test_retained_discrimination():
    retained = metrics.retained_discrimination(np.array([0.9, 0.7, 0.5, 0.6]), np.array([0.9, 0.9, 0.9, 0.5]))
    np.testing.assert_allclose(retained[:3], [1, 0.5, 0], atol=1e-12)
    assert np.isnan(retained[3])


def test_brier_and_calibration_error():
    rng = np.random.default_rng(6)
    probabilities = rng.random(500)
    labels = (rng.random(500) < probabilities).astype(int)
    expected = sklearn_metrics.brier_score_loss(labels, probabilities)
    assert metrics.brier_score(probabilities, labels) == pytest.approx(expected, abs=1e-12)
    total = 0.0
    for low in range(10):  # by the definition, bin by bin
        inside = (probabilities > low / 10) & (probabilities <= (low + 1) / 10)
        if inside.any():
            total += inside.mean() * abs(probabilities[inside].mean() - labels[inside].mean())
    assert metrics.expected_calibration_error(probabilities, labels, n_bins=10) == pytest.approx(total, abs=1e-12)


def test_calibration_error_at_the_edges():
    assert metrics.expected_calibration_error(np.array([0.0, 1.0]), np.array([0, 1])) == 0
    assert metrics.expected_calibration_error(np.array([0.0, 1.0]), np.array([1, 0])) == 1
    # Bins are closed on the right: 0.5 belongs with 0.3. Gaps 0.2 and 0.1 over three exams.
    edge = metrics.expected_calibration_error(np.array([0.5, 0.3, 0.9]), np.array([1, 0, 1]), n_bins=2)
    assert edge == pytest.approx(0.1)
    assert metrics.expected_calibration_error(np.array([0.75] * 4), np.array([1, 1, 0, 1])) == pytest.approx(0)


def test_calibration_equals_unpenalised_logistic_regression():
    rng = np.random.default_rng(7)
    logits = rng.normal(0, 4, 800)
    labels = (rng.random(800) < 1 / (1 + np.exp(-(logits / 2.5 - 1)))).astype(int)
    fitted = metrics.fit_calibration(logits, labels)
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logits[:, None], labels)
    assert 1 / fitted.temperature == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    assert fitted.prior_log_odds == pytest.approx(reference.intercept_[0], abs=1e-4)
    assert fitted.probabilities(logits).mean() == pytest.approx(labels.mean(), abs=1e-6)
    assert not fitted.at_bound


def test_calibration_undoes_temperature_and_sampler_and_lowers_the_error():
    rng = np.random.default_rng(8)
    truth = rng.normal(-1.5, 1.5, 20_000)  # true log odds
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-truth))).astype(int)
    shown = 3 * (truth + 1.2)  # overconfident by 3, sampler shift of 1.2 in log odds
    fitted = metrics.fit_calibration(shown, labels)
    assert fitted.temperature == pytest.approx(3, rel=0.05)
    assert fitted.prior_log_odds == pytest.approx(-1.2, abs=0.06)
    raw = 1 / (1 + np.exp(-shown))
    assert metrics.expected_calibration_error(raw, labels) > 0.15
    assert metrics.expected_calibration_error(fitted.probabilities(shown), labels) < 0.01
    assert metrics.auroc(fitted.probabilities(shown), labels) == pytest.approx(metrics.auroc(shown, labels), abs=1e-12)


def test_calibration_of_a_separable_set_says_that_it_stopped():
    logits = np.r_[np.linspace(-3, -1, 20), np.linspace(1, 3, 20)]
    fitted = metrics.fit_calibration(logits + 5, logits > 0)
    assert fitted.at_bound
    np.testing.assert_array_equal(fitted.probabilities(logits + 5) > 0.5, logits > 0)


def test_calibration_of_an_inverted_model_says_that_it_stopped():
    logits, labels = scores_and_labels(9)
    fitted = metrics.fit_calibration(-logits, labels)
    assert fitted.at_bound
    assert fitted.temperature == pytest.approx(metrics.TEMPERATURE_BOUNDS[1])


def test_corruption_errors_by_hand():
    reference = np.array([[0.9, 0.7], [0.8, 0.6]])
    table = np.array([[0.95, 0.85], [0.8, 0.7]])
    np.testing.assert_allclose(metrics.corruption_error(table, reference), [0.2 / 0.4, 0.5 / 0.6], rtol=1e-12)
    assert metrics.mean_corruption_error(reference, reference) == 100
    relative = metrics.relative_corruption_error(
        table,
        reference,
        clean_auroc=0.95,
        clean_reference_auroc=0.9,
        denominator_interval=np.array([[0.1, 0.3], [-0.01, 0.8]]),
    )
    assert relative[0] == pytest.approx(0.1 / 0.2)
    assert np.isnan(relative[1])  # the interval of its denominator holds 0


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, 0.2], [1, 1], "one class only"),
        ([0.1, np.nan], [0, 1], "1 scores are not finite"),
        ([0.1, 0.2], [0, 2], r"labels hold \[0, 2\]"),
        ([0.1, 0.2, 0.3], [0, 1], r"scores has shape \(3,\), labels \(2,\)"),
    ],
)
def test_bad_input_is_refused(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        metrics.auroc(np.array(scores), np.array(labels))


def test_logits_passed_as_probabilities_are_refused():
    with pytest.raises(ValueError, match="not logits"):
        metrics.brier_score(np.array([0.2, 1.3]), np.array([0, 1]))
