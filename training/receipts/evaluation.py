"""The task behind `anatomy-vlm evaluate`."""

from typing import Any

from anatomy_vlm.training.evaluation import EvaluationResult, evaluate_model
from anatomy_vlm.training.receipts.receipt import Number, number
from anatomy_vlm.training.receipts.tasks import Outcome, TaskInputs


def run_evaluation(inputs: TaskInputs) -> Outcome:
    """Evaluate a model on the split "test", with the splits "validation" and "train" where they are named."""
    result = evaluate_inputs(inputs)
    return Outcome(result_numbers(result), result)


def evaluate_inputs(
    inputs: TaskInputs, test: str = "test", *, with_validation: bool = True, **options: Any
) -> EvaluationResult:
    """
    `evaluate_model` on the inputs of a task.

    Args:
        inputs: With the splits "validation" and "train" where there are any.
        test: Name of the split to test on.
        with_validation: Select thresholds on "validation"; else it serves for the baselines alone.
        options: Of `evaluate_model`; the settings of the task by default.
    """
    model, processor = inputs.checkpoint
    validation = inputs.split("validation") if "validation" in inputs.sources else None
    return evaluate_model(
        model,
        processor,
        inputs.split(test),
        validation=validation if with_validation else None,
        train=inputs.split("train") if "train" in inputs.sources else validation,
        device=inputs.device,
        progress=inputs.progress,
        **(options or dict(inputs.settings)),
    )


def result_numbers(result: EvaluationResult) -> tuple[Number, ...]:
    """Every score and threshold of an evaluation."""
    scores = [number(f"{s.task} | {s.metric} | {s.name}", s.value, s.low, s.high, s.baseline) for s in result.scores]
    return tuple(scores)
