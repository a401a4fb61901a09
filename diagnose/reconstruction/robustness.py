"""Effective robustness: how much better a network is on Q than its quality on P lets expect.

The line of expectation is fitted to networks trained on P alone, of any size and after any epoch, as points
(SSIM on P, SSIM on Q). A network trained on P and Q that lies above it gains on Q more than by being good on P.

References
----------
Lin and Heckel, ICML 2024, PMLR 235:30018-30041, arXiv:2312.10271.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ExpectedQuality:
    """The line through networks trained on P alone."""

    slope: float
    intercept: float
    residual_std: float
    """Of the points about the line; NaN with fewer than three."""

    def on_q(self, on_p: np.ndarray | float) -> np.ndarray:
        """Return the SSIM on Q that is expected at an SSIM on P."""
        return self.slope * np.asarray(on_p, float) + self.intercept

    def effective_robustness(self, on_p: np.ndarray | float, on_q: np.ndarray | float) -> np.ndarray:
        """Return how far points lie above the line."""
        return np.asarray(on_q, float) - self.on_q(on_p)


def expected_quality(on_p: np.ndarray, on_q: np.ndarray) -> ExpectedQuality:
    """Fit the line by least squares.

    Parameters
    ----------
    on_p, on_q : float arrays (network,)
        SSIM of networks trained on P alone.

    Raises
    ------
    ValueError
        If there are fewer than two different points on P.
    """
    x, y = np.asarray(on_p, float), np.asarray(on_q, float)
    if x.shape != y.shape or x.ndim != 1 or len(np.unique(x)) < 2:
        raise ValueError(f"points are {x.shape} and {y.shape}; expected pairs, two of them different on P")
    slope, intercept = np.polyfit(x, y, 1)
    residual = y - (slope * x + intercept)
    spread = float(np.sqrt((residual**2).sum() / (len(x) - 2))) if len(x) > 2 else float("nan")
    return ExpectedQuality(float(slope), float(intercept), spread)
