"""The `evaluate.Metric` modules: offline, equal to the functions, and as strict about thresholds."""

import evaluate
import numpy as np
import pytest

from anatomy_vlm.training.evaluation.boxes import mean_iou, region_iou, unconditional_iou
from anatomy_vlm.training.evaluation.hausdorff import hausdorff_95
from anatomy_vlm.training.evaluation.masks import dice, two_class_iou
from anatomy_vlm.training.evaluation.mean_average_precision import mean_average_precision
from anatomy_vlm.training.evaluation.metric_modules import (
    F1,
    AveragePrecision,
    BalancedAccuracy,
    BrierScore,
    CalibrationError,
    HausdorffDistance95,
    MaskOverlap,
    PointingGame,
    RecallAtK,
    RegionBoxIoU,
    RegionBoxMeanAveragePrecision,
    RocAuc,
    UnconditionalBoxIoU,
)
from anatomy_vlm.training.evaluation.pointing import pointing_hits
from anatomy_vlm.training.evaluation.probability_scores import brier_score, calibration_error
from anatomy_vlm.training.evaluation.ranking import average_precision, roc_auc
from anatomy_vlm.training.evaluation.retrieval import recall_at_k
from anatomy_vlm.training.evaluation.thresholds import Threshold, ThresholdSourceError


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
    called = UnconditionalBoxIoU().compute(
        predictions=predicted,
        references=target,
        reference_mask=mask,
        scores=scores,
        threshold=0.3,
        threshold_source="validation",
    )
    iou = unconditional_iou(predicted, scores, target, mask, Threshold(0.3, "validation"))
    assert called["unconditional_iou"] == pytest.approx(float(mean_iou(iou)))
    assert called["threshold_source"] == "validation"


def test_probabilities_are_scored_as_the_functions_do():
    result = evaluate.combine([BrierScore(), CalibrationError()]).compute(references=LABELS, predictions=SCORES)
    assert result == pytest.approx(
        {"brier_score": brier_score(LABELS, SCORES), "calibration_error": calibration_error(LABELS, SCORES)}
    )


def test_masks_may_differ_in_size_and_empty_ones_are_left_out():
    rng = np.random.default_rng(0)
    shapes = [(6, 9), (12, 7), (5, 5)]
    found, true = ([rng.random(shape) < 0.5 for shape in shapes] for _ in range(2))
    found[2][:], true[2][:] = False, False
    plain = {"predictions": [m.tolist() for m in found], "references": [m.tolist() for m in true]}
    result = MaskOverlap().compute(**plain)
    assert result["dice"] == pytest.approx(np.mean([dice(found[i], true[i]) for i in (0, 1)]))
    assert result["miou"] == pytest.approx(np.mean([two_class_iou(f, t) for f, t in zip(found, true, strict=True)]))
    distance = HausdorffDistance95().compute(**plain, spacing=(2.0, 1.0))["hausdorff_95"]
    assert distance == pytest.approx(np.mean([hausdorff_95(found[i], true[i], (2.0, 1.0)) for i in (0, 1)]))


def test_maps_and_queries_are_scored_as_the_functions_do():
    rng = np.random.default_rng(0)
    maps, masks = rng.random((6, 4, 5)), rng.random((6, 4, 5)) < 0.4
    assert PointingGame().compute(predictions=maps, references=masks) == {
        "pointing_game": pytest.approx(pointing_hits(maps, masks).mean())
    }
    similarity, relevant = rng.random((6, 8)), rng.random((6, 8)) < 0.4
    expected = recall_at_k(similarity, relevant, (1, 2))
    result = RecallAtK().compute(predictions=similarity, references=relevant, ks=(1, 2))
    assert result == pytest.approx({"recall_at_1": expected[0], "recall_at_2": expected[1]})
