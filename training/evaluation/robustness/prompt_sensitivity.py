"""Prompt sensitivity: how much of a result hangs on one way of saying the same."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from anatomy_vlm.training.evaluation.arrays import MetricInputError, as_labels_and_scores
from anatomy_vlm.training.evaluation.ranking import roc_auc


@dataclass(frozen=True)
class PromptSensitivity:
    """One finding over T paraphrases.

    Attributes:
        auc: shape (T,), of each wording.
        ensemble_auc: of the mean logit.
        agreement: mean Spearman correlation of a wording with the mean of the others; NaN for one wording.
        flips: share of films that some, but not all wordings rank among the k highest, k being the number of
            positives: what changes hands with the wording.
    """

    auc: tuple[float, ...]
    ensemble_auc: float
    agreement: float
    flips: float

    @property
    def spread(self) -> float:
        """Highest minus lowest AUC."""
        return max(self.auc) - min(self.auc)


def prompt_sensitivity(labels: ArrayLike, logits: ArrayLike) -> PromptSensitivity:
    """Compare paraphrases of one statement.

    Args:
        labels: shape (n,), whether the statement is true of the film, 1, 0 or NaN (left out).
        logits: shape (n, T), of each wording.

    Raises:
        MetricInputError: shapes do not fit or logits hold NaN.

    >>> same = prompt_sensitivity([0, 0, 1, 1], [[0.1, 1.0], [0.2, 2.0], [0.8, 8.0], [0.9, 9.0]])
    >>> same.spread, round(same.agreement, 6), same.flips
    (0.0, 1.0, 0.0)
    """
    values, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] == 0 or truth.shape != values.shape[:1]:
        raise MetricInputError(f"logits have to be (n, wordings) for n labels, got {values.shape} and {truth.shape}")
    auc = tuple(float(roc_auc(truth, column)) for column in values.T)
    known = values[~np.isnan(truth)]
    present, _, _ = as_labels_and_scores(truth, values.mean(axis=1))
    ranks = stats.rankdata(known, axis=0)
    num_wordings, num_positives = values.shape[1], int(present.sum())
    agreements = [
        float(stats.spearmanr(known[:, index], np.delete(known, index, axis=1).mean(axis=1)).statistic)
        for index in range(num_wordings if num_wordings > 1 and len(known) > 2 else 0)
    ]
    chosen = ranks > len(known) - num_positives
    flips = float((chosen.any(axis=1) & ~chosen.all(axis=1)).mean()) if len(known) else float("nan")
    mean = float(np.mean(agreements)) if agreements else float("nan")
    return PromptSensitivity(auc, float(roc_auc(truth, values.mean(axis=1))), mean, flips)
