"""Rays that a cut volume gives only in part, and the film without them."""

from collections.abc import Sequence

import numpy as np

from anatomy_vlm.synthesis.projection.geometry import Geometry
from anatomy_vlm.synthesis.projection.placement import voxel_to_world


def valid_rays(tissue: np.ndarray, placement: Sequence[float] | np.ndarray, geometry: Geometry) -> np.ndarray:
    """Which rays cross no cut end of the body.

    A scan ends at its first and last slice, the patient does not. A ray is complete if, all the way through the body's
    extent across the long axis, it stays between those two slices or leaves them where there is air.

    Args:
        tissue: bool (Z, Y, X), the body; the first axis runs along the patient.
        placement, geometry: as for `project_volume`.

    Returns:
        bool (rows, columns); False also for rays that pass above or below the scan.
    """
    affine = voxel_to_world(placement, tissue.shape)
    inverse = np.linalg.inv(affine)
    source = inverse[:3, :3] @ geometry.source_mm + inverse[:3, 3]
    way = geometry.pixels_mm() @ inverse[:3, :3].T + inverse[:3, 3] - source
    depth, height, width = tissue.shape
    flat = np.logical_or.reduce(tissue, axis=0)
    if not flat.any():
        return np.zeros(geometry.detector_shape, bool)
    rows, columns = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    sides = ((columns[0] - 0.5, columns[-1] + 0.5), (rows[0] - 0.5, rows[-1] + 0.5))
    start, stop = np.zeros(way.shape[:2]), np.full(way.shape[:2], np.inf)
    for axis, (low, high) in enumerate(sides):
        step = np.where(np.abs(way[..., axis]) < 1e-12, 1e-12, way[..., axis])
        a, b = (low - source[axis]) / step, (high - source[axis]) / step
        start, stop = np.maximum(start, np.minimum(a, b)), np.minimum(stop, np.maximum(a, b))
    beside = stop <= start
    enter, leave = (source[2] + t * way[..., 2] for t in (start, np.where(beside, start, stop)))
    lowest, highest = np.minimum(enter, leave), np.maximum(enter, leave)
    valid = (highest > -0.5) & (lowest < depth - 0.5)
    for face, outside in ((0, lowest < -0.5), (depth - 1, highest > depth - 0.5)):
        plane = -0.5 if face == 0 else depth - 0.5
        t = (plane - source[2]) / np.where(np.abs(way[..., 2]) < 1e-12, 1e-12, way[..., 2])
        x = np.clip(np.rint(source[0] + t * way[..., 0]), 0, width - 1).astype(int)
        y = np.clip(np.rint(source[1] + t * way[..., 1]), 0, height - 1).astype(int)
        valid &= ~(outside & tissue[face, y, x])
    middle = source[2] + (start + np.where(beside, start, stop)) / 2 * way[..., 2]
    return np.where(beside, (middle > -0.5) & (middle < depth - 0.5), valid)


def largest_rectangle(mask: np.ndarray) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of the largest rectangle of true pixels, ends exclusive; all 0 if there is none.

    Example:
        >>> largest_rectangle(np.array([[0, 1, 1], [1, 1, 1]], bool))
        (0, 2, 1, 3)
    """
    best, found = 0, (0, 0, 0, 0)
    heights = np.zeros(mask.shape[1] + 1, int)
    for row in range(mask.shape[0]):
        heights[:-1] = np.where(mask[row], heights[:-1] + 1, 0)
        stack: list[tuple[int, int]] = []
        for column, height in enumerate(heights.tolist()):
            start = column
            while stack and stack[-1][1] >= height:
                start, tall = stack.pop()
                if tall * (column - start) > best:
                    best = tall * (column - start)
                    found = (row + 1 - tall, row + 1, start, column)
            stack.append((start, height))
    return found
