"""Metrics with sources, intervals and baselines, and the evaluation of a model on a dataset."""

from importlib import import_module
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from anatomy_vlm.training.evaluation.model_evaluation import evaluate_model
    from anatomy_vlm.training.evaluation.result import EvaluationResult
    from anatomy_vlm.training.evaluation.thresholds import Threshold, ThresholdSourceError, select_threshold

_HOMES = {
    "EvaluationResult": "result",
    "Threshold": "thresholds",
    "ThresholdSourceError": "thresholds",
    "evaluate_model": "model_evaluation",
    "select_threshold": "thresholds",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


__all__ = ["EvaluationResult", "Threshold", "ThresholdSourceError", "evaluate_model", "select_threshold"]
