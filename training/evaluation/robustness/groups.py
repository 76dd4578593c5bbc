"""Gaps between groups of patients or films: by view, scanner domain, sex or whatever a column says."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from anatomy_vlm.training.evaluation.arrays import FloatArray, MetricInputError
from anatomy_vlm.training.evaluation.bootstrap import PatientBootstrap, percentile_interval


Metric = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]


@dataclass(frozen=True)
class GroupGap:
    """A metric in one group, and how far the rest is from it.

    Attributes:
        group: its name.
        value: the metric in the group; NaN where it is not defined.
        low, high: percentile interval over patients; NaN with fewer than the minimum number of events.
        gap: the group minus all others.
        gap_low, gap_high: interval of the gap; where it leaves out 0 the groups differ.
        positives, negatives: cases of the group.
    """

    group: str
    value: float
    low: float
    high: float
    gap: float
    gap_low: float
    gap_high: float
    positives: int
    negatives: int


def group_gaps(
    metric: Metric,
    labels: ArrayLike,
    scores: ArrayLike,
    groups: Sequence[Hashable],
    bootstrap: PatientBootstrap,
    *,
    rows: np.ndarray | None = None,
    min_events: int = 10,
    confidence: float = 0.95,
) -> list[GroupGap]:
    """A metric in each group and its gap to the rest, all in the same resamples of patients.

    Args:
        metric: from labels, scores and weights (r, m) to values (r,), such as `roc_auc`.
        labels: shape (m,), 1, 0, or NaN for unknown (left out).
        scores: shape (m,).
        groups: shape (m,), the group of each case.
        bootstrap: over the patients of all groups.
        rows: shape (m,) int, see `PatientBootstrap.resample`.
        min_events: patients with and without that a group and the rest need for intervals.
        confidence: of the intervals.

    Raises:
        MetricInputError: lengths differ.
    """
    label_values, score_values = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    names = np.asarray([str(group) for group in groups])
    if not label_values.shape == score_values.shape == names.shape:
        raise MetricInputError("labels, scores and groups have to be of one length")
    patients = bootstrap.patient_of_row if rows is None else bootstrap.patient_of_row[rows]

    def enough(inside: np.ndarray) -> bool:
        return all(len(np.unique(patients[inside & (label_values == label)])) >= min_events for label in (0, 1))

    result = []
    for name in dict.fromkeys(names.tolist()):
        inside = names == name

        def in_group(weights: FloatArray, inside: np.ndarray = inside) -> FloatArray:
            return metric(label_values, score_values, weights * inside)

        def gap(weights: FloatArray, inside: np.ndarray = inside) -> FloatArray:
            return in_group(weights, inside) - in_group(weights, ~inside)

        once = np.ones((1, len(names)))
        ends = np.full((2, 2), np.nan)
        if enough(inside):
            ends[0] = percentile_interval(bootstrap.resample(in_group, rows), confidence)
            if enough(~inside):
                ends[1] = percentile_interval(bootstrap.resample(gap, rows), confidence)
        positives, negatives = (int((inside & (label_values == label)).sum()) for label in (1, 0))
        value, difference = float(in_group(once)[0]), float(gap(once)[0])
        (low, high), (gap_low, gap_high) = ends.tolist()
        result.append(GroupGap(name, value, low, high, difference, gap_low, gap_high, positives, negatives))
    return result
