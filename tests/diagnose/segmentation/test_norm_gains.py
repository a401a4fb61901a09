"""Gains of a norm: the covariance against its textbook form, absolute and relative gain, refusals."""

import numpy as np
import pytest

from diagnose.segmentation.dice_intervals import bootstrap_means, estimates_by_class
from diagnose.segmentation.norm_gains import norm_gains, patient_covariance
from mrisim.seeding import stream

RNG = stream(0, "norm gains")


def draw(n_norms=2, n_seeds=5, n_cases=200, shift=0.0, by_patient=0.0):
    """Return (norm, seed, case); ``by_patient`` is how much patients differ in what they gain, in every seed alike."""
    patients = RNG.normal(0.6, 0.1, n_cases) + RNG.normal(0, by_patient, (n_norms, 1, n_cases))
    noise = RNG.normal(0, 0.02, (n_norms, n_seeds, n_cases)) + RNG.normal(0, 0.01, (n_norms, n_seeds, 1))
    return patients + noise + shift * np.arange(n_norms)[:, None, None]


def test_the_covariance_of_means_is_that_of_the_cases_over_their_number():
    values = RNG.random((4, 30))
    expected = np.cov(values) / 30
    np.testing.assert_allclose(patient_covariance(values, [f"{n:02d}" for n in range(30)]), expected)


def test_cases_of_a_patient_go_together():
    """Every case twice tells nothing new: the covariance stays that of the patients."""
    values = RNG.random((3, 12))
    patients = [f"{n:02d}" for n in range(12)]
    doubled = patient_covariance(np.concatenate([values, values], axis=1), patients + patients)
    np.testing.assert_allclose(doubled, patient_covariance(values, patients))
    with pytest.raises(ValueError, match="one patient"):
        patient_covariance(values, ["a"] * 12)


@pytest.mark.parametrize("by_patient", [0.0, 0.2])
def test_gains_are_differences_and_ratios_of_means(by_patient):
    dice = draw(shift=0.06, by_patient=by_patient)
    patients = [str(n) for n in range(dice.shape[2])]
    none, ln = norm_gains(dice, patients, ["none", "ln"], "none")
    assert none.absolute is None and none.dice == pytest.approx(dice[0].mean())
    assert none.low < none.dice < none.high
    assert ln.absolute.difference == pytest.approx(dice[1].mean() - dice[0].mean())
    means = dice.mean(axis=2)
    assert ln.relative == pytest.approx(np.exp(np.log(means[1]).mean() - np.log(means[0]).mean()) - 1)
    assert ln.absolute.low < ln.absolute.difference < ln.absolute.high
    assert ln.relative_low < ln.relative < ln.relative_high
    # to first order, the interval of the ratio is that of the difference over the reference
    width = (ln.relative_high - ln.relative_low) / (ln.absolute.high - ln.absolute.low)
    assert width == pytest.approx(1 / none.dice, rel=0.1)
    assert set(ln.record) == {
        "norm", "dice", "low", "high", "gain", "gain_low", "gain_high", "p", "relative_gain", "relative_gain_low",
        "relative_gain_high", "message",
    }  # fmt: skip


def test_intervals_hold_no_gain_about_as_often_as_they_say():
    held = []
    for _ in range(200):
        dice = draw(n_cases=40)
        (_, ln) = norm_gains(dice, [str(n) for n in range(40)], ["none", "ln"], "none")
        held.append((ln.relative_low <= 0 <= ln.relative_high, ln.absolute.low <= 0 <= ln.absolute.high))
    assert (np.mean(held, axis=0) > 0.9).all() and (np.mean(held, axis=0) < 1).all()


def test_a_reference_that_learnt_nothing_has_no_relative_gain():
    dice = draw(n_seeds=3)
    dice[0, 1] = 0.0
    ln = norm_gains(dice, [str(n) for n in range(200)], ["none", "ln"], "none")[1]
    assert ln.relative is None and "mean Dice of 0.000" in ln.message and ln.absolute.difference > 0.1
    with pytest.raises(ValueError, match="reference is 'bn'"):
        norm_gains(dice, [str(n) for n in range(200)], ["none", "ln"], "bn")
    with pytest.raises(ValueError, match="expected"):
        norm_gains(dice, ["a"], ["none", "ln"], "none")


def test_one_seed_carries_no_interval():
    none, ln = norm_gains(draw(n_seeds=1), [str(n) for n in range(200)], ["none", "ln"], "none")
    assert none.low is None and ln.absolute.low is None and "one seed" in ln.message


def test_a_bootstrap_mean_weighs_the_cases_of_the_drawn_patients():
    values = np.array([[1.0], [3.0], [8.0]])
    counts = np.array([[1, 1], [2, 0], [0, 2]])
    np.testing.assert_allclose(bootstrap_means(values, ["p", "p", "q"], counts)[:, 0], [4, 2, 8])


def test_the_mean_of_the_classes_stands_last_and_its_interval_holds_their_correlation():
    values = RNG.normal(0.5, 0.1, (400, 1)) + np.zeros((400, 3))
    patients = [str(n) for n in range(400)]
    *classes, mean = estimates_by_class(values, patients)
    assert (mean.low, mean.high) == pytest.approx((classes[0].low, classes[0].high))
    deviation = values[:, 0].std() / 20
    assert mean.high - mean.low == pytest.approx(2 * 1.96 * deviation, rel=0.08)
    assert "at least 10" in estimates_by_class(values[:9], patients[:9])[0].reason
