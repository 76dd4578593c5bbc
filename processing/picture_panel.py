"""The panel beside a film: legend of the regions, scores of the findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from anatomy_vlm.processing.picture_style import FAINT, INK, PAPER, SKY, VERMILLION, RegionGroup


DISCLAIMER = "Research software, not a medical device"
_MARGIN = 20
_DEFAULT_THRESHOLD = 0.5


def draw_panel(
    size: tuple[int, int],
    title: str,
    groups: Sequence[RegionGroup],
    findings: Sequence[Mapping[str, Any]],
    regions: Sequence[Mapping[str, Any]],
) -> Image.Image:
    """
    Draw title, findings as bars with their thresholds (the highest first, as many as there is room for) and legend.

    Args:
        size (`tuple[int, int]`):
            Width and height of the panel.
        title (`str`):
            First line.
        groups (`Sequence[RegionGroup]`):
            Groups of regions that the film shows.
        findings (`Sequence[Mapping]`):
            `{"name", "score", "threshold"}` of the whole image; a threshold of `None` counts as 0.5.
        regions (`Sequence[Mapping]`):
            Regions with their own `"findings"`, to say where a present finding is seen best.
    """
    width, height = size
    panel = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(panel)
    small, normal, large = (ImageFont.load_default(points) for points in (13, 15, 19))
    draw.text((_MARGIN, 16), fit_text(title, large, width - 2 * _MARGIN), font=large, fill=INK)

    legend_top = height - 40 - 24 * len(groups)
    for row, group in enumerate(groups):
        top = legend_top + 24 * row
        draw.rectangle((_MARGIN, top + 3, _MARGIN + 16, top + 15), outline=group.colour, width=3)
        draw.text((_MARGIN + 26, top), group.title, font=normal, fill=INK)
    draw.text((_MARGIN, height - 26), DISCLAIMER, font=small, fill=FAINT)

    top = 56
    if findings:
        draw.text((_MARGIN, top), "Findings in the image", font=normal, fill=FAINT)
        draw.text((width - _MARGIN, top), "score", font=normal, fill=FAINT, anchor="ra")
        top += 28
    ranked = sorted(findings, key=lambda finding: -finding["score"])
    for index, finding in enumerate(ranked):
        present = finding["score"] >= _threshold(finding)
        place = _best_region(finding["name"], regions) if present else ""
        row_height = 58 if place else 40
        if top + row_height > legend_top - 26:
            draw.text((_MARGIN, top), f"and {len(ranked) - index} more", font=small, fill=FAINT)
            break
        _draw_finding(draw, top, width, finding, present, place, normal, small)
        top += row_height
    return panel


def fit_text(text: str, font: Any, width: float) -> str:
    """Cut a text so that it fits, with three dots for what is lost."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def _draw_finding(
    draw: ImageDraw.ImageDraw,
    top: int,
    width: int,
    finding: Mapping[str, Any],
    present: bool,
    place: str,
    normal: Any,
    small: Any,
) -> None:
    colour, ink = (VERMILLION, INK) if present else (SKY, FAINT)
    left, right = _MARGIN, width - _MARGIN
    score = f"{finding['score']:.2f}"
    name = fit_text(finding["name"], normal, right - left - normal.getlength(score) - 12)
    draw.text((left, top), name, font=normal, fill=ink)
    draw.text((right, top), score, font=normal, fill=ink, anchor="ra")
    bar = top + 22
    draw.rectangle((left, bar, right, bar + 6), fill=(52, 52, 56))
    draw.rectangle((left, bar, left + (right - left) * finding["score"], bar + 6), fill=colour)
    tick = left + (right - left) * _threshold(finding)
    draw.line((tick, bar - 3, tick, bar + 9), fill=INK, width=2)
    if place:
        draw.text((left, bar + 12), fit_text(place, small, right - left), font=small, fill=FAINT)


def _threshold(finding: Mapping[str, Any]) -> float:
    threshold = finding.get("threshold")
    return _DEFAULT_THRESHOLD if threshold is None else float(threshold)


def _best_region(finding: str, regions: Sequence[Mapping[str, Any]]) -> str:
    scores = [
        (entry["score"], region["name"])
        for region in regions
        for entry in region.get("findings", ())
        if entry["name"] == finding
    ]
    if not scores:
        return ""
    score, name = max(scores)
    return f"most in: {name} ({score:.2f})"
