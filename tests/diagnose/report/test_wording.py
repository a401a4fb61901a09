"""Numbers as text, and what a comparison allows to be said."""

import pytest

from diagnose.report.wording import (
    adaptation_words,
    arm_name,
    interval,
    number,
    p_value,
    percent,
    sentence,
    signed,
    stopped,
    verdict,
)


def test_numbers():
    assert (number(0.98765), number(-0.5, 1), number(None)) == ("0.988", "−0.5", "–")
    assert (signed(0.0304), signed(-0.0304), signed(-0.0002), signed(None)) == ("+0.030", "−0.030", "0.000", "–")
    assert interval(-0.1, 0.25) == "[−0.100,\N{NO-BREAK SPACE}0.250]"
    assert interval(None, 0.2) == "" and interval(0.0, 0.0) == "[0.000,\N{NO-BREAK SPACE}0.000]"
    assert (p_value(0.00099), p_value(0.001), p_value(None)) == ("<\N{NO-BREAK SPACE}0.001", "0.001", "–")
    assert percent(0.876) == "88\N{NO-BREAK SPACE}%"
    assert sentence("gn leads") == "Gn leads." and stopped("bn stays.") == "bn stays." and sentence("") == ""


@pytest.mark.parametrize(
    ("difference", "p_holm", "expected"),
    [
        (0.02, 0.049, "gn keeps more discrimination under these corruptions than bn"),
        (-0.02, 0.049, "bn keeps more discrimination under these corruptions than gn"),
        (0.02, 0.05, "no difference between gn and bn shown; that is no proof of equality"),
        (0.3, None, "no test of gn against bn: one seed: no statement about norms"),
    ],
)
def test_a_verdict_says_no_more_than_the_corrected_p(difference: float, p_holm: float | None, expected: str):
    message = "one seed: no statement about norms"
    entry = {"norm": "gn", "reference_norm": "bn", "difference": difference, "p": 0.001, "p_holm": p_holm}
    assert verdict({**entry, "message": message}) == expected


def test_adaptations():
    exam = "prediction-time-exam-batch8-pseudo16"
    assert adaptation_words(exam) == "prediction-time BN, one exam at a time, at most 8 slices, N = 16"
    assert (arm_name(f"bn+{exam}"), arm_name("bn+precise-bn"), arm_name("gn")) == ("bn+exam 8+16", "bn+precise", "gn")
    assert arm_name("bn+prediction-time-random-batch32-pseudoauto") == "bn+random 32+auto"
    assert arm_name("bn+prediction-time-random-batch32-pseudo1e-05") == "bn+random 32+1e-05"
