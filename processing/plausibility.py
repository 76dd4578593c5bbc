"""Do the boxes that a model found lie as regions of a chest do? Asked of their order, containment, places and sizes.

What is usual is learned from films and kept as plain numbers: where each region lies in the frame of all regions, how
large it is there, and which region is always beside, above or inside which. `film_audit` asks the picture itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anatomy_vlm.processing.vocabulary import REGION_NAMES


FloatArray = NDArray[np.float64]

STATISTICS = Path(__file__).parent / "plausibility.json"
_VERSION = 2
_ALWAYS = 3.0  # standard deviations between two regions that make their order a rule
_CLEAR = 0.02  # and as a fraction of the image
_INSIDE = 0.9
_FEWEST = 10
# Share of the regions whose frame is that of a chest.
_ENOUGH = 0.5
_NAMED = 2


class PlausibilityError(ValueError):
    """Boxes to learn from or to judge, or stored statistics, that cannot be used."""


@dataclass(frozen=True)
class BoxStatistics:
    """
    How the R regions of a chest lie, as `fit_box_statistics` has learned it.

    Args:
        regions (`list[str]`): Their names.
        place_mean, place_std (`list`, R x 4): Centre x, y, width and height in the frame of all regions.
        left_of, above, inside (`list[list[int]]`):
            Pairs of regions of which the first always is so to the second; left is the image's.
        limits (`dict[str, float]`): Of `box_evidence`, what few of those films exceed.
        source (`str`): What it was learned from.
    """

    regions: list[str]
    place_mean: list[list[float]]
    place_std: list[list[float]]
    left_of: list[list[int]]
    above: list[list[int]]
    inside: list[list[int]]
    limits: Mapping[str, float]
    source: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a file."""
        return {"version": _VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BoxStatistics:
        """The inverse of `to_dict`. Raises `PlausibilityError` for data of another version or without a key."""
        names = [item.name for item in fields(cls)]
        missing = [name for name in names if name not in data]
        if data.get("version") != _VERSION or missing:
            problem = f"lack {missing[0]!r}" if missing else f"are of version {data.get('version')!r}, not {_VERSION}"
            raise PlausibilityError(f"the box statistics {problem}: fit them again")
        return cls(**{name: data[name] for name in names})


def fit_box_statistics(
    boxes: ArrayLike,
    box_mask: ArrayLike,
    regions: Sequence[str] = REGION_NAMES,
    *,
    false_alarms: float = 0.01,
    source: str = "",
) -> BoxStatistics:
    """
    Learn from boxes on upright frontal films. Boxes that a model predicts make the limits those of its own errors.

    Args:
        boxes: (n, R, 4), x0 y0 x1 y1 as fractions of the image.
        box_mask: (n, R) bool.
        regions: R names.
        false_alarms: share of these films that exceeds each limit.
        source: what the films are.

    Raises `PlausibilityError` for shapes that do not fit, fewer than 10 films, or a region that none of them shows.
    """
    values, known = np.asarray(boxes, dtype=np.float64), np.asarray(box_mask, dtype=bool)
    if values.ndim != 3 or values.shape[1:] != (len(regions), 4) or known.shape != values.shape[:2]:
        raise PlausibilityError(
            f"{len(regions)} regions need boxes of shape (n, {len(regions)}, 4) and a mask without the 4; "
            f"got {values.shape} and {known.shape}"
        )
    if len(values) < _FEWEST:
        raise PlausibilityError(f"{len(values)} films are too few to learn from; at least {_FEWEST} are needed")
    if not known.any(axis=0).all():
        raise PlausibilityError(f"no film shows the region {regions[int(known.any(axis=0).argmin())]!r}")
    boxed = np.where(known[..., None], values, np.nan)
    places = np.stack([_places(film) for film in boxed])
    learned = BoxStatistics(
        regions=list(regions),
        place_mean=_plain(np.nanmean(places, axis=0)),
        place_std=_plain(np.nanstd(places, axis=0) + 0.01),
        left_of=_order(boxed[..., [0, 2]].mean(-1)),
        above=_order(boxed[..., [1, 3]].mean(-1)),
        inside=_containment(boxed),
        limits={},
        source=source,
    )
    rows = [box_evidence(learned, film) for film in boxed]
    limits = {
        name: round(float(np.quantile([row[name] for row in rows], 1 - false_alarms)), 4)
        for name in ("broken_rules", "strangeness")
    }
    return BoxStatistics(**{**asdict(learned), "limits": limits})


def box_evidence(statistics: BoxStatistics, boxes: ArrayLike) -> dict[str, float]:
    """
    How unusual boxes are: `"broken_rules"`, the share of the rules of order and containment that they break, and
    `"strangeness"`, their mean distance from the usual places and sizes in standard deviations. Without boxes both
    are 0; places are those in the frame of all boxes, so of fewer than half of the regions the second is 0, too.

    Args:
        statistics: of films.
        boxes: (R, 4), x0 y0 x1 y1 in any unit; NaN for a region that is not there.

    Raises `PlausibilityError` for boxes of another shape.
    """
    values = np.asarray(boxes, dtype=np.float64)
    if values.shape != (len(statistics.regions), 4):
        raise PlausibilityError(f"boxes have to be of shape ({len(statistics.regions)}, 4), got {values.shape}")
    rules = _judged_rules(statistics, values)
    distance = np.abs(_places(values) - np.asarray(statistics.place_mean)) / np.asarray(statistics.place_std)
    return {
        "broken_rules": float(np.mean([broken for _, _, _, broken in rules])) if rules else 0.0,
        "strangeness": float(np.nanmean(distance)) if np.isfinite(distance[:, 0]).mean() >= _ENOUGH else 0.0,
    }


def box_flags(statistics: BoxStatistics, boxes: ArrayLike) -> list[dict[str, str]]:
    """
    `implausible_regions` where boxes are more unusual than on nearly all films, with the reason; else nothing.
    Arguments and errors as of `box_evidence`.
    """
    evidence = box_evidence(statistics, boxes)
    if not any(evidence[name] > limit for name, limit in statistics.limits.items()):
        return []
    rules = _judged_rules(statistics, np.asarray(boxes, dtype=np.float64))
    names = statistics.regions
    broken = [f"{names[i]} not {word} {names[j]}" for i, j, word, bad in rules if bad]
    examples = f", such as {'; '.join(broken[:_NAMED])}" if broken else ""
    reason = (
        f"the regions do not lie as in a chest: {len(broken)} of {len(rules)} rules of order and "
        f"containment are broken{examples}; mean distance from the usual places "
        f"{evidence['strangeness']:.1f} standard deviations"
    )
    return [{"flag": "implausible_regions", "reason": reason}]


@cache
def usual_boxes() -> BoxStatistics:
    """The statistics that come with the package."""
    return BoxStatistics.from_dict(json.loads(STATISTICS.read_text(encoding="utf-8")))


def _judged_rules(statistics: BoxStatistics, boxes: FloatArray) -> list[tuple[int, int, str, bool]]:
    """Each rule whose regions are both there: its regions, its relation, and whether the boxes break it."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    there = np.asarray(np.isfinite(boxes).all(axis=1))
    rules = [(i, j, "left of (in the image)", bool(centre[i, 0] > centre[j, 0])) for i, j in statistics.left_of]
    rules += [(i, j, "above", bool(centre[i, 1] > centre[j, 1])) for i, j in statistics.above]
    rules += [(i, j, "inside", bool(_share_inside(boxes[i], boxes[j]) < 0.5)) for i, j in statistics.inside]
    return [rule for rule in rules if there[rule[0]] and there[rule[1]]]


def _places(boxes: FloatArray) -> FloatArray:
    """Centre, width and height of each box in the frame of all: (R, 4)."""
    if np.isnan(boxes).all():
        return np.full(boxes.shape, np.nan)
    low, high = np.nanmin(boxes[:, :2], axis=0), np.nanmax(boxes[:, 2:], axis=0)
    extent = np.maximum(high - low, 1e-6)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.concatenate([(centre - low) / extent, (boxes[:, 2:] - boxes[:, :2]) / extent], axis=1)


def _share_inside(inner: FloatArray, outer: FloatArray) -> FloatArray:
    """Share of a box's area that lies in another; boxes (..., 4)."""
    overlap = np.minimum(inner[..., 2:], outer[..., 2:]) - np.maximum(inner[..., :2], outer[..., :2])
    area = np.prod(np.maximum(inner[..., 2:] - inner[..., :2], 1e-9), axis=-1)
    return np.prod(np.clip(overlap, 0, None), axis=-1) / area


def _order(centres: FloatArray) -> list[list[int]]:
    """Pairs of regions whose first centre, (n, R), is always the smaller."""
    gap = centres[:, None, :] - centres[:, :, None]
    both = (~np.isnan(gap)).sum(axis=0) >= _FEWEST
    gap = np.where(both, gap, 0.0)
    mean, spread = np.nanmean(gap, axis=0), np.nanstd(gap, axis=0)
    return np.argwhere(both & (mean > _ALWAYS * spread) & (mean > _CLEAR)).tolist()


def _containment(boxes: FloatArray) -> list[list[int]]:
    """Pairs of regions of which the first always lies in the second."""
    share = _share_inside(boxes[:, :, None], boxes[:, None])
    both = (~np.isnan(share)).sum(axis=0) >= _FEWEST
    always = np.nanquantile(np.where(both, share, 0.0), 0.01, axis=0) > _INSIDE
    return np.argwhere(both & always & ~np.eye(boxes.shape[1], dtype=bool)).tolist()


def _plain(values: FloatArray) -> Any:
    return np.round(values, 5).tolist()


__all__ = [
    "BoxStatistics",
    "PlausibilityError",
    "box_evidence",
    "box_flags",
    "fit_box_statistics",
    "usual_boxes",
]
