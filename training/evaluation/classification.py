"""Metrics of decisions: confusion, balanced accuracy (the paper's BMAC) and F1, only at a threshold with a source."""

from dataclasses import dataclass

from numpy.typing import ArrayLike

from anatomy_vlm.training.evaluation.arrays import FloatArray, as_labels_and_scores, nan_divide
from anatomy_vlm.training.evaluation.thresholds import Threshold, require_threshold


@dataclass(frozen=True)
class Confusion:
    """Weighted counts at one threshold, each of shape (...) like the leading dimensions of the weights."""

    true_positives: FloatArray
    false_positives: FloatArray
    true_negatives: FloatArray
    false_negatives: FloatArray
    threshold: Threshold


def confusion_at(
    labels: ArrayLike, scores: ArrayLike, threshold: Threshold, weights: ArrayLike | None = None
) -> Confusion:
    """Count decisions `score >= threshold.value` against the labels.

    Args:
        labels: shape (n,), 1, 0, or NaN for unknown (left out).
        scores: shape (n,).
        threshold: with its source.
        weights: shape (..., n), see `roc_auc`.

    Raises:
        ThresholdSourceError: a bare number in place of the threshold.
        MetricInputError: see `as_labels_and_scores`.

    >>> confusion = confusion_at([0, 0, 1, 1], [0.1, 0.7, 0.6, 0.2], Threshold(0.5, "fixed"))
    >>> float(confusion.true_positives), float(confusion.false_positives)
    (1.0, 1.0)
    """
    require_threshold(threshold)
    present, score, weight = as_labels_and_scores(labels, scores, weights)
    decided = score >= threshold.value
    return Confusion(
        true_positives=weight @ (present & decided).astype(float),
        false_positives=weight @ (~present & decided).astype(float),
        true_negatives=weight @ (~present & ~decided).astype(float),
        false_negatives=weight @ (present & ~decided).astype(float),
        threshold=threshold,
    )


def balanced_accuracy(
    labels: ArrayLike, scores: ArrayLike, threshold: Threshold, weights: ArrayLike | None = None
) -> FloatArray:
    """Mean of sensitivity and specificity; its macro mean over classes is the paper's BMAC.

    Args and errors as in `confusion_at`. Returns shape (...); NaN where there are no positives or no negatives.

    >>> float(balanced_accuracy([0, 0, 1, 1], [0.1, 0.7, 0.6, 0.8], Threshold(0.5, "fixed")))
    0.75
    """
    counts = confusion_at(labels, scores, threshold, weights)
    sensitivity = nan_divide(counts.true_positives, counts.true_positives + counts.false_negatives)
    specificity = nan_divide(counts.true_negatives, counts.true_negatives + counts.false_positives)
    return ((sensitivity + specificity) / 2)[()]


def f1_score(
    labels: ArrayLike, scores: ArrayLike, threshold: Threshold, weights: ArrayLike | None = None
) -> FloatArray:
    """F1 = 2 TP / (2 TP + FP + FN).

    Args and errors as in `confusion_at`. Returns shape (...); NaN where nothing is present and nothing was called.

    >>> round(float(f1_score([0, 0, 1, 1], [0.1, 0.7, 0.6, 0.8], Threshold(0.5, "fixed"))), 3)
    0.8
    """
    counts = confusion_at(labels, scores, threshold, weights)
    called_or_present = 2 * counts.true_positives + counts.false_positives + counts.false_negatives
    return nan_divide(2 * counts.true_positives, called_or_present)[()]
