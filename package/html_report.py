"""One self-contained HTML file that shows a run: numbers with intervals and baselines, curves, pictures."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from PIL import Image

from anatomy_vlm.svg_charts import Bar, Line, bar_chart, line_chart
from anatomy_vlm.training.evaluation.result import (
    BOXES,
    IMAGE_FINDINGS,
    REGION_FINDINGS,
    EvaluationResult,
    Score,
    interval,
    number,
)


_LOSS_TITLES = {
    "loss": "total loss",
    "loss_l1": "boxes, L1",
    "loss_giou": "boxes, GIoU",
    "loss_presence": "presence of regions",
    "loss_global": "image against findings",
    "loss_fine": "regions against phrases",
}
_HEADLINES = (
    (BOXES, "mean_iou", "mean", "Box IoU, mean of the regions"),
    (IMAGE_FINDINGS, "roc_auc", "macro", "AUC of findings in the image, macro"),
    (REGION_FINDINGS, "roc_auc", "pooled", "AUC of findings in regions, pooled"),
)


@dataclass(frozen=True)
class Picture:
    """A picture with its caption."""

    image: Image.Image
    caption: str


@dataclass(frozen=True)
class Gallery:
    """Pictures under one heading."""

    title: str
    caption: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Report:
    """What the report says.

    Attributes:
        title: heading.
        lead: one sentence on what ran.
        notice: what a reader must not overlook.
        result: of the evaluation.
        stages: name and log (entries of `TrainerState.log_history`) of each training stage.
        galleries: pictures.
        notes: limits of the numbers.
        facts: name and value: command, data, versions, times.
        recipe: as text.
    """

    title: str
    lead: str
    notice: str
    result: EvaluationResult
    stages: Sequence[tuple[str, Sequence[Mapping[str, Any]]]] = ()
    galleries: Sequence[Gallery] = ()
    notes: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    recipe: str = ""
    notice_title: str = field(default="Research software, not a medical device.")


def render_report(report: Report) -> str:
    """The report as one self-contained HTML document; all texts are escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("anatomy_vlm").joinpath("report.html").read_text(encoding="utf-8"))
    result = report.result
    curves = loss_curves(report.stages)
    return template.render(
        title=report.title,
        lead=report.lead,
        notice_title=report.notice_title,
        notice=report.notice,
        tiles=[tile for headline in _HEADLINES if (tile := _tile(result, *headline))],
        interval_title=_interval_title(result),
        result_caption=(
            f"{result.num_images} films of {result.num_patients} patients that training never saw. Intervals: "
            f"percentile bootstrap over patients, {result.settings.num_resamples} resamples."
        ),
        summary=[_summary_row(score) for score in result.summary],
        left_out=result.left_out_notes,
        region_chart=Markup(bar_chart(_bars(result, BOXES, "mean_iou"), title="IoU of each region")),
        finding_chart=Markup(
            bar_chart(_bars(result, IMAGE_FINDINGS, "roc_auc"), title="AUC of each finding in the image")
        ),
        findings=[_finding_row(result, name) for name in result.thresholds],
        curves=[Markup(line_chart(curve)) for curve in curves],
        training_caption="Each point is the mean since the last one; dashed lines: where a stage begins.",
        galleries=[
            {
                "title": gallery.title,
                "caption": gallery.caption,
                "pictures": [{"data": _data_url(p.image), "caption": p.caption} for p in gallery.pictures],
            }
            for gallery in report.galleries
        ],
        notes=report.notes,
        facts=report.facts,
        recipe=report.recipe,
    )


def loss_curves(stages: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]) -> list[Line]:
    """One curve per loss over the steps of all stages, one after another; losses without two values are left out."""
    points: dict[str, list[tuple[float, float]]] = {key: [] for key in _LOSS_TITLES}
    breaks: list[tuple[float, str]] = []
    offset = 0
    for name, log in stages:
        breaks.append((offset, name))
        for entry in log:
            for key in points.keys() & entry.keys():
                points[key].append((offset + entry["step"], float(entry[key])))
        offset += max((entry["step"] for entry in log if "step" in entry), default=0)
    return [Line(title, points[key], breaks) for key, title in _LOSS_TITLES.items() if len(points[key]) > 1]


def _tile(result: EvaluationResult, task: str, metric: str, name: str, what: str) -> dict[str, str] | None:
    try:
        score = result.score(task, metric, name)
    except KeyError:
        return None
    return {
        "what": what,
        "value": number(score.value),
        "range": f"{_interval_title(result)}: {interval(score)}",
        "baseline": f"without the image: {number(score.baseline)}",
    }


def _interval_title(result: EvaluationResult) -> str:
    return f"{100 * result.settings.confidence:g} % interval"


def _summary_row(score: Score) -> dict[str, str]:
    return {
        "task": score.task,
        "title": score.title,
        "value": number(score.value),
        "interval": interval(score),
        "baseline": number(score.baseline),
    }


def _finding_row(result: EvaluationResult, name: str) -> dict[str, str]:
    auc = result.score(IMAGE_FINDINGS, "roc_auc", name)
    threshold = result.thresholds[name]
    return {
        "name": name,
        "auc": number(auc.value),
        "interval": interval(auc),
        "region_auc": number(result.score(REGION_FINDINGS, "roc_auc", name).value),
        "balanced_accuracy": number(result.score(IMAGE_FINDINGS, "balanced_accuracy", name).value),
        "f1": number(result.score(IMAGE_FINDINGS, "f1", name).value),
        "threshold": number(threshold.value),
        "source": threshold.source,
        "counts": f"{auc.positives} / {auc.negatives}",
    }


def _bars(result: EvaluationResult, task: str, metric: str) -> list[Bar]:
    """One bar per region or finding, those over all of them left out."""
    joined = {score.name for score in result.summary}
    return [
        Bar(score.name, score.value, score.low, score.high, score.baseline)
        for score in result.scores
        if score.task == task and score.metric == metric and score.name not in joined
    ]


def _data_url(image: Image.Image) -> str:
    """JPEG: a report with twenty films stays at a few megabytes."""
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
