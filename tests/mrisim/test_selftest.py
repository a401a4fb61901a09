"""The checks that a user runs on a device see what is wrong there."""

import numpy as np
import pytest

from mrisim import selftest
from mrisim.reconstruct import solve


def failed() -> set[str]:
    return {f"{subject}: {check.law}" for subject, check in selftest.run_checks("cpu") if not check.passed}


def test_all_hold_on_the_host():
    assert failed() == set()
    laws = [check.law for subject, check in selftest.run_checks("cpu") if subject == "reconstruction"]
    assert len(laws) == 2 and "lines" in laws[0] and "samples" in laws[1]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda name, kspace, csm, sampled, r, n: solve(name, kspace, csm.conj(), sampled, r, n),
        lambda name, kspace, csm, sampled, r, n: solve(name, kspace, csm, sampled | True, r, n),
        lambda name, kspace, csm, sampled, r, n: solve(name, kspace, csm, sampled, 0.9 * r, n),
        lambda name, kspace, csm, sampled, r, n: solve(name, kspace, csm, sampled, r, 3),
        lambda name, kspace, csm, sampled, r, n: (np.abs(solve(name, kspace, csm, sampled, r, n)[0]), 0),
    ],
    ids=["maps conjugate", "mask ignored", "penalty off by a tenth", "too few iterations", "magnitude for complex"],
)
def test_a_wrong_reconstruction_is_seen(monkeypatch, wrong):
    monkeypatch.setattr(selftest, "solve", wrong)
    assert {law.split(":")[1].strip() for law in failed()} == {"sense of lines", "sense of samples"}
