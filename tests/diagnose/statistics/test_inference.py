"""The primary analysis: its arithmetic, and how often its intervals and tests are wrong on simulated studies."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from diagnose.statistics.bootstrap import bootstrap_auroc_interval
from diagnose.statistics.clustered_auc import auroc_difference, auroc_interval, patient_numbers
from diagnose.statistics.inference import ShiftedScores, compare_norms, endpoint_components, holm

N_PATIENTS, N_POSITIVE, N_EXAMS = 90, 45, 4
SEPARATION = 1.5
"""Distance of the two score distributions, in standard deviations: an AUROC of 0.856."""


def clustered_exams(rng, icc, n_columns=1):
    """Scores (column, exam) with a stated intra-class correlation; 45 positive patients, whose other exams are absent.

    The columns share half of their variance, and their true AUROC is ``norm.cdf(SEPARATION / sqrt(2))``.
    """
    patients = np.repeat(np.arange(N_PATIENTS), N_EXAMS)
    labels = (rng.random((N_PATIENTS, N_EXAMS)) < 0.5).astype(int)
    labels[:, 0], labels[N_POSITIVE:] = 1, 0

    def noise(n):
        return np.sqrt(0.5) * (rng.normal(size=n) + rng.normal(size=(n_columns, n)))

    scores = np.sqrt(icc) * noise(N_PATIENTS)[:, patients] + np.sqrt(1 - icc) * noise(len(patients))
    return scores + SEPARATION * labels.ravel(), labels.ravel(), patients


def shifted_study(rng, *, n_norms=2, n_seeds=5, effect=0.0, seed_sd=0.15, interaction_sd=0.1, norm_patient_sd=0.3):
    """A study with planted variance of seeds, of norm x seed, and of patients (shared, by norm, by seed, by run).

    Two findings, one kind, two levels, 90 patients with 3 exams; ``effect`` is added to the separation of all norms but
    the first. Without it all norms have the same expected AUROC.
    """
    n_kinds, n_levels, n_findings, n_exams = 1, 2, 2, 3
    patients = np.repeat(np.arange(N_PATIENTS), n_exams)
    labels = np.zeros((n_findings, N_PATIENTS, n_exams), dtype=int)
    for finding in range(n_findings):
        positive = rng.permutation(N_PATIENTS)[:N_POSITIVE]
        labels[finding, positive] = rng.random((N_POSITIVE, n_exams)) < 0.5
        labels[finding, positive, 0] = 1
    labels = labels.reshape(n_findings, -1)
    separation = 1.3 - 0.2 * np.arange(n_levels)[:, None] + seed_sd * rng.normal(size=(1, n_seeds, 1, 1, 1))
    separation = separation + interaction_sd * rng.normal(size=(n_norms, n_seeds, 1, 1, 1))
    separation[1:] += effect
    by_patient = 0.5 * rng.normal(size=(1, 1, n_kinds, n_levels, n_findings, N_PATIENTS))
    by_patient = by_patient + norm_patient_sd * rng.normal(size=(n_norms, 1, 1, 1, n_findings, N_PATIENTS))
    by_patient = by_patient + 0.3 * rng.normal(size=(1, n_seeds, 1, 1, n_findings, N_PATIENTS))
    by_patient = by_patient + 0.2 * rng.normal(size=(n_norms, n_seeds, 1, 1, n_findings, N_PATIENTS))
    by_exam = 0.5 * rng.normal(size=(1, 1, n_kinds, n_levels, n_findings, len(patients)))
    by_exam = by_exam + 0.4 * rng.normal(size=(n_norms, n_seeds, 1, 1, n_findings, len(patients)))
    scores = separation[..., None] * labels + by_patient[..., patients] + by_exam
    return ShiftedScores(scores, labels, patients, ("bn", "gn", "ln", "in")[:n_norms])


def learnt_everything(table):
    return np.full((*table.scores.shape[:2], table.scores.shape[4]), 0.95)


def rejections(n_studies, seed, **planted):
    """Share of studies in which the primary analysis calls the second norm different, at 5 %."""
    rng = np.random.default_rng(seed)
    tables = (shifted_study(rng, **planted) for _ in range(n_studies))
    return np.mean([compare_norms(table, learnt_everything(table))[0].p < 0.05 for table in tables])


def test_endpoint_is_the_mean_of_scikit_learns_areas():
    table = shifted_study(np.random.default_rng(0), n_norms=3, n_seeds=2)
    learnt = np.array([[True, True], [False, True]])
    endpoint = endpoint_components(table, learnt).auc.reshape(3, 2)
    for run in np.ndindex(3, 2):
        areas = [
            np.mean(
                [roc_auc_score(table.labels[finding], table.scores[(*run, 0, level, finding)]) for level in range(2)]
            )
            for finding in np.flatnonzero(learnt[run[1]])
        ]
        assert endpoint[run] == pytest.approx(np.mean(areas), abs=1e-12)


def test_covariance_of_the_endpoint_agrees_with_a_jackknife_over_patients():
    table = shifted_study(np.random.default_rng(1), n_seeds=2)
    learnt = np.array([[True, True], [True, False]])
    covariance = endpoint_components(table, learnt).covariance()
    left_out = []
    for patient in range(N_PATIENTS):
        kept = table.patients != patient
        part = replace(
            table, scores=table.scores[..., kept], labels=table.labels[:, kept], patients=table.patients[kept]
        )
        left_out.append(endpoint_components(part, learnt).auc)
    jackknife = (N_PATIENTS - 1) ** 2 / N_PATIENTS * np.cov(np.array(left_out).T)
    np.testing.assert_allclose(covariance, jackknife, rtol=0.1)


def test_one_finding_that_a_run_has_not_learnt_leaves_its_seed_for_all_norms():
    table = shifted_study(np.random.default_rng(2))
    clean = learnt_everything(table)
    clean[1, 3, 0] = 0.79  # gn, fourth seed, first finding
    expected = endpoint_components(table, np.array([[True, True]] * 3 + [[False, True], [True, True]])).auc.reshape(
        2, 5
    )
    difference = compare_norms(table, clean)[0].difference
    assert difference == pytest.approx(expected[1].mean() - expected[0].mean(), abs=1e-12)
    clean[0, 3, 1] = 0.5
    with pytest.raises(ValueError, match=r"seeds at \[3\] have no finding that all norms learnt"):
        compare_norms(table, clean)


def test_comparisons_are_with_the_reference_and_corrected_among_themselves():
    table = shifted_study(np.random.default_rng(3), n_norms=4, effect=0.2)
    results = compare_norms(table, learnt_everything(table), reference="gn")
    assert [result.norm for result in results] == ["bn", "ln", "in"]
    assert {result.reference for result in results} == {"gn"}
    p = [result.p for result in results]
    np.testing.assert_allclose([result.p_holm for result in results], holm(p))
    # Only the two norms of a pair enter: the others may be left out without changing it.
    pair = replace(table, scores=table.scores[[1, 2]], norms=("gn", "ln"))
    alone = compare_norms(pair, learnt_everything(pair), reference="gn")[0]
    assert alone.p == pytest.approx(results[1].p, rel=1e-9)
    assert alone.p_holm == alone.p


def test_the_same_runs_under_another_name_do_not_differ():
    table = shifted_study(np.random.default_rng(4))
    table = replace(table, scores=np.stack([table.scores[0], table.scores[0]]))
    result = compare_norms(table, learnt_everything(table))[0]
    assert result.difference == 0
    assert result.p == 1


def test_one_seed_and_few_patients_carry_no_test():
    one_seed = shifted_study(np.random.default_rng(5), n_seeds=1)
    result = compare_norms(one_seed, learnt_everything(one_seed))[0]
    assert (result.message, result.p, result.p_holm) == ("one seed: no statement about norms", None, None)
    table = shifted_study(np.random.default_rng(6))
    labels = table.labels.copy()
    labels[1, np.isin(table.patients, np.flatnonzero(labels[1].reshape(-1, 3).any(axis=1))[9:])] = 0
    result = compare_norms(replace(table, labels=labels), learnt_everything(table))[0]
    assert result.message == "finding 1: 9 positive patients: at least 10 are needed for an interval"
    assert (result.low, result.p, result.p_holm) == (None, None, None)


def test_tables_that_do_not_fit_are_refused():
    table = shifted_study(np.random.default_rng(7))
    with pytest.raises(ValueError, match="reference is 'wn'; expected one of bn, gn"):
        compare_norms(table, learnt_everything(table), reference="wn")
    with pytest.raises(ValueError, match="with 3 norms"):
        replace(table, norms=("bn", "gn", "ln"))
    with pytest.raises(ValueError, match=r"labels has shape \(1, 270\)"):
        replace(table, labels=table.labels[:1])


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06], rtol=1e-12)
    np.testing.assert_allclose(holm([0.6, 0.5]), [1, 1])
    assert holm([0.02]) == [0.02]
    assert len(holm([])) == 0
    with pytest.raises(ValueError, match="p values are"):
        holm([1.2])


def coverage(n_studies, icc, n_draws):
    """Share of studies whose interval holds the truth: (clustered, bootstrap, clustered difference of two models)."""
    rng = np.random.default_rng([n_studies, int(10 * icc)])
    truth, held = norm.cdf(SEPARATION / np.sqrt(2)), np.zeros(3)
    for _ in range(n_studies):
        scores, labels, patients = clustered_exams(rng, icc, n_columns=2)
        assert min(patient_numbers(labels, patients)) >= 40
        intervals = (
            auroc_interval(scores[0], labels, patients),
            bootstrap_auroc_interval(scores[0], labels, patients, n_draws=n_draws, rng=rng),
            auroc_difference(scores, labels, patients),
        )
        for index, (interval, value) in enumerate(zip(intervals, (truth, truth, 0), strict=True)):
            held[index] += interval.low <= value <= interval.high
    return held / n_studies


@pytest.mark.parametrize("icc", [0, 0.3, 0.6])
def test_intervals_cover(icc):
    # 300 studies: three binomial standard errors are 0.038.
    np.testing.assert_allclose(coverage(300, icc, n_draws=300), 0.95, atol=0.038)


@pytest.mark.slow
@pytest.mark.parametrize("icc", [0, 0.3, 0.6])
def test_intervals_cover_in_2000_studies(icc):
    shares = coverage(2000, icc, n_draws=1000)
    print(f"\nicc {icc}: clustered {shares[0]:.4f}, bootstrap {shares[1]:.4f}, difference {shares[2]:.4f}")
    np.testing.assert_allclose(shares, 0.95, atol=0.02)


def test_null_studies_are_rejected_about_as_often_as_stated():
    # 200 studies at 5 %: three binomial standard errors are 0.046.
    assert rejections(200, seed=0) == pytest.approx(0.05, abs=0.046)


@pytest.mark.slow
@pytest.mark.parametrize(
    "planted",
    [
        {},
        {"norm_patient_sd": 0.0},
        {"seed_sd": 0.3, "interaction_sd": 0.3},
        {"seed_sd": 0.0, "interaction_sd": 0.0},
        {"n_seeds": 10},
    ],
)
def test_null_studies_are_rejected_in_five_percent(planted):
    # 4,000 studies: with 1,000 a true rate of 5.3 % would leave the band by chance in one run of twenty.
    share = rejections(4000, seed=1, **planted)
    print(f"\n{planted}: {share:.4f}")
    assert 0.035 <= share <= 0.065


@pytest.mark.slow
@pytest.mark.parametrize("n_seeds", [2, 3, 4])
def test_few_seeds_do_not_reject_too_often(n_seeds):
    share = rejections(1000, seed=2, n_seeds=n_seeds)
    print(f"\n{n_seeds} seeds: {share:.4f}")
    assert share <= 0.07  # 5 % and three binomial standard errors


def test_a_planted_effect_is_found():
    # 0.5 standard deviations of separation, about 0.09 of AUROC, over 5 seeds.
    assert rejections(60, seed=3, effect=0.5) > 0.9


def test_one_pair_of_runs_mistakes_the_luck_of_a_seed_for_a_norm():
    """The reason for the multi-reader analysis: patients alone reject a true null of norms far too often."""
    rng, n_rejected = np.random.default_rng(8), 0
    for _ in range(150):
        table = shifted_study(rng, n_seeds=1, interaction_sd=0.3)
        n_rejected += auroc_difference(table.scores[:, 0, 0, 0, 0], table.labels[0], table.patients).p < 0.05
    assert n_rejected / 150 > 0.25


def test_what_counts_as_learnt_can_be_planned():
    table = shifted_study(np.random.default_rng(4))
    clean = learnt_everything(table)
    clean[1, :, 0] = 0.85
    both = compare_norms(table, clean)[0]
    strict = compare_norms(table, clean, min_auroc=0.9)[0]
    second = endpoint_components(table, np.array([[False, True]] * 5)).auc.reshape(2, 5)
    assert strict.difference == pytest.approx(second[1].mean() - second[0].mean())
    assert strict.difference != pytest.approx(both.difference)
