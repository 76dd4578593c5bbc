"""A decision threshold that says where it comes from.

F1 and balanced accuracy depend on the threshold, and published tables often pick it on the test set. Here a
threshold is an object with its source, the metrics refuse a bare number, and only a threshold selected on another
split than the one that is scored is called `validation`.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from anatomy_vlm.training.evaluation.arrays import FloatArray, MetricInputError, as_labels_and_scores, nan_divide


ThresholdSource = Literal["fixed", "validation", "oracle"]
ThresholdCriterion = Literal["balanced_accuracy", "f1"]


class ThresholdSourceError(ValueError):
    """A threshold without a (known) source."""


@dataclass(frozen=True)
class Threshold:
    """A score at or above `value` counts as present.

    Attributes:
        value: the threshold, in units of the score.
        source: `fixed` (set beforehand), `validation` (selected on validation data) or `oracle` (selected on the very
            data that is scored: an upper bound, not a result).
    """

    value: float
    source: ThresholdSource

    def __post_init__(self) -> None:
        if self.source not in get_args(ThresholdSource):
            raise ThresholdSourceError(
                f"threshold source {self.source!r} is not one of {', '.join(get_args(ThresholdSource))}"
            )
        if not np.isfinite(self.value):
            raise ThresholdSourceError(f"a threshold has to be a finite number, got {self.value}")


def require_threshold(threshold: Threshold) -> Threshold:
    """Refuse anything but a `Threshold`, most of all a bare number.

    Raises:
        ThresholdSourceError: `threshold` carries no source.
    """
    if not isinstance(threshold, Threshold):
        raise ThresholdSourceError(
            f"F1 and balanced accuracy need a Threshold with its source, got {threshold!r}; write for example "
            "Threshold(0.5, 'fixed') or select one with select_threshold(..., split='validation')"
        )
    return threshold


def select_threshold(
    labels: ArrayLike, scores: ArrayLike, *, split: str, criterion: ThresholdCriterion = "balanced_accuracy"
) -> Threshold:
    """Select the threshold that maximises a criterion.

    The candidates are the middles between neighbouring distinct scores, one at the lowest score and one above the
    highest; of several best ones the middle one is taken, so that a perfect ranking gets the widest margin.

    Args:
        labels: shape (n,), 1, 0, or NaN for unknown (left out).
        scores: shape (n,).
        split: the split that the rows are from. `validation` gives a threshold of that source; every other split is
            data that will be scored, and gives an `oracle` threshold.
        criterion: `balanced_accuracy` or `f1`.

    Raises:
        MetricInputError: no positives or no negatives, or an unknown criterion.

    >>> select_threshold([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9], split="validation")
    Threshold(value=0.4, source='validation')
    """
    if criterion not in get_args(ThresholdCriterion):
        raise MetricInputError(f"threshold criterion {criterion!r} is not one of {get_args(ThresholdCriterion)}")
    present, score, _ = as_labels_and_scores(labels, scores)
    if present.all() or not present.any():
        raise MetricInputError(f"a threshold needs positives and negatives, the {split} split has only one of them")
    candidates = _candidates(score)
    # Rows at or above a candidate, counted in the sorted scores of each class.
    hits = present.sum() - np.searchsorted(np.sort(score[present]), candidates)
    false_alarms = (~present).sum() - np.searchsorted(np.sort(score[~present]), candidates)
    if criterion == "f1":
        value = nan_divide(2 * hits, hits + false_alarms + present.sum())
    else:
        value = (hits / present.sum() + 1 - false_alarms / (~present).sum()) / 2
    best = np.flatnonzero(value >= value.max() - 1e-12)
    chosen = float(candidates[best[(len(best) - 1) // 2]])
    return Threshold(chosen, "validation" if split == "validation" else "oracle")


def threshold_at_sensitivity(labels: ArrayLike, scores: ArrayLike, sensitivity: float, *, split: str) -> Threshold:
    """The highest threshold with at least this sensitivity; a little below its score, midway to the next lower one.

    Args:
        labels: shape (n,), 1, 0, or NaN for unknown (left out).
        scores: shape (n,).
        sensitivity: in (0, 1].
        split: as in `select_threshold`.

    Raises:
        MetricInputError: no positives, or a sensitivity outside (0, 1].

    >>> threshold_at_sensitivity([0, 1, 1, 1, 1], [0.3, 0.1, 0.5, 0.7, 0.9], 0.75, split="validation")
    Threshold(value=0.4, source='validation')
    """
    if not 0 < sensitivity <= 1:
        raise MetricInputError(f"sensitivity has to lie in (0, 1], got {sensitivity}")
    present, score, _ = as_labels_and_scores(labels, scores)
    if not present.any():
        raise MetricInputError(f"a sensitivity needs positives, the {split} split has none")
    positives = np.sort(score[present])[::-1]
    lowest_hit = positives[math.ceil(sensitivity * len(positives) - 1e-9) - 1]
    below = score[score < lowest_hit]
    value = (lowest_hit + below.max()) / 2 if len(below) else lowest_hit
    return Threshold(float(value), "validation" if split == "validation" else "oracle")


def _candidates(score: FloatArray) -> FloatArray:
    distinct = np.unique(score)
    return np.r_[distinct[0], (distinct[1:] + distinct[:-1]) / 2, np.nextafter(distinct[-1], np.inf)]
