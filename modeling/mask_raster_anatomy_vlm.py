# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""Between masks of any size and a small square raster inside their box, without losing more than the raster must.

Boxes are (y0, x0, y1, x1) in pixel edges: a mask of the single pixel (0, 0) has the box (0, 0, 1, 1).
"""

import math
from collections.abc import Sequence

import torch
from torch import nn


PixelBox = tuple[float, float, float, float]


def mask_box(mask: torch.Tensor) -> PixelBox | None:
    """
    The tight box of a `(height, width)` mask, or None of an empty one.

    Example:
        >>> mask = torch.zeros(8, 8, dtype=torch.bool)
        >>> mask[2:4, 1:7] = True
        >>> mask_box(mask)
        (2.0, 1.0, 4.0, 7.0)
    """
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    if not len(rows):
        return None
    return float(rows[0]), float(columns[0]), float(rows[-1] + 1), float(columns[-1] + 1)


def box_to_bins(box: PixelBox, size: tuple[int, int], bins: int = 1024, outward: bool = True) -> list[int]:
    """
    The bins of a box's edges; bin k of n lies at k / (n - 1) of the image, so that both borders have one.

    Args:
        box: In pixels of the image.
        size: Height and width of the image.
        bins: How many there are.
        outward: To the next bin outside, so that the box holds the mask; else to the nearest.
    """
    height, width = size
    scaled = [edge / extent * (bins - 1) for edge, extent in zip(box, (height, width, height, width))]
    # A hair of tolerance: what lies on a bin stays there.
    rounded = (
        [math.floor(scaled[0] + 1e-6), math.floor(scaled[1] + 1e-6)]
        + [math.ceil(scaled[2] - 1e-6), math.ceil(scaled[3] - 1e-6)]
        if outward
        else [math.floor(value + 0.5) for value in scaled]
    )
    return [min(max(value, 0), bins - 1) for value in rounded]


def bins_to_box(codes: Sequence[int], size: tuple[int, int], bins: int = 1024) -> PixelBox:
    """The box of four bins; edges in the wrong order are exchanged, as a model may write them."""
    height, width = size
    y0, x0, y1, x1 = (code / (bins - 1) * extent for code, extent in zip(codes, (height, width, height, width)))
    return min(y0, y1), min(x0, x1), max(y0, y1), max(x0, x1)


def crop_to_box(mask: torch.Tensor, box: PixelBox, side: int = 64) -> torch.Tensor:
    """
    How much of each of `side` x `side` cells of the box the mask covers: float32 `(side, side)` in [0, 1].

    The exact mean over cells whose edges lie between pixels, by interpolated sums: nothing of a thin structure falls
    between the samples, as with nearest neighbours.
    """
    height, width = mask.shape
    sums = nn.functional.pad(mask.to(torch.float64).cumsum(0).cumsum(1), (1, 0, 1, 0))
    rows = _interpolated(sums, box[0], box[2], side, height)
    cells = _interpolated(rows.t(), box[1], box[3], side, width).t()
    area = max((box[2] - box[0]) * (box[3] - box[1]) / side**2, 1e-9)
    return (cells.diff(dim=0).diff(dim=1) / area).clamp(0, 1).float()


def _interpolated(sums: torch.Tensor, start: float, stop: float, side: int, extent: int) -> torch.Tensor:
    """Rows of a table of sums at `side + 1` edges between `start` and `stop`."""
    edges = torch.linspace(start, stop, side + 1, dtype=torch.float64).clamp(0, extent)
    lower = edges.floor().clamp(max=extent - 1).long()
    share = (edges - lower)[:, None]
    return sums[lower] * (1 - share) + sums[lower + 1] * share


def paste_from_box(
    levels: torch.Tensor,
    box: PixelBox,
    size: tuple[int, int],
    threshold: float = 0.0,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """
    The mask `(height, width)` bool whose pixel centres, in the box, have more than `threshold` in `levels`
    `(side, side)`, interpolated bilinearly between the centres of its cells. An empty mask may be given to draw on.
    """
    height, width = size
    mask = torch.zeros(height, width, dtype=torch.bool) if out is None else out
    y0, x0, y1, x1 = box
    top, bottom = max(math.ceil(y0 - 0.5), 0), min(math.floor(y1 - 0.5) + 1, height)
    left, right = max(math.ceil(x0 - 0.5), 0), min(math.floor(x1 - 0.5) + 1, width)
    if bottom <= top or right <= left:
        return mask
    levels, side = levels.float(), levels.shape[0]
    # Products with two narrow matrices instead of a sampled grid: a few times as fast.
    rows, columns = _shares(top, bottom, y0, y1, side), _shares(left, right, x0, x1, side)
    torch.gt(rows @ levels @ columns.t(), threshold, out=mask[top:bottom, left:right])
    return mask


def _shares(first: int, last: int, start: float, stop: float, side: int) -> torch.Tensor:
    """How much each cell of [start, stop] counts for each of the pixels first to last: `(last - first, side)`."""
    position = ((torch.arange(first, last) + 0.5 - start) / (stop - start) * side - 0.5).clamp_(0, side - 1)
    return (position[:, None] - torch.arange(side)).abs_().neg_().add_(1).clamp_(min=0)


__all__ = ["PixelBox", "bins_to_box", "box_to_bins", "crop_to_box", "mask_box", "paste_from_box"]
