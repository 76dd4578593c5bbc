"""Split conformal prediction sets for a binary finding, conditional on its label.

Vovk, Lei, Wasserman and others: the k-th most extreme of n exchangeable calibration margins, k = ceil((n + 1) c), is
passed by a new one with a probability of at least c and below c + 1 / (n + 1). Cuts are made among the positives and
among the negatives separately (Mondrian), so that the coverage holds for patients with a rare finding too, not only on
average over everybody.
"""

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from anatomy_vlm.processing.score_calibration_anatomy_vlm import ConformalCuts
from anatomy_vlm.training.evaluation.arrays import FloatArray, MetricInputError, as_labels_and_scores


def fit_cuts(
    labels: ArrayLike, margins: ArrayLike, patient_ids: Sequence[Hashable], *, coverage: float = 0.9, seed: int = 0
) -> ConformalCuts:
    """Cuts from one case of each patient, drawn at random: cases of one patient are not exchangeable with new ones.

    Args:
        labels: shape (n,), 1, 0, or NaN for unknown (left out).
        margins: shape (n,).
        patient_ids: shape (n,).
        coverage: share of new positives, and of new negatives, whose true answer stays open; in (0, 1).
        seed: of the choice among the cases of a patient.

    Returns:
        The cuts; `None` for a class with too few patients (fewer than coverage / (1 - coverage)), where only a cut
        at infinity has the coverage.

    Raises:
        MetricInputError: see `as_labels_and_scores`; a coverage outside (0, 1) or ids of another length.

    >>> cuts = fit_cuts([0] * 9 + [1] * 9, range(18), range(18), coverage=0.9)
    >>> cuts.present_from, cuts.absent_to
    (9.0, 8.0)
    """
    if not 0 < coverage < 1:
        raise MetricInputError(f"coverage has to lie between 0 and 1, got {coverage}")
    patients = np.asarray([str(name) for name in patient_ids])
    known = ~np.isnan(np.asarray(labels, dtype=np.float64))
    if patients.shape != known.shape:
        raise MetricInputError(f"{len(known)} cases need as many patient ids, got {len(patients)}")
    present, margin, _ = as_labels_and_scores(labels, margins)
    rng = np.random.default_rng(seed)
    positive = _one_per_patient(margin[present], patients[known][present], rng)
    negative = _one_per_patient(margin[~present], patients[known][~present], rng)
    lowest = _cut(-positive, coverage)
    return ConformalCuts(None if lowest is None else -lowest, _cut(negative, coverage), len(positive), len(negative))


def _one_per_patient(margin: FloatArray, patients: np.ndarray, rng: np.random.Generator) -> FloatArray:
    shuffled = rng.permutation(len(margin))
    _, first = np.unique(patients[shuffled], return_index=True)
    return margin[shuffled[first]]


def _cut(values: FloatArray, coverage: float) -> float | None:
    """The value that a new one does not exceed with probability `coverage`."""
    rank = math.ceil((len(values) + 1) * coverage - 1e-9)
    return float(np.partition(values, rank - 1)[rank - 1]) if rank <= len(values) else None
