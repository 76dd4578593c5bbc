"""Pictures of masks over the film: outlines with a faint fill, their names, and the patient's sides."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from anatomy_vlm.processing.picture_labels import LabelRequest, place_labels
from anatomy_vlm.processing.picture_style import group_of, short_name
from anatomy_vlm.processing.pictures import beside_film, display_film
from anatomy_vlm.processing.radiograph import RadiographImage


_FILL = 0.18
_POINTS = 14


def draw_masks(
    image: RadiographImage | Image.Image | np.ndarray,
    masks: Mapping[str, NDArray[np.bool_]],
    *,
    height: int = 960,
    labels: bool = True,
    sides: bool = True,
) -> Image.Image:
    """
    Draw masks on a film; colours follow anatomical groups and labels never cover one another.

    Args:
        image: The original film.
        masks: By name of the structure, bool `(height, width)` in pixels of `image`; empty ones are not drawn.
        height: Of the picture in pixels.
        labels: Whether to name the structures.
        sides: Whether to mark the patient's sides beside the film; not for a lateral one.

    Raises:
        ValueError: for a mask of another size than the film's.
    """
    film = display_film(image)
    for name, mask in masks.items():
        if mask.shape != (film.height, film.width):
            raise ValueError(f"the mask of '{name}' is {mask.shape}, its film {(film.height, film.width)}")
    scale = height / film.height
    size = max(1, round(film.width * scale)), height
    canvas = film.resize(size, Image.Resampling.LANCZOS).convert("RGB")
    boxes: dict[str, tuple[float, float, float, float]] = {}
    # Large ones first, so that a rib is not buried under its lung.
    for name in sorted(masks, key=lambda name: -int(masks[name].sum())):
        if not masks[name].any():
            continue
        shape = Image.fromarray(masks[name].astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
        shape = shape.point([0] * 128 + [255] * 128)
        colour = Image.new("RGB", size, group_of(name.replace("_", " ")).colour)
        canvas.paste(colour, mask=shape.point([int(_FILL * level) for level in range(256)]))
        outline = np.asarray(shape.filter(ImageFilter.MaxFilter(3))) > np.asarray(
            shape.filter(ImageFilter.MinFilter(3))
        )
        canvas.paste(colour, mask=Image.fromarray(outline.astype(np.uint8) * 255))
        rows, columns = np.flatnonzero(masks[name].any(1)), np.flatnonzero(masks[name].any(0))
        edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        boxes[name] = tuple(float(edge) * scale for edge in edges)  # type: ignore[assignment]
    if labels:
        _name_masks(canvas, boxes)
    return beside_film(canvas) if sides else canvas


def _name_masks(canvas: Image.Image, boxes: Mapping[str, tuple[float, float, float, float]]) -> None:
    draw, font = ImageDraw.Draw(canvas, "RGBA"), ImageFont.load_default(_POINTS)
    names = {name: short_name(spoken_name(name)) for name in boxes}
    requests = [
        LabelRequest(name, box, font.getlength(names[name]) + 8, _POINTS + 6, "right" if "left" in name else "left")
        for name, box in boxes.items()
    ]
    for name, spot in place_labels(requests, canvas.size).items():
        draw.rectangle(spot, fill=(0, 0, 0, 190))
        place = (spot[0] + 4, (spot[1] + spot[3]) / 2)
        draw.text(place, names[name], font=font, fill=group_of(spoken_name(name)).colour, anchor="lm")


def spoken_name(name: str) -> str:
    """
    The name of a structure as one would say it.

    >>> spoken_name("rib_left_4")
    'left rib 4'
    """
    words = name.replace("_", " ").split()
    sides = [word for word in words if word in ("left", "right")]
    return " ".join([*sides, *(word for word in words if word not in sides)])
