"""What a score means: monotone maps from margins to probabilities, thresholds and conformal cuts, as plain data.

A margin is the unbounded score of a finding, `mean positive logit - mean negative logit`; a sigmoid of it in single
precision is 0 or 1 long before the ranking ends, so everything here takes margins.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


FORMAT_VERSION = 1
_FARTHEST_CUT = 1e300
PRESENT, ABSENT, UNCERTAIN = "present", "absent", "uncertain"
THRESHOLD_SOURCES = ("fixed", "validation", "oracle")


class ScoreCalibrationError(ValueError):
    """A stored calibration that cannot be used."""


@dataclass(frozen=True)
class LogisticMap:
    """
    `sigmoid(scale * margin + offset)`: Platt's map, or a temperature where the offset is 0.

    Args:
        scale (`float`): At least 0, so that the order of the scores stays.
        offset (`float`, *optional*, defaults to 0): Added to the scaled margin.
    """

    scale: float
    offset: float = 0.0

    def __post_init__(self):
        if not (math.isfinite(self.scale) and math.isfinite(self.offset) and self.scale >= 0):
            raise ScoreCalibrationError(f"a logistic map needs a finite scale >= 0 and offset, got {self}")

    def __call__(self, margins: Any) -> np.ndarray:
        """Probabilities of margins of any shape."""
        # tanh is the sigmoid that does not overflow.
        return 0.5 * (1.0 + np.tanh(0.5 * (self.scale * np.asarray(margins, dtype=np.float64) + self.offset)))

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "logistic", "scale": self.scale, "offset": self.offset}


@dataclass(frozen=True)
class IsotonicMap:
    """
    Straight lines between knots, constant beyond them.

    Args:
        margins (`tuple[float, ...]`): Of the knots, ascending.
        probabilities (`tuple[float, ...]`): Of the knots, in 0 to 1, never falling.
    """

    margins: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self):
        knots, values = np.asarray(self.margins), np.asarray(self.probabilities)
        fits = knots.ndim == 1 and knots.shape == values.shape and len(knots) > 0
        if not fits or not np.isfinite(knots).all() or (np.diff(knots) <= 0).any():
            raise ScoreCalibrationError("an isotonic map needs ascending, finite margins and as many probabilities")
        if not ((values >= 0) & (values <= 1)).all() or (np.diff(values) < 0).any():
            raise ScoreCalibrationError("the probabilities of an isotonic map have to rise within 0 to 1")

    def __call__(self, margins: Any) -> np.ndarray:
        """Probabilities of margins of any shape."""
        return np.interp(np.asarray(margins, dtype=np.float64), self.margins, self.probabilities)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "isotonic", "margins": list(self.margins), "probabilities": list(self.probabilities)}


ScoreMap = LogisticMap | IsotonicMap


@dataclass(frozen=True)
class ConformalCuts:
    """
    Which answers a margin leaves open: "present" from one cut upwards, "absent" up to the other.

    Of new patients with (without) the finding, at least the stated coverage keep the true answer open, whatever the
    distribution of the margins, as long as they come from where the validation patients came from.

    Args:
        present_from (`float`, *optional*): `None` keeps "present" open for every margin.
        absent_to (`float`, *optional*): `None` keeps "absent" open for every margin.
        num_present (`int`, *optional*, defaults to 0): Patients with the finding behind the first cut.
        num_absent (`int`, *optional*, defaults to 0): Patients without it behind the second.
    """

    present_from: float | None
    absent_to: float | None
    num_present: int = 0
    num_absent: int = 0

    def __post_init__(self):
        cuts = [cut for cut in (self.present_from, self.absent_to) if cut is not None]
        if not all(isinstance(cut, (int, float)) and abs(cut) <= _FARTHEST_CUT for cut in cuts):
            raise ScoreCalibrationError("conformal cuts have to be finite numbers or null")

    def keeps_open(self, margins: Any, present: bool) -> np.ndarray:
        """Whether the answer stays in the prediction set: bool of the shape of `margins`."""
        values = np.asarray(margins, dtype=np.float64)
        if present:
            return np.full(values.shape, True) if self.present_from is None else values >= self.present_from
        return np.full(values.shape, True) if self.absent_to is None else values <= self.absent_to

    def decide(self, margin: float) -> str:
        """`"present"` or `"absent"` where it is the only answer left, else `"uncertain"`: the model abstains."""
        present, absent = bool(self.keeps_open(margin, True)), bool(self.keeps_open(margin, False))
        return UNCERTAIN if present == absent else PRESENT if present else ABSENT

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class FindingCalibration:
    """
    What the margin of one finding means.

    Args:
        score_map (`LogisticMap` or `IsotonicMap`): From margin to probability.
        threshold (`float`): The probability from which the finding is called.
        threshold_source (`str`): `"fixed"`, `"validation"` or `"oracle"`.
        cuts (`ConformalCuts`): Of the prediction set.
    """

    score_map: ScoreMap
    threshold: float
    threshold_source: str
    cuts: ConformalCuts

    def __post_init__(self):
        if self.threshold_source not in THRESHOLD_SOURCES:
            raise ScoreCalibrationError(
                f"threshold source {self.threshold_source[:40]!r} is not one of {', '.join(THRESHOLD_SOURCES)}"
            )

    def to_dict(self) -> dict[str, Any]:
        return {
            "map": self.score_map.to_dict(),
            "threshold": self.threshold,
            "threshold_source": self.threshold_source,
            "cuts": self.cuts.to_dict(),
        }


@dataclass(frozen=True)
class ScoreCalibration:
    """
    What the margins of a checkpoint mean. A finding that is not in it has too few validation cases to say.

    Args:
        coverage (`float`): Of the prediction sets, for patients with and for patients without the finding alike.
        image (`dict[str, FindingCalibration]`): Per finding, for the whole image.
        region (`dict[str, FindingCalibration]`): Per finding, for any region.
        region_cuts (`dict[str, dict[str, ConformalCuts]]`):
            Per region and finding, where a region has cases enough for cuts of its own.
    """

    coverage: float
    image: Mapping[str, FindingCalibration] = field(default_factory=dict)
    region: Mapping[str, FindingCalibration] = field(default_factory=dict)
    region_cuts: Mapping[str, Mapping[str, ConformalCuts]] = field(default_factory=dict)

    def __post_init__(self):
        if not 0 < self.coverage < 1:
            raise ScoreCalibrationError(f"coverage has to lie between 0 and 1, got {self.coverage}")

    def cuts_of(self, region: str, finding: str) -> ConformalCuts | None:
        """The region's own cuts, else the finding's over all regions, else `None`."""
        own = self.region_cuts.get(region, {}).get(finding)
        shared = self.region.get(finding)
        return own if own is not None else shared.cuts if shared is not None else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a configuration file."""
        return {
            "version": FORMAT_VERSION,
            "coverage": self.coverage,
            "image": {name: item.to_dict() for name, item in self.image.items()},
            "region": {name: item.to_dict() for name, item in self.region.items()},
            "region_cuts": {
                region: {name: cuts.to_dict() for name, cuts in findings.items()}
                for region, findings in self.region_cuts.items()
            },
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ScoreCalibration":
        """The inverse of `to_dict`. Raises `ScoreCalibrationError` for data that is not of this version or form."""
        found = data.get("version") if isinstance(data, Mapping) else None
        if found != FORMAT_VERSION:
            shown = repr(found)[:40] if isinstance(found, (int, str)) else type(found).__name__
            raise ScoreCalibrationError(
                f"score calibration of version {shown}; this code reads {FORMAT_VERSION}: fit it again"
            )
        try:
            return cls(
                coverage=float(data["coverage"]),
                image={name: _finding_from_dict(item) for name, item in data["image"].items()},
                region={name: _finding_from_dict(item) for name, item in data["region"].items()},
                region_cuts={
                    region: {name: ConformalCuts(**cuts) for name, cuts in findings.items()}
                    for region, findings in data["region_cuts"].items()
                },
            )
        except ScoreCalibrationError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ScoreCalibrationError(f"the score calibration is damaged ({reason!r}): fit it again") from None


def _finding_from_dict(data: Mapping[str, Any]) -> FindingCalibration:
    cuts = ConformalCuts(**data["cuts"])
    return FindingCalibration(
        _map_from_dict(data["map"]), float(data["threshold"]), str(data["threshold_source"]), cuts
    )


def _map_from_dict(data: Mapping[str, Any]) -> ScoreMap:
    if data["kind"] == "logistic":
        return LogisticMap(float(data["scale"]), float(data["offset"]))
    if data["kind"] == "isotonic":
        return IsotonicMap(tuple(data["margins"]), tuple(data["probabilities"]))
    raise ScoreCalibrationError(f"a score map of kind {str(data['kind'])[:40]!r}; known are logistic and isotonic")


__all__ = [
    "ConformalCuts",
    "FindingCalibration",
    "IsotonicMap",
    "LogisticMap",
    "ScoreCalibration",
    "ScoreCalibrationError",
    "ScoreMap",
]
