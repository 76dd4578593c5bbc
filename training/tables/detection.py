"""Boxes of the regions: IoU, mAP, and the prior box that has to be beaten."""

from anatomy_vlm.training.evaluation.result import BOXES
from anatomy_vlm.training.receipts.evaluation import evaluate_inputs
from anatomy_vlm.training.receipts.tasks import Outcome, TaskInputs
from anatomy_vlm.training.tables.options import evaluation_options, notes, set_title, test_sets
from anatomy_vlm.training.tables.table import Cell, Row, Table


HEAD = ("films, region", "IoU", "IoU of the prior box", "mAP 0.50:0.95", "mAP at 0.50", "boxes")


def detection_table(inputs: TaskInputs) -> Outcome:
    """IoU per region and mAP over regions of every test split; the prior box is the mean box of "validation"."""
    rows = []
    for name in test_sets(inputs):
        result = evaluate_inputs(inputs, name, with_validation=False, **evaluation_options(inputs.settings))
        title = set_title(inputs, name)
        mean = result.score(BOXES, "mean_iou", "mean")
        precision = [Cell(result.score(BOXES, metric, "mean").value) for metric in ("map", "map_50")]
        rows.append(Row(f"{title}: mean", [Cell.of(mean), Cell.baseline(mean), *precision, str(mean.positives)]))
        for score in result.scores:
            if (score.task, score.metric) == (BOXES, "mean_iou") and score.name != "mean" and score.positives:
                cells = [Cell.of(score), Cell.baseline(score), "", "", str(score.positives)]
                rows.append(Row(f"{title}: {score.name}", cells))
    about = "Means over the regions that have boxes in the set; regions count alike. mAP: COCO's, without interval."
    table = Table("Boxes of the regions", HEAD, rows, notes(inputs, about))
    return Outcome(table.numbers, table)
