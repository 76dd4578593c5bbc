"""Pictures that a radiologist can read: regions and findings over the film."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from anatomy_vlm.processing.intensity_anatomy_vlm import flatten_modes, window_to_uint8
from anatomy_vlm.processing.picture_labels import LabelRequest, Rectangle, place_labels
from anatomy_vlm.processing.picture_panel import draw_panel
from anatomy_vlm.processing.picture_style import (
    GROUPS,
    INK,
    MAIN_REGIONS,
    OTHER_GROUP,
    STRONG_REGIONS,
    Colour,
    group_of,
    short_name,
)
from anatomy_vlm.processing.radiograph import RadiographImage


PANEL_WIDTH = 340
_GUTTER = 36  # beside the film, for the marks of the patient's sides
_MAX_ASPECT = 1.5
_DISPLAY_PERCENTILES = (0.5, 99.5)
_DISPLAY_WHITE = 220  # level of the upper percentile: leaves bone and markers room to be brighter


def draw_overlay(
    image: RadiographImage | Image.Image | np.ndarray,
    regions: Sequence[Mapping[str, Any]],
    findings: Sequence[Mapping[str, Any]] | None = None,
    *,
    show: str | Sequence[str] = "main",
    title: str = "",
    view: str = "",
    height: int = 960,
    labels: bool = True,
) -> Image.Image:
    """
    Draw regions on a film, and beside it a legend and the scores of its findings.

    Lungs, heart and mediastinum are drawn strongly, the others thinly; colours follow anatomical groups and are safe
    for colour-blind readers; labels never cover one another. "R" and "L" beside the film are the PATIENT's sides,
    which a lateral film does not get. The film's contrast is stretched for the eye.

    Args:
        image ([`RadiographImage`], `PIL.Image.Image` or `np.ndarray` of shape `(height, width)`):
            The original film.
        regions (`Sequence[Mapping]`):
            `{"name", "box"}`, boxes x0, y0, x1, y1 in pixels of `image`, as `post_process_anatomy` returns them.
        findings (`Sequence[Mapping]`, *optional*):
            `{"name", "score", "threshold"}` of the whole image, as `post_process_findings` returns them.
        show (`str` or `Sequence[str]`, *optional*, defaults to `"main"`):
            `"main"` (lungs, heart, mediastinum and a few landmarks), `"all"`, or the names of the regions to draw.
        title (`str`, *optional*):
            First line of the panel, such as the name of the file.
        view (`str`, *optional*):
            `"PA"`, `"AP"`, `"LATERAL"` or `""`; taken from a [`RadiographImage`] if not given.
        height (`int`, *optional*, defaults to 960):
            Height of the picture in pixels; the film fits into it and into 1.5 times it in width, its aspect kept.
        labels (`bool`, *optional*, defaults to `True`):
            Whether to name the regions on the film.

    Raises `ValueError` for names in `show` that no region has.
    """
    view = view or (image.view if isinstance(image, RadiographImage) else "")
    film = display_film(image)
    scale = min(height / film.height, _MAX_ASPECT * height / film.width)
    size = max(1, round(film.width * scale)), max(1, round(film.height * scale))
    canvas = film.resize(size, Image.Resampling.LANCZOS).convert("RGB")
    shown = _chosen(regions, show)
    boxes = {region["name"]: tuple(float(edge) * scale for edge in region["box"]) for region in shown}

    # Thin and large ones first: what matters most, and the heart within the mediastinum, lies on top.
    for name in sorted(boxes, key=lambda name: (name in STRONG_REGIONS, -_area(boxes[name]))):
        _draw_box(canvas, boxes[name], group_of(name).colour, strong=name in STRONG_REGIONS)
    if labels:
        _draw_labels(canvas, boxes)

    present = {group_of(name) for name in boxes}
    groups = [group for group in (*GROUPS, OTHER_GROUP) if group in present]
    panel = draw_panel((PANEL_WIDTH, height), title or _default_title(view), groups, findings or (), regions)
    picture = Image.new("RGB", (canvas.width + 2 * _GUTTER + PANEL_WIDTH, height))
    picture.paste(canvas, (_GUTTER, (height - canvas.height) // 2))
    picture.paste(panel, (canvas.width + 2 * _GUTTER, 0))
    if view != "LATERAL":
        _draw_side_marks(picture, film_width=canvas.width)
    return picture


def display_film(image: RadiographImage | Image.Image | np.ndarray) -> Image.Image:
    """8-bit gray, its contrast stretched for the eye: many archives store films within a third of the gray levels."""
    if isinstance(image, RadiographImage):
        film = image.to_pil()
    else:
        levels = np.asarray(flatten_modes(image)) if isinstance(image, Image.Image) else np.asarray(image)
        film = Image.fromarray(window_to_uint8(levels)).convert("L")
    low, high = np.percentile(np.asarray(film), _DISPLAY_PERCENTILES)
    gain = max(1.0, _DISPLAY_WHITE / max(high - low, 1.0))
    return film.point([int(min(255, max(0, round((level - low) * gain)))) for level in range(256)])


def _chosen(regions: Sequence[Mapping[str, Any]], show: str | Sequence[str]) -> list[Mapping[str, Any]]:
    if show == "all":
        return list(regions)
    if show == "main":
        return [region for region in regions if region["name"] in MAIN_REGIONS]
    names = [show] if isinstance(show, str) else list(show)
    missing = set(names) - {region["name"] for region in regions}
    if missing:
        raise ValueError(f"`show` names regions that the image does not have: {sorted(missing)}")
    return [region for region in regions if region["name"] in names]


def _default_title(view: str) -> str:
    return f"{view} film" if view else "Radiograph"


def _draw_box(canvas: Image.Image, box: Rectangle, colour: Colour, strong: bool) -> None:
    """A coloured line between two dark ones, so that it shows on lung and on bone."""
    draw = ImageDraw.Draw(canvas)
    x0, y0, x1, y1 = (round(edge) for edge in box)
    width = 3 if strong else 1
    if x1 - x0 < 2 * width or y1 - y0 < 2 * width:
        return
    draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=(0, 0, 0))
    draw.rectangle((x0 + width, y0 + width, x1 - width, y1 - width), outline=(0, 0, 0))
    draw.rectangle((x0, y0, x1, y1), outline=colour, width=width)


def _draw_labels(canvas: Image.Image, boxes: Mapping[str, Rectangle]) -> None:
    draw = ImageDraw.Draw(canvas, "RGBA")
    points = {True: 16, False: 13}
    fonts = {strong: ImageFont.load_default(size) for strong, size in points.items()}
    requests = []
    # The large and important choose first, the small ones find room between them.
    for name in sorted(boxes, key=lambda name: (name not in STRONG_REGIONS, -_area(boxes[name]))):
        font = fonts[name in STRONG_REGIONS]
        width, height = font.getlength(short_name(name)) + 8, points[name in STRONG_REGIONS] + 6
        # The patient's left is the image's right: labels keep to the outside of the chest.
        side = "right" if name.startswith("left") else "left"
        requests.append(LabelRequest(name, boxes[name], width, height, side))
    for name, spot in place_labels(requests, canvas.size).items():
        draw.rectangle(spot, fill=(0, 0, 0, 200))
        middle = (spot[1] + spot[3]) / 2
        draw.text(
            (spot[0] + 4, middle),
            short_name(name),
            font=fonts[name in STRONG_REGIONS],
            fill=group_of(name).colour,
            anchor="lm",
        )


def _draw_side_marks(picture: Image.Image, film_width: int) -> None:
    """The patient's "R" left of the film and "L" right of it, in the gutters, where no box can cover them."""
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(28)
    for letter, center in (("R", _GUTTER / 2), ("L", _GUTTER * 1.5 + film_width)):
        draw.text((center, picture.height / 2), letter, font=font, fill=INK, anchor="mm")


def beside_film(film: Image.Image) -> Image.Image:
    """The film between two gutters with the marks of the patient's sides."""
    picture = Image.new("RGB", (film.width + 2 * _GUTTER, film.height))
    picture.paste(film, (_GUTTER, 0))
    _draw_side_marks(picture, film_width=film.width)
    return picture


def _area(box: Rectangle) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


__all__ = ["draw_overlay"]
