"""Letter-box geometry: where an image lies on the square canvas that the model sees, and boxes between the two."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch


Boxes = TypeVar("Boxes", np.ndarray, torch.Tensor)


@dataclass(frozen=True)
class Letterbox:
    """
    The placement of an image on a canvas: resized to `(height, width)`, then put at `(top, left)`; all in pixels.

    `scale_y` and `scale_x` are canvas pixels per image pixel. They differ from one another by the rounding to whole
    pixels, which is why boxes are mapped by them and not by the ratio of the longest sides.
    """

    image_size: tuple[int, int]
    canvas_size: tuple[int, int]
    height: int
    width: int
    top: int
    left: int

    @property
    def scale_y(self) -> float:
        return self.height / self.image_size[0]

    @property
    def scale_x(self) -> float:
        return self.width / self.image_size[1]

    @property
    def bottom(self) -> int:
        """Rows of padding under the image."""
        return self.canvas_size[0] - self.height - self.top

    @property
    def right(self) -> int:
        """Columns of padding right of the image."""
        return self.canvas_size[1] - self.width - self.left


def fit_letterbox(image_size: tuple[int, int], canvas_size: tuple[int, int], keep_aspect: bool = True) -> Letterbox:
    """
    Place an image of `(height, width)` on a canvas of `(height, width)`.

    With `keep_aspect` the image is scaled until it touches the canvas on one axis and is centred on the other (the odd
    pixel of padding goes below or to the right); without, it is stretched over the whole canvas.

    Raises `ValueError` for a side under one pixel.

    >>> fit_letterbox((2000, 1000), (224, 224))
    Letterbox(image_size=(2000, 1000), canvas_size=(224, 224), height=224, width=112, top=0, left=56)
    """
    (height, width), (canvas_height, canvas_width) = image_size, canvas_size
    if min(height, width, canvas_height, canvas_width) < 1:
        raise ValueError(
            f"an image of {height}x{width} cannot be placed on a canvas of {canvas_height}x{canvas_width}"
        )
    if keep_aspect:
        scale = min(canvas_height / height, canvas_width / width)
        resized_height = min(canvas_height, max(1, int(height * scale + 0.5)))
        resized_width = min(canvas_width, max(1, int(width * scale + 0.5)))
    else:
        resized_height, resized_width = canvas_height, canvas_width
    return Letterbox(
        image_size=(int(height), int(width)),
        canvas_size=(int(canvas_height), int(canvas_width)),
        height=resized_height,
        width=resized_width,
        top=(canvas_height - resized_height) // 2,
        left=(canvas_width - resized_width) // 2,
    )


def boxes_to_canvas(boxes: Boxes, letterbox: Letterbox) -> Boxes:
    """Map boxes `(..., 4)` as x0, y0, x1, y1 in pixels of the image to pixels of the canvas."""
    scale, offset = _affine(boxes, letterbox)
    return boxes * scale + offset


def boxes_to_image(boxes: Boxes, letterbox: Letterbox) -> Boxes:
    """Map boxes `(..., 4)` as x0, y0, x1, y1 in pixels of the canvas back to pixels of the image."""
    scale, offset = _affine(boxes, letterbox)
    return (boxes - offset) / scale


def clip_boxes(boxes: Boxes, size: tuple[int, int]) -> Boxes:
    """Cut boxes `(..., 4)` in pixels at the edges of an image of `(height, width)`."""
    limit = _constant(boxes, [size[1], size[0], size[1], size[0]])
    if isinstance(boxes, torch.Tensor):
        return torch.minimum(boxes.clamp(min=0), limit)
    return np.minimum(np.maximum(boxes, 0), limit)


def center_to_corners(boxes: Boxes) -> Boxes:
    """
    Turn boxes `(..., 4)` from centre x, centre y, width, height into x0, y0, x1, y1.

    >>> center_to_corners(np.array([0.5, 0.5, 0.2, 0.4])).round(3).tolist()
    [0.4, 0.3, 0.6, 0.7]
    """
    centers, sizes = boxes[..., :2], boxes[..., 2:]
    return _concatenate(centers - sizes / 2, centers + sizes / 2)


def corners_to_center(boxes: Boxes) -> Boxes:
    """Turn boxes `(..., 4)` from x0, y0, x1, y1 into centre x, centre y, width, height."""
    first, last = boxes[..., :2], boxes[..., 2:]
    return _concatenate((first + last) / 2, last - first)


def flip_boxes(boxes: Boxes, mirror: Sequence[int], width: float = 1.0) -> Boxes:
    """
    Mirror the boxes of all regions `(..., regions, 4)` left to right, the only way that stays anatomically true: the
    box of each region is mirrored AND moves to the slot of the region on the other side.

    Args:
        boxes (`np.ndarray` or `torch.Tensor` of shape `(..., regions, 4)`):
            x0, y0, x1, y1 in units in which the image is `width` wide.
        mirror (`Sequence[int]` of length `regions`):
            Index of each region's mirror region (its own for an unpaired one). Masks over regions go along as
            `mask[..., mirror]`.
        width (`float`, *optional*, defaults to 1.0):
            Width of the image.

    Raises `ValueError` where `mirror` is not a permutation that undoes itself.

    >>> right_lung, left_lung, spine = [0.1, 0.2, 0.4, 0.8], [0.6, 0.2, 0.9, 0.7], [0.45, 0.0, 0.55, 1.0]
    >>> flip_boxes(np.array([right_lung, left_lung, spine]), mirror=[1, 0, 2]).round(3).tolist()
    [[0.1, 0.2, 0.4, 0.7], [0.6, 0.2, 0.9, 0.8], [0.45, 0.0, 0.55, 1.0]]
    """
    slots = list(mirror)
    if len(slots) != boxes.shape[-2] or any(
        not 0 <= slot < len(slots) or slots[slot] != i for i, slot in enumerate(slots)
    ):
        raise ValueError(
            f"`mirror` must name, for each of the {boxes.shape[-2]} regions, the region on the other side, and undo "
            f"itself when applied twice; got {slots}"
        )
    boxes = boxes[..., slots, :]
    if isinstance(boxes, torch.Tensor):
        x0, y0, x1, y1 = boxes.unbind(-1)
        return torch.stack((width - x1, y0, width - x0, y1), dim=-1)
    x0, y0, x1, y1 = np.moveaxis(boxes, -1, 0)
    return np.stack((width - x1, y0, width - x0, y1), axis=-1)


def _affine(boxes: Boxes, letterbox: Letterbox) -> tuple[Boxes, Boxes]:
    x, y = letterbox.scale_x, letterbox.scale_y
    left, top = letterbox.left, letterbox.top
    return _constant(boxes, [x, y, x, y]), _constant(boxes, [left, top, left, top])


def _constant(like: Boxes, values: list[float]) -> Boxes:
    if isinstance(like, torch.Tensor):
        return torch.tensor(values, dtype=like.dtype if like.is_floating_point() else None, device=like.device)
    return np.asarray(values, dtype=like.dtype if np.issubdtype(like.dtype, np.floating) else np.float64)


def _concatenate(first: Boxes, last: Boxes) -> Boxes:
    if isinstance(first, torch.Tensor):
        return torch.cat((first, last), dim=-1)
    return np.concatenate((first, last), axis=-1)


__all__ = [
    "Letterbox",
    "boxes_to_canvas",
    "boxes_to_image",
    "center_to_corners",
    "clip_boxes",
    "corners_to_center",
    "fit_letterbox",
    "flip_boxes",
]
