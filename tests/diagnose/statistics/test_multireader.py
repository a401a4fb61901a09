"""The Obuchowski-Rockette analysis against published output, a normal model in closed form, and its own limits."""

import numpy as np
import pytest
from scipy.stats import t as student_t
from scipy.stats import ttest_rel

from diagnose.statistics.multireader import ONE_SEED, mean_over_seeds, norm_difference, obuchowski_rockette

# The Van Dyke study as printed by RJafroc (Chakraborty, RJafroc books, method "OR", empirical AUC, jackknife): two
# modalities, five readers, 114 patients.
VAN_DYKE_AUC = np.array(
    [
        [0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066],
        [0.94782609, 0.90531401, 0.92173913, 0.99935588, 0.92995169],
    ]
)
VAN_DYKE_VARIANCES = (0.00080228827, 0.00034661371, 0.00034407483, 0.00023902837)


def structured_covariance(n_norms, n_seeds, variance, cov1, cov2, cov3):
    covariance = np.full((n_norms, n_seeds, n_norms, n_seeds), cov3)
    for norm in range(n_norms):
        for seed in range(n_seeds):
            covariance[norm, :, norm, seed] = cov2
            covariance[norm, seed, :, seed] = cov1
    for norm in range(n_norms):
        for seed in range(n_seeds):
            covariance[norm, seed, norm, seed] = variance
    return covariance


def test_van_dyke_as_published():
    covariance = structured_covariance(2, 5, *VAN_DYKE_VARIANCES)
    analysis = obuchowski_rockette(VAN_DYKE_AUC, covariance)
    assert analysis.ms_norm == pytest.approx(0.00479617053, rel=1e-6)
    assert analysis.ms_interaction == pytest.approx(0.00055103062, rel=1e-6)
    parts = (analysis.variance, analysis.cov1, analysis.cov2, analysis.cov3)
    np.testing.assert_allclose(parts, VAN_DYKE_VARIANCES, rtol=1e-12)
    assert analysis.error == pytest.approx(0.0010762629, rel=1e-6)
    assert analysis.f == pytest.approx(4.4563187, rel=1e-6)
    assert analysis.degrees_of_freedom == pytest.approx((1, 15.259675), rel=1e-6)
    assert analysis.p == pytest.approx(0.051665686, rel=1e-5)
    difference = norm_difference(VAN_DYKE_AUC, covariance, norm="gn", reference="bn")
    assert difference.difference == pytest.approx(0.043800322, rel=1e-6)
    assert difference.standard_error == pytest.approx(0.020748618, rel=1e-6)
    assert (difference.low, difference.high) == pytest.approx((-0.00035885444, 0.087959499), abs=1e-7)
    assert difference.p == pytest.approx(0.051665686, rel=1e-5)
    assert difference.message == ""


def test_covariances_of_a_general_matrix_are_averages_of_their_kind():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(12, 40))
    covariance = (root @ root.T).reshape(3, 4, 3, 4)
    kinds = {"variance": [], "cov1": [], "cov2": [], "cov3": []}
    for i, j, k, m in np.ndindex(3, 4, 3, 4):
        kind = {(True, True): "variance", (False, True): "cov1", (True, False): "cov2"}.get((i == k, j == m), "cov3")
        kinds[kind].append(covariance[i, j, k, m])
    analysis = obuchowski_rockette(rng.random((3, 4)), covariance)
    for name, values in kinds.items():
        assert getattr(analysis, name) == pytest.approx(np.mean(values), rel=1e-12)


def test_without_patient_covariance_it_is_the_paired_t_test():
    # Cov2 = Cov3: all that differs between norms is norm x seed, and the analysis is Student's, on 4 degrees.
    covariance = structured_covariance(2, 5, 0.0004, 0.0002, 0.0001, 0.0001)
    result = norm_difference(VAN_DYKE_AUC, covariance, norm="gn", reference="bn")
    reference = ttest_rel(VAN_DYKE_AUC[1], VAN_DYKE_AUC[0])
    assert result.degrees_of_freedom == pytest.approx(4)
    assert result.p == pytest.approx(reference.pvalue, rel=1e-9)
    assert (result.low, result.high) == pytest.approx(tuple(reference.confidence_interval(0.95)), rel=1e-9)


def test_cov2_below_cov3_does_not_shrink_the_error():
    small = structured_covariance(2, 5, 0.0004, 0.0002, 0.0001, 0.0003)
    analysis = obuchowski_rockette(VAN_DYKE_AUC, small)
    assert analysis.error == pytest.approx(analysis.ms_interaction)
    assert analysis.degrees_of_freedom[1] == pytest.approx(4)


def test_one_seed_makes_no_statement():
    result = norm_difference(np.array([[0.8], [0.9]]), np.zeros((2, 1, 2, 1)), norm="gn", reference="bn")
    assert result.message == ONE_SEED == "one seed: no statement about norms"
    assert result.difference == pytest.approx(0.1)
    assert (result.low, result.high, result.p, result.standard_error) == (None,) * 4


