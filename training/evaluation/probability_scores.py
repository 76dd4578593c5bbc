"""Whether a probability means what it says: Brier score, reliability curve and calibration error.

All for the probability that a finding is present, not for the confidence in the likelier answer: a finding of 2 %
prevalence that is always denied would look calibrated by the latter.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from anatomy_vlm.training.evaluation.arrays import (
    BoolArray,
    FloatArray,
    MetricInputError,
    as_labels_and_scores,
    nan_divide,
)


@dataclass(frozen=True)
class ReliabilityCurve:
    """Bins of equal width over [0, 1], the upper end belonging to the bin.

    Attributes:
        mass: shape (..., bins), weight of the rows in each bin.
        probability: shape (..., bins), mean predicted probability; NaN in an empty bin.
        frequency: shape (..., bins), share of positives; NaN in an empty bin.
    """

    mass: FloatArray
    probability: FloatArray
    frequency: FloatArray


def brier_score(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Mean squared difference between probability and label.

    Args:
        labels: shape (n,), 1, 0, or NaN for unknown (left out).
        probabilities: shape (n,), in [0, 1].
        weights: shape (..., n), see `roc_auc`.

    Returns:
        shape (...); NaN where there are no rows.

    Raises:
        MetricInputError: see `as_labels_and_scores`; a probability outside [0, 1].

    >>> float(brier_score([0, 1], [0.5, 1.0]))
    0.125
    """
    present, probability, weight = _checked(labels, probabilities, weights)
    return nan_divide(weight @ (probability - present) ** 2, weight.sum(axis=-1))[()]


def reliability_curve(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None, *, num_bins: int = 15
) -> ReliabilityCurve:
    """Predicted probability against observed frequency. Args and errors as in `brier_score`.

    >>> curve = reliability_curve([0, 1, 1], [0.1, 0.8, 0.9], num_bins=2)
    >>> curve.frequency.tolist(), curve.mass.tolist()
    ([0.0, 1.0], [1.0, 2.0])
    """
    if num_bins < 1:
        raise MetricInputError(f"num_bins has to be at least 1, got {num_bins}")
    present, probability, weight = _checked(labels, probabilities, weights)
    edges = np.linspace(0.0, 1.0, num_bins + 1)[1:-1]
    in_bin = np.searchsorted(edges, probability, side="left")[:, None] == np.arange(num_bins)
    mass = weight @ in_bin.astype(float)
    predicted = nan_divide(weight @ (in_bin * probability[:, None]), mass)
    return ReliabilityCurve(mass, predicted, nan_divide(weight @ (in_bin & present[:, None]).astype(float), mass))


def calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None, *, num_bins: int = 15
) -> FloatArray:
    """Expected calibration error: mean distance of the reliability curve from the diagonal, by mass (Naeini, 2015).

    Binning makes it an upward-biased estimate: compare models on the same rows and bins only.

    Args and errors as in `brier_score`. Returns shape (...); NaN where there are no rows.

    >>> round(float(calibration_error([0, 1, 1, 1], [0.75, 0.75, 0.75, 0.75])), 6)
    0.0
    """
    curve = reliability_curve(labels, probabilities, weights, num_bins=num_bins)
    gap = np.abs(curve.probability - curve.frequency)
    return nan_divide(np.where(curve.mass > 0, curve.mass * gap, 0.0).sum(axis=-1), curve.mass.sum(axis=-1))[()]


def _checked(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None
) -> tuple[BoolArray, FloatArray, FloatArray]:
    present, probability, weight = as_labels_and_scores(labels, probabilities, weights)
    if ((probability < 0) | (probability > 1)).any():
        raise MetricInputError("probabilities have to lie in 0 to 1; pass sigmoid(margin), not the margin")
    return present, probability, weight
