"""Paired tests of two models on the same patients, and Holm's correction for testing many things."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from anatomy_vlm.training.evaluation.arrays import FloatArray, MetricInputError
from anatomy_vlm.training.evaluation.bootstrap import PatientBootstrap, defined_share_suffices, percentile_interval


@dataclass(frozen=True)
class PairedDifference:
    """Difference of a metric between two models.

    Attributes:
        difference: first minus second, on all rows.
        low, high: percentile interval over patients.
        p_value: two-sided, the smallest level at which the percentile interval leaves out 0; at least
            2 / (resamples + 1). NaN where there is no interval.
    """

    difference: float
    low: float
    high: float
    p_value: float


def paired_bootstrap_test(
    first: Callable[[FloatArray], FloatArray],
    second: Callable[[FloatArray], FloatArray],
    bootstrap: PatientBootstrap,
    *,
    rows: np.ndarray | None = None,
    confidence: float = 0.95,
) -> PairedDifference:
    """Compare two models in the same resamples of patients, so that what is hard for both cancels.

    Args:
        first: metric of one model, from weights of shape (r, m) to values of shape (r,).
        second: the same metric of the other model.
        bootstrap: over the patients of both.
        rows: shape (m,) int, see `PatientBootstrap.resample`.
        confidence: of the interval.

    >>> bootstrap = PatientBootstrap.draw(range(40), num_resamples=200)
    >>> right = np.arange(40) % 4 > 0
    >>> result = paired_bootstrap_test(lambda w: w @ right / 40, lambda w: w @ ~right / 40, bootstrap)
    >>> result.difference, result.p_value < 0.05
    (0.5, True)
    """

    def difference(weights: FloatArray) -> FloatArray:
        return first(weights) - second(weights)

    num_items = len(bootstrap.patient_of_row if rows is None else rows)
    observed = float(difference(np.ones((1, num_items)))[0])
    resampled = bootstrap.resample(difference, rows)
    low, high = percentile_interval(resampled, confidence)
    return PairedDifference(observed, float(low), float(high), _two_sided(resampled))


def holm(p_values: ArrayLike) -> FloatArray:
    """Holm's step-down adjustment (Scand. J. Statistics 6, 1979): family-wise error under any dependence.

    Args:
        p_values: shape (m,); NaN is a test that was not made: it stays NaN and does not count.

    Returns:
        shape (m,), adjusted; reject where it is at most the level.

    Raises:
        MetricInputError: not a vector, or a value outside [0, 1].

    >>> holm([0.01, 0.04, 0.03, np.nan]).round(3).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    values = np.asarray(p_values, dtype=np.float64)
    made = np.flatnonzero(~np.isnan(values)) if values.ndim == 1 else np.array([], dtype=int)
    if values.ndim != 1 or ((values[made] < 0) | (values[made] > 1)).any():
        raise MetricInputError("p values have to be a vector of numbers in 0 to 1, NaN for a test that was not made")
    order = made[np.argsort(values[made], kind="stable")]
    adjusted = np.full(values.shape, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)), 1.0)
    return adjusted


def holm_by_name(p_values: Mapping[str, float]) -> dict[str, float]:
    """`holm` of named tests, for example one per finding.

    >>> holm_by_name({"pneumothorax": 0.02, "pleural effusion": 0.5})
    {'pneumothorax': 0.04, 'pleural effusion': 0.5}
    """
    return dict(zip(p_values, holm(list(p_values.values())).tolist(), strict=True))


def _two_sided(resampled: FloatArray) -> float:
    if not defined_share_suffices(resampled):
        return float("nan")
    defined = resampled[~np.isnan(resampled)]
    beyond = min((defined <= 0).sum(), (defined >= 0).sum())
    return float(min(1.0, 2 * (1 + beyond) / (1 + len(defined))))
