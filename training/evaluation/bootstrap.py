"""Percentile confidence intervals from a bootstrap over patients.

Films of one patient resemble each other, so patients are resampled, not films. A resample is a vector of counts, a
metric with those counts as weights is the metric of the resample, and all resamples go through a metric in one call.

What is done with undefined values: a resample in which the metric is not defined (no positives were drawn) is left
out; if more than 5 % of the resamples are left out there is no interval (NaN), because the rest are not a sample of
anything. The number of distinct resamples is that of a multinomial draw: with 20 patients or more, 1,000 resamples
are 1,000 different ones; `num_distinct` counts them.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from anatomy_vlm.training.evaluation.arrays import FloatArray, MetricInputError


_MIN_DEFINED_SHARE = 0.95
_CHUNK_ELEMENTS = 10_000_000  # 80 MB of weights at a time


@dataclass(frozen=True)
class PatientBootstrap:
    """Resamples of patients.

    Attributes:
        patient_of_row: shape (n,) int, the patient of each row (film).
        counts: shape (resamples, patients), how often each patient was drawn.
    """

    patient_of_row: np.ndarray
    counts: FloatArray

    @classmethod
    def draw(cls, patient_ids: Sequence[Hashable], *, num_resamples: int = 1000, seed: int = 0) -> "PatientBootstrap":
        """Draw as many patients as there are, with replacement, `num_resamples` times.

        Args:
            patient_ids: one per row (film), in any order.
            num_resamples: at least 1.
            seed: same seed, same resamples.

        Raises:
            MetricInputError: no rows or no resamples.

        >>> bootstrap = PatientBootstrap.draw(["a", "a", "b"], num_resamples=5)
        >>> bootstrap.counts.sum(axis=1).tolist()
        [2.0, 2.0, 2.0, 2.0, 2.0]
        """
        if len(patient_ids) == 0 or num_resamples < 1:
            raise MetricInputError("a bootstrap needs at least one patient and one resample")
        _, patient_of_row = np.unique(np.asarray([str(name) for name in patient_ids]), return_inverse=True)
        num_patients = int(patient_of_row.max()) + 1
        rng = np.random.default_rng(seed)
        counts = rng.multinomial(num_patients, np.full(num_patients, 1 / num_patients), size=num_resamples)
        return cls(patient_of_row, counts.astype(np.float64))

    @property
    def num_patients(self) -> int:
        return self.counts.shape[1]

    @property
    def num_distinct(self) -> int:
        """How many different resamples there are; a handful of patients cannot give 1,000."""
        return len(np.unique(self.counts, axis=0))

    def resample(self, statistic: Callable[[FloatArray], FloatArray], rows: np.ndarray | None = None) -> FloatArray:
        """Value of a statistic in every resample.

        Args:
            statistic: takes weights of shape (r, m) for its m items, returns shape (r, ...).
            rows: shape (m,) int, the row (film) of each item; None if the items are the rows.

        Returns:
            shape (resamples, ...).
        """
        patient = self.patient_of_row if rows is None else self.patient_of_row[rows]
        chunk = max(1, _CHUNK_ELEMENTS // max(1, len(patient)))
        parts = [
            statistic(self.counts[start : start + chunk][:, patient]) for start in range(0, len(self.counts), chunk)
        ]
        return np.concatenate(parts)


def percentile_interval(values: FloatArray, confidence: float = 0.95) -> FloatArray:
    """Percentile interval over the first dimension.

    Args:
        values: shape (resamples, ...), NaN where a resample is undefined.
        confidence: mass inside the interval, in (0, 1).

    Returns:
        shape (2, ...): lower and upper end; NaN where more than 5 % of the resamples are undefined.

    >>> percentile_interval(np.arange(1001.0)).round(6).tolist()
    [25.0, 975.0]
    """
    if not 0 < confidence < 1:
        raise MetricInputError(f"confidence has to lie between 0 and 1, got {confidence}")
    tail = (1 - confidence) / 2
    flat = values.reshape(len(values), -1)
    ends = np.full((2, flat.shape[1]), np.nan)
    usable = defined_share_suffices(flat)
    if usable.any():
        ends[:, usable] = np.nanquantile(flat[:, usable], [tail, 1 - tail], axis=0)
    return ends.reshape(2, *values.shape[1:])


def defined_share_suffices(resampled: FloatArray) -> np.ndarray:
    """Whether at most 5 % of the resamples, the first dimension, are undefined: bool of the other dimensions."""
    return (~np.isnan(resampled)).mean(axis=0) >= _MIN_DEFINED_SHARE
