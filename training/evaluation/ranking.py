"""Metrics of a ranking, free of thresholds: ROC AUC and average precision."""

import numpy as np
from numpy.typing import ArrayLike

from anatomy_vlm.training.evaluation.arrays import FloatArray, as_labels_and_scores, nan_divide


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
    present, score, weight = as_labels_and_scores(labels, scores, weights)
    positives, negatives = _grouped_by_score(present, score, weight)
    below = np.cumsum(negatives, axis=-1) - negatives
    ordered_pairs = (positives * (below + 0.5 * negatives)).sum(axis=-1)
    return nan_divide(ordered_pairs, positives.sum(axis=-1) * negatives.sum(axis=-1))[()]


def average_precision(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Average precision: the sum over distinct scores of (gain in recall) x precision, without interpolation.

    Args and errors as in `roc_auc`. Returns shape (...); NaN where there are no positives.

    >>> round(float(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])), 4)
    0.8333
    """
    present, score, weight = as_labels_and_scores(labels, scores, weights)
    positives, negatives = _grouped_by_score(present, score, weight)
    positives, negatives = positives[..., ::-1], negatives[..., ::-1]
    hits = np.cumsum(positives, axis=-1)
    retrieved = hits + np.cumsum(negatives, axis=-1)
    # Nothing is retrieved before the first row with weight: its precision is multiplied by a gain of 0.
    precision = hits / np.where(retrieved > 0, retrieved, 1.0)
    return nan_divide((positives * precision).sum(axis=-1), positives.sum(axis=-1))[()]


def _grouped_by_score(present: np.ndarray, score: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weight of positives and of negatives at each distinct score, ascending: two arrays of shape (..., groups)."""
    if score.size == 0:
        empty = np.zeros((*weight.shape[:-1], 0))
        return empty, empty
    order = np.argsort(score, kind="stable")
    sorted_score, sorted_present, sorted_weight = score[order], present[order], weight[..., order]
    starts = np.flatnonzero(np.r_[True, sorted_score[1:] != sorted_score[:-1]])
    positives = np.add.reduceat(sorted_weight * sorted_present, starts, axis=-1)
    return positives, np.add.reduceat(sorted_weight, starts, axis=-1) - positives
