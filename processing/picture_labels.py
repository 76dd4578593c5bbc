"""Where labels go on a picture so that none covers another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True)
class LabelRequest:
    """A label of `width` by `height` pixels for a `box` (x0, y0, x1, y1), kept to the image's `side` of it."""

    key: str
    box: Rectangle
    width: float
    height: float
    side: str = "left"


def place_labels(requests: Sequence[LabelRequest], size: tuple[int, int], gap: float = 2) -> dict[str, Rectangle]:
    """
    Place labels at the edges of their boxes, within a picture of `(width, height)`, none over another.

    A label goes to a corner of its box if it can, else slides along the top and the bottom edge. One that finds no
    free place at all is left out: a picture without a label is better than one with two on top of each other.
    """
    placed: dict[str, Rectangle] = {}
    for request in requests:
        for spot in _spots(request, gap):
            inside = spot[0] >= 0 and spot[1] >= 0 and spot[2] <= size[0] and spot[3] <= size[1]
            if inside and not any(overlap(spot, other, gap) for other in placed.values()):
                placed[request.key] = spot
                break
    return placed


def overlap(first: Rectangle, second: Rectangle, gap: float = 0) -> bool:
    """Whether two rectangles come closer than `gap` pixels."""
    return (
        first[0] < second[2] + gap
        and second[0] < first[2] + gap
        and first[1] < second[3] + gap
        and second[1] < first[3] + gap
    )


def _spots(request: LabelRequest, gap: float) -> Iterable[Rectangle]:
    x0, y0, x1, y1 = request.box
    width, height = request.width, request.height
    near, far = (x0 + gap, x1 - width - gap) if request.side == "left" else (x1 - width - gap, x0 + gap)
    rows = (y0 + gap, y1 - height - gap, y0 - height - gap, y1 + gap)
    slides = [near + (far - near) * step / 8 for step in range(9)]
    columns = [near, far, *slides[1:-1]]
    for top in rows:
        for left in columns:
            yield (left, top, left + width, top + height)
    # Small boxes: beside them, then along their sides.
    for left in (x0 - width - gap, x1 + gap) if request.side == "left" else (x1 + gap, x0 - width - gap):
        for step in range(5):
            top = y0 + (y1 - height - y0) * step / 4
            yield (left, top, left + width, top + height)
