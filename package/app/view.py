"""A reading as plain data for the page: everything that it shows of a film."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from anatomy_vlm.app.masks import mask_colour, mask_url
from anatomy_vlm.html_page import picture_url
from anatomy_vlm.prediction import FileReading
from anatomy_vlm.processing.mask_pictures import spoken_name
from anatomy_vlm.processing.picture_style import MAIN_REGIONS, STRONG_REGIONS, group_of, short_name
from anatomy_vlm.processing.pictures import display_film
from anatomy_vlm.records import PRESENT, Record


LONGEST = 1024  # of the picture in the page, in pixels


def film_view(
    reading: FileReading,
    phrases: Mapping[str, tuple[str, str]],
    masks: Mapping[str, tuple[float, np.ndarray]] | None = None,
) -> dict[str, Any]:
    """What the page shows of a reading.

    Args:
        reading: of a film that could be read.
        phrases: by finding, a phrase for it and one against it.
        masks: by structure, its presence and its mask (height, width) in pixels of the film.
    """
    record, film = reading.record, reading.film
    assert film is not None
    width, height = record["size"]
    prompts = record.get("prompts", [])
    regions = [_region(region, prompts) for region in record["regions"]]
    findings = sorted(record["findings"], key=lambda item: item["threshold"] - item["score"])
    return {
        "image": picture_url(_picture(film)),
        "width": width,
        "height": height,
        "alt": _description(record, regions),
        "sides": record["view"] != "LATERAL",
        "flags": record["quality"]["flags"],
        "withheld": record["quality"]["findings_withheld"],
        "ratio": record["measurements"]["cardiothoracic_ratio"],
        "findings": [{**item, "called": item["score"] >= item["threshold"]} for item in findings],
        "phrases": {name: list(pair) for name, pair in phrases.items()},
        "prompts": [{"text": prompt["text"], "score": prompt["score"]} for prompt in prompts],
        "regions": regions,
        "masks": [_mask(name, presence, mask) for name, (presence, mask) in (masks or {}).items()],
        "model": record["model"],
    }


def summary(record: Record) -> str:
    """What is announced once a film has been read, in one line."""
    found = sum(region["presence"] >= PRESENT for region in record["regions"])
    parts = [f"Film read: {found} of {len(record['regions'])} regions found"]
    if record["quality"]["findings_withheld"]:
        parts.append("findings are withheld, see the warnings")
    else:
        called = [item["name"] for item in record["findings"] if item["score"] >= item["threshold"]]
        parts.append(f"above their thresholds: {', '.join(called) or 'no finding'}")
    return "; ".join(parts) + "."


def _picture(film: Image.Image) -> Image.Image:
    scale = min(1.0, LONGEST / max(film.size))
    size = max(1, round(film.width * scale)), max(1, round(film.height * scale))
    return display_film(film).resize(size, Image.Resampling.LANCZOS)


def _description(record: Record, regions: list[dict[str, Any]]) -> str:
    """The film in words, for those who do not see it."""
    found = sum(region["found"] for region in regions)
    view = {"": "Film", "LATERAL": "Lateral film"}.get(record["view"], f"{record['view']} film")
    sides = "" if record["view"] == "LATERAL" else " The patient's right is on the left of the picture."
    return f"{view} of {record['size'][0]} by {record['size'][1]} pixels with the boxes of {found} regions.{sides}"


def _region(region: Record, prompts: list[Record]) -> dict[str, Any]:
    name = region["name"]
    scores = {
        prompt["text"]: entry["score"] for prompt in prompts for entry in prompt["regions"] if entry["name"] == name
    }
    return {
        "name": name,
        "label": short_name(name),
        "colour": _css(group_of(name).colour),
        "group": group_of(name).title,
        "strong": name in STRONG_REGIONS,
        "main": name in MAIN_REGIONS,
        "box": region["box"],
        "presence": region["presence"],
        "found": region["presence"] >= PRESENT,
        "findings": sorted(region["findings"], key=lambda item: -item["score"]),
        "prompts": [{"text": text, "score": score} for text, score in scores.items()],
    }


def _mask(name: str, presence: float, mask: np.ndarray) -> dict[str, Any]:
    colour = mask_colour(name)
    return {
        "name": spoken_name(name),
        "colour": _css(colour),
        "presence": round(float(presence), 4),
        "pixels": int(mask.sum()),
        "image": mask_url(mask, colour, LONGEST),
    }


def _css(colour: tuple[int, int, int]) -> str:
    return f"rgb({colour[0]} {colour[1]} {colour[2]})"
