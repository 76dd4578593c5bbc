"""Scores of boxes: IoU per region beside the prior box, and mAP."""

from collections.abc import Sequence

import numpy as np

from anatomy_vlm.training.evaluation.arrays import FloatArray, nan_mean
from anatomy_vlm.training.evaluation.bootstrap import PatientBootstrap, percentile_interval
from anatomy_vlm.training.evaluation.boxes import mean_iou, mean_iou_per_region, region_iou
from anatomy_vlm.training.evaluation.mean_average_precision import mean_average_precision
from anatomy_vlm.training.evaluation.result import BOXES, EvaluationSettings, Score
from anatomy_vlm.training.evaluation.targets import Targets


def score_boxes(
    boxes: FloatArray,
    presence: FloatArray,
    targets: Targets,
    prior: FloatArray | None,
    regions: Sequence[str],
    bootstrap: PatientBootstrap,
    settings: EvaluationSettings,
) -> list[Score]:
    """Mean IoU over regions and of each region, the gain over the prior box (paired), and mAP (without intervals).

    Args:
        boxes: (n, R, 4), predicted, as fractions of the image.
        presence: (n, R), confidence of each box, for mAP.
        targets: ground truth.
        prior: (R, 4), the prior box of each region; None leaves the baselines undefined.
        regions: names.
        bootstrap: over the patients of the n images.
        settings: confidence and the minimum number of patients for an interval.
    """
    iou = region_iou(boxes, targets.boxes, targets.box_mask)
    prior_iou = np.full(iou.shape, np.nan) if prior is None else region_iou(prior, targets.boxes, targets.box_mask)
    resampled = bootstrap.resample(lambda weights: mean_iou_per_region(iou, weights))
    resampled_prior = bootstrap.resample(lambda weights: mean_iou_per_region(prior_iou, weights))
    total = int(targets.box_mask.sum())
    scores = []

    def add(metric: str, value: float, resamples: FloatArray, baseline: float = np.nan) -> None:
        low, high = percentile_interval(resamples, settings.confidence)
        scores.append(Score(BOXES, metric, "mean", value, float(low), float(high), baseline, total))

    mean_resamples, prior_resamples = nan_mean(resampled), nan_mean(resampled_prior)
    mean_prior = float(mean_iou(prior_iou))
    add("mean_iou", float(mean_iou(iou)), mean_resamples, mean_prior)
    if prior is not None:
        add("mean_iou_gain", float(mean_iou(iou)) - mean_prior, mean_resamples - prior_resamples)
    precision = mean_average_precision(boxes, presence, targets.boxes, targets.box_mask)
    for metric, value in (("map", precision.macro), ("map_50", precision.macro_50), ("map_micro", precision.micro)):
        scores.append(Score(BOXES, metric, "mean", value, positives=total))

    ends = percentile_interval(resampled, settings.confidence)
    per_region, per_region_prior = mean_iou_per_region(iou), mean_iou_per_region(prior_iou)
    for index, name in enumerate(regions):
        known = targets.box_mask[:, index]
        enough = len(np.unique(bootstrap.patient_of_row[known])) >= settings.min_events
        low, high = ends[:, index] if enough else (np.nan, np.nan)
        value, baseline = float(per_region[index]), float(per_region_prior[index])
        scores.append(Score(BOXES, "mean_iou", name, value, float(low), float(high), baseline, int(known.sum())))
    return scores
