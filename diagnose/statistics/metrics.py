"""Discrimination, decisions, calibration and corruption errors, as plain functions of scores and labels.

Scores are higher for "present"; the paper ranks by the logit of the second class alone. Labels are 0 or 1. Arrays of
scores may carry leading axes (kind, level, run, ...): everything below is vectorised over them.

References
----------
Guo et al., On Calibration of Modern Neural Networks (temperature, ECE), 2017. arXiv:1706.04599
Hendrycks and Dietterich, Benchmarking Neural Network Robustness (CE, mCE, relative mCE), 2019. arXiv:1903.12261
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit
from scipy.stats import rankdata

LEARNT_AUROC = 0.80
"""Clean AUROC from which a finding counts as learnt: below it a drop says nothing about robustness."""

MAX_MISS_RATE = 0.1
"""False negative rate that the paper's operating point must fall below."""

TEMPERATURE_BOUNDS = (0.02, 50.0)
"""A separable validation set has no best temperature above 0: the fit ends here and says so."""


def auroc(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve: P(present > absent) + P(tie) / 2.

    Parameters
    ----------
    scores : ndarray of shape (..., exam)
    labels : ndarray of shape (exam,)
        0 or 1.

    Returns
    -------
    ndarray of shape (...)

    Raises
    ------
    ValueError
        If shapes do not fit, a score is not finite, a label is neither 0 nor 1, or one class is missing.
    """
    scores, present = _checked(scores, labels)
    n_present, n_absent = present.sum(), (~present).sum()
    rank_sum = rankdata(scores, axis=-1)[..., present].sum(axis=-1)
    return (rank_sum - n_present * (n_present + 1) / 2) / (n_present * n_absent)


def auprc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the average precision of scores (exam,): precision at each distinct score times the recall it adds."""
    scores, present = _checked(scores, labels)
    if scores.ndim != 1:
        raise ValueError(f"scores has shape {scores.shape}; expected (exam,)")
    _, n_true, n_false = _roc_counts(scores, present)
    precision = n_true / (n_true + n_false)
    return float(np.sum(np.diff(n_true, prepend=0) * precision) / present.sum())


def learnt_findings(clean_auroc: np.ndarray, *, min_auroc: float = LEARNT_AUROC) -> np.ndarray:
    """Say which findings every compared norm has learnt, seed by seed.

    Parameters
    ----------
    clean_auroc : ndarray of shape (norm, seed, finding)

    Returns
    -------
    ndarray of bool, shape (seed, finding)
        A finding leaves the comparison of a seed for all norms at once: else norms would be averaged over different
        findings, and one that failed to learn a fragile finding would look robust.
    """
    clean_auroc = np.asarray(clean_auroc, dtype=float)
    if clean_auroc.ndim != 3:
        raise ValueError(f"clean_auroc has shape {clean_auroc.shape}; expected (norm, seed, finding)")
    return np.asarray((clean_auroc >= min_auroc).all(axis=0))


def macro_average(values: np.ndarray, learnt: np.ndarray) -> np.ndarray:
    """Average (..., finding) over the learnt findings; NaN where none is learnt. ``learnt`` broadcasts to it."""
    values = np.asarray(values, dtype=float)
    learnt = np.broadcast_to(np.asarray(learnt, dtype=bool), values.shape)
    n_learnt = learnt.sum(axis=-1)
    total = np.where(learnt, values, 0).sum(axis=-1)
    return np.where(n_learnt > 0, total / np.maximum(n_learnt, 1), np.nan)


def retained_discrimination(shifted_auroc: np.ndarray, clean_auroc: np.ndarray) -> np.ndarray:
    """Return (A - 1/2) / (A_clean - 1/2): 1 nothing lost, 0 chance; NaN where clean is no better than chance."""
    shifted, clean = np.broadcast_arrays(np.asarray(shifted_auroc, float), np.asarray(clean_auroc, float))
    retained = np.full(shifted.shape, np.nan)
    np.divide(shifted - 0.5, clean - 0.5, out=retained, where=clean > 0.5)
    return retained


def operating_point(scores: np.ndarray, labels: np.ndarray, *, max_miss_rate: float = MAX_MISS_RATE) -> float:
    """Return the paper's threshold: the first on the ROC curve, from strict to lenient, with FNR < 0.1.

    The curve counts a score *at* the threshold as present, the paper's decision (`decide`) does not: the exams that tie
    with the threshold are missed, and the miss rate on the same data may exceed 0.1. Kept as published.

    Limits
    ------
    The paper goes on to "else the first with FPR > .25". The lowest threshold has FNR 0, so that clause never applies.
    All distinct scores are thresholds (scikit-learn's ``drop_intermediate=False``); the published code may thin them.
    """
    scores, present = _checked(scores, labels)
    if scores.ndim != 1:
        raise ValueError(f"scores has shape {scores.shape}; expected (exam,)")
    thresholds, n_true, _ = _roc_counts(scores, present)
    # Counted, not 1 - rate: one missed of ten is 0.1 exactly, and not below it.
    return float(thresholds[np.argmax((present.sum() - n_true) / present.sum() < max_miss_rate)])


def decide(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Call a finding present where the score is above, not at, the threshold."""
    return np.asarray(scores) > threshold


def sensitivity_specificity(decisions: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (sensitivity, specificity) of boolean decisions (..., exam); their mean is the balanced accuracy."""
    decisions, present = _checked(np.asarray(decisions, dtype=float), labels)
    return decisions[..., present].mean(axis=-1), 1 - decisions[..., ~present].mean(axis=-1)


def balanced_accuracy(decisions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the mean of sensitivity and specificity of boolean decisions (..., exam)."""
    return np.mean(sensitivity_specificity(decisions, labels), axis=0)


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, *, n_bins: int = 15) -> float:
    """Return the ECE of "present": sum over bins of (share of exams) x |mean probability - observed frequency|.

    Bins are equal in width over [0, 1], right-closed, the first closed on both sides; 15 unless told. Empty bins add
    nothing. The value depends on the bins and is biased upwards in small samples: compare at equal n only.
    """
    probabilities, labels = _checked_probabilities(probabilities, labels)
    bins = np.clip(np.ceil(probabilities * n_bins).astype(int) - 1, 0, n_bins - 1)
    gaps = np.bincount(bins, weights=probabilities - labels, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(labels))


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean squared difference of probability and label."""
    probabilities, labels = _checked_probabilities(probabilities, labels)
    return float(np.mean((probabilities - labels) ** 2))


@dataclass(frozen=True)
class Calibration:
    """p = sigmoid(z / temperature + prior_log_odds), with z the difference of the two logits (present - absent)."""

    temperature: float
    """1 = as trained; above 1 the model was overconfident."""
    prior_log_odds: float
    """Added log odds of present: undoes the prevalence that the weighted sampler showed the model."""
    at_bound: bool
    """The temperature stands at a limit of `TEMPERATURE_BOUNDS`: validation is separable or carries no signal."""

    def probabilities(self, logit_differences: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities of present, same shape."""
        return expit(np.asarray(logit_differences, dtype=float) / self.temperature + self.prior_log_odds)


def fit_calibration(logit_differences: np.ndarray, labels: np.ndarray) -> Calibration:
    """Fit temperature and prior correction together on clean validation, by maximum likelihood.

    Parameters
    ----------
    logit_differences : ndarray of shape (exam,)
        Logit of present minus logit of absent.
    labels : ndarray of shape (exam,)

    Notes
    -----
    The score equation of the offset makes the mean probability equal the prevalence of the validation set: so
    validation must be at natural prevalence, not drawn by the weighted sampler.
    """
    logits, present = _checked(logit_differences, labels)
    coldest, hottest = TEMPERATURE_BOUNDS
    highest_absent, lowest_present = logits[~present].max(), logits[present].min()
    if lowest_present > highest_absent:
        boundary = (lowest_present + highest_absent) / 2
        return Calibration(temperature=coldest, prior_log_odds=float(-boundary / coldest), at_bound=True)
    signs = np.where(present, 1.0, -1.0)
    bounds = (1 / hottest, 1 / coldest)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        margins = signs * (parameters[0] * logits + parameters[1])
        residuals = -signs * expit(-margins)
        return -log_expit(margins).mean(), np.array([np.mean(residuals * logits), residuals.mean()])

    options = {"ftol": 1e-14, "gtol": 1e-9, "maxiter": 500}
    start = np.array([1.0, 0.0])
    limits = [bounds, (-50.0, 50.0)]
    fit = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=limits, options=options)  # type: ignore[call-overload]
    at_bound = bool(np.isclose(fit.x[0], bounds).any())
    return Calibration(temperature=float(1 / fit.x[0]), prior_log_odds=float(fit.x[1]), at_bound=at_bound)


def corruption_error(macro_auroc: np.ndarray, reference_auroc: np.ndarray) -> np.ndarray:
    """Return CE_k = sum_l E(norm, k, l) / sum_l E(reference, k, l), with E = 1 - macro AUROC.

    Parameters
    ----------
    macro_auroc, reference_auroc : ndarray of shape (kind, level)
        Levels 1 to 5, without the clean level 0; the reference is BN under the same protocol.

    Returns
    -------
    ndarray of shape (kind,)
        NaN where the reference makes no error at all.
    """
    errors, reference = 1 - np.asarray(macro_auroc, float), 1 - np.asarray(reference_auroc, float)
    if errors.shape != reference.shape or errors.ndim != 2:
        raise ValueError(f"AUROC tables have shapes {errors.shape} and {reference.shape}; expected equal (kind, level)")
    ratio = np.full(len(errors), np.nan)
    return np.divide(errors.sum(axis=1), reference.sum(axis=1), out=ratio, where=reference.sum(axis=1) > 0)


def mean_corruption_error(macro_auroc: np.ndarray, reference_auroc: np.ndarray) -> float:
    """Return mCE: 100 times the mean of CE over kinds; exactly 100 for the reference itself."""
    return 100 * float(np.mean(corruption_error(macro_auroc, reference_auroc)))


def relative_corruption_error(
    macro_auroc: np.ndarray,
    reference_auroc: np.ndarray,
    *,
    clean_auroc: float,
    clean_reference_auroc: float,
    denominator_interval: np.ndarray,
) -> np.ndarray:
    """Return relative CE_k: as `corruption_error`, with the clean error taken off norm and reference first.

    Parameters
    ----------
    macro_auroc, reference_auroc : ndarray of shape (kind, level)
    clean_auroc, clean_reference_auroc : float
    denominator_interval : ndarray of shape (kind, 2)
        Interval of the reference's summed degradation, low and high, from the bootstrap. A required argument: where it
        holds 0 the ratio is undefined and NaN is returned; its mean times 100 is the relative mCE.

    Returns
    -------
    ndarray of shape (kind,)
    """
    interval = np.asarray(denominator_interval, dtype=float)
    losses = clean_auroc - np.asarray(macro_auroc, float)
    reference = clean_reference_auroc - np.asarray(reference_auroc, float)
    if losses.shape != reference.shape or losses.ndim != 2 or interval.shape != (len(losses), 2):
        raise ValueError(
            f"AUROC tables have shapes {losses.shape} and {reference.shape}, the interval {interval.shape}; "
            "expected equal (kind, level), and (kind, 2)"
        )
    defined = (interval[:, 0] > 0) | (interval[:, 1] < 0)
    return np.divide(losses.sum(axis=1), reference.sum(axis=1), out=np.full(len(losses), np.nan), where=defined)


def _checked(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return float scores and boolean labels, or say what is wrong with them."""
    scores, labels = np.asarray(scores, dtype=float), np.asarray(labels)
    if labels.ndim != 1 or scores.ndim < 1 or scores.shape[-1] != len(labels):
        raise ValueError(f"scores has shape {scores.shape}, labels {labels.shape}; expected (..., exam) and (exam,)")
    if not np.isfinite(scores).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(scores))} scores are not finite; expected numbers")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels hold {np.unique(labels)[:5].tolist()}; expected 0 and 1")
    present = labels.astype(bool)
    if present.all() or not present.any():
        raise ValueError(f"labels hold one class only ({int(present.sum())} present of {len(labels)}); expected both")
    return scores, present


def _checked_probabilities(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return one-dimensional probabilities and float labels; one class is allowed here."""
    probabilities, labels = np.asarray(probabilities, dtype=float), np.asarray(labels, dtype=float)
    if probabilities.ndim != 1 or probabilities.shape != labels.shape or not len(labels):
        raise ValueError(
            f"probabilities has shape {probabilities.shape}, labels {labels.shape}; expected equal (exam,)"
        )
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("a probability is outside [0, 1] or not a number; expected sigmoid outputs, not logits")
    return probabilities, labels


def _roc_counts(scores: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct scores, descending, and the present and absent exams at or above each."""
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    n_true = np.cumsum(present[order])[last_of_tie]
    return scores[order][last_of_tie], n_true, last_of_tie + 1 - n_true
