"""What a norm gains over a reference in Dice, absolute and relative, with seeds and patients both random.

Training seeds are the readers and patients the cases of the multi-reader analysis (`diagnose.statistics.multireader`),
which takes any score that is a mean over cases. The relative gain is analysed on the logarithm of the mean Dice, by the
delta method, so that its interval cannot go below -100 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diagnose.statistics.multireader import NormDifference, mean_over_seeds, norm_difference

SMALLEST_DICE = 0.05
"""A run below it has learnt next to nothing: a share of its Dice says nothing."""


@dataclass(frozen=True)
class NormGain:
    """One norm beside the reference."""

    norm: str
    dice: float
    """Mean over seeds and cases."""
    low: float | None
    high: float | None
    absolute: NormDifference | None
    """Dice minus that of the reference; none for the reference itself."""
    relative: float | None = None
    """Dice over that of the reference, minus 1, of geometric means over seeds."""
    relative_low: float | None = None
    relative_high: float | None = None
    message: str = ""
    """Why there is no relative gain, or what weakens the comparison."""

    @property
    def record(self) -> dict[str, Any]:
        """The gain as JSON values."""
        found: dict[str, Any] = {"norm": self.norm, "dice": self.dice, "low": self.low, "high": self.high}
        if self.absolute is not None:
            found |= {
                "gain": self.absolute.difference, "gain_low": self.absolute.low, "gain_high": self.absolute.high,
                "p": self.absolute.p, "relative_gain": self.relative, "relative_gain_low": self.relative_low,
                "relative_gain_high": self.relative_high, "message": self.message,
            }  # fmt: skip
        return found


def patient_covariance(values: np.ndarray, patients: Sequence[str]) -> np.ndarray:
    """Return the covariance (column, column), over patients, of the means of columns over cases.

    Parameters
    ----------
    values : (column, case)
    patients : (case,)
        Cases of one patient are drawn together.

    Raises
    ------
    ValueError
        If there is one patient only.
    """
    names, number = np.unique(np.asarray(patients), return_inverse=True)
    if len(names) < 2:
        raise ValueError("there is one patient; expected at least two for a covariance")
    residuals = values - values.mean(axis=1, keepdims=True)
    influence = np.zeros((len(values), len(names)))
    np.add.at(influence.T, number, residuals.T / values.shape[1])
    return influence @ influence.T * len(names) / (len(names) - 1)


def norm_gains(dice: np.ndarray, patients: Sequence[str], norms: Sequence[str], reference: str) -> list[NormGain]:
    """Compare every norm with the reference.

    Parameters
    ----------
    dice : (norm, seed, case)
        Of one class, or averaged over classes; column j of every norm was trained with the same seed.
    patients : (case,)
    norms : sequence of str
        Of the first axis.
    reference : str

    Returns
    -------
    list of NormGain
        In the order of the norms. With one seed no intervals; below five the differences say that they are exploratory.

    Raises
    ------
    ValueError
        If shapes do not fit, or the reference is none of the norms.
    """
    if dice.ndim != 3 or dice.shape[0] != len(norms) or dice.shape[2] != len(patients):
        raise ValueError(f"dice has shape {dice.shape}; expected ({len(norms)}, seed, {len(patients)})")
    if reference not in norms:
        raise ValueError(f"reference is {reference!r}; expected one of {', '.join(norms)}")
    n_seeds, base = dice.shape[1], list(norms).index(reference)
    gains = []
    for index, norm in enumerate(norms):
        low, high = _interval(dice[index], patients)
        mean = float(dice[index].mean())
        if index == base:
            gains.append(NormGain(norm, mean, low, high, None))
            continue
        pair = dice[[base, index]]
        means = pair.mean(axis=2)
        covariance = patient_covariance(pair.reshape(2 * n_seeds, -1), patients).reshape(2, n_seeds, 2, n_seeds)
        absolute = norm_difference(means, covariance, norm=norm, reference=reference)
        if means.min() < SMALLEST_DICE:
            message = f"no relative gain: a run has a mean Dice of {means.min():.3f}"
            gains.append(NormGain(norm, mean, low, high, absolute, message=message))
            continue
        of_logs = covariance / (means[:, :, None, None] * means)
        relative = norm_difference(np.log(means), of_logs, norm=norm, reference=reference)
        share, share_low, share_high = (
            None if value is None else float(np.expm1(value))
            for value in (relative.difference, relative.low, relative.high)
        )
        gains.append(NormGain(norm, mean, low, high, absolute, share, share_low, share_high, absolute.message))
    return gains


def _interval(dice: np.ndarray, patients: Sequence[str]) -> tuple[float | None, float | None]:
    """Return the interval of the mean of (seed, case) over seeds and patients; none with one seed."""
    if len(dice) < 2:
        return None, None
    means = mean_over_seeds(dice.mean(axis=1), patient_covariance(dice, patients))
    low, high = means.interval(within_unit=True)
    return float(low), float(high)
