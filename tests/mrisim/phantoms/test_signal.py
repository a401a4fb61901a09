"""Signal equations against a Bloch integration that knows only rotations and relaxation, and mutants that must fail."""

from collections.abc import Callable

import numpy as np
import pytest

from mrisim.phantoms import signal

T1_MS, T2_MS, DENSITY = np.array([371.0, 1240.0, 4300.0]), np.array([133.0, 36.9, 2030.0]), np.array([0.95, 0.75, 0.99])
TOLERANCE = 1e-10  # double precision over about a hundred repetitions


class Spin:
    """One magnetisation vector (x, y, z): 3 x 3 rotations and exponential relaxation."""

    def __init__(self, t1_ms: float, t2_ms: float) -> None:
        self.t1_ms, self.t2_ms = t1_ms, t2_ms
        self.m = np.array([0.0, 0.0, 1.0])

    def pulse(self, flip_deg: float, axis: str = "x") -> None:
        """Rotate by a hard pulse about x or y."""
        c, s = np.cos(np.deg2rad(flip_deg)), np.sin(np.deg2rad(flip_deg))
        about = {"x": [[1, 0, 0], [0, c, s], [0, -s, c]], "y": [[c, 0, -s], [0, 1, 0], [s, 0, c]]}
        self.m = np.array(about[axis]) @ self.m

    def wait(self, time_ms: float) -> None:
        """Relax on resonance."""
        e1, e2 = np.exp(-time_ms / self.t1_ms), np.exp(-time_ms / self.t2_ms)
        self.m = np.diag([e2, e2, e1]) @ self.m + np.array([0, 0, 1 - e1])

    def spoil(self) -> None:
        """Destroy transverse magnetisation."""
        self.m[:2] = 0


def bloch_turbo_spin_echo(t1: float, t2: float, tr: float, te_index: int, spacing: float, train: int) -> float:
    spin, echoes = Spin(t1, t2), np.zeros(train)
    for _ in range(60):
        spin.spoil()
        spin.pulse(90, "x")
        for echo in range(train):
            spin.wait(spacing / 2)
            spin.pulse(180, "y")
            spin.wait(spacing / 2)
            echoes[echo] = spin.m[1]
        spin.wait(tr - train * spacing)
    return float(echoes[te_index])


def bloch_gradient_echo(t1: float, t2_star: float, tr: float, te: float, flip: float) -> float:
    spin, echo = Spin(t1, t2_star), 0.0
    for _ in range(2000):
        spin.spoil()
        spin.pulse(flip, "x")
        spin.wait(te)
        echo = float(spin.m[1])
        spin.wait(tr - te)
    return echo


def bloch_inversion_recovery(t1: float, t2: float, tr: float, te: float, ti: float) -> float:
    spin, echo = Spin(t1, t2), 0.0
    for _ in range(60):
        spin.spoil()
        spin.pulse(180, "x")
        spin.wait(ti)
        spin.pulse(90, "x")
        spin.wait(te / 2)
        spin.pulse(180, "y")
        spin.wait(te / 2)
        echo = float(spin.m[1])
        spin.wait(tr - ti - te)
    return echo


def per_tissue(bloch: Callable[..., float], *args: float) -> np.ndarray:
    return np.array([d * bloch(t1, t2, *args) for t1, t2, d in zip(T1_MS, T2_MS, DENSITY, strict=True)])


@pytest.mark.parametrize(("tr", "te"), [(2750, 27), (500, 11), (120, 100)])
def test_spin_echo_is_bloch(tr: float, te: float) -> None:
    expected = per_tissue(bloch_turbo_spin_echo, tr, 0, te, 1)
    np.testing.assert_allclose(signal.spin_echo(T1_MS, T2_MS, DENSITY, tr_ms=tr, te_ms=te), expected, atol=TOLERANCE)


@pytest.mark.parametrize("train", [1, 2, 4, 15])
def test_turbo_spin_echo_is_bloch(train: int) -> None:
    index = (train - 1) // 2
    found = signal.turbo_spin_echo(
        T1_MS, T2_MS, DENSITY, tr_ms=900, te_ms=9.5 * (index + 1), echo_spacing_ms=9.5, echo_train_length=train
    )
    np.testing.assert_allclose(found, per_tissue(bloch_turbo_spin_echo, 900, index, 9.5, train), atol=TOLERANCE)


