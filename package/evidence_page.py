"""The HTML page of an evidence card."""

from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from anatomy_vlm.evidence import Evidence
from anatomy_vlm.html_page import picture_url, render_page, signed
from anatomy_vlm.prediction import draw_reading
from anatomy_vlm.processing.picture_style import VERMILLION
from anatomy_vlm.records import Record
from anatomy_vlm.svg_charts import Curve, curves_chart


_HEIGHT, _MAP_HEIGHT = 620, 420
_SHOWN_REGIONS = 10
_WHITE = 220  # level of the brightest parts, as in the overlays
_TITLES = {"attention": "attention", "similarity": "similarity of patches", "random": "random orders, mean"}
_CAPTIONS = {
    "attention": "Attention of the region's query, last layer.",
    "similarity": "Margin of the finding in each patch, read as the region.",
}


def render_evidence(evidence: Evidence) -> str:
    """The card: doubts first, then the film, then each finding with its regions, maps and neighbours."""
    reading = evidence.reading.record
    ratio = reading["measurements"]["cardiothoracic_ratio"]
    return render_page(
        "evidence.html",
        title=f"Evidence: {Path(reading['file']).name}",
        lead=f"What the scores of {reading['model']} rest on.",
        notice="A map shows what moved this model, not what is on the film.",
        flags=reading["quality"]["flags"],
        withheld=reading["quality"]["findings_withheld"],
        overlay=picture_url(draw_reading(evidence.reading, height=_HEIGHT)),
        ratio="not measured" if ratio is None else f"{ratio:.3f}",
        findings=[_finding(evidence, item) for item in evidence.record["findings"]],
        facts=[
            ("film", f"{reading['file']}, {reading['size'][0]} x {reading['size'][1]} pixels"),
            ("model", reading["model"]),
            ("versions", ", ".join(f"{name} {version}" for name, version in reading["versions"].items())),
            ("evidence version", evidence.record["version"]),
        ],
    )


def heat_picture(film: Image.Image, values: np.ndarray, height: int = _MAP_HEIGHT) -> Image.Image:
    """The film with the places of most weight in colour; the lower half of the map's range stays grey.

    Args:
        film: of any size.
        values: (rows, columns), a map that covers the film.
        height: of the picture in pixels.
    """
    size = max(1, round(film.width * height / film.height)), height
    grey = np.asarray(film.convert("L").resize(size, Image.Resampling.LANCZOS), dtype=np.float64)[..., None]
    dark, bright = np.percentile(grey, (0.5, 99.5))
    grey = np.clip((grey - dark) * _WHITE / max(bright - dark, 1.0), 0, 255)
    low, high = np.quantile(values, (0.5, 0.995))
    weight = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    soft = Image.fromarray((weight * 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    alpha = 0.65 * (np.asarray(soft, dtype=np.float64) / 255)[..., None]
    return Image.fromarray((grey * (1 - alpha) + np.array(VERMILLION) * alpha).astype(np.uint8))


def _finding(evidence: Evidence, item: Record) -> dict[str, Any]:
    stated = next(f for f in evidence.reading.record["findings"] if f["name"] == item["name"])
    film = evidence.reading.film
    assert film is not None
    maps = item["maps"]
    return {
        "name": item["name"],
        "score": f"{stated['score']:.2f}",
        "threshold": f"{stated['threshold']:.2f}",
        "source": stated["threshold_source"],
        "scale": ("The score is a calibrated probability." if stated["calibrated"] else "The score is no probability.")
        + (f" Conformal decision: {stated['decision']}." if "decision" in stated else ""),
        "cited": item["cited_region"],
        "carries": item["cited_carries"],
        "regions": [
            _region(row, item["cited_region"])
            for place, row in enumerate(item["regions"])
            if place < _SHOWN_REGIONS or row["name"] == item["cited_region"]
        ],
        "pictures": [
            {"data": picture_url(heat_picture(film, evidence.maps[item["name"]][kind])), "caption": caption}
            for kind, caption in _CAPTIONS.items()
        ],
        "charts": [
            Markup(
                curves_chart(
                    [Curve(_TITLES[kind], maps[kind][what]) for kind in _TITLES], title=f"{what} ({item['name']})"
                )
            )
            for what in ("deletion", "insertion")
        ],
        "orders": [_order(kind, maps) for kind in _TITLES],
        "neighbours": [
            {
                "image": row["image"],
                "similarity": f"{row['similarity']:.3f}",
                "findings": ", ".join(row["findings"]) or "nothing",
            }
            for row in item.get("neighbours", [])
        ],
    }


def _region(row: Record, cited: str) -> dict[str, str]:
    return {
        "name": row["name"] if row["plausible"] else f"{row['name']} (not plausible)",
        "own": f"{row['score_in_region']:.2f}",
        "without": f"{row['score_without']:.2f}",
        "change": signed(row["change"]),
        "margin": signed(row["margin_change"]),
        "style": "cited" if row["name"] == cited else "" if row["plausible"] else "faint",
    }


def _order(kind: str, maps: Record) -> dict[str, str]:
    """Faithful where it beats the random orders by more than two of their standard deviations on both."""
    row, random = maps[kind], maps["random"]
    verdict = ""
    if kind != "random":
        falls = random["deletion_auc"] - row["deletion_auc"] > 2 * random["deletion_auc_sd"]
        rises = row["insertion_auc"] - random["insertion_auc"] > 2 * random["insertion_auc_sd"]
        verdict = {2: "better than random", 1: "better than random on one of the two", 0: "no better than random"}[
            falls + rises
        ]
    spread = [
        f" (sd {random[f'{what}_auc_sd']:.3f})" if kind == "random" else "" for what in ("deletion", "insertion")
    ]
    return {
        "name": _TITLES[kind],
        "deletion": f"{row['deletion_auc']:.3f}{spread[0]}",
        "insertion": f"{row['insertion_auc']:.3f}{spread[1]}",
        "verdict": verdict,
    }
