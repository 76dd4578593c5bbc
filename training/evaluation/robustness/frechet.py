"""Fréchet distance between two datasets in the space of a model's region embeddings."""

import numpy as np
from numpy.typing import ArrayLike

from anatomy_vlm.training.evaluation.arrays import FloatArray, MetricInputError


def frechet_distance(first: ArrayLike, second: ArrayLike) -> float:
    """Squared Fréchet distance of two sets of features taken for Gaussian (Dowson and Landau 1982; the "FID").

    `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`. Estimates from few rows are too large: compare with
    `split_half_distance`, which is what one and the same dataset gives.

    Args:
        first: shape (n, D).
        second: shape (m, D).

    Raises:
        MetricInputError: shapes do not fit, fewer than two rows, or values that are not finite.

    >>> frechet_distance([[0.0], [2.0]], [[3.0], [5.0]])
    9.0
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1] or min(len(one), len(other)) < 2:
        raise MetricInputError(
            f"features have to be (n, D) and (m, D), at least two rows, got {one.shape}, {other.shape}"
        )
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise MetricInputError("features hold values that are not finite")
    means = one.mean(axis=0) - other.mean(axis=0)
    covariance, other_covariance = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (one, other))
    # tr((C1 C2)^(1/2)) is the sum of the singular values of C1^(1/2) C2^(1/2), which needs no root of a product.
    shared = np.linalg.svd(_root(covariance) @ _root(other_covariance), compute_uv=False).sum()
    trace = np.trace(covariance) + np.trace(other_covariance) - 2 * shared
    return float(max(means @ means + trace, 0.0))


def split_half_distance(features: ArrayLike, *, seed: int = 0) -> float:
    """Distance between two random halves of one dataset: what no difference looks like at this number of rows."""
    rows = np.asarray(features, dtype=np.float64)
    order = np.random.default_rng(seed).permutation(len(rows))
    half = len(rows) // 2
    return frechet_distance(rows[order[:half]], rows[order[half:]])


def _root(matrix: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
