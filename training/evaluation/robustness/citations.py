"""Citations: is the region whose loss changes a score most one that holds the finding?

Regions are nested and overlap (a lower zone lies in its lung, the lung beside the heart), so a comparison with "any
other" region needs a rule: a region competes only where it holds next to nothing of the finding.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from anatomy_vlm.training.evaluation.arrays import BoolArray, FloatArray, MetricInputError
from anatomy_vlm.training.evaluation.faithfulness import box_mask


FREE_OF_FINDING = 0.10


@dataclass(frozen=True)
class Citation:
    """One finding on one film.

    Attributes:
        faithful: taking out the best of the cited regions lowers the score more than taking out any competitor.
        cited: index of that region.
        competitor: index of the competitor whose loss lowers the score most.
        drop: how far the score falls without the cited region.
        competitor_drop: and without the competitor.
    """

    faithful: bool
    cited: int
    competitor: int
    drop: float
    competitor_drop: float


def shares_in_boxes(signal: ArrayLike, boxes: ArrayLike) -> FloatArray:
    """Share of a finding that lies in each box: shape (R,).

    Args:
        signal: (height, width), not negative, how much of the finding is in each pixel (a mask, or attenuation).
        boxes: (R, 4), x0 y0 x1 y1 in pixels.

    Raises:
        MetricInputError: nothing of the finding is on the film.

    >>> shares_in_boxes([[1, 3], [0, 0]], [[0, 0, 1, 1], [0, 0, 2, 2]]).tolist()
    [0.25, 1.0]
    """
    values = np.asarray(signal, dtype=np.float64)
    if values.ndim != 2 or not values.sum() > 0:
        raise MetricInputError("a finding needs pixels (height, width) that are not all 0")
    shape = (values.shape[0], values.shape[1])
    inside = [values[box_mask(shape, box.tolist())].sum() for box in np.asarray(boxes, dtype=np.float64)]
    return np.array(inside) / values.sum()


def judge_citation(
    drops: ArrayLike, shares: ArrayLike, cited: ArrayLike, *, free: float = FREE_OF_FINDING
) -> Citation | None:
    """Compare the regions that a statement cites with all that hold next to nothing of the finding.

    Args:
        drops: (R,), score of the film minus score without each region.
        shares: (R,), from `shares_in_boxes`.
        cited: (R,) bool, regions of which the finding is stated.
        free: a region with a larger share of the finding is no competitor.

    Returns:
        None where nothing is cited or no region is free of the finding.

    Raises:
        MetricInputError: shapes differ or drops hold NaN.

    >>> judge_citation([0.5, 0.4, 0.1], [0.9, 0.5, 0.0], [True, False, False]).faithful
    True
    """
    fall, share, named = np.asarray(drops, np.float64), np.asarray(shares, np.float64), np.asarray(cited, dtype=bool)
    if fall.ndim != 1 or not fall.shape == share.shape == named.shape or np.isnan(fall).any():
        raise MetricInputError("drops, shares and cited have to be vectors of one length without NaN")
    competitors: BoolArray = (share <= free) & ~named
    if not named.any() or not competitors.any():
        return None
    best = int(np.flatnonzero(named)[np.argmax(fall[named])])
    other = int(np.flatnonzero(competitors)[np.argmax(fall[competitors])])
    return Citation(bool(fall[best] > fall[other]), best, other, float(fall[best]), float(fall[other]))
