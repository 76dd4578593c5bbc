"""What became of a finding between two studies of one patient: a verdict with its uncertainty, from calibration."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from scipy.stats import norm

from anatomy_vlm.processing.score_calibration_anatomy_vlm import FindingCalibration, LogisticMap


NEW, WORSE, STABLE, BETTER, RESOLVED = VERDICTS = ("new", "worse", "stable", "better", "resolved")
# What each verdict becomes when the studies are exchanged.
EXCHANGED = dict(zip(VERDICTS, reversed(VERDICTS), strict=True))
_LEAST = 1e-6
# Of a noise in log-odds: no calibration is so good that less would be a change.
_SMALLEST_NOISE = 0.25


@dataclass(frozen=True)
class Change:
    """A finding in two studies.

    Attributes:
        verdict: one of `VERDICTS`.
        certain: False where the scores lie on two sides of the threshold, but no farther apart than their noise.
        prior, current: calibrated probabilities.
        change: of the log-odds, current minus prior.
        noise: standard deviation of the change that two films of the same status have.
        probability: that a difference of this size is no noise, two-sided.
        threshold: the probability from which the finding counts as present.
    """

    verdict: str
    certain: bool
    prior: float
    current: float
    change: float
    noise: float
    probability: float
    threshold: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data, rounded."""
        return {key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(self).items()}


def change_between(
    calibration: FindingCalibration, prior: float, current: float, *, coverage: float, confidence: float = 0.8
) -> Change:
    """Compare a finding's margins in two studies.

    A finding is `new` or `resolved` where its calibrated probability crosses the threshold, `worse` or `better` where
    it is above it in both studies, and `stable` where it is below it in both, or where the change is no larger than
    the noise. The verdict of the studies exchanged is the mirrored one, exactly, and that of two equal margins is
    `stable`.

    Args:
        calibration: of the finding.
        prior: margin in the earlier study.
        current: margin in the later one.
        coverage: of the calibration's conformal cuts.
        confidence: two-sided, that a change has to reach.

    >>> from anatomy_vlm.processing.score_calibration_anatomy_vlm import ConformalCuts
    >>> cuts = ConformalCuts(present_from=-1.0, absent_to=1.0)
    >>> calibration = FindingCalibration(LogisticMap(1.0), 0.5, "validation", cuts)
    >>> change_between(calibration, -4.0, 4.0, coverage=0.9).verdict
    'new'
    >>> change_between(calibration, 4.0, -4.0, coverage=0.9).verdict
    'resolved'
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence has to lie between 0 and 1, got {confidence}")
    before, after = (float(calibration.score_map(margin)) for margin in (prior, current))
    noise = change_noise(calibration, coverage)
    change = _log_odds(calibration, current, after) - _log_odds(calibration, prior, before)
    borne_out = abs(change) >= float(norm.ppf(0.5 + confidence / 2)) * noise
    present = before >= calibration.threshold, after >= calibration.threshold
    verdict = STABLE
    if borne_out and any(present):
        if all(present):
            verdict = WORSE if change > 0 else BETTER
        else:
            verdict = NEW if present[1] else RESOLVED
    return Change(
        verdict=verdict,
        certain=borne_out or present[0] == present[1],
        prior=before,
        current=after,
        change=change,
        noise=noise,
        probability=float(2 * norm.cdf(abs(change) / noise) - 1),
        threshold=calibration.threshold,
    )


def change_noise(calibration: FindingCalibration, coverage: float) -> float:
    """Standard deviation of the change of log-odds between two films of the same status, as the calibration has it.

    A logistic map of scale s fits margins that are normal with one standard deviation sd in those with and those
    without the finding, and means s * sd^2 apart. The conformal cuts are the quantiles of both at the coverage q, so
    their overlap is b = 2 z_q sd - s sd^2, which gives sd; of the two solutions the smaller is that of findings whose
    margins overlap. In log-odds that is s * sd, and sqrt(2) times that for a difference. It is the spread between
    patients, so an upper bound of that between two films of one patient.

    Without a logistic map or without cuts the noise is that of margins that tell nothing: 1 in log-odds, times
    sqrt(2).
    """
    cuts, score_map = calibration.cuts, calibration.score_map
    if not isinstance(score_map, LogisticMap) or cuts.present_from is None or cuts.absent_to is None:
        return math.sqrt(2.0)
    # In log-odds, t = s * sd solves t^2 - 2 z t + s b = 0.
    z, overlap = float(norm.ppf(coverage)), score_map.scale * (cuts.absent_to - cuts.present_from)
    root = math.sqrt(max(z * z - overlap, 0.0))
    spread = z - root if overlap > 0 else z + root
    return max(math.sqrt(2.0) * spread, _SMALLEST_NOISE)


def _log_odds(calibration: FindingCalibration, margin: float, probability: float) -> float:
    score_map = calibration.score_map
    if isinstance(score_map, LogisticMap):
        # Exact where the probability is 0 or 1 already.
        return score_map.scale * margin + score_map.offset
    bounded = min(max(probability, _LEAST), 1 - _LEAST)
    return math.log(bounded / (1 - bounded))
