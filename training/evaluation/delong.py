"""DeLong's covariance of AUCs: intervals and paired tests without resampling.

DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988), in the O(n log n) form of Sun and Xu, IEEE Signal Processing
Letters 21 (2014), where the structural components come from midranks. It takes rows for independent: with several
films per patient use `PatientBootstrap`, or one film of each.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from anatomy_vlm.training.evaluation.arrays import FloatArray, MetricInputError, as_labels_and_scores


@dataclass(frozen=True)
class AucEstimates:
    """AUCs of k models on the same rows.

    Attributes:
        auc: shape (k,); NaN without positives or without negatives.
        covariance: shape (k, k); NaN with fewer than two positives or two negatives.
    """

    auc: FloatArray
    covariance: FloatArray


@dataclass(frozen=True)
class AucComparison:
    """Paired test of two AUCs on the same rows.

    Attributes:
        difference: AUC of the first minus AUC of the second.
        low, high: Wald interval of the difference.
        p_value: two-sided; 1 where the two never order a pair differently, NaN where it is not defined.
    """

    difference: float
    low: float
    high: float
    p_value: float


def delong(labels: ArrayLike, scores: ArrayLike) -> AucEstimates:
    """AUCs and their covariance.

    Args:
        labels: shape (n,), 1, 0, or NaN for unknown (left out).
        scores: shape (k, n) of k models, or (n,) of one.

    Raises:
        MetricInputError: see `as_labels_and_scores`.

    >>> estimates = delong([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> float(estimates.auc[0]), float(estimates.covariance[0, 0])
    (0.75, 0.125)
    """
    models = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if models.ndim != 2:
        raise MetricInputError(f"scores have to be of shape (models, n) or (n,), got {np.shape(scores)}")
    checked = [as_labels_and_scores(labels, row) for row in models]
    components = [_structural_components(present, score) for present, score, _ in checked]
    of_positives = np.stack([positive for positive, _ in components])
    of_negatives = np.stack([negative for _, negative in components])
    num_positives, num_negatives = of_positives.shape[1], of_negatives.shape[1]
    num_models = len(models)
    if min(num_positives, num_negatives) == 0:
        return AucEstimates(np.full(num_models, np.nan), np.full((num_models, num_models), np.nan))
    auc = of_positives.mean(axis=1)
    if min(num_positives, num_negatives) == 1:
        return AucEstimates(auc, np.full((num_models, num_models), np.nan))
    covariance = _covariance(of_positives) / num_positives + _covariance(of_negatives) / num_negatives
    return AucEstimates(auc, covariance)


def auc_interval(labels: ArrayLike, scores: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """AUC of one model with its interval, made on the logit scale, where it cannot leave [0, 1].

    Args:
        labels: shape (n,), 1, 0, or NaN for unknown (left out).
        scores: shape (n,).
        confidence: mass inside the interval, in (0, 1).

    Returns:
        AUC, lower and upper end; no interval (NaN) with fewer than two positives or negatives, and at an AUC of 0 or
        1, where DeLong's variance is 0 and says nothing.

    Raises:
        MetricInputError: see `as_labels_and_scores`; a confidence outside (0, 1).

    >>> [round(value, 3) for value in auc_interval([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.6, 0.5, 0.7, 0.9])]
    [0.889, 0.261, 0.995]
    """
    estimates = delong(labels, np.asarray(scores, dtype=np.float64).reshape(1, -1))
    auc, variance = float(estimates.auc[0]), float(estimates.covariance[0, 0])
    margin = _normal_quantile(confidence)
    if not 0 < auc < 1 or math.isnan(variance):
        return auc, math.nan, math.nan
    half_width = margin * math.sqrt(variance) / (auc * (1 - auc))
    centre = special.logit(auc)
    return auc, float(special.expit(centre - half_width)), float(special.expit(centre + half_width))


def compare_aucs(labels: ArrayLike, first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> AucComparison:
    """DeLong's paired test of two models on the same rows.

    Args:
        labels: shape (n,), 1, 0, or NaN for unknown (left out).
        first: shape (n,), scores of one model.
        second: shape (n,), scores of the other; the scales need not agree.
        confidence: of the interval of the difference.

    Raises:
        MetricInputError: see `as_labels_and_scores`; a confidence outside (0, 1).

    >>> compare_aucs([0, 0, 1, 1], [0.1, 0.4, 0.3, 0.8], [1.0, 4.0, 3.0, 8.0]).p_value
    1.0
    """
    estimates = delong(labels, np.stack([np.ravel(first), np.ravel(second)]))
    difference = float(estimates.auc[0] - estimates.auc[1])
    covariance = estimates.covariance
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    half_width = _normal_quantile(confidence) * math.sqrt(max(variance, 0.0)) if not math.isnan(variance) else math.nan
    if math.isnan(variance):
        p_value = math.nan
    elif variance > 1e-15:
        p_value = float(2 * special.ndtr(-abs(difference) / math.sqrt(variance)))
    else:
        p_value = 1.0 if difference == 0 else math.nan
    return AucComparison(difference, difference - half_width, difference + half_width, p_value)


def _structural_components(present: np.ndarray, score: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Per positive the share of negatives below it, per negative the share of positives above it; ties count half."""
    positive, negative = score[present], score[~present]
    joint = stats.rankdata(np.concatenate([positive, negative]))
    count = len(positive)
    negatives_below = joint[:count] - stats.rankdata(positive)
    positives_below = joint[count:] - stats.rankdata(negative)
    return negatives_below / max(len(negative), 1), 1 - positives_below / max(count, 1)


def _covariance(components: FloatArray) -> FloatArray:
    return np.atleast_2d(np.cov(components, ddof=1))


def _normal_quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise MetricInputError(f"confidence has to lie between 0 and 1, got {confidence}")
    return float(special.ndtri((1 + confidence) / 2))
