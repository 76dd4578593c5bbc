"""The metrics as `evaluate.Metric` modules, for `evaluate.combine` and trainers that expect that interface.

They are instantiated, not loaded by name, so nothing is fetched: `RocAuc().compute(references=..., predictions=...)`.
All numbers come from the functions of this package.
"""

from typing import Any

import datasets
import evaluate
import numpy as np

from anatomy_vlm.training.evaluation.arrays import MetricInputError, weighted_mean
from anatomy_vlm.training.evaluation.boxes import mean_iou, mean_iou_per_region, region_iou, unconditional_iou
from anatomy_vlm.training.evaluation.classification import balanced_accuracy, f1_score
from anatomy_vlm.training.evaluation.hausdorff import hausdorff_95
from anatomy_vlm.training.evaluation.masks import dice, two_class_iou
from anatomy_vlm.training.evaluation.mean_average_precision import mean_average_precision
from anatomy_vlm.training.evaluation.pointing import pointing_hits
from anatomy_vlm.training.evaluation.probability_scores import brier_score, calibration_error
from anatomy_vlm.training.evaluation.ranking import average_precision, roc_auc
from anatomy_vlm.training.evaluation.retrieval import recall_at_k
from anatomy_vlm.training.evaluation.thresholds import Threshold, ThresholdSource, ThresholdSourceError


_SCALAR = {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
_BOX = datasets.List(datasets.List(datasets.Value("float64"), length=4))
_BOOLS = datasets.List(datasets.Value("bool"))
_FLOATS = datasets.List(datasets.Value("float64"))
_MASK = datasets.List(_BOOLS)
_BOXES = {"predictions": _BOX, "references": _BOX, "reference_mask": _BOOLS}


class _NumpyMetric(evaluate.Metric):
    """An `evaluate.Metric` whose description is its docstring."""

    fields: dict[str, Any] = _SCALAR

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__ or "",
            citation="",
            inputs_description="references: labels (NaN unknown), boxes, masks; predictions: scores, boxes, masks.",
            features=datasets.Features(self.fields),
        )


class RocAuc(_NumpyMetric):
    """Area under the ROC curve: `{"roc_auc": float}`."""

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        return {"roc_auc": float(roc_auc(references, predictions))}


class AveragePrecision(_NumpyMetric):
    """Average precision: `{"average_precision": float}`."""

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        return {"average_precision": float(average_precision(references, predictions))}


class BalancedAccuracy(_NumpyMetric):
    """Balanced accuracy at a threshold with a source: `{"balanced_accuracy", "threshold", "threshold_source"}`."""

    def _compute(
        self,
        predictions: list[float],
        references: list[float],
        threshold: float | None = None,
        threshold_source: ThresholdSource | None = None,
    ) -> dict[str, Any]:
        cut = _threshold(threshold, threshold_source)
        value = float(balanced_accuracy(references, predictions, cut))
        return {"balanced_accuracy": value, "threshold": cut.value, "threshold_source": cut.source}


class F1(_NumpyMetric):
    """F1 at a threshold with a source: `{"f1", "threshold", "threshold_source"}`."""

    def _compute(
        self,
        predictions: list[float],
        references: list[float],
        threshold: float | None = None,
        threshold_source: ThresholdSource | None = None,
    ) -> dict[str, Any]:
        cut = _threshold(threshold, threshold_source)
        value = float(f1_score(references, predictions, cut))
        return {"f1": value, "threshold": cut.value, "threshold_source": cut.source}


class RegionBoxIoU(_NumpyMetric):
    """IoU of one box per image and region: `{"mean_iou": float, "mean_iou_per_region": list[float]}`.

    Boxes are x0 y0 x1 y1, (regions, 4) per image; `reference_mask` says which regions have a ground truth.
    """

    fields = _BOXES

    def _compute(self, predictions: Any, references: Any, reference_mask: Any) -> dict[str, Any]:
        iou = region_iou(np.asarray(predictions), np.asarray(references), np.asarray(reference_mask))
        return {"mean_iou": float(mean_iou(iou)), "mean_iou_per_region": mean_iou_per_region(iou).tolist()}


