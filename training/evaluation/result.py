"""The outcome of an evaluation: scores with intervals, baselines and counts, as data, JSON and Markdown."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from anatomy_vlm.training.evaluation.thresholds import Threshold


BOXES = "region boxes"
IMAGE_FINDINGS = "image findings"
REGION_FINDINGS = "region findings"

_METRIC_TITLES = {
    "mean_iou": "box IoU",
    "mean_iou_gain": "box IoU minus prior box",
    "map": "box mAP 0.50:0.95",
    "map_50": "box mAP at 0.50",
    "map_micro": "box mAP, micro",
    "roc_auc": "AUC",
    "average_precision": "average precision",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
}


@dataclass(frozen=True)
class Score:
    """One number of an evaluation.

    Attributes:
        task: `region boxes`, `image findings` or `region findings`.
        metric: for example `roc_auc`.
        name: a finding, a region, or how several were joined: `mean`, `macro`, `macro over regions`, `pooled`.
        value: NaN where the metric is not defined.
        low: lower end of the confidence interval; NaN where there is none (too few events, see `EvaluationSettings`).
        high: upper end.
        baseline: the same metric of a guess that does not look at the image; NaN where there is none.
        positives: number of positive cases (boxes with ground truth for `region boxes`).
        negatives: number of negative cases.
    """

    task: str
    metric: str
    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    baseline: float = math.nan
    positives: int = 0
    negatives: int = 0

    @property
    def title(self) -> str:
        return f"{_METRIC_TITLES.get(self.metric, self.metric)}, {self.name}"


@dataclass(frozen=True)
class EvaluationSettings:
    """How the numbers came about.

    Attributes:
        confidence: of the intervals, which are percentile intervals over patients.
        num_resamples: of the patient bootstrap.
        min_events: a finding (region) with fewer patients on either side has no interval and no part in a macro mean.
        seed: of the bootstrap.
        criterion: what the thresholds maximise on the validation split.
    """

    confidence: float = 0.95
    num_resamples: int = 1000
    min_events: int = 10
    seed: int = 0
    criterion: str = "balanced_accuracy"


@dataclass(frozen=True)
class EvaluationResult:
    """All scores of a model on a dataset.

    Attributes:
        num_images: of the dataset.
        num_patients: the unit of the bootstrap.
        scores: in the order of the tables.
        thresholds: per finding, of the image-level decisions.
        region_thresholds: per finding, of the region-level decisions.
        left_out: per task, findings and regions left out of macro means for want of events.
        settings: how the numbers came about.
    """

    num_images: int
    num_patients: int
    scores: tuple[Score, ...]
    thresholds: Mapping[str, Threshold]
    region_thresholds: Mapping[str, Threshold]
    left_out: Mapping[str, tuple[str, ...]]
    settings: EvaluationSettings = field(default_factory=EvaluationSettings)

    def score(self, task: str, metric: str, name: str) -> Score:
        """Look up one score.

        Raises:
            KeyError: there is none of that task, metric and name.
        """
        for score in self.scores:
            if (score.task, score.metric, score.name) == (task, metric, name):
                return score
        raise KeyError(f"no score {metric!r} of {name!r} in {task!r}")

    @property
    def summary(self) -> tuple[Score, ...]:
        """The scores over all regions or findings: what goes into an abstract."""
        names = ("mean", "macro", "macro over regions", "pooled")
        return tuple(score for score in self.scores if score.name in names)

    @property
    def left_out_notes(self) -> list[str]:
        """One sentence per task from whose means something is left out."""
        few = f"fewer than {self.settings.min_events} patients with or without"
        return [
            f"Not in the means of {task} ({few}): {_listed(names)}." for task, names in self.left_out.items() if names
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; an undefined number is None."""
        return _jsonable(asdict(self))

    def to_markdown(self, details: bool = True) -> str:
        """Tables in Markdown: the summary and, with `details`, one table of findings and one of regions."""
        confidence = f"{100 * self.settings.confidence:g} % interval"
        lines = [
            f"{self.num_images} images of {self.num_patients} patients. Intervals: percentile bootstrap over "
            f"patients, {self.settings.num_resamples} resamples.",
            "",
            *_table(["task", "score", "value", confidence, "without the image"], map(_summary_row, self.summary)),
        ]
        if details:
            lines += ["", "### Findings", "", *self._findings_table(confidence)]
            lines += ["", "### Regions", "", *self._regions_table(confidence)]
        lines += [line for note in self.left_out_notes for line in ("", note)]
        return "\n".join(lines) + "\n"

    def _findings_table(self, confidence: str) -> list[str]:
        head = ["finding", "AUC", confidence, "balanced accuracy", "F1", "threshold", "source", "present / absent"]
        rows = []
        for name, threshold in self.thresholds.items():
            auc = self.score(IMAGE_FINDINGS, "roc_auc", name)
            decided = [self.score(IMAGE_FINDINGS, metric, name).value for metric in ("balanced_accuracy", "f1")]
            cells = [name, number(auc.value), interval(auc), *map(number, decided)]
            rows.append([*cells, number(threshold.value), threshold.source, f"{auc.positives} / {auc.negatives}"])
        return _table(head, rows)

    def _regions_table(self, confidence: str) -> list[str]:
        head = ["region", "IoU", confidence, "prior box", "boxes", "AUC of findings", "present / absent"]
        rows = []
        finding_scores = {s.name: s for s in self.scores if s.task == REGION_FINDINGS and s.metric == "roc_auc"}
        for box in self.scores:
            if box.task != BOXES or box.metric != "mean_iou" or box.name == "mean":
                continue
            auc = finding_scores.get(box.name)
            last = ["", ""] if auc is None else [number(auc.value), f"{auc.positives} / {auc.negatives}"]
            rows.append([box.name, number(box.value), interval(box), number(box.baseline), str(box.positives), *last])
        return _table(head, rows)


def number(value: float) -> str:
    """Three decimals, or a dash for an undefined number."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def interval(score: Score) -> str:
    """`low to high`, or a dash where there is no interval."""
    return "-" if math.isnan(score.low) else f"{score.low:.3f} to {score.high:.3f}"


def _listed(names: tuple[str, ...], longest: int = 12) -> str:
    rest = len(names) - longest
    return ", ".join(names) if rest <= 0 else f"{', '.join(names[:longest])} and {rest} more"


def _summary_row(score: Score) -> list[str]:
    return [score.task, score.title, number(score.value), interval(score), number(score.baseline)]


def _table(head: list[str], rows: Any) -> list[str]:
    body = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *body]


def _jsonable(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_jsonable(item) for item in value]
    return value
