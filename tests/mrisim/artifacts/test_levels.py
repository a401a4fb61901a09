"""The registry and the levels: every kind, level 0 to 5, parameters that override, the oracles."""

import numpy as np
import pytest
from pydantic import ValidationError

from mrisim.artifacts import ALIASES, ARTIFACT, KINDS, spec_class
from mrisim.artifacts.base import Check, level_table, level_value
from mrisim.corrupt import corrupt
from mrisim.errors import ConfigError
from mrisim.seeding import stream
from mrisim.testing import modelled_scan

NEUTRAL = {"noise": float("inf"), "motion": 0, "ghosting": 0, "spikes": 0, "undersampling": 1, "bias-field": 1}
"""The severity at which a kind does nothing, written down once more."""
BY_KIND = pytest.mark.parametrize("kind", NEUTRAL)


def test_the_union_is_the_registry():
    assert list(NEUTRAL) == list(KINDS)
    assert spec_class("rician") is KINDS["noise"] and ALIASES == {"rician": "noise"}
    for kind, spec in KINDS.items():
        assert spec_class(kind) is spec and spec().kind == kind


def test_an_unknown_kind_is_answered_with_the_kinds():
    with pytest.raises(ConfigError, match=r"kind is 'blur'; expected one of noise, motion, .*bias-field, rician"):
        spec_class("blur")


@BY_KIND
def test_level_zero_is_off(kind):
    spec = KINDS[kind].at_level(0)
    assert spec.is_identity and spec.level == 0
    assert getattr(spec, spec.severity) == NEUTRAL[kind]
    assert KINDS[kind]().is_identity  # the defaults, too


@BY_KIND
@pytest.mark.parametrize("n_coils", [1, 2, 8, 64])
def test_every_level_is_further_from_neutral_than_the_one_before(kind, n_coils):
    values = [KINDS[kind].at_level(level, n_coils=n_coils) for level in range(1, 6)]
    severities = np.array([getattr(spec, spec.severity) for spec in values])
    assert not any(spec.is_identity for spec in values)
    steps = np.diff(severities)
    assert (steps < 0).all() if kind == "noise" else (steps > 0).all()
    assert severities[0] < np.inf if kind == "noise" else severities[0] > NEUTRAL[kind]


@BY_KIND
def test_a_level_gives_the_number_of_the_committed_table(kind):
    entry = level_table()["kinds"][kind]
    assert entry["parameter"] == KINDS[kind].severity
    for row, n_coils in zip(entry["values"], entry.get("n_coils", [8]), strict=True):
        for level, value in enumerate(row, start=1):
            spec = KINDS[kind].at_level(level, n_coils=n_coils)
            assert getattr(spec, spec.severity) == pytest.approx(value, rel=1e-12)


def test_acceleration_keeps_the_ladder_of_the_field():
    assert [KINDS["undersampling"].at_level(level).acceleration for level in range(1, 6)] == [2, 3, 4, 6, 8]


def test_the_noise_table_is_interpolated_in_the_logarithm_of_the_coils():
    entry = level_table()["kinds"]["noise"]
    coils, rows = entry["n_coils"], entry["values"]
    for position in range(len(coils) - 1):
        few, many = coils[position], coils[position + 1]
        middle = np.sqrt(few * many)
        for level in range(1, 6):
            low, high = rows[position][level - 1], rows[position + 1][level - 1]
            assert level_value("noise", level, middle) == pytest.approx((low + high) / 2, rel=1e-12)
            quarter = few**0.75 * many**0.25
            assert level_value("noise", level, quarter) == pytest.approx(0.75 * low + 0.25 * high, rel=1e-12)
    assert level_value("noise", 3, 10 * coils[-1]) == pytest.approx(rows[-1][2])  # held outside the table


def test_pulsation_has_a_ladder_of_its_own():
    values = [KINDS["ghosting"].at_level(level, mode="pulsation") for level in range(6)]
    assert [spec.phase_rad for spec in values] == [0] * 6
    depths = [spec.modulation for spec in values]
    assert depths[0] == 0 and values[0].is_identity
    assert depths[1:] == level_table()["kinds"]["ghosting-pulsation"]["values"][0]
    assert depths == sorted(set(depths))


