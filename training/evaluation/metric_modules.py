"""The metrics as `evaluate.Metric` modules, for `evaluate.combine` and trainers that expect that interface.

They are instantiated, not loaded by name, so nothing is fetched: `RocAuc().compute(references=..., predictions=...)`.
All numbers come from the functions of this package.
"""

from typing import Any

import datasets
import evaluate
import numpy as np

from anatomy_vlm.training.evaluation.arrays import MetricInputError
from anatomy_vlm.training.evaluation.boxes import mean_iou, mean_iou_per_region, region_iou
from anatomy_vlm.training.evaluation.classification import balanced_accuracy, f1_score
from anatomy_vlm.training.evaluation.mean_average_precision import mean_average_precision
from anatomy_vlm.training.evaluation.ranking import average_precision, roc_auc
from anatomy_vlm.training.evaluation.thresholds import Threshold, ThresholdSource, ThresholdSourceError


_SCALAR = {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
_BOX = datasets.List(datasets.List(datasets.Value("float64"), length=4))
_BOXES = {"predictions": _BOX, "references": _BOX, "reference_mask": datasets.List(datasets.Value("bool"))}


class _NumpyMetric(evaluate.Metric):
    """An `evaluate.Metric` whose description is its docstring."""

    fields: dict[str, Any] = _SCALAR

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.__doc__ or "",
            citation="",
            inputs_description="references: 1 present, 0 absent, NaN unknown; predictions: scores or boxes.",
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


class RegionBoxMeanAveragePrecision(_NumpyMetric):
    """COCO mAP of one box per image and region: `{"map", "map_50", "map_micro"}`.

    Takes what `RegionBoxIoU` takes and `scores`, (regions,) per image.
    """

    fields = {**_BOXES, "scores": datasets.List(datasets.Value("float64"))}

    def _compute(self, predictions: Any, references: Any, reference_mask: Any, scores: Any) -> dict[str, float]:
        result = mean_average_precision(
            np.asarray(predictions), np.asarray(scores), np.asarray(references), np.asarray(reference_mask)
        )
        return {"map": result.macro, "map_50": result.macro_50, "map_micro": result.micro}


def _threshold(value: float | None, source: ThresholdSource | None) -> Threshold:
    if value is None:
        raise MetricInputError(
            "balanced accuracy and F1 need a threshold: compute(..., threshold=..., threshold_source=...)"
        )
    if source is None:
        raise ThresholdSourceError("a threshold without threshold_source= (fixed, validation or oracle) is refused")
    return Threshold(value, source)
