"""Shortcut index: how much of a score is still there when what it should rest on cannot be seen.

Films with one part visible or one part missing are read again. What is hidden becomes one flat grey, the same for all
films, so that it cannot tell anything; what is taken out of the middle of a film is filled from around it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from anatomy_vlm.training.evaluation.arrays import BoolArray, FloatArray, MetricInputError, nan_divide
from anatomy_vlm.training.evaluation.bootstrap import PatientBootstrap, percentile_interval
from anatomy_vlm.training.evaluation.faithfulness import box_mask, fill_from_around
from anatomy_vlm.training.evaluation.ranking import roc_auc


FLAT_GREY = 128
BORDER = 0.12
FLAG_ABOVE = 0.25
VIEWS = ("region only", "without the region", "borders only")


@dataclass(frozen=True)
class ShortcutIndex:
    """Index of one finding in one view.

    Attributes:
        full_auc: AUC on whole films.
        view_auc: AUC on the views.
        index: `(view_auc - 0.5) / (full_auc - 0.5)`, within 0 and 1; NaN where the whole films are read at chance.
        low, high: percentile interval over patients.
        flagged: the lower end lies above `FLAG_ABOVE`: more than a quarter of what the score knows does not come
            from where it should.
    """

    full_auc: float
    view_auc: float
    index: float
    low: float
    high: float
    flagged: bool


def boxes_mask(shape: tuple[int, int], boxes: ArrayLike) -> BoolArray:
    """Pixels (height, width) in any of the boxes, (k, 4) in x0 y0 x1 y1 of pixels."""
    mask = np.zeros(shape, dtype=bool)
    for box in np.asarray(boxes, dtype=np.float64).reshape(-1, 4):
        mask |= box_mask(shape, box.tolist())
    return mask


def border_mask(shape: tuple[int, int], width: float = BORDER) -> BoolArray:
    """The frame of a film: `width` of each side's length.

    >>> border_mask((4, 4), 0.25).astype(int).tolist()
    [[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    """
    if not 0 < width < 0.5:
        raise MetricInputError(f"the width of the border has to lie in (0, 0.5), got {width}")
    rows, columns = (max(1, round(width * side)) for side in shape)
    mask = np.ones(shape, dtype=bool)
    mask[rows : shape[0] - rows, columns : shape[1] - columns] = False
    return mask


def visible_only(film: np.ndarray, visible: BoolArray) -> np.ndarray:
    """The film with all but the visible pixels in one flat grey, `FLAT_GREY`."""
    if film.ndim != 2 or film.shape != visible.shape:
        raise MetricInputError(f"film and mask have to be of one shape (height, width), got {film.shape}")
    return np.where(visible, film, FLAT_GREY).astype(np.uint8)


def make_view(film: np.ndarray, view: str, region: BoolArray) -> np.ndarray:
    """One of `VIEWS` of a film.

    Args:
        film: (height, width), uint8.
        view: which.
        region: (height, width) bool, where the finding may be.

    Raises:
        MetricInputError: an unknown view, or shapes that differ.
    """
    if view == "region only":
        return visible_only(film, region)
    if view == "without the region":
        return fill_from_around(film, region)
    if view == "borders only":
        return visible_only(film, border_mask((film.shape[0], film.shape[1])))
    raise MetricInputError(f"view {view!r} is not one of {', '.join(VIEWS)}")


def view_scores(
    score: Callable[[Sequence[np.ndarray]], FloatArray],
    films: Sequence[np.ndarray],
    regions: Sequence[BoolArray],
    view: str,
    *,
    batch_size: int = 32,
) -> FloatArray:
    """What a model says about a view of each film.

    Args:
        score: from b films (height, width) of uint8 to an array (b, ...), for example of margins.
        films: n films.
        regions: n masks, see `make_view`.
        view: one of `VIEWS`.
        batch_size: films at a time.

    Returns:
        shape (n, ...).
    """
    parts = []
    for start in range(0, len(films), batch_size):
        chosen = slice(start, start + batch_size)
        masked = [make_view(film, view, region) for film, region in zip(films[chosen], regions[chosen], strict=True)]
        parts.append(score(masked))
    return np.concatenate(parts)


def shortcut_index(
    labels: ArrayLike,
    full: ArrayLike,
    view: ArrayLike,
    bootstrap: PatientBootstrap,
    *,
    rows: np.ndarray | None = None,
    confidence: float = 0.95,
) -> ShortcutIndex:
    """Share of a finding's AUC above chance that is left in a view.

    Args:
        labels: shape (m,), 1 or 0; NaN is left out.
        full: shape (m,), scores of the whole films.
        view: shape (m,), scores of the views.
        bootstrap: over the patients.
        rows: shape (m,) int, see `PatientBootstrap.resample`.
        confidence: of the interval.

    Raises:
        MetricInputError: see `as_labels_and_scores`.
    """

    def index(weights: ArrayLike | None) -> FloatArray:
        whole, part = roc_auc(labels, full, weights), roc_auc(labels, view, weights)
        # Films that are read at chance know nothing that a view could keep.
        known = np.where(whole > 0.5, whole - 0.5, np.nan)
        return np.clip(nan_divide(part - 0.5, known), 0.0, 1.0)

    resampled = bootstrap.resample(index, rows)
    low, high = (float(end) for end in percentile_interval(resampled, confidence))
    return ShortcutIndex(
        float(roc_auc(labels, full)), float(roc_auc(labels, view)), float(index(None)), low, high, low > FLAG_ABOVE
    )