@pytest.mark.parametrize(("tr", "te", "flip"), [(8, 3, 12), (35, 12, 50), (600, 5, 90)])
def test_spoiled_gradient_echo_is_bloch(tr: float, te: float, flip: float) -> None:
    found = signal.spoiled_gradient_echo(T1_MS, T2_MS, DENSITY, tr_ms=tr, te_ms=te, flip_deg=flip)
    np.testing.assert_allclose(found, per_tissue(bloch_gradient_echo, tr, te, flip), atol=1e-6)


@pytest.mark.parametrize(("tr", "te", "ti"), [(9000, 100, 2500), (3000, 30, 160), (1200, 14, 900)])
def test_inversion_recovery_is_bloch_and_signed(tr: float, te: float, ti: float) -> None:
    found = signal.inversion_recovery(T1_MS, T2_MS, DENSITY, tr_ms=tr, te_ms=te, ti_ms=ti)
    np.testing.assert_allclose(found, per_tissue(bloch_inversion_recovery, tr, te, ti), atol=TOLERANCE)
    assert (found[2] < 0) == (ti == 160)  # at a short TI fluid has not passed its null: the sign is kept


def test_null_time_nulls() -> None:
    ti = float(signal.null_inversion_time_ms(4300, tr_ms=9000, te_ms=100))
    assert abs(float(signal.inversion_recovery(4300, 2030, tr_ms=9000, te_ms=100, ti_ms=ti))) < 1e-12
    # A long TR leaves the familiar T1 ln 2.
    np.testing.assert_allclose(signal.null_inversion_time_ms(371, tr_ms=1e5), 371 * np.log(2), rtol=1e-12)


@pytest.mark.parametrize(("flip", "delay"), [(90, 12), (110, 8), (180, 180)])
def test_saturated_fraction_is_bloch(flip: float, delay: float) -> None:
    for t1 in T1_MS:
        spin = Spin(float(t1), 100.0)
        spin.pulse(flip)
        spin.spoil()
        spin.wait(delay)
        np.testing.assert_allclose(signal.saturated_fraction(t1, delay_ms=delay, flip_deg=flip), spin.m[2], atol=1e-14)


def test_fat_is_saturated_and_inverted_to_zero() -> None:
    assert 0 < signal.saturated_fraction(371, delay_ms=12) < 0.04
    assert abs(float(signal.saturated_fraction(371, delay_ms=371 * np.log(2), flip_deg=180))) < 1e-12


MUTANTS = {
    "sign of the TI term": lambda t1, t2: 1 + 2 * np.exp(-160 / t1) + 2 * np.exp(-2985 / t1) - np.exp(-3000 / t1),
    "no refocusing term": lambda t1, t2: 1 - 2 * np.exp(-160 / t1) + np.exp(-3000 / t1),
    "T1 and T2 swapped": lambda t1, t2: 1 - 2 * np.exp(-160 / t2) + 2 * np.exp(-2985 / t2) - np.exp(-3000 / t2),
    "magnitude": lambda t1, t2: np.abs(1 - 2 * np.exp(-160 / t1) + 2 * np.exp(-2985 / t1) - np.exp(-3000 / t1)),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_oracle_kills_mutants(name: str) -> None:
    expected = per_tissue(bloch_inversion_recovery, 3000, 30, 160)
    mutant = DENSITY * MUTANTS[name](T1_MS, T2_MS) * np.exp(-30 / T2_MS)
    assert np.max(np.abs(mutant - expected)) > 1e4 * TOLERANCE


def test_arguments_broadcast() -> None:
    t1 = np.linspace(200, 4000, 7)[:, None]
    t2 = np.linspace(20, 200, 5)[None]
    assert signal.spin_echo(t1, t2, tr_ms=2000, te_ms=30).shape == (7, 5)
    flips = np.linspace(5, 60, 3)[:, None, None]
    assert signal.spoiled_gradient_echo(t1, t2, tr_ms=20, te_ms=4, flip_deg=flips).shape == (3, 7, 5)


def test_impossible_timing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"echo train lasts 400 ms; expected at most TR = 300 ms"):
        signal.turbo_spin_echo(1000, 50, tr_ms=300, te_ms=20, echo_spacing_ms=20, echo_train_length=20)
    with pytest.raises(ValueError, match=r"TI \+ TE = 1100 ms; expected at most TR = 1000 ms"):
        signal.inversion_recovery(1000, 50, tr_ms=1000, te_ms=100, ti_ms=1000)
