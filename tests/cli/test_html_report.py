"""The report: self-contained, escaped, and true to its numbers."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from anatomy_vlm.html_report import Gallery, Picture, Report, loss_curves, render_report
from anatomy_vlm.svg_charts import Bar, Line, bar_chart, line_chart
from anatomy_vlm.training.evaluation import EvaluationResult, Threshold
from anatomy_vlm.training.evaluation.result import BOXES, IMAGE_FINDINGS, REGION_FINDINGS, Score


SCORES = (
    Score(BOXES, "mean_iou", "mean", 0.712, 0.69, 0.73, 0.55, 290),
    Score(BOXES, "mean_iou", "left lung", 0.912, 0.9, 0.92, 0.75, 10),
    Score(BOXES, "mean_iou", "carina", float("nan")),
    Score(IMAGE_FINDINGS, "roc_auc", "macro", 0.913, 0.88, 0.94, 0.5, 30, 70),
    *(Score(IMAGE_FINDINGS, metric, "pneumothorax", 0.87, 0.8, 0.9, 0.5, 30, 70)
      for metric in ("roc_auc", "balanced_accuracy", "f1")),
    Score(REGION_FINDINGS, "roc_auc", "pneumothorax", 0.83),
)  # fmt: skip
RESULT = EvaluationResult(
    100, 50, SCORES, {"pneumothorax": Threshold(0.4, "validation")}, {}, {IMAGE_FINDINGS: ("<hernia>",)}
)
LOG = [
    {"loss": 2.0, "loss_l1": 0.3, "step": 10},
    {"loss": 1.0, "loss_l1": 0.1, "step": 20},
    {"train_runtime": 3.0, "step": 20},
]


class Tags(HTMLParser):
    """Counts open tags and collects attributes that could load something."""

    VOID = frozenset({"meta", "img", "br", "line", "rect", "path", "polyline"})

    def __init__(self):
        super().__init__()
        self.open, self.sources = [], []

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href", "data", "srcset", "poster")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture
def html():
    film = Image.fromarray(np.arange(10000, dtype=np.uint8).reshape(100, 100) % 255)
    return render_report(
        Report(
            title="A <title>",
            lead="What ran.",
            notice="Synthetic.",
            result=RESULT,
            stages=[("detection", LOG), ("fine", LOG)],
            galleries=[Gallery("Films", "Left: truth.", [Picture(film, "an <example>")])],
            notes=["A note."],
            facts=[("versions", "1 & 2")],
            recipe="name: <x>",
        )
    )


def test_nothing_is_loaded_from_outside_and_the_tags_close(html):
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    assert tags.sources and all(source.startswith("data:image/jpeg;base64,") for source in tags.sources)
    outside = set(re.findall(r"https?://[^\"'\s<]+", html)) - {"http://www.w3.org/2000/svg"}
    assert outside == set() and "<script" not in html and "@import" not in html


def test_texts_are_escaped(html):
    for text in ("A <title>", "an <example>", "name: <x>", "<hernia>"):
        assert text not in html
        assert text.replace("<", "&lt;").replace(">", "&gt;") in html
    assert "1 &amp; 2" in html


def test_numbers_come_with_interval_baseline_and_threshold_source(html):
    assert ">0.712<" in html and "0.690 to 0.730" in html and "without the image: 0.550" in html
    row = html[html.index("<td>pneumothorax</td>") :]
    assert "0.870" in row and "validation" in row and "30 / 70" in row
    assert "not defined" in html and "fewer than 10 patients" in html


def test_curves_run_on_over_the_stages():
    total, boxes = loss_curves([("detection", LOG), ("fine", LOG)])
    assert [point[0] for point in total.points] == [10, 20, 30, 40]
    assert total.breaks == [(0, "detection"), (20, "fine")]
    assert [point[1] for point in boxes.points] == [0.3, 0.1, 0.3, 0.1]
    assert loss_curves([("empty", [])]) == []


def test_charts_are_well_formed_and_to_scale():
    svg = bar_chart([Bar("a < b", 0.5, 0.4, 0.6, 0.25), Bar("none", float("nan")), Bar("full", 1.0)], title="t")
    root = ElementTree.fromstring(svg)
    widths = [float(bar.get("width")) for bar in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(widths) == 2 and widths[0] == pytest.approx(widths[1] / 2, abs=0.1)
    assert any(text.text == "a < b" for text in root.iter("{http://www.w3.org/2000/svg}text"))
    curve = ElementTree.fromstring(line_chart(Line("loss", [(0, 2.0), (10, float("inf")), (20, 1.0)], [(10, "two")])))
    points = next(curve.iter("{http://www.w3.org/2000/svg}polyline")).get("points").split()
    heights = [float(point.split(",")[1]) for point in points]
    assert len(points) == 2 and heights[0] < heights[1]
    assert line_chart(Line("one", [(0, 1.0)])) == ""
