"""Does a map show what a score rests on? Regions taken out of a film, and deletion and insertion curves.

What is taken out is filled from around it, smoothly, so that no edge or black box is left for a model to see.
Deletion and insertion: Petsiuk et al., "RISE", BMVC 2018 (arXiv 1806.07421).
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from anatomy_vlm.training.evaluation.arrays import BoolArray, FloatArray, MetricInputError


Score = Callable[[Sequence[np.ndarray]], FloatArray]


def fill_from_around(film: np.ndarray, missing: BoolArray) -> np.ndarray:
    """
    The film with the missing pixels filled from ever coarser means of those that are there (pull-push).

    Args:
        film: (height, width), uint8.
        missing: (height, width) bool. Where all is missing the film becomes its mean.

    Raises:
        MetricInputError: shapes differ.

    >>> film, missing = np.array([[10, 0, 0, 30]], dtype=np.uint8), np.array([[False, True, True, False]])
    >>> fill_from_around(film, missing).tolist()
    [[10, 15, 25, 30]]
    """
    if film.ndim != 2 or film.shape != missing.shape:
        raise MetricInputError(f"film and mask have to be of one shape (height, width), got {film.shape}")
    if missing.all():
        return np.full_like(film, round(float(film.mean())))
    filled = _pull_push(np.where(missing, 0.0, film.astype(np.float64)), (~missing).astype(np.float64))
    return np.where(missing, np.clip(filled + 0.5, 0, 255), film).astype(np.uint8)


def _pull_push(total: FloatArray, weight: FloatArray) -> FloatArray:
    known = weight > 0
    if known.all():
        return total / weight
    height, width = total.shape
    padded = [np.pad(values, ((0, height % 2), (0, width % 2))) for values in (total, weight)]
    # Weights are capped so that a far, well-known pixel does not outweigh a near one.
    half = [values.reshape(values.shape[0] // 2, 2, values.shape[1] // 2, 2).sum(axis=(1, 3)) for values in padded]
    cap = np.maximum(half[1], 1.0)
    coarse = _pull_push(half[0] / cap, half[1] / cap)
    wide = _twice(coarse)[:height, :width]
    return np.where(known, total / np.where(known, weight, 1.0), wide)


def _twice(values: FloatArray) -> FloatArray:
    """Twice as fine, linear between the centres."""
    for axis in (0, 1):
        before = np.concatenate([values.take([0], axis), values.take(range(values.shape[axis] - 1), axis)], axis)
        after = np.concatenate([values.take(range(1, values.shape[axis]), axis), values.take([-1], axis)], axis)
        pair = np.stack([0.75 * values + 0.25 * before, 0.75 * values + 0.25 * after], axis=axis + 1)
        values = pair.reshape([size * (2 if at == axis else 1) for at, size in enumerate(values.shape)])
    return values


def box_mask(shape: tuple[int, int], box: Sequence[float]) -> BoolArray:
    """Pixels (height, width) in a box x0 y0 x1 y1; at least one."""
    height, width = shape
    x0, y0, x1, y1 = box
    rows = slice(min(max(int(y0), 0), height - 1), max(int(np.ceil(y1)), int(y0) + 1))
    columns = slice(min(max(int(x0), 0), width - 1), max(int(np.ceil(x1)), int(x0) + 1))
    mask = np.zeros(shape, dtype=bool)
    mask[rows, columns] = True
    return mask


def deletion_insertion(
    film: np.ndarray, cells: np.ndarray, order: ArrayLike, score: Score, steps: int = 10
) -> tuple[FloatArray, FloatArray]:
    """
    Scores while cells are taken out, and while they are put into the film without any, in one order.

    Args:
        film: (height, width), uint8.
        cells: (height, width), number of the cell of each pixel.
        order: the cells, the one of most weight first.
        score: of several films.
        steps: equal steps.

    Returns:
        Deletion and insertion curves, (steps + 1,) each, from nothing to all.
    """
    ranks = np.empty(int(np.max(cells)) + 1, dtype=int)
    sequence = np.asarray(order, dtype=int)
    if sorted(sequence.tolist()) != list(range(len(ranks))):
        raise MetricInputError(f"order has to name each of the {len(ranks)} cells once")
    ranks[sequence] = np.arange(len(sequence))
    rank = ranks[cells]
    counts = np.linspace(0, len(sequence), steps + 1).round()
    without = [fill_from_around(film, rank < count) for count in counts]
    with_only = [fill_from_around(film, rank >= count) for count in counts]
    values = score([*without, *with_only])
    return values[: steps + 1], values[steps + 1 :]


def curve_area(curve: ArrayLike) -> float:
    """Area under a curve over equal steps of a unit interval.

    >>> curve_area([1.0, 0.0])
    0.5
    """
    return float(np.trapezoid(np.asarray(curve, dtype=np.float64), dx=1 / (len(np.asarray(curve)) - 1)))
