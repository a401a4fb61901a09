"""Multi-reader multi-case analysis of norms: training seeds are the readers, patients are the cases.

A difference seen in one trained pair of models mixes the norm with the luck of its seed. Here norms are fixed, seeds
and patients both random, and every seed is trained once with every norm. The model of Obuchowski and Rockette::

    AUROC[norm, seed] = mean + norm + Seed + (norm x Seed) + error

where errors are correlated because all runs see the same patients: Cov1 (other norm, same seed), Cov2 (same norm, other
seed), Cov3 (both differ). F = MS(norm) / [MS(norm x seed) + n_seeds max(Cov2 - Cov3, 0)].

References
----------
Hillis, A comparison of denominator degrees of freedom methods for multiple observer ROC analysis, Statistics in
Medicine 2007 (the degrees of freedom ddf_H). doi:10.1002/sim.2532
Smith and Hillis, Multi-reader multi-case analysis of variance software, SPIE 11316, 2020. doi:10.1117/12.2549075
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit
from scipy.stats import f as fisher_f
from scipy.stats import t as student_t

ONE_SEED = "one seed: no statement about norms"
"""What is printed instead of a p value when each norm was trained once."""

ADVISED_SEEDS = 5
"""Below this, the published test rejects too many true nulls (see `norm_difference`), and its power is low."""


@dataclass(frozen=True)
class MultiReaderAnalysis:
    """Test that all norms have the same mean AUROC, with the parts that it is made of."""

    mean_auroc: np.ndarray
    """(norm,): average over seeds."""
    ms_norm: float
    ms_interaction: float
    """Mean square of norm x seed, after the floor if there was one."""
    variance: float
    cov1: float
    cov2: float
    cov3: float
    error: float
    """Denominator of F: the variance of a norm's mean AUROC, times n_seeds, without what all norms share."""
    f: float
    degrees_of_freedom: tuple[float, float]
    """Of numerator and denominator; the latter is ddf_H of Hillis (2007)."""
    p: float


@dataclass(frozen=True)
class NormDifference:
    """Mean AUROC of a norm minus that of the reference over paired seeds; or the reason why no test is made."""

    norm: str
    reference: str
    difference: float
    n_seeds: int
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None
    degrees_of_freedom: float | None = None
    p: float | None = None
    p_holm: float | None = None
    """p after Holm's correction over the compared norms."""
    message: str = ""
    """Why there is no test, or what weakens it; empty otherwise."""


def obuchowski_rockette(
    auroc: np.ndarray, covariance: np.ndarray, *, floor_interaction: bool = False
) -> MultiReaderAnalysis:
    """Analyse AUROCs of norms x seeds, with random seeds and random patients.

    Parameters
    ----------
    auroc : ndarray of shape (norm, seed)
        At least two of each. It may be any average of AUROCs, such as the primary endpoint.
    covariance : ndarray of shape (norm, seed, norm, seed)
        Covariance over patients, from `diagnose.statistics.clustered_auc.AucComponents.covariance` reshaped.
    floor_interaction : bool
        Raise MS(norm x seed) to Var - Cov1 - Cov2 + Cov3 where it is smaller: its expectation if norm and seed did not
        interact at all. Not in the published method, and conservative.

    Raises
    ------
    ValueError
        If shapes do not fit, there is one norm or one seed, or a value is not finite.

    Limits
    ------
    Var, Cov1, Cov2 and Cov3 are taken as equal for all norms and seeds: with norms of unequal spread compare pairs
    (`norm_difference`), not all at once. The F law is an approximation.
    """
    auroc, covariance = np.asarray(auroc, dtype=float), np.asarray(covariance, dtype=float)
    if auroc.ndim != 2 or min(auroc.shape) < 2:
        raise ValueError(f"auroc has shape {auroc.shape}; expected (norm, seed), at least 2 of each")
    if covariance.shape != auroc.shape * 2:
        raise ValueError(f"covariance has shape {covariance.shape}; expected {auroc.shape * 2}")
    if not (np.isfinite(auroc).all() and np.isfinite(covariance).all()):
        raise ValueError("an AUROC or covariance is not finite; expected numbers for every norm and seed")
    n_norms, n_seeds = auroc.shape
    of_norm, of_seed = auroc.mean(axis=1), auroc.mean(axis=0)
    ms_norm = n_seeds * float(np.var(of_norm, ddof=1))
    interaction = auroc - of_norm[:, None] - of_seed + auroc.mean()
    base_freedom = (n_norms - 1) * (n_seeds - 1)
    ms_interaction = float((interaction**2).sum()) / base_freedom
    same_norm, same_seed = np.eye(n_norms, dtype=bool)[:, None, :, None], np.eye(n_seeds, dtype=bool)[None, :, None, :]
    variance, cov1, cov2, cov3 = (
        float(covariance[np.broadcast_to(where, covariance.shape)].mean())
        for where in (same_norm & same_seed, ~same_norm & same_seed, same_norm & ~same_seed, ~same_norm & ~same_seed)
    )
    if floor_interaction:
        ms_interaction = max(ms_interaction, variance - cov1 - cov2 + cov3)
    error = ms_interaction + n_seeds * max(cov2 - cov3, 0.0)
    freedom = base_freedom * (error / ms_interaction) ** 2 if ms_interaction > 0 else np.inf
    ratio = ms_norm / error if error > 0 else (0.0 if ms_norm == 0 else np.inf)
    p = float(fisher_f.sf(ratio, n_norms - 1, min(freedom, 1e9)))  # scipy's F has no infinite denominator
    return MultiReaderAnalysis(
        of_norm, ms_norm, ms_interaction, variance, cov1, cov2, cov3, error, ratio, (n_norms - 1, freedom), p
    )


