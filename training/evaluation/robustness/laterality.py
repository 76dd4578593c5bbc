"""Laterality: does a model tell the patient's left from the right, and does a mirrored film give mirrored answers?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from anatomy_vlm.training.evaluation.arrays import FloatArray, MetricInputError, nan_mean, weighted_mean
from anatomy_vlm.training.evaluation.targets import Targets


@dataclass(frozen=True)
class SidedPairs:
    """p findings that are present in a region of one side and stated to be absent in the mirrored region.

    Attributes:
        image, finding, region, mirrored: (p,) int.
    """

    image: np.ndarray
    finding: np.ndarray
    region: np.ndarray
    mirrored: np.ndarray


@dataclass(frozen=True)
class FlipConsistency:
    """How the answers for a mirrored film compare with those for the film.

    Attributes:
        side_preference: share of (film, pair of regions, finding) whose preferred side changes with the film.
        score_difference: mean absolute difference of score between a region and its mirror in the mirrored film.
    """

    side_preference: float
    score_difference: float


def sided_pairs(targets: Targets, mirror: ArrayLike) -> SidedPairs:
    """The one-sided findings of a dataset.

    Args:
        targets: ground truth of n images.
        mirror: (R,) int, the region that takes a region's place in a mirrored film; its own index if unpaired.
    """
    counterpart = np.asarray(mirror)
    known = {
        (int(image), int(region), int(finding)): label
        for image, region, finding, label in zip(
            targets.pair_image, targets.pair_region, targets.pair_finding, targets.pair_labels, strict=True
        )
    }
    found = [
        (image, finding, region, int(counterpart[region]))
        for (image, region, finding), label in known.items()
        if label == 1 and counterpart[region] != region and known.get((image, int(counterpart[region]), finding)) == 0
    ]
    table = np.asarray(found, dtype=np.int64).reshape(-1, 4)
    return SidedPairs(*table.T)


def laterality_margins(scores: ArrayLike, pairs: SidedPairs) -> FloatArray:
    """Score of the true side minus that of the mirrored side: shape (p,).

    Args:
        scores: (n, R, F), margins or scores of regions.
        pairs: from `sided_pairs`.

    >>> pairs = SidedPairs(*np.array([[0], [0], [0], [1]]))
    >>> laterality_margins([[[0.75], [0.25]]], pairs).tolist()
    [0.5]
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 3 or np.isnan(values).any():
        raise MetricInputError(f"scores have to be (n, regions, findings) without NaN, got {values.shape}")
    return values[pairs.image, pairs.region, pairs.finding] - values[pairs.image, pairs.mirrored, pairs.finding]


def right_side_share(margins: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Share of margins above 0, a tie counting half; 0.5 is chance. NaN without margins."""
    values = np.asarray(margins, dtype=np.float64)
    return weighted_mean((values > 0) + 0.5 * (values == 0), weights)


def flip_consistency(scores: ArrayLike, mirrored_scores: ArrayLike, mirror: ArrayLike) -> FlipConsistency:
    """Compare the scores of films with those of the same films mirrored.

    Args:
        scores: (n, R, F), of the films.
        mirrored_scores: (n, R, F), of the mirrored films.
        mirror: (R,) int, as in `sided_pairs`.

    Returns:
        NaN where there are no paired regions.

    Raises:
        MetricInputError: shapes differ.

    >>> flip_consistency([[[0.75], [0.25]]], [[[0.25], [0.75]]], [1, 0])
    FlipConsistency(side_preference=1.0, score_difference=0.0)
    """
    original = np.asarray(scores, dtype=np.float64)
    flipped, counterpart = np.asarray(mirrored_scores, dtype=np.float64), np.asarray(mirror)
    if original.ndim != 3 or original.shape != flipped.shape or counterpart.shape != original.shape[1:2]:
        raise MetricInputError(
            f"scores have to be two arrays (n, regions, findings) of one shape, got {original.shape}, {flipped.shape}"
        )
    back = flipped[:, counterpart]
    first = np.flatnonzero(counterpart > np.arange(len(counterpart)))
    before = original[:, first] - original[:, counterpart[first]]
    after = back[:, first] - back[:, counterpart[first]]
    agrees = np.where((before == 0) | (after == 0), 0.5, np.sign(before) == np.sign(after))
    return FlipConsistency(float(nan_mean(agrees.ravel())), float(nan_mean(np.abs(original - back).ravel())))
