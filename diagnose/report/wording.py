"""Numbers and findings as a reader meets them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NOTHING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
NO_BREAK = "\N{NO-BREAK SPACE}"
ALPHA = 0.05


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with a typographic minus; a dash where there is none."""
    return NOTHING if value is None else f"{value:.{digits}f}".replace("-", MINUS)


def signed(value: float | None, digits: int = 3) -> str:
    """Return a difference with its sign; a difference that rounds to zero has none."""
    if value is None:
        return NOTHING
    text = f"{value:+.{digits}f}"
    return (text[1:] if float(text) == 0 else text).replace("-", MINUS)


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """Return ``[low, high]``, or nothing."""
    return "" if low is None or high is None else f"[{number(low, digits)},{NO_BREAK}{number(high, digits)}]"


def percent(value: float | None) -> str:
    """Return a share in percent."""
    return NOTHING if value is None else f"{100 * value:.0f}{NO_BREAK}%".replace("-", MINUS)


def p_value(p: float | None) -> str:
    """Return a p value; below a thousandth only that."""
    if p is None:
        return NOTHING
    return f"<{NO_BREAK}0.001" if p < 0.001 else f"{p:.3f}"


def with_interval(estimate: Mapping[str, Any], digits: int = 3) -> str:
    """Return an estimate and its interval."""
    return " ".join(
        filter(None, (number(estimate["value"], digits), interval(estimate["low"], estimate["high"], digits)))
    )


def verdict(comparison: Mapping[str, Any]) -> str:
    """Return what a confirmatory comparison allows to be said, and no more."""
    norm, reference = comparison["norm"], comparison["reference_norm"]
    if comparison["p_holm"] is None:
        return f"no test of {norm} against {reference}: {comparison['message']}"
    if comparison["p_holm"] >= ALPHA:
        return f"no difference between {norm} and {reference} shown; that is no proof of equality"
    better, worse = (norm, reference) if comparison["difference"] > 0 else (reference, norm)
    return f"{better} keeps more discrimination under these corruptions than {worse}"


def sentence(text: str) -> str:
    """Return a text with a capital in front and a full stop at its end; nothing stays nothing."""
    return stopped(text[:1].upper() + text[1:])


def stopped(text: str) -> str:
    """Return a text with a full stop at its end: one that begins with the name of a norm, which has no capital."""
    return text and text + ("" if text[-1] in ".!?" else ".")


def adaptation_words(label: str) -> str:
    """Return what statistics an adaptation takes (`diagnose.adapt.Adaptation.label`), in words."""
    if not label.startswith("prediction-time-"):
        return {"frozen": "the statistics of training", "precise-bn": "precise BN"}.get(label, label)
    order, batch, pseudo = label.removeprefix("prediction-time-").split("-", 2)
    size, n_pseudo = batch.removeprefix("batch"), pseudo.removeprefix("pseudo")
    how = f"random batches of {size}" if order == "random" else f"one exam at a time, at most {size} slices"
    return f"prediction-time BN, {how}" + (f", N = {n_pseudo}" if n_pseudo != "0" else "")


def short_adaptation(label: str) -> str:
    """Return an adaptation as it fits beside a line: ``exam 8+16`` is batches of one exam, at most 8, N = 16."""
    if not label.startswith("prediction-time-"):
        return {"precise-bn": "precise"}.get(label, label)
    order, batch, pseudo = label.removeprefix("prediction-time-").split("-", 2)
    n_pseudo = pseudo.removeprefix("pseudo")
    return f"{order} {batch.removeprefix('batch')}" + (f"+{n_pseudo}" if n_pseudo != "0" else "")


def arm_name(label: str) -> str:
    """Return the label of an arm, its adaptation in short: ``bn+exam 8``."""
    norm, plus, adaptation = label.partition("+")
    return f"{norm}+{short_adaptation(adaptation)}" if plus else norm
