"""Recall@k of a retrieval, for example of phrases by images, or of neighbours by region."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from anatomy_vlm.training.evaluation.arrays import FloatArray, MetricInputError, weighted_mean


def first_relevant_rank(similarity: ArrayLike, relevant: ArrayLike) -> FloatArray:
    """Rank, from 1, of the best relevant item of each query. A tie with an irrelevant item counts as lost.

    Args:
        similarity: shape (queries, items).
        relevant: shape (queries, items) bool.

    Returns:
        shape (queries,); NaN for a query without a relevant item.

    Raises:
        MetricInputError: shapes differ or a similarity is NaN.

    >>> first_relevant_rank([[0.9, 0.5, 0.7], [0.2, 0.2, 0.1]], [[0, 1, 0], [1, 0, 0]]).tolist()
    [3.0, 2.0]
    """
    score, wanted = np.asarray(similarity, dtype=np.float64), np.asarray(relevant, dtype=bool)
    if score.ndim != 2 or score.shape != wanted.shape or np.isnan(score).any():
        raise MetricInputError(
            f"similarity and relevant have to be of one shape (queries, items) without NaN, got {score.shape} and "
            f"{wanted.shape}"
        )
    best = np.where(wanted, score, -np.inf).max(axis=1, initial=-np.inf, keepdims=True)
    rank = 1.0 + (~wanted & (score >= best)).sum(axis=1)
    return np.where(wanted.any(axis=1), rank, np.nan)


def recall_at_k(
    similarity: ArrayLike, relevant: ArrayLike, ks: Sequence[int] = (1, 5, 10), weights: ArrayLike | None = None
) -> FloatArray:
    """Share of queries with a relevant item among the first k, as in image-text retrieval.

    Args:
        similarity, relevant: as in `first_relevant_rank`.
        ks: numbers of items to look at.
        weights: shape (..., queries), see `roc_auc`.

    Returns:
        shape (..., ks); NaN where no query has a relevant item.

    Raises:
        MetricInputError: see `first_relevant_rank`; a k below 1.

    >>> recall_at_k([[0.9, 0.5, 0.7], [0.2, 0.3, 0.1]], [[0, 1, 0], [1, 0, 0]], ks=(1, 2, 3)).tolist()
    [0.0, 0.5, 1.0]
    """
    if min(ks, default=0) < 1:
        raise MetricInputError(f"ks have to be numbers of at least 1, got {tuple(ks)}")
    rank = first_relevant_rank(similarity, relevant)[:, None]
    return weighted_mean(np.where(np.isnan(rank), np.nan, rank <= np.asarray(ks)), weights)
