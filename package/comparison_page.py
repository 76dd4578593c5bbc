"""The HTML page of a comparison."""

from pathlib import Path
from typing import Any

from PIL import Image

from anatomy_vlm.comparison import Comparison
from anatomy_vlm.html_page import picture_url, render_page, signed
from anatomy_vlm.processing.pictures import PANEL_WIDTH, draw_overlay
from anatomy_vlm.records import PRESENT, Record
from anatomy_vlm.study_change import STABLE


_HEIGHT = 620


def render_comparison(comparison: Comparison) -> str:
    """Both films with their regions, verdicts by finding and region, and how the films differ in position."""
    record = comparison.record
    readings = [record["prior"], record["current"]]
    ratio = record["measurements"]["cardiothoracic_ratio"]
    values = ["not measured" if ratio[key] is None else f"{ratio[key]:.3f}" for key in ("prior", "current")]
    alignment = record["alignment"]
    return render_page(
        "comparison.html",
        title="Two studies of one patient",
        lead=f"{Path(readings[0]['file']).name} (earlier) and {Path(readings[1]['file']).name} (later), "
        f"read by {readings[0]['model']}.",
        notice="That both films are of one patient is for you to know.",
        films=[
            {"data": picture_url(_film(film, reading)), "caption": caption}
            for film, reading, caption in zip(comparison.films, readings, ("earlier", "later"), strict=True)
        ],
        doubts=[
            f"{which} film: {flag['reason']}"
            for which, reading in zip(("earlier", "later"), readings, strict=True)
            for flag in reading["quality"]["flags"]
        ],
        confidence=f"{100 * record['confidence']:g} %",
        findings=[_row(item) for item in record["findings"]],
        ratio=" to ".join(values),
        changes=[
            {"region": region["name"], **_row(item)}
            for region in record["regions"]
            for item in region["findings"]
            if item["verdict"] != STABLE
        ],
        mean_iou="not defined" if alignment["mean_iou"] is None else f"{alignment['mean_iou']:.2f}",
        alignment=[
            {
                "name": row["name"],
                "iou": f"{row['iou']:.2f}",
                "left": signed(row["shift"][0], 3),
                "down": signed(row["shift"][1], 3),
            }
            for row in sorted(alignment["regions"], key=lambda row: row["iou"])
        ],
    )


def _row(item: Record) -> dict[str, Any]:
    return {
        "name": item["name"],
        "verdict": item["verdict"],
        "doubt": "" if item["certain"] else " (not certain)",
        "prior": f"{item['prior']:.2f}",
        "current": f"{item['current']:.2f}",
        "threshold": f"{item['threshold']:.2f}",
        "change": signed(item["change"]),
        "noise": f"{item['noise']:.2f}",
    }


def _film(film: Image.Image, reading: Record) -> Image.Image:
    present = [region for region in reading["regions"] if region["presence"] >= PRESENT]
    picture = draw_overlay(film, present, title=Path(reading["file"]).name, view=reading["view"], height=_HEIGHT)
    return picture.crop((0, 0, picture.width - PANEL_WIDTH, picture.height))
