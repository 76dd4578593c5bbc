"""Distance between the outlines of two masks: the 95th percentile Hausdorff distance."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from anatomy_vlm.training.evaluation.arrays import BoolArray, FloatArray, MetricInputError
from anatomy_vlm.training.evaluation.masks import as_masks


def hausdorff_95(
    predicted: ArrayLike, target: ArrayLike, spacing: tuple[float, float] = (1.0, 1.0), percentile: float = 95.0
) -> float:
    """Larger of the two directed percentiles of outline distances (Metrics Reloaded, Nature Methods 2024).

    The outline of a mask are its pixels with a 4-neighbour outside of it; beyond the picture is outside.

    Args:
        predicted: shape (height, width) bool.
        target: the same shape.
        spacing: (row, column) size of a pixel, in the unit of the result, for example mm.
        percentile: 100 gives the Hausdorff distance itself.

    Returns:
        NaN where both masks are empty; the picture's diagonal, no distance being larger, where one is.

    Raises:
        MetricInputError: see `as_masks`; not two-dimensional, or a spacing or percentile that cannot be.

    >>> hausdorff_95([[1, 0, 0, 0]], [[0, 0, 0, 1]], spacing=(1.0, 2.0))
    6.0
    """
    found, true = as_masks(predicted, target)
    if found.ndim != 2:
        raise MetricInputError(f"hausdorff_95 takes one mask of shape (height, width), got {found.shape}")
    if min(spacing) <= 0 or not 0 < percentile <= 100:
        raise MetricInputError(f"spacing has to be positive and percentile in (0, 100], got {spacing}, {percentile}")
    if not found.any() and not true.any():
        return math.nan
    if not found.any() or not true.any():
        return math.hypot(found.shape[0] * spacing[0], found.shape[1] * spacing[1])
    first, second = _outline(found), _outline(true)
    directed = (_distances(first, second, spacing), _distances(second, first, spacing))
    return float(max(np.percentile(distances, percentile) for distances in directed))


def _outline(mask: BoolArray) -> BoolArray:
    return mask & ~ndimage.binary_erosion(mask)


def _distances(source: BoolArray, target: BoolArray, spacing: tuple[float, float]) -> FloatArray:
    """Distance of each pixel of `source` to the nearest of `target`."""
    return ndimage.distance_transform_edt(~target, sampling=spacing)[source]
