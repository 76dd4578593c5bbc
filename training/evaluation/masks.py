"""Overlap of segmentation masks: Dice of the foreground, and IoU averaged over foreground and background.

What the paper reports as mIoU is the two-class mean: a Dice of 0.243 beside an mIoU of 0.554 (SIIM-ACR) is only
possible with the background counted.
"""

import numpy as np
from numpy.typing import ArrayLike

from anatomy_vlm.training.evaluation.arrays import BoolArray, FloatArray, MetricInputError, nan_divide, nan_mean


def dice(predicted: ArrayLike, target: ArrayLike) -> FloatArray:
    """Dice coefficient of each mask, 2 |P and T| / (|P| + |T|).

    Args:
        predicted: shape (..., height, width) bool.
        target: the same shape.

    Returns:
        shape (...); NaN where both are empty (nothing to find, nothing claimed), 0 where one is.

    Raises:
        MetricInputError: shapes differ, or values that are neither 0 nor 1.

    >>> float(dice([[1, 1, 0]], [[0, 1, 1]]))
    0.5
    """
    found, true = as_masks(predicted, target)
    return nan_divide(2 * _count(found & true), _count(found) + _count(true))[()]


def two_class_iou(predicted: ArrayLike, target: ArrayLike) -> FloatArray:
    """Mean of the IoU of the foreground and of the background, where they are defined.

    Args and errors as in `dice`. Returns shape (...); NaN only for masks without pixels.

    >>> round(float(two_class_iou([[1, 1, 0]], [[0, 1, 1]])), 4)
    0.1667
    """
    found, true = as_masks(predicted, target)
    per_class = [nan_divide(_count(a & b), _count(a | b)) for a, b in ((found, true), (~found, ~true))]
    return nan_mean(np.stack(per_class, axis=-1))[()]


def as_masks(predicted: ArrayLike, target: ArrayLike) -> tuple[BoolArray, BoolArray]:
    """Both masks as bool arrays of one shape (..., height, width).

    Raises:
        MetricInputError: shapes differ, or values that are neither 0 nor 1 (a probability needs a threshold first).
    """
    found, true = np.asarray(predicted), np.asarray(target)
    if found.shape != true.shape or found.ndim < 2:
        raise MetricInputError(f"masks have to be of one shape (..., height, width), got {found.shape}, {true.shape}")
    for mask in (found, true):
        if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
            raise MetricInputError("masks have to hold 0 and 1 only: compare probabilities or gray levels first")
    return found.astype(bool), true.astype(bool)


def _count(mask: BoolArray) -> FloatArray:
    return mask.sum(axis=(-2, -1), dtype=np.float64)
