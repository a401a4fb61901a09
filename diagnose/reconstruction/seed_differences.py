"""Differences of two ways to train over seeds and patients, both random: the multi-reader analysis, seeds as readers.

References
----------
See `diagnose.statistics.multireader`, which the analysis is; here only what it needs is made from rows of quality.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diagnose.reconstruction.quality_table import QualityRow
from diagnose.statistics.multireader import NormDifference, norm_difference


def seed_difference(
    reference: Sequence[Sequence[QualityRow]], other: Sequence[Sequence[QualityRow]], metric: str, *,
    names: tuple[str, str],
) -> NormDifference:  # fmt: skip
    """Return the mean of a metric after another training minus after the reference's, paired by seed and volume.

    Parameters
    ----------
    reference, other : sequence, one entry a seed, of sequences of QualityRow
        Entry k of both was trained with the same seed; all entries are of the same volumes.
    metric : str
        One of `diagnose.reconstruction.quality.METRICS`.
    names : (str, str)
        Of the reference and of the other.

    Returns
    -------
    NormDifference
        With one seed no interval; below five, its message says that it is exploratory.

    Raises
    ------
    ValueError
        If seeds or volumes do not match.
    """
    if len(reference) != len(other) or not reference:
        raise ValueError(f"{len(reference)} and {len(other)} seeds; expected as many of both")
    columns = [sorted(rows, key=lambda row: row.item) for rows in (*reference, *other)]
    items = [row.item for row in columns[0]]
    if any([row.item for row in rows] != items for rows in columns):
        raise ValueError("the runs were not measured on the same volumes; expected the same")
    values = np.array([[getattr(row, metric) for row in rows] for rows in columns])
    means = values.mean(axis=1).reshape(2, -1)
    covariance = covariance_of_means(values, [row.patient for row in columns[0]])
    shape = means.shape
    return norm_difference(means, covariance.reshape(*shape, *shape), norm=names[1], reference=names[0])


def covariance_of_means(values: np.ndarray, patients: Sequence[str]) -> np.ndarray:
    """Return the covariance over patients of means over volumes.

    A mean is a ratio of sums over patients, linearised: patient p contributes sum_v (x_v - mean) / n_volumes.

    Parameters
    ----------
    values : float array (column, volume)
    patients : sequence of str
        Of the volumes.

    Returns
    -------
    float array (column, column)
    """
    names, index = np.unique(patients, return_inverse=True)
    if len(names) < 2:
        raise ValueError("one patient has no covariance over patients; expected two or more")
    of_patient = np.zeros((values.shape[1], len(names)))
    of_patient[np.arange(len(index)), index] = 1
    contributions = (values - values.mean(axis=1, keepdims=True)) @ of_patient / values.shape[1]
    found: np.ndarray = contributions @ contributions.T * len(names) / (len(names) - 1)
    return found