@BY_KIND
def test_a_given_parameter_overrides_the_level(kind):
    severity = KINDS[kind].severity
    spec = KINDS[kind].at_level(3, **{severity: 2.0})
    assert getattr(spec, severity) == 2.0 and spec.level == 3


IDLE = [
    ("ghosting", "phase_rad", 1.0, "pulsation"),
    ("ghosting", "delay_us", 2.0, "pulsation"),
    ("ghosting", "modulation", 0.4, "nyquist"),
    ("ghosting", "modulated", "phase", "nyquist"),
    ("ghosting", "frequency_hz", 2.0, "nyquist"),
    ("ghosting", "ordering", "tse", "nyquist"),
    ("motion", "frequency_hz", 1.0, "walk"),
    ("undersampling", "density_power", 1.0, "equispaced"),
]
"""Parameters, and where they mean nothing."""


def test_every_parameter_that_can_be_idle_is_known():
    assert {(kind, name) for kind, spec in KINDS.items() for name in spec.only_where} == {one[:2] for one in IDLE}


@pytest.mark.parametrize(("kind", "name", "value", "elsewhere"), IDLE)
def test_a_parameter_without_effect_is_refused_and_has_none(kind, name, value, elsewhere):
    other, needed = KINDS[kind].only_where[name]
    assert getattr(KINDS[kind].at_level(3, **{other: needed, name: value}), name) == value
    with pytest.raises(ConfigError, match=f"^{kind}.{name} has no effect where {other} is {elsewhere}; expected"):
        KINDS[kind].at_level(3, **{other: elsewhere, name: value})

    def outcome(spec):
        done = corrupt(scan, [spec], seed=4).scan
        return done.kspace, done.sampled

    def differs(mode):
        plain = KINDS[kind].at_level(3, **{other: mode})
        pairs = zip(outcome(plain), outcome(plain.model_copy(update={name: value})), strict=True)
        return any(not np.array_equal(one, changed) for one, changed in pairs)

    rng = np.random.default_rng(0)
    scan = modelled_scan(rng.normal(size=(1, 20, 31)) + 1j, rng.normal(size=(1, 4, 20, 31)) + 0.5j)
    assert not differs(elsewhere) and differs(needed)


@BY_KIND
@pytest.mark.parametrize("level", [-1, 6, 2.5, "3"])
def test_another_level_is_refused(kind, level):
    with pytest.raises(ConfigError, match=rf"level of {kind} is .*; expected 0 \(off\) to 5"):
        KINDS[kind].at_level(level)


@BY_KIND
def test_an_unknown_parameter_is_refused(kind):
    with pytest.raises(ValidationError, match="strength"):
        KINDS[kind].at_level(3, strength=2)


@BY_KIND
@pytest.mark.parametrize("level", range(6))
def test_a_spec_is_frozen_and_survives_json(kind, level):
    spec = KINDS[kind].at_level(level)
    assert ARTIFACT.validate_json(spec.model_dump_json()) == spec
    with pytest.raises(ValidationError, match="frozen"):
        setattr(spec, spec.severity, 2.0)


@BY_KIND
def test_latents_do_not_depend_on_the_level(kind):
    rng = np.random.default_rng(0)
    image, csm = rng.normal(size=(1, 20, 31)) + 1j, rng.normal(size=(1, 4, 20, 31)) + 0.5j
    scan = modelled_scan(image, csm)
    drawn = [KINDS[kind].at_level(level, n_coils=4).draw(scan, rng=stream(0, kind)) for level in (1, 5)]
    for name, value in vars(drawn[0]).items():
        np.testing.assert_array_equal(value, getattr(drawn[1], name))


@BY_KIND
def test_the_oracles_hold_on_this_device(kind):
    checks = KINDS[kind].oracle("cpu")
    assert checks and all(check.passed for check in checks), [check for check in checks if not check.passed]
    assert len({check.law for check in checks}) == len(checks)


def test_a_check_can_fail():
    assert Check("law", 1.0, 1.1, 0.2).passed
    assert not Check("law", 1.0, 1.3, 0.2).passed
    assert not Check("law", 1.0, float("nan"), 0.2).passed
