"""Checked conversions shared by the metrics: one place for the NaN policy.

The policy, everywhere in this package:

- a **label** of NaN is unknown: the pair is left out, it is neither a positive nor a negative;
- a **score** of NaN is a mistake of the caller and raises;
- a metric that is not defined (no positives, no ground truth, an empty mask on both sides, a query without a relevant
  item, ...) is NaN, never 0 and never 0.5;
- a macro mean is the mean over the classes where the metric is defined, NaN if there are none.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


class MetricInputError(ValueError):
    """Labels, scores, boxes or weights that a metric cannot use."""


def as_labels_and_scores(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None
) -> tuple[BoolArray, FloatArray, FloatArray]:
    """Check one class's labels, scores and weights and leave out the rows whose label is unknown.

    Args:
        labels: shape (n,), 1 present, 0 absent, NaN unknown (bool is fine).
        scores: shape (n,), higher means more likely present.
        weights: shape (..., n), not negative; leading dimensions are independent weightings (resamples).
            None weighs every row by 1.

    Returns:
        labels (m,) bool, scores (m,) and weights (..., m) of the m rows with a known label.

    Raises:
        MetricInputError: wrong shapes, a label that is not 0, 1 or NaN, or a score that is not a number.
    """
    label_values = np.asarray(labels, dtype=np.float64)
    score_values = np.asarray(scores, dtype=np.float64)
    if label_values.ndim != 1 or label_values.shape != score_values.shape:
        raise MetricInputError(
            f"labels and scores have to be vectors of one length, got shapes {label_values.shape} and "
            f"{score_values.shape}"
        )
    weight_values = np.ones(label_values.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight_values.shape[-1:] != label_values.shape:
        raise MetricInputError(
            f"the last dimension of weights has to be the {len(label_values)} rows, got {weight_values.shape}"
        )
    known = ~np.isnan(label_values)
    if not np.isin(label_values[known], (0.0, 1.0)).all():
        raise MetricInputError("labels have to be 0 (absent), 1 (present) or NaN (unknown)")
    if np.isnan(score_values[known]).any():
        raise MetricInputError("scores hold NaN: the model's output is broken, a metric would hide it")
    if not known.all():
        label_values, score_values, weight_values = label_values[known], score_values[known], weight_values[..., known]
    return label_values > 0.5, score_values, weight_values


def nan_divide(numerator: ArrayLike, denominator: ArrayLike) -> FloatArray:
    """Divide and answer NaN, without a warning, where the denominator is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0)


def nan_mean(values: ArrayLike, axis: int = -1) -> FloatArray:
    """Mean over the defined values along `axis`; NaN, without a warning, where none is defined."""
    array = np.asarray(values, dtype=np.float64)
    defined = ~np.isnan(array)
    return nan_divide(np.where(defined, array, 0.0).sum(axis=axis), defined.sum(axis=axis))


def weighted_mean(values: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Mean of per-item values over the items where they are defined, for a whole bootstrap in one call.

    Args:
        values: shape (n, ...), NaN where an item has no value.
        weights: shape (..., n), see `roc_auc`; None weighs every item by 1.

    Returns:
        shape (leading dimensions of the weights, trailing dimensions of the values); NaN where nothing is defined.

    >>> float(weighted_mean([0.5, np.nan, 1.0]))
    0.75
    """
    items = np.asarray(values, dtype=np.float64)
    weight = np.ones(items.shape[:1]) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.shape[-1:] != items.shape[:1]:
        raise MetricInputError(f"the last dimension of weights has to be the {len(items)} items, got {weight.shape}")
    known = ~np.isnan(items)
    total = np.tensordot(weight, np.where(known, items, 0.0), axes=(-1, 0))
    return nan_divide(total, np.tensordot(weight, known.astype(float), axes=(-1, 0)))[()]
