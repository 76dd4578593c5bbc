"""The pointing game: does the highest place of a map lie on what it is about (Zhang et al., IJCV 2018)?"""

import numpy as np
from numpy.typing import ArrayLike

from anatomy_vlm.training.evaluation.arrays import BoolArray, FloatArray, MetricInputError


def pointing_hits(maps: ArrayLike, targets: ArrayLike) -> FloatArray:
    """Whether the maximum of each map lies in its target; `weighted_mean` of it is the pointing game's accuracy.

    Several equal maxima share the point, so that a constant map earns the target's share of the picture, which is
    chance, and not a hit or a miss by the order of its pixels.

    Args:
        maps: shape (n, height, width), for example similarity of patches to a phrase.
        targets: shape (n, height, width) bool, where the thing is; see `boxes_to_mask`.

    Returns:
        shape (n,) in [0, 1]; NaN where the target is empty.

    Raises:
        MetricInputError: shapes differ or a map holds NaN.

    >>> pointing_hits([[[0.1, 0.9]], [[0.5, 0.5]]], [[[False, True]], [[False, True]]]).tolist()
    [1.0, 0.5]
    """
    values, true = np.asarray(maps, dtype=np.float64), np.asarray(targets, dtype=bool)
    if values.ndim != 3 or values.shape != true.shape or 0 in values.shape[1:]:
        raise MetricInputError(f"maps and targets have to be (n, height, width), got {values.shape}, {true.shape}")
    if np.isnan(values).any():
        raise MetricInputError("maps hold NaN: the model's output is broken, a metric would hide it")
    highest = values == values.max(axis=(1, 2), keepdims=True)
    share = (highest & true).sum(axis=(1, 2)) / highest.sum(axis=(1, 2))
    return np.where(true.any(axis=(1, 2)), share, np.nan)


def boxes_to_mask(boxes: ArrayLike, shape: tuple[int, int]) -> BoolArray:
    """Cells of a grid whose centre lies in one of the boxes; a small box has at least the cell of its own centre.

    Args:
        boxes: shape (k, 4), x0 y0 x1 y1 as fractions of the picture.
        shape: (height, width) of the grid.

    Returns:
        shape (height, width) bool.

    Raises:
        MetricInputError: boxes of another shape.

    >>> boxes_to_mask([[0.0, 0.0, 0.5, 1.0]], (1, 4)).tolist()
    [[True, True, False, False]]
    """
    corners = np.asarray(boxes, dtype=np.float64)
    if corners.ndim != 2 or corners.shape[1] != 4:
        raise MetricInputError(f"boxes have to be of shape (k, 4), got {corners.shape}")
    height, width = shape
    rows, columns = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    mask = np.zeros(shape, dtype=bool)
    for x0, y0, x1, y1 in corners:
        mask |= ((rows >= y0) & (rows <= y1))[:, None] & ((columns >= x0) & (columns <= x1))
        centre_row, centre_column = int((y0 + y1) / 2 * height), int((x0 + x1) / 2 * width)
        if 0 <= centre_row < height and 0 <= centre_column < width:
            mask[centre_row, centre_column] = True
    return mask
