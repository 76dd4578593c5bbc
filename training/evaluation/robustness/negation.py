"""Negation ledger: does "no effusion" mean the opposite of "effusion" to a model?

A text encoder that matches words scores "there is no effusion" highest where the effusion is: an AUC of the negated
prompt against absence far below 0.5.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from anatomy_vlm.training.evaluation.arrays import FloatArray, as_labels_and_scores, nan_divide
from anatomy_vlm.training.evaluation.ranking import roc_auc


@dataclass(frozen=True)
class NegationLedger:
    """Four numbers of one finding, each of shape (...) like the leading dimensions of the weights.

    Attributes:
        positive_auc: of the positive prompt against presence.
        negated_auc: of the negated prompt against absence; below 0.5 the model reads the word and not the "no".
        paired_auc: of the difference, positive minus negated, against presence.
        swap_consistency: see `swap_consistency`.
    """

    positive_auc: FloatArray
    negated_auc: FloatArray
    paired_auc: FloatArray
    swap_consistency: FloatArray


def negation_ledger(
    labels: ArrayLike, positive: ArrayLike, negated: ArrayLike, weights: ArrayLike | None = None
) -> NegationLedger:
    """The ledger of one finding.

    Args:
        labels: shape (n,), 1, 0, or NaN for unknown (left out).
        positive: shape (n,), logits of the text that states the finding.
        negated: shape (n,), logits of the text that denies it.
        weights: shape (..., n), see `roc_auc`.

    Returns:
        Numbers that are NaN where there are no positives or no negatives.

    Raises:
        MetricInputError: see `as_labels_and_scores`.

    >>> ledger = negation_ledger([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], [0.3, 0.1, 0.6, 0.7])
    >>> float(ledger.positive_auc), float(ledger.negated_auc), float(ledger.swap_consistency)
    (1.0, 0.0, 0.0)
    """
    label_values = np.asarray(labels, dtype=np.float64)
    states, denies = np.asarray(positive, dtype=np.float64), np.asarray(negated, dtype=np.float64)
    return NegationLedger(
        roc_auc(label_values, states, weights),
        roc_auc(1 - label_values, denies, weights),
        roc_auc(label_values, states - denies, weights),
        swap_consistency(label_values, states, denies, weights),
    )


def swap_consistency(
    labels: ArrayLike, positive: ArrayLike, negated: ArrayLike, weights: ArrayLike | None = None
) -> FloatArray:
    """Share of (present, absent) pairs of films whose order both prompts get right, so that swapping them swaps it.

    The positive prompt has to prefer the film with the finding and the negated one the film without; a tie counts
    half. Prompts that rank at random have 0.25, a negated prompt that ranks as the positive one does has 0.

    Args, errors and returns as in `negation_ledger`.
    """
    present, states, weight = as_labels_and_scores(labels, positive, weights)
    _, denies, _ = as_labels_and_scores(labels, negated)
    with_finding, without = states[present][:, None], states[~present][None]
    stated_right = (with_finding > without) + 0.5 * (with_finding == without)
    denied_with, denied_without = denies[present][:, None], denies[~present][None]
    denied_right = (denied_without > denied_with) + 0.5 * (denied_without == denied_with)
    both = stated_right * denied_right
    of_positives, of_negatives = weight[..., present], weight[..., ~present]
    pairs = of_positives.sum(axis=-1) * of_negatives.sum(axis=-1)
    return nan_divide(((of_positives @ both) * of_negatives).sum(axis=-1), pairs)[()]
