"""Box IoU per region, and the prior box that a detector has to beat.

Boxes are (x0, y0, x1, y1). IoU does not change when an axis is scaled, so fractions of the image and pixels give the
same numbers. The prediction of a region is always scored, whatever its presence score; a region without ground truth
is NaN, not 0: a missing region is neither a hit nor a miss.
"""

import numpy as np
from numpy.typing import ArrayLike

from anatomy_vlm.training.evaluation.arrays import BoolArray, FloatArray, MetricInputError, nan_mean, weighted_mean
from anatomy_vlm.training.evaluation.thresholds import Threshold, require_threshold


def box_iou(first: ArrayLike, second: ArrayLike) -> FloatArray:
    """Intersection over union of boxes, element by element.

    Args:
        first: shape (..., 4), x0 y0 x1 y1.
        second: shape (..., 4), broadcast against `first`.

    Returns:
        shape (...); 0 where both boxes are empty (also a box whose corners are exchanged is empty).

    Raises:
        MetricInputError: the last dimension is not 4.

    >>> float(box_iou([0, 0, 2, 2], [1, 0, 3, 2]))
    0.3333333333333333
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape[-1:] != (4,) or b.shape[-1:] != (4,):
        raise MetricInputError(f"boxes have to end in 4 coordinates x0 y0 x1 y1, got {a.shape} and {b.shape}")
    corner_low, corner_high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    intersection = np.prod(np.clip(corner_high - corner_low, 0, None), axis=-1)
    union = _area(a) + _area(b) - intersection
    return np.divide(intersection, union, out=np.zeros(np.shape(union)), where=union > 0)[()]


def region_iou(predicted: ArrayLike, target: ArrayLike, target_mask: ArrayLike) -> FloatArray:
    """IoU of every image and region: shape (n, regions), NaN where there is no ground truth.

    Args:
        predicted: shape (n, regions, 4) or (regions, 4), one box per region for all images.
        target: shape (n, regions, 4).
        target_mask: shape (n, regions) bool, True where the region has a ground truth box.

    Raises:
        MetricInputError: shapes do not fit, or a predicted box holds NaN.
    """
    mask: BoolArray = np.asarray(target_mask, dtype=bool)
    if np.isnan(np.asarray(predicted, dtype=np.float64)).any():
        raise MetricInputError("predicted boxes hold NaN: the model's output is broken, a metric would hide it")
    iou = np.asarray(box_iou(predicted, target))
    if iou.shape != mask.shape:
        raise MetricInputError(f"boxes of shape {iou.shape} do not fit the mask of shape {mask.shape}")
    return np.where(mask, iou, np.nan)


def unconditional_iou(
    predicted: ArrayLike, presence: ArrayLike, target: ArrayLike, target_mask: ArrayLike, threshold: Threshold
) -> FloatArray:
    """IoU of the boxes that a detector commits to: not conditional on the region being there, nor on it being found.

    A region that is there and not called is a miss, one that is called and not there an invention; both count 0. An
    IoU over found regions only rises when the hard ones are left out.

    Args:
        predicted: shape (n, regions, 4).
        presence: shape (n, regions), confidence that the region is in the image.
        target, target_mask: as in `region_iou`; here a False of the mask has to mean that the region is not there.
        threshold: from which presence a region is called, with its source.

    Returns:
        shape (n, regions); NaN where the region is neither there nor called. `mean_iou` joins it.

    Raises:
        ThresholdSourceError: a bare number in place of the threshold.
        MetricInputError: see `region_iou`; presence of another shape or NaN.

    >>> box = [[[0, 0, 1, 1]]]
    >>> float(unconditional_iou(box, [[0.3]], box, [[True]], Threshold(0.5, "fixed"))[0, 0])
    0.0
    """
    require_threshold(threshold)
    iou = region_iou(predicted, target, target_mask)
    score = np.asarray(presence, dtype=np.float64)
    if score.shape != iou.shape or np.isnan(score).any():
        raise MetricInputError(f"presence has to be {iou.shape} numbers without NaN, got {score.shape}")
    called, there = score >= threshold.value, ~np.isnan(iou)
    return np.where(called & there, iou, np.where(called | there, 0.0, np.nan))


def mean_iou_per_region(iou: FloatArray, weights: ArrayLike | None = None) -> FloatArray:
    """Mean IoU of each region over the images that have it.

    Args:
        iou: shape (n, regions), NaN where there is no ground truth.
        weights: shape (..., n), see `roc_auc`.

    Returns:
        shape (..., regions); NaN for a region without ground truth.
    """
    return weighted_mean(iou, weights)


def mean_iou(iou: FloatArray, weights: ArrayLike | None = None) -> FloatArray:
    """Mean over regions of the mean IoU of each region, so that a rare region counts as much as a frequent one.

    >>> float(mean_iou(np.array([[0.5, np.nan], [0.7, 0.2]])))
    0.4
    """
    return nan_mean(mean_iou_per_region(iou, weights))[()]


def prior_boxes(boxes: ArrayLike, mask: ArrayLike) -> FloatArray:
    """The mean box of each region: what can be said about a chest without looking at it.

    Args:
        boxes: shape (n, regions, 4), of the training images, in fractions of the image.
        mask: shape (n, regions) bool.

    Returns:
        shape (regions, 4); the whole image, [0, 0, 1, 1], for a region that is never seen.
    """
    values, known = np.asarray(boxes, dtype=np.float64), np.asarray(mask, dtype=bool)
    if values.shape != (*known.shape, 4):
        raise MetricInputError(f"boxes of shape {values.shape} do not fit the mask of shape {known.shape}")
    mean_box = nan_mean(np.where(known[..., None], values, np.nan), axis=0)
    return np.where(np.isnan(mean_box), [0.0, 0.0, 1.0, 1.0], mean_box)


def _area(box: FloatArray) -> FloatArray:
    return np.prod(np.clip(box[..., 2:] - box[..., :2], 0, None), axis=-1)