class UnconditionalBoxIoU(_NumpyMetric):
    """IoU of the boxes of called regions, misses and inventions counting 0: `{"unconditional_iou": float, ...}`.

    Takes what `RegionBoxIoU` takes, `scores` (presence of each region) and a threshold with its source.
    """

    fields = {**_BOXES, "scores": _FLOATS}

    def _compute(
        self,
        predictions: Any,
        references: Any,
        reference_mask: Any,
        scores: Any,
        threshold: float | None = None,
        threshold_source: ThresholdSource | None = None,
    ) -> dict[str, Any]:
        cut = _threshold(threshold, threshold_source)
        arrays = (np.asarray(values) for values in (predictions, scores, references, reference_mask))
        iou = unconditional_iou(*arrays, cut)
        return {"unconditional_iou": float(mean_iou(iou)), "threshold": cut.value, "threshold_source": cut.source}


class RegionBoxMeanAveragePrecision(_NumpyMetric):
    """COCO mAP of one box per image and region: `{"map", "map_50", "map_micro"}`.

    Takes what `RegionBoxIoU` takes and `scores`, (regions,) per image.
    """

    fields = {**_BOXES, "scores": _FLOATS}

    def _compute(self, predictions: Any, references: Any, reference_mask: Any, scores: Any) -> dict[str, float]:
        result = mean_average_precision(
            np.asarray(predictions), np.asarray(scores), np.asarray(references), np.asarray(reference_mask)
        )
        return {"map": result.macro, "map_50": result.macro_50, "map_micro": result.micro}


class BrierScore(_NumpyMetric):
    """Mean squared error of probabilities: `{"brier_score": float}`."""

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        return {"brier_score": float(brier_score(references, predictions))}


class CalibrationError(_NumpyMetric):
    """Expected calibration error of probabilities over bins of equal width: `{"calibration_error": float}`."""

    def _compute(self, predictions: list[float], references: list[float], num_bins: int = 15) -> dict[str, float]:
        return {"calibration_error": float(calibration_error(references, predictions, num_bins=num_bins))}


class MaskOverlap(_NumpyMetric):
    """Dice of the foreground and IoU over foreground and background, means over masks: `{"dice", "miou"}`."""

    fields = {"predictions": _MASK, "references": _MASK}

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        pairs = [(np.asarray(found), np.asarray(true)) for found, true in zip(predictions, references, strict=True)]
        overlaps = {"dice": dice, "miou": two_class_iou}
        return {
            name: float(weighted_mean([overlap(found, true) for found, true in pairs]))
            for name, overlap in overlaps.items()
        }


class HausdorffDistance95(_NumpyMetric):
    """95th percentile Hausdorff distance, mean over masks: `{"hausdorff_95": float}`; `spacing` is (row, column)."""

    fields = {"predictions": _MASK, "references": _MASK}

    def _compute(
        self, predictions: Any, references: Any, spacing: tuple[float, float] = (1.0, 1.0)
    ) -> dict[str, float]:
        distances = [hausdorff_95(found, true, spacing) for found, true in zip(predictions, references, strict=True)]
        return {"hausdorff_95": float(weighted_mean(distances))}


class PointingGame(_NumpyMetric):
    """Share of maps whose maximum lies in the target mask: `{"pointing_game": float}`; all maps of one size."""

    fields = {"predictions": datasets.List(_FLOATS), "references": _MASK}

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"pointing_game": float(weighted_mean(pointing_hits(np.asarray(predictions), np.asarray(references))))}


class RecallAtK(_NumpyMetric):
    """Share of queries with a relevant item among the first k: `{"recall_at_1": float, ...}`.

    predictions: similarity of a query to every item; references: which items are relevant to it.
    """

    fields = {"predictions": _FLOATS, "references": _BOOLS}

    def _compute(self, predictions: Any, references: Any, ks: tuple[int, ...] = (1, 5, 10)) -> dict[str, float]:
        values = recall_at_k(np.asarray(predictions), np.asarray(references), ks)
        return {f"recall_at_{k}": float(value) for k, value in zip(ks, values, strict=True)}


def _threshold(value: float | None, source: ThresholdSource | None) -> Threshold:
    if value is None:
        raise MetricInputError(
            "balanced accuracy, F1 and unconditional IoU need a threshold: "
            "compute(..., threshold=..., threshold_source=...)"
        )
    if source is None:
        raise ThresholdSourceError("a threshold without threshold_source= (fixed, validation or oracle) is refused")
    return Threshold(value, source)
