"""Zero-shot classification of findings in the film: on films like those of the thresholds, and on others."""

import math

from anatomy_vlm.training.evaluation import EvaluationResult
from anatomy_vlm.training.evaluation.arrays import nan_mean
from anatomy_vlm.training.evaluation.result import IMAGE_FINDINGS
from anatomy_vlm.training.receipts.evaluation import evaluate_inputs
from anatomy_vlm.training.receipts.tasks import Outcome, TaskInputs
from anatomy_vlm.training.tables.options import evaluation_options, notes, set_title, test_sets
from anatomy_vlm.training.tables.table import Cell, Row, Table


METRICS = ("roc_auc", "balanced_accuracy", "f1")
HEAD = ("films, finding", "AUC", "balanced accuracy", "F1", "F1 of always present", "present / absent")


def zero_shot_table(inputs: TaskInputs) -> Outcome:
    """
    AUC, balanced accuracy and F1 of findings in the film (the paper's section on zero-shot classification).

    Thresholds are selected on "validation" once and used on every other split of the inputs.
    """
    rows, thresholds, left_out = [], None, []
    for name in test_sets(inputs):
        options = evaluation_options(inputs.settings)
        if thresholds is not None:
            options["thresholds"] = thresholds
        result = evaluate_inputs(inputs, name, with_validation=thresholds is None, **options)
        if thresholds is None:
            thresholds = result.thresholds
            rows += [_row(result, finding, f"{set_title(inputs, name)}: {finding}") for finding in thresholds]
            rows.insert(0, _row(result, "macro", f"{set_title(inputs, name)}: mean"))
        else:
            rows.append(_row(result, "macro", f"{set_title(inputs, name)}: mean"))
        if few := result.left_out[IMAGE_FINDINGS]:
            left_out.append(f"{set_title(inputs, name)}: {', '.join(few)}")
    few_events = f"fewer than {inputs.settings['min_events']} patients with or without"
    more = [f"Not in the means ({few_events}): {'; '.join(left_out)}."] if left_out else []
    about = "Thresholds: selected on the validation films of the first set, used on all. AUC without the image: 0.5."
    table = Table("Zero-shot classification of findings", HEAD, rows, notes(inputs, about, *more))
    return Outcome(table.numbers, table)


def _row(result: EvaluationResult, finding: str, label: str) -> Row:
    auc, balanced, f1 = (result.score(IMAGE_FINDINGS, metric, finding) for metric in METRICS)
    cells = [Cell.of(auc), Cell.of(balanced), Cell.of(f1), Cell(_always_present(result, finding))]
    return Row(label, [*cells, f"{auc.positives} / {auc.negatives}"])


def _always_present(result: EvaluationResult, finding: str) -> float:
    """F1 of who calls the finding in every film: the best that can be had without looking; "macro" as the mean is."""
    if finding == "macro":
        counted = [name for name in result.thresholds if name not in result.left_out[IMAGE_FINDINGS]]
        return float(nan_mean([_always_present(result, name) for name in counted])) if counted else math.nan
    score = result.score(IMAGE_FINDINGS, "f1", finding)
    return 2 * score.positives / (2 * score.positives + score.negatives) if score.positives else math.nan
