"""Clustered AUROC variance against Obuchowski's sums written out pair by pair, against DeLong and the jackknife."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from diagnose.statistics.clustered_auc import (
    auc_components,
    auroc_difference,
    auroc_interval,
    delong_covariance,
    patient_numbers,
    refusal,
    stack_components,
)


def study(seed, n_patients=30, n_columns=2, rounded=True):
    """Patients of unequal size, some with present, some with absent exams only, most mixed; scores tie if rounded."""
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(n_patients), rng.integers(1, 7, n_patients))
    risk = rng.choice([0, 0.5, 1], n_patients)
    labels = (rng.random(len(patients)) < risk[patients]).astype(int)
    scores = (
        labels + rng.normal(size=(n_columns, n_patients))[:, patients] + rng.normal(size=(n_columns, len(patients)))
    )
    order = rng.permutation(len(patients))  # exams of a patient are not neighbours
    scores = np.round(scores, 1) if rounded else scores
    return scores[:, order], labels[order], np.array([f"p{patient}" for patient in patients])[order]


def obuchowski_pair_by_pair(scores, labels, patients, other):
    """Covariance of two AUROCs by the sums S10, S01 and S11 of the paper, with loops and nothing shared."""

    def kernel(x, y):
        return 1.0 if x > y else 0.5 if x == y else 0.0

    def sums(column):
        present, absent = column[labels == 1], column[labels == 0]
        area = np.mean([[kernel(x, y) for y in absent] for x in present])
        of_present, of_absent = {}, {}
        for patient in np.unique(patients):
            mine = patients == patient
            xs, ys = column[mine & (labels == 1)], column[mine & (labels == 0)]
            of_present[patient] = sum(np.mean([kernel(x, y) for y in absent]) - area for x in xs)
            of_absent[patient] = sum(np.mean([kernel(x, y) for x in present]) - area for y in ys)
        return of_present, of_absent

    n_present, n_absent = int(labels.sum()), int((1 - labels).sum())
    n_positive, n_negative = len(set(patients[labels == 1])), len(set(patients[labels == 0]))
    n_patients = len(set(patients))
    (x_one, y_one), (x_two, y_two) = sums(scores), sums(other)
    s10 = n_positive / ((n_positive - 1) * n_present) * sum(x_one[key] * x_two[key] for key in x_one)
    s01 = n_negative / ((n_negative - 1) * n_absent) * sum(y_one[key] * y_two[key] for key in x_one)
    s11 = n_patients / (n_patients - 1) * sum(x_one[key] * y_two[key] for key in x_one)
    s11_back = n_patients / (n_patients - 1) * sum(x_two[key] * y_one[key] for key in x_one)
    return s10 / n_present + s01 / n_absent + (s11 + s11_back) / (n_present * n_absent)


@pytest.mark.parametrize("seed", range(6))
def test_covariance_equals_the_published_sums(seed):
    scores, labels, patients = study(seed)
    components = auc_components(scores, labels, patients)
    covariance = components.covariance()
    for one in range(2):
        assert components.auc[one] == pytest.approx(roc_auc_score(labels, scores[one]), abs=1e-12)
        for other in range(2):
            expected = obuchowski_pair_by_pair(scores[one], labels, patients, scores[other])
            assert covariance[one, other] == pytest.approx(expected, rel=1e-10)


def test_variance_agrees_with_a_jackknife_over_patients():
    ratios = []
    for seed in range(12):
        scores, labels, patients = study(seed, n_patients=80, n_columns=1)
        left_out = []
        for patient in np.unique(patients):
            kept = patients != patient
            left_out.append(roc_auc_score(labels[kept], scores[0, kept]))
        jackknife = (len(left_out) - 1) / len(left_out) * np.sum((left_out - np.mean(left_out)) ** 2)
        ratios.append(auc_components(scores, labels, patients).covariance()[0, 0] / jackknife)
    # Two first-order estimates of one variance: they differ by terms of order 1 / patients.
    assert np.mean(ratios) == pytest.approx(1, abs=0.04)
    assert np.ptp(ratios) < 0.15


def test_slices_taken_for_patients_give_too_small_a_variance():
    scores, labels, patients = study(1, n_patients=120)
    clustered = auc_components(scores, labels, patients).covariance()[0, 0]
    naive = auc_components(scores, labels, np.arange(len(labels))).covariance()[0, 0]
    assert naive < 0.8 * clustered


def test_one_exam_per_patient_is_delong():
    scores, labels, _ = study(2, n_columns=3)
    patients = np.arange(len(labels))
    expected = auc_components(scores, labels, patients).covariance()
    np.testing.assert_allclose(delong_covariance(scores, labels, patients), expected, rtol=1e-10)


def test_delong_is_refused_for_clustered_exams():
    scores, labels, patients = study(3)
    with pytest.raises(ValueError, match=rf"{len(labels)} exams of 30 patients: DeLong's variance needs one exam"):
        delong_covariance(scores, labels, patients)


def test_combinations_of_stacked_findings():
    scores, labels, patients = study(4)
    other_labels = np.roll(labels, 3)
    parts = [auc_components(scores, labels, patients), auc_components(scores, other_labels, patients)]
    joint = stack_components(parts)
    covariance = joint.covariance()
    np.testing.assert_allclose(covariance[:2, :2], parts[0].covariance(), rtol=1e-12)
    np.testing.assert_allclose(covariance, covariance.T, atol=1e-18)
    weights = np.array([[0.5, 0, 0.5, 0], [1, -1, 0, 0]])
    combined = joint.combine(weights)
    np.testing.assert_allclose(combined.auc, weights @ joint.auc, rtol=1e-12)
    np.testing.assert_allclose(combined.covariance(), weights @ covariance @ weights.T, rtol=1e-9, atol=1e-15)


def test_findings_of_different_patients_are_not_stacked():
    scores, labels, patients = study(5)
    other = auc_components(scores, labels, np.char.add(patients, "b"))
    with pytest.raises(ValueError, match="findings have different patients"):
        stack_components([auc_components(scores, labels, patients), other])


def test_interval_is_symmetric_in_log_odds():
    scores, labels, patients = study(6, n_patients=60)
    interval = auroc_interval(scores[0], labels, patients)
    assert interval.value == pytest.approx(roc_auc_score(labels, scores[0]), abs=1e-12)

    def log_odds(area):
        return np.log(area / (1 - area))

    below = log_odds(interval.value) - log_odds(interval.low)
    above = log_odds(interval.high) - log_odds(interval.value)
    assert below == pytest.approx(above, rel=1e-9)
    assert below == pytest.approx(
        1.959964 * interval.standard_error / (interval.value * (1 - interval.value)), rel=1e-6
    )


def test_difference_of_two_columns():
    scores, labels, patients = study(7, n_patients=60)
    difference = auroc_difference(scores, labels, patients)
    areas = [roc_auc_score(labels, column) for column in scores]
    assert difference.value == pytest.approx(areas[1] - areas[0], abs=1e-12)
    covariance = auc_components(scores, labels, patients).covariance()
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert difference.standard_error == pytest.approx(error, rel=1e-9)
    assert difference.high - difference.low == pytest.approx(2 * 1.959964 * error, rel=1e-6)


def test_an_identity_artifact_has_no_difference():
    scores, labels, patients = study(8, n_patients=60)
    same = auroc_difference(np.stack([scores[0], 2 * scores[0] + 1]), labels, patients)  # ranks are what counts
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_patients_are_counted_on_both_sides():
    labels, patients = np.array([1, 0, 0, 1, 1]), np.array(["a", "a", "b", "c", "c"])
    assert patient_numbers(labels, patients) == (2, 2)


@pytest.mark.parametrize(("n_positive", "n_negative"), [(9, 30), (30, 9), (10, 10)])
def test_too_few_patients_are_refused_with_the_reason(n_positive, n_negative):
    labels = np.r_[np.ones(n_positive, int), np.zeros(n_negative, int)]
    patients = np.arange(len(labels))
    scores = np.random.default_rng(0).normal(size=(2, len(labels)))
    reason = refusal(labels, patients)
    for estimate in (auroc_interval(scores[0], labels, patients), auroc_difference(scores, labels, patients)):
        assert estimate.reason == reason
        assert (estimate.low is None) == bool(reason)
    expected = {9: "9 positive patients", 30: "9 negative patients", 10: ""}[n_positive]
    assert reason.startswith(expected)
    assert bool(reason) == (n_positive + n_negative > 20)
    other = refusal(labels, patients, of="validation")
    assert other.replace("patients of validation", "patients") == reason and bool(other) == bool(reason)


def test_separated_exams_have_no_interval():
    labels = np.repeat([0, 1], 20)
    estimate = auroc_interval(np.arange(40.0), labels, np.arange(40))
    assert estimate.value == 1
    assert estimate.low is None
    assert "AUROC of 1" in estimate.reason


def test_one_positive_patient_is_refused():
    with pytest.raises(ValueError, match="1 positive and 2 negative patients"):
        auc_components(np.arange(4.0), np.array([1, 1, 0, 0]), np.array(["a", "a", "b", "c"]))
