# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""Masks as polygons of a fixed number of vertices: nothing but place tokens, and nothing to train.

The outline is simplified as Visvalingam and Whyatt (The Cartographic Journal 30, 1993) do it; then all vertices are
moved to where the polygon fits the whole outline best.
"""

import math
from collections.abc import Sequence
from heapq import heapify, heappop, heappush

import numpy as np
import torch
from scipy import ndimage

from .mask_codec_anatomy_vlm import MaskCodec


class PolygonMaskCodec(MaskCodec):
    """
    The outline of a mask as `num_vertices` places, y before x, clockwise on the screen from the topmost vertex.

    A polygon is one outline: of several components the largest is coded, and holes are filled. Its code has no box.

    Args:
        num_vertices: Vertices, two tokens each; an outline with fewer corners has some on its edges.
        bins: Values of a place; bin k of n lies at k / (n - 1) of the image, as those of boxes.

    Example:
        >>> codec = PolygonMaskCodec(4)
        >>> mask = torch.zeros(1, 1023, 1023, dtype=torch.bool)
        >>> mask[0, 100:201, 300:401] = True
        >>> codes = codec.encode(mask)
        >>> (codec.decode(codes, (1023, 1023)) ^ mask).sum().item() < 100
        True
    """

    def __init__(self, num_vertices: int = 24, bins: int = 1024):
        if num_vertices < 3 or bins < 2:
            raise ValueError(f"a polygon has at least 3 vertices in 2 bins, not {num_vertices} in {bins}")
        self.num_vertices, self.bins = num_vertices, bins
        self.code_sizes = (bins,) * (2 * num_vertices)
        self.prefixes = ("loc",) * (2 * num_vertices)

    def encode(self, masks: torch.Tensor | Sequence[torch.Tensor]) -> list[list[int]]:
        return [self._encode(mask.detach().cpu().bool().numpy()) for mask in masks]

    def decode(self, codes: Sequence[Sequence[int]], size: tuple[int, int]) -> torch.Tensor:
        for one in codes:
            self.check(one)
        masks = np.zeros((len(codes), *size), dtype=bool)
        scale = np.array(size) / (self.bins - 1)
        for mask, one in zip(masks, codes):
            if len(one):
                fill_polygon(np.array(one, dtype=np.float64).reshape(-1, 2) * scale, mask)
        return torch.from_numpy(masks)

    def _encode(self, mask: np.ndarray) -> list[int]:
        outline = trace_outline(mask)
        if not len(outline):
            return []
        kept = simplify_outline(outline, self.num_vertices)
        vertices = _with_more_vertices(fit_vertices(outline, kept), self.num_vertices)
        bins = np.floor(vertices / mask.shape * (self.bins - 1) + 0.5).clip(0, self.bins - 1).astype(int)
        first = min(range(len(bins)), key=lambda index: (bins[index, 0], bins[index, 1]))
        return np.roll(bins, -first, axis=0).ravel().tolist()


def trace_outline(mask: np.ndarray) -> np.ndarray:
    """
    The outer outline `(N, 2)` of the largest 4-connected component of a `(height, width)` mask: y and x of the middle
    of every edge between a pixel of it and one outside, clockwise on the screen, in pixels; empty for an empty mask.
    """
    labels, count = ndimage.label(mask)
    if count == 0:
        return np.zeros((0, 2))
    if count > 1:
        labels = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    inside = np.pad(labels != 0, 1)
    row, column = divmod(int(inside.argmax()), inside.shape[1])
    stride, cells = inside.shape[1], inside.tobytes()
    # Along the upper edge of the first pixel to the right; the corner ahead has pixels to the left and right of it.
    ahead = {(0, 1): (-stride, 0), (1, 0): (0, -1), (0, -1): (-1, -1 - stride), (-1, 0): (-1 - stride, -stride)}
    start = y, x = row, column
    dy, dx = 0, 1
    steps = []
    while True:
        steps.append((y + 0.5 * dy, x + 0.5 * dx))
        y, x = y + dy, x + dx
        if (y, x) == start:
            break
        left, right = ahead[dy, dx]
        corner = y * stride + x
        if not cells[corner + right]:
            # Also where the pixel on the left is inside: corners that touch do not connect.
            dy, dx = dx, -dy
        elif cells[corner + left]:
            dy, dx = -dx, dy
    return np.array(steps) - 1


def simplify_outline(outline: np.ndarray, num_vertices: int) -> np.ndarray:
    """
    Indices, ascending, of the `num_vertices` points of a closed outline `(N, 2)` that are left when the one whose
    triangle with its neighbours is the smallest goes, again and again.
    """
    count = len(outline)
    if count <= num_vertices:
        return np.arange(count)
    y, x = outline[:, 0].tolist(), outline[:, 1].tolist()
    before, after = [count - 1, *range(count - 1)], [*range(1, count), 0]

    def area(a: int, b: int, c: int) -> float:
        return abs((x[b] - x[a]) * (y[c] - y[a]) - (x[c] - x[a]) * (y[b] - y[a]))

    areas = [area(before[index], index, after[index]) for index in range(count)]
    heap = [(value, index) for index, value in enumerate(areas)]
    heapify(heap)
    left = count
    while left > num_vertices:
        value, index = heappop(heap)
        if value != areas[index]:
            continue  # its neighbours have changed since
        areas[index] = -1.0
        a, c = before[index], after[index]
        after[a], before[c] = c, a
        for one in (a, c):
            # Never smaller than what has gone: that would remove a feature point by point.
            areas[one] = max(area(before[one], one, after[one]), value)
            heappush(heap, (areas[one], one))
        left -= 1
    return np.array([index for index, value in enumerate(areas) if value >= 0])


def fit_vertices(outline: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """
    Vertices `(len(kept), 2)` of the polygon that is nearest to an outline `(N, 2)`, by least squares, where each point
    belongs to the edge between the kept points around it, at its share of the way. A polygon whose corners lie on a
    convex outline is smaller than what it stands for; this one is not.
    """
    number, count = len(kept), len(outline)
    if number < 4 or count <= number:
        return outline[kept]
    point = np.arange(count)
    edge = np.searchsorted(kept, point, side="right") - 1
    start = kept[edge]
    length = (np.roll(kept, -1) - kept) % count
    share = ((point - start) % count) / length[edge]
    weights = np.zeros((count, number))
    weights[point, edge] = 1 - share
    weights[point, (edge + 1) % number] += share
    # A little pull to where they were, for edges with hardly any point.
    pull = 0.05
    normal = weights.T @ weights + pull * np.eye(number)
    return np.linalg.solve(normal, weights.T @ outline + pull * outline[kept])


def fill_polygon(vertices: np.ndarray, mask: np.ndarray) -> None:
    """
    Set the pixels of a bool `(height, width)` mask whose centres lie in a polygon `(N, 2)`, y and x in pixel edges, by
    the even-odd rule.
    """
    height, width = mask.shape
    low, high = vertices.min(0), vertices.max(0)
    top, bottom = max(math.ceil(low[0] - 0.5), 0), min(math.ceil(high[0] - 0.5), height)
    left, right = max(math.ceil(low[1] - 0.5), 0), min(math.ceil(high[1] - 0.5), width)
    if bottom <= top or right <= left:
        return
    centers = np.arange(top, bottom) + 0.5
    y0, x0 = vertices[:, 0, None], vertices[:, 1, None]
    y1, x1 = np.roll(y0, -1, axis=0), np.roll(x0, -1, axis=0)
    edge, row = ((y0 <= centers) != (y1 <= centers)).nonzero()
    begin, end = y0[edge, 0], y1[edge, 0]
    crossing = x0[edge, 0] + (centers[row] - begin) / (end - begin) * (x1[edge, 0] - x0[edge, 0])
    # Whatever is right of a crossing changes sides: the parity of the crossings at or before a pixel's centre.
    column = np.ceil(crossing - 0.5).astype(np.int64).clip(left, right) - left
    extent = right - left + 1
    turns = np.bincount(row * extent + column, minlength=(bottom - top) * extent).astype(np.uint8)
    parity = np.add.accumulate(turns.reshape(-1, extent), axis=1, dtype=np.uint8) & 1
    mask[top:bottom, left:right] |= parity[:, :-1].astype(bool)


def _with_more_vertices(vertices: np.ndarray, number: int) -> np.ndarray:
    """The same polygon with the middles of its longest edges as further vertices."""
    while len(vertices) < number:
        ends = np.roll(vertices, -1, axis=0)
        longest = int(np.square(ends - vertices).sum(1).argmax())
        vertices = np.insert(vertices, longest + 1, (vertices[longest] + ends[longest]) / 2, axis=0)
    return vertices


__all__ = ["PolygonMaskCodec", "fill_polygon", "fit_vertices", "simplify_outline", "trace_outline"]
