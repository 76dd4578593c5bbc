"""Simple reasons to doubt a film before a model reads it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from anatomy_vlm.processing.radiograph import RadiographImage


CHEST_PARTS = ("", "CHEST", "THORAX", "LUNG", "RIB", "RIBS", "HEART", "CHESTABDOMEN", "CHEST_ABDOMEN", "WHOLEBODY")
RADIOGRAPHY = ("", "CR", "DX", "DR", "RG", "OT", "SC", "XC")
MAX_ASPECT = 2.0
MIN_RESOLUTION = 224
MIN_CONTRAST = 30

_GRID = 32
_SUSPICIOUS_CORNERS = -0.5


def quality_flags(image: RadiographImage) -> list[dict[str, str]]:
    """
    Reasons to doubt that a film is an upright frontal chest radiograph of fair quality.

    Args:
        image ([`RadiographImage`]):
            The film as [`read_image`] returns it.

    Returns:
        `list[dict[str, str]]`: a `"flag"` (`aspect`, `resolution`, `contrast`, `inverted`, `lateral`, `body_part`,
        `modality` or `colour`) and its `"reason"`, with the numbers. Empty for a film without doubts.
    """
    found = (
        ("aspect", _aspect(image)),
        ("resolution", _resolution(image)),
        ("contrast", _contrast(image)),
        ("inverted", _inverted(image)),
        ("lateral", "the header says that this is a lateral film" if image.view == "LATERAL" else None),
        ("body_part", _coded(image, "body_part", CHEST_PARTS)),
        ("modality", _coded(image, "modality", RADIOGRAPHY)),
        ("colour", "the picture is in colour, which a radiograph is not" if image.metadata.get("colour") else None),
    )
    return [{"flag": flag, "reason": reason} for flag, reason in found if reason]


def _aspect(image: RadiographImage) -> str | None:
    height, width = image.size
    ratio = max(height, width) / min(height, width)
    return f"{width}x{height} pixels: one side is {ratio:.1f} times the other" if ratio > MAX_ASPECT else None


def _resolution(image: RadiographImage) -> str | None:
    height, width = image.size
    return f"only {width}x{height} pixels" if min(height, width) < MIN_RESOLUTION else None


def _contrast(image: RadiographImage) -> str | None:
    low, high = np.percentile(image.pixels, (1, 99))
    if high - low >= MIN_CONTRAST:
        return None
    return f"98 % of the pixels lie within {high - low:.0f} of 255 gray levels"


def _inverted(image: RadiographImage) -> str | None:
    """
    On a frontal film the air beside the neck is darker than the heart, and the lungs are darker than the mediastinum.
    Both the other way round means bone is dark: true of none of 198 real films, and of most of them once inverted.
    """
    grid = np.asarray(Image.fromarray(image.pixels).resize((_GRID, _GRID), Image.Resampling.BOX), dtype=np.float64)
    spread = grid.std()
    if image.view == "LATERAL" or spread == 0:
        return None
    corners = np.concatenate((grid[:3, :3].ravel(), grid[:3, -3:].ravel())).mean()
    lungs = (grid[8:20, 6:12].mean() + grid[8:20, 20:26].mean()) / 2
    heart, mediastinum = grid[12:24, 13:19].mean(), grid[8:20, 14:18].mean()
    if (heart - corners) / spread < _SUSPICIOUS_CORNERS and mediastinum < lungs:
        return "the background is brighter than the heart, and the lungs than the mediastinum: bone may be dark"
    return None


def _coded(image: RadiographImage, key: str, expected: tuple[str, ...]) -> str | None:
    value = image.metadata.get(key, "")
    return None if value in expected else f"the header says {key.replace('_', ' ')} {value}"


__all__ = ["quality_flags"]