@pytest.mark.parametrize("n_seeds", [2, 3, 4])
def test_few_seeds_are_exploratory_and_floored(n_seeds):
    auroc = np.array([[0.80, 0.82, 0.81, 0.83], [0.85, 0.8701, 0.8599, 0.88]])[:, :n_seeds]  # hardly any norm x seed
    covariance = structured_covariance(2, n_seeds, 0.0008, 0.0004, 0.0003, 0.0002)
    result = norm_difference(auroc, covariance, norm="gn", reference="bn")
    assert result.message == f"{n_seeds} seeds: exploratory, at least 5 are advised"
    expected_error = 0.0008 - 0.0004 - 0.0003 + 0.0002 + n_seeds * 0.0001
    assert result.standard_error == pytest.approx(np.sqrt(2 * expected_error / n_seeds), rel=1e-9)
    assert result.p > obuchowski_rockette(auroc, covariance).p


def test_identical_runs_do_not_differ():
    auroc = np.tile([0.80, 0.82, 0.81, 0.83, 0.84], (2, 1))
    covariance = structured_covariance(2, 5, 0.0008, 0.0008, 0.0003, 0.0003)  # the second norm is the first
    result = norm_difference(auroc, covariance, norm="gn", reference="bn")
    assert (result.difference, result.low, result.high, result.p) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    ("auroc", "covariance", "message"),
    [
        (np.zeros((1, 5)), np.zeros((1, 5, 1, 5)), r"auroc has shape \(1, 5\); expected \(norm, seed\)"),
        (np.zeros((2, 5)), np.zeros((10, 10)), r"covariance has shape \(10, 10\); expected \(2, 5, 2, 5\)"),
        (np.full((2, 5), np.nan), np.zeros((2, 5, 2, 5)), "not finite"),
    ],
)
def test_bad_tables_are_refused(auroc, covariance, message):
    with pytest.raises(ValueError, match=message):
        obuchowski_rockette(auroc, covariance)


def test_the_mean_over_seeds_holds_the_variance_of_seeds_and_what_patients_share():
    values = np.array([0.70, 0.80, 0.90, 0.80, 0.85])
    covariance = np.full((5, 5), 0.0004) + np.diag(np.full(5, 0.0003))
    means = mean_over_seeds(values, covariance)
    ms_seed = np.var(values, ddof=1)
    assert means.mean == pytest.approx(0.81)
    assert means.standard_error**2 == pytest.approx(ms_seed / 5 + 0.0004)
    assert means.degrees_of_freedom == pytest.approx(4 * ((ms_seed + 5 * 0.0004) / ms_seed) ** 2)
    low, high = means.interval()
    assert high - 0.81 == pytest.approx(student_t.ppf(0.975, means.degrees_of_freedom) * means.standard_error)
    assert 0.81 - low == pytest.approx(high - 0.81)


def test_with_few_seeds_equal_values_do_not_make_the_seeds_certain():
    covariance = np.full((3, 3), 0.0001) + np.diag(np.full(3, 0.0005))
    means = mean_over_seeds(np.full(3, 0.8), covariance)
    assert means.standard_error**2 == pytest.approx(0.0005 / 3 + 0.0001)
    five = mean_over_seeds(np.full(5, 0.8), np.full((5, 5), 0.0001) + np.diag(np.full(5, 0.0005)))
    assert five.standard_error**2 == pytest.approx(0.0001) and np.isinf(five.degrees_of_freedom)


def test_intervals_of_areas_stay_inside_the_unit_interval():
    means = mean_over_seeds(np.array([[0.97, 0.99, 1.0, 0.98, 0.99], [1.0] * 5]), np.full((2, 5, 5), 0.0004))
    low, high = means.interval(within_unit=True)
    assert 0 < low[0] < 0.986 < high[0] < 1 and means.interval()[1][0] > 1
    assert high[1] == 1
    logits = np.log(np.array([low[0], 0.986, high[0]]) / (1 - np.array([low[0], 0.986, high[0]])))
    assert logits[2] - logits[1] == pytest.approx(logits[1] - logits[0])


def test_intervals_of_seed_means_cover_their_norm():
    """Seeds and patients drawn anew 4000 times; an interval of seeds alone, or of patients alone, covers too little."""
    rng = np.random.default_rng(0)
    n, n_seeds, seed_sd, shared_sd, own_sd = 4000, 5, 0.02, 0.02, 0.01
    values = 0.8 + seed_sd * rng.normal(size=(n, n_seeds)) + shared_sd * rng.normal(size=(n, 1))
    values += own_sd * rng.normal(size=(n, n_seeds))
    covariance = np.full((n_seeds, n_seeds), shared_sd**2) + np.diag(np.full(n_seeds, own_sd**2))
    low, high = mean_over_seeds(values, np.broadcast_to(covariance, (n, n_seeds, n_seeds))).interval()
    assert 0.94 < np.mean((low < 0.8) & (high > 0.8)) < 0.97


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"values has shape \(1,\)"):
        mean_over_seeds(np.array([0.8]), np.ones((1, 1)))
    with pytest.raises(ValueError, match="expected"):
        mean_over_seeds(np.ones((2, 3)), np.ones((3, 3)))
