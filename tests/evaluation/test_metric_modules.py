"""The `evaluate.Metric` modules: offline, equal to the functions, and as strict about thresholds."""

import evaluate
import numpy as np
import pytest

from anatomy_vlm.training.evaluation.boxes import mean_iou, region_iou
from anatomy_vlm.training.evaluation.mean_average_precision import mean_average_precision
from anatomy_vlm.training.evaluation.metric_modules import (
    F1,
    AveragePrecision,
    BalancedAccuracy,
    RegionBoxIoU,
    RegionBoxMeanAveragePrecision,
    RocAuc,
)
from anatomy_vlm.training.evaluation.ranking import average_precision, roc_auc
from anatomy_vlm.training.evaluation.thresholds import ThresholdSourceError


LABELS, SCORES = [0.0, 1.0, float("nan"), 1.0, 0.0], [0.2, 0.9, 0.5, 0.15, 0.1]


def test_combined_modules_equal_the_functions():
    combined = evaluate.combine([RocAuc(), AveragePrecision()])
    result = combined.compute(references=LABELS, predictions=SCORES)
    assert result == {
        "roc_auc": float(roc_auc(LABELS, SCORES)),
        "average_precision": float(average_precision(LABELS, SCORES)),
    }


def test_decisions_report_their_threshold_and_its_source():
    result = BalancedAccuracy().compute(
        references=LABELS, predictions=SCORES, threshold=0.12, threshold_source="validation"
    )
    assert result == {"balanced_accuracy": 0.75, "threshold": 0.12, "threshold_source": "validation"}
    result = F1().compute(references=LABELS, predictions=SCORES, threshold=0.12, threshold_source="oracle")
    assert result == {"f1": pytest.approx(0.8), "threshold": 0.12, "threshold_source": "oracle"}


@pytest.mark.parametrize("metric", [BalancedAccuracy, F1])
def test_decisions_without_threshold_or_source_are_refused(metric):
    with pytest.raises(ThresholdSourceError, match="threshold_source"):
        metric().compute(references=LABELS, predictions=SCORES, threshold=0.5)
    with pytest.raises(ValueError, match="need a threshold"):
        metric().compute(references=LABELS, predictions=SCORES)


def test_boxes_pass_through_batches_unchanged():
    rng = np.random.default_rng(0)
    low = rng.random((4, 3, 2)) * 0.5
    target = np.concatenate([low, low + 0.4], axis=-1)
    predicted = target + rng.normal(scale=0.05, size=target.shape)
    mask, scores = rng.random((4, 3)) < 0.7, rng.random((4, 3))
    metric = RegionBoxIoU()
    for half in (slice(0, 2), slice(2, 4)):
        metric.add_batch(predictions=predicted[half], references=target[half], reference_mask=mask[half])
    assert metric.compute()["mean_iou"] == pytest.approx(float(mean_iou(region_iou(predicted, target, mask))))
    result = RegionBoxMeanAveragePrecision().compute(
        predictions=predicted, references=target, reference_mask=mask, scores=scores
    )
    expected = mean_average_precision(predicted, scores, target, mask)
    assert result == pytest.approx({"map": expected.macro, "map_50": expected.macro_50, "map_micro": expected.micro})
