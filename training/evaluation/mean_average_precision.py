"""COCO mean average precision for fixed region slots, vectorised.

With one slot per region an image has at most one ground truth and exactly one prediction of a class, so COCO's
matching becomes a comparison and the whole evaluation a sort and a cumulative maximum per region. The numbers are
those of pycocotools (101 recall points, IoU thresholds 0.50:0.05:0.95, all areas).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from anatomy_vlm.training.evaluation.arrays import BoolArray, FloatArray, MetricInputError, nan_mean
from anatomy_vlm.training.evaluation.boxes import region_iou


COCO_IOU_THRESHOLDS: FloatArray = np.linspace(0.5, 0.95, 10)
_RECALL_POINTS: FloatArray = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class MeanAveragePrecision:
    """Average precision of boxes.

    Attributes:
        per_region: shape (thresholds, regions); NaN for a region without ground truth.
        macro: mean over thresholds and regions (COCO's mAP).
        macro_50: mean over regions at IoU 0.5 (NaN if 0.5 is not among the thresholds).
        micro: mean over thresholds of the average precision of all regions pooled into one ranking.
    """

    per_region: FloatArray
    macro: float
    macro_50: float
    micro: float


def mean_average_precision(
    predicted: ArrayLike,
    scores: ArrayLike,
    target: ArrayLike,
    target_mask: ArrayLike,
    iou_thresholds: FloatArray = COCO_IOU_THRESHOLDS,
) -> MeanAveragePrecision:
    """COCO mAP of one predicted box per image and region.

    Args:
        predicted: shape (n, regions, 4), x0 y0 x1 y1.
        scores: shape (n, regions), confidence of each box (the presence score).
        target: shape (n, regions, 4).
        target_mask: shape (n, regions) bool; a box predicted where there is none is a false positive.
        iou_thresholds: shape (thresholds,).

    Raises:
        MetricInputError: shapes do not fit, or a box or score is NaN.
    """
    iou = region_iou(predicted, target, target_mask)
    score = np.asarray(scores, dtype=np.float64)
    if score.shape != iou.shape or np.isnan(score).any():
        raise MetricInputError(f"scores have to be {iou.shape} numbers without NaN, got {score.shape}")
    known = ~np.isnan(iou)
    hit = np.where(known, iou, -1.0) >= np.asarray(iou_thresholds).reshape(-1, 1, 1)
    per_region = _average_precision(hit, score, known.sum(axis=0))
    pooled = _average_precision(hit.reshape(len(hit), -1, 1), score.reshape(-1, 1), known.sum().reshape(1))
    at_50 = np.isclose(iou_thresholds, 0.5)
    return MeanAveragePrecision(
        per_region=per_region,
        macro=float(nan_mean(per_region.ravel())),
        macro_50=float(nan_mean(per_region[at_50].ravel())),
        micro=float(nan_mean(pooled.ravel())),
    )


def _average_precision(hit: BoolArray, score: FloatArray, num_targets: np.ndarray) -> FloatArray:
    """Interpolated average precision, (thresholds, classes), from hits (thresholds, n, classes)."""
    num_thresholds, num_rows, num_classes = hit.shape
    order = np.argsort(-score, axis=0, kind="stable")
    ranked = np.take_along_axis(hit, order[None], axis=1)
    hit_rank = np.cumsum(ranked, axis=1)
    # Precision at the k-th hit. Between hits precision only falls, so these points carry the whole envelope.
    envelope = np.zeros((num_thresholds, num_classes, num_rows + 1))
    threshold_index, row, class_index = np.nonzero(ranked)
    rank = hit_rank[threshold_index, row, class_index]
    envelope[threshold_index, class_index, rank - 1] = rank / (row + 1)
    envelope = np.maximum.accumulate(envelope[..., ::-1], axis=-1)[..., ::-1]
    result = np.full((num_thresholds, num_classes), np.nan)
    for index in np.flatnonzero(num_targets):
        recall_of_hit = np.arange(1, num_targets[index] + 1) / num_targets[index]
        first_hit = np.searchsorted(recall_of_hit, _RECALL_POINTS, side="left")
        result[:, index] = envelope[:, index, np.minimum(first_hit, num_rows)].mean(axis=-1)
    return result