@dataclass(frozen=True)
class SeedMeans:
    """Means over the seeds of one norm, with seeds and patients both random; arrays of shape (...)."""

    mean: np.ndarray
    standard_error: np.ndarray
    degrees_of_freedom: np.ndarray

    def interval(self, *, within_unit: bool = False, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Return low and high; ``within_unit`` makes them symmetric in log odds, where the mean lies inside (0, 1)."""
        deviate = student_t.ppf((1 + confidence) / 2, self.degrees_of_freedom)
        half_width = self.standard_error * np.where(self.standard_error > 0, deviate, 0)
        low, high = self.mean - half_width, self.mean + half_width
        if not within_unit:
            return low, high
        inside = (self.mean > 0) & (self.mean < 1)
        mean = np.where(inside, self.mean, 0.5)
        centre, slope = logit(mean), 1 / (mean * (1 - mean))
        return (
            np.where(inside, expit(centre - slope * half_width), np.clip(low, 0, 1)),
            np.where(inside, expit(centre + slope * half_width), np.clip(high, 0, 1)),
        )


def mean_over_seeds(values: np.ndarray, covariance: np.ndarray) -> SeedMeans:
    """Return the mean of one norm over its seeds: the multi-reader analysis with one modality.

    The variance of the mean is [MS(seed) + n_seeds max(Cov2, 0)] / n_seeds, where MS(seed) is the variance between
    seeds and Cov2 the mean covariance of two seeds over patients, whom all seeds share.

    Parameters
    ----------
    values : ndarray of shape (..., seed)
        At least two seeds.
    covariance : ndarray of shape (..., seed, seed)
        Over patients.

    Notes
    -----
    As in `norm_difference`, MS(seed) is floored at its expectation without any effect of seeds, Var - Cov2, below
    `ADVISED_SEEDS`.
    """
    values, covariance = np.asarray(values, dtype=float), np.asarray(covariance, dtype=float)
    n_seeds = values.shape[-1]
    if n_seeds < 2 or covariance.shape != (*values.shape, n_seeds):
        raise ValueError(
            f"values has shape {values.shape}, covariance {covariance.shape}; expected (..., seed) with at least two "
            "seeds, and (..., seed, seed)"
        )
    ms_seed = values.var(axis=-1, ddof=1)
    variance = np.diagonal(covariance, axis1=-2, axis2=-1).mean(axis=-1)
    cov2 = (covariance.sum(axis=(-2, -1)) - n_seeds * variance) / (n_seeds * (n_seeds - 1))
    if n_seeds < ADVISED_SEEDS:
        ms_seed = np.maximum(ms_seed, variance - cov2)
    error = ms_seed + n_seeds * np.maximum(cov2, 0)
    ratio = np.divide(error, ms_seed, out=np.full_like(error, np.inf), where=ms_seed > 0)
    return SeedMeans(values.mean(axis=-1), np.sqrt(error / n_seeds), (n_seeds - 1) * ratio**2)


def norm_difference(
    auroc: np.ndarray, covariance: np.ndarray, *, norm: str, reference: str, confidence: float = 0.95
) -> NormDifference:
    """Compare one norm with the reference over paired seeds.

    Only the two norms enter, so that a third one that trains erratically cannot widen or narrow the interval.

    Parameters
    ----------
    auroc : ndarray of shape (2, seed)
        Row 0 the reference, row 1 the norm; column j of both was trained with the same seed.
    covariance : ndarray of shape (2, seed, 2, seed)

    Returns
    -------
    NormDifference
        With one seed no interval and no p, and the message `ONE_SEED`.

    Notes
    -----
    From 5 seeds on this is the published method. With fewer, MS(norm x seed) has so few degrees of freedom that a small
    one by chance gives a false certainty - in simulation 11 % (2 seeds) and 7 % (3 seeds) of true nulls were rejected -
    so it is floored (`obuchowski_rockette`), and the message says that the result is exploratory.
    """
    auroc, covariance = np.asarray(auroc, dtype=float), np.asarray(covariance, dtype=float)
    if auroc.ndim != 2 or len(auroc) != 2 or auroc.shape[1] < 1:
        raise ValueError(f"auroc has shape {auroc.shape}; expected (2, seed): the reference, then the norm")
    n_seeds = auroc.shape[1]
    difference = float(auroc[1].mean() - auroc[0].mean())
    if n_seeds == 1:
        return NormDifference(norm, reference, difference, 1, message=ONE_SEED)
    few = n_seeds < ADVISED_SEEDS
    analysis = obuchowski_rockette(auroc, covariance, floor_interaction=few)
    if analysis.error == 0:
        if difference == 0:
            return NormDifference(norm, reference, 0.0, n_seeds, 0.0, 0.0, 0.0, np.inf, 1.0, message="no run differs")
        return NormDifference(norm, reference, difference, n_seeds, message="no variance to test the difference with")
    freedom = analysis.degrees_of_freedom[1]
    standard_error = float(np.sqrt(2 * analysis.error / n_seeds))
    half_width = standard_error * float(student_t.ppf((1 + confidence) / 2, freedom))
    return NormDifference(
        norm=norm,
        reference=reference,
        difference=difference,
        n_seeds=n_seeds,
        low=difference - half_width,
        high=difference + half_width,
        standard_error=standard_error,
        degrees_of_freedom=freedom,
        p=float(2 * student_t.sf(abs(difference) / standard_error, freedom)),
        message=f"{n_seeds} seeds: exploratory, at least {ADVISED_SEEDS} are advised" if few else "",
    )
