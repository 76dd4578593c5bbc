"""Metrics of a ranking, free of thresholds: ROC AUC and average precision."""

import numpy as np
from numpy.typing import ArrayLike

from anatomy_vlm.training.evaluation.arrays import BoolArray, FloatArray, as_labels_and_scores, nan_divide


def roc_auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Area under the ROC curve: the share of (positive, negative) pairs in the right order, a tie counting half.

    Args:
        labels: shape (n,), 1, 0, or NaN for unknown (left out).
        scores: shape (n,).
        weights: shape (..., n); each leading entry is one weighting, so that a whole bootstrap is one call.

    Returns:
        shape (...); NaN where there are no positives or no negatives.

    Raises:
        MetricInputError: see `as_labels_and_scores`.

    >>> float(roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]))
    0.75
    """
    present, score, weight = _ascending(*as_labels_and_scores(labels, scores, weights))
    positive_score, positive_weight = score[present], weight[..., present]
    negatives = _running_total(weight * ~present)
    # A tie counts half: the mean of the negatives below a positive and of those not above it.
    below = negatives[..., np.searchsorted(score, positive_score, side="left")]
    not_above = negatives[..., np.searchsorted(score, positive_score, side="right")]
    ordered_pairs = (positive_weight * (below + not_above)).sum(axis=-1) / 2
    return nan_divide(ordered_pairs, positive_weight.sum(axis=-1) * negatives[..., -1])[()]


def average_precision(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Average precision: the sum over distinct scores of (gain in recall) x precision, without interpolation.

    Args and errors as in `roc_auc`. Returns shape (...); NaN where there are no positives.

    >>> round(float(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])), 4)
    0.8333
    """
    present, score, weight = _ascending(*as_labels_and_scores(labels, scores, weights))
    positive_score, positive_weight = score[present], weight[..., present]
    everything, positives = _running_total(weight), _running_total(positive_weight)
    retrieved = everything[..., -1:] - everything[..., np.searchsorted(score, positive_score, side="left")]
    hits = positives[..., -1:] - positives[..., np.searchsorted(positive_score, positive_score, side="left")]
    # A positive without weight may have nothing retrieved with it: its precision is multiplied by 0.
    precision = hits / np.where(retrieved > 0, retrieved, 1.0)
    return nan_divide((positive_weight * precision).sum(axis=-1), positives[..., -1])[()]


def _ascending(present: BoolArray, score: FloatArray, weight: FloatArray) -> tuple[BoolArray, FloatArray, FloatArray]:
    """Labels, scores and weights in ascending order of the scores."""
    if (score[1:] >= score[:-1]).all():
        return present, score, weight
    order = np.argsort(score, kind="stable")
    return present[order], score[order], weight[..., order]


def _running_total(weight: FloatArray) -> FloatArray:
    """Sums of the first 0, 1, ..., n weights: shape (..., n + 1)."""
    total = np.zeros((*weight.shape[:-1], weight.shape[-1] + 1))
    np.cumsum(weight, axis=-1, out=total[..., 1:])
    return total
