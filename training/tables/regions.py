"""Zero-shot classification of findings in each of the 29 regions."""

from anatomy_vlm.training.evaluation.result import BOXES, REGION_FINDINGS
from anatomy_vlm.training.receipts.evaluation import evaluate_inputs
from anatomy_vlm.training.receipts.tasks import Outcome, TaskInputs
from anatomy_vlm.training.tables.options import evaluation_options, notes
from anatomy_vlm.training.tables.table import Cell, Row, Table


HEAD = ("region", "AUC", "balanced accuracy", "F1", "AUC without the image", "present / absent")


def regions_table(inputs: TaskInputs) -> Outcome:
    """
    AUC, balanced accuracy and F1 of statements about each region (the paper's region-wise table), beside how often a
    finding is stated in the region on the validation films.
    """
    result = evaluate_inputs(inputs, "test", **evaluation_options(inputs.settings))
    names = [s.name for s in result.scores if (s.task, s.metric) == (BOXES, "mean_iou") and s.name != "mean"]
    rows = []
    for name in ("macro over regions", *names):
        auc, balanced, f1 = (
            result.score(REGION_FINDINGS, metric, name) for metric in ("roc_auc", "balanced_accuracy", "f1")
        )
        cells = [Cell.of(auc), Cell.of(balanced), Cell.of(f1), Cell.baseline(auc)]
        label = "mean over regions" if name == "macro over regions" else name
        rows.append(Row(label, [*cells, f"{auc.positives} / {auc.negatives}"]))
    few = result.left_out[f"{REGION_FINDINGS} over regions"]
    more = [
        "Of the findings that the model has prompts for; statements of the report about a region, present against "
        "absent, scored on the region's own embedding. Thresholds per finding from the validation films."
    ]
    if few:
        events = inputs.settings["min_events"]
        more.append(
            f"In {len(few)} of {len(names)} regions fewer than {events} patients have, or have not, any of these "
            "findings: they have no interval and no part in the mean."
        )
    table = Table("Region-wise zero-shot classification", HEAD, rows, notes(inputs, *more))
    return Outcome(table.numbers, table)
