"""Is this an upright frontal chest film? Asked of the boxes that a model predicts and of the picture.

What a chest looks like is learned from training films and kept as plain numbers: where each region lies in the frame
of all regions, which region is always beside, above or inside which, which sides of boxes stay clear of the border,
the mean film at 32x32 pixels, and the direction in which a film differs from its mirror image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from anatomy_vlm.processing.vocabulary import REGION_NAMES, get_region


FloatArray = NDArray[np.float64]

FLAGS = ("flipped", "rotated", "inverted", "cropped", "lateral", "not_a_chest")
_VERSION = 1
_GRID = 32
_RIDGE = 10.0  # in mean variances; between 1 and 100 the phantoms' direction serves real films alike
_ALWAYS = 3.0  # standard deviations between two regions that make their order a rule
_BORDER = 0.01
_RARELY = 0.02
_QUANTILE = 0.995
# Their evidence compares two readings of one film: above 0 the spoilt one fits better, whatever the film's look.
_COMPARED = ("flipped", "rotated", "inverted")
_REASONS = {
    "flipped": "heart and aorta lie as in a mirror image: the film may be flipped, or the situs inverted",
    "rotated": "the picture looks more like a chest once it is turned",
    "inverted": "the picture looks more like a chest as its negative: bone may be dark",
    "cropped": "regions reach the border of the picture that do not on a whole film",
    "lateral": "the two halves of the picture do not mirror each other as on a frontal film",
    "not_a_chest": "neither the picture nor the arrangement of the regions is that of a chest",
}


class PlausibilityError(ValueError):
    """Films to learn from, boxes to judge or stored statistics that cannot be used."""


@dataclass(frozen=True)
class PlausibilityStatistics:
    """
    What chests look like, as `fit_plausibility` has learned it from n films with R regions.

    Args:
        mirror (`list[int]`): Per region its mirror region.
        place_mean, place_std (`list`, R x 4): Centre x, y, width and height in the frame of all regions.
        left_of, above, inside (`list[list[int]]`): Pairs of regions of which the first always is so to the second.
        clear_sides (`list[list[int]]`): (region, side) that stay off the border; sides as in x0, y0, x1, y1.
        template (`list`, 32 x 32): Mean of the rank-normalised films.
        handedness (`list`, 32 x 16): Weights of the left half's difference from the mirrored right half.
        evidence_mean, evidence_std, limits (`dict[str, float]`): Of the evidence for each flag on those n films; the
            limit is in standard deviations.
    """

    mirror: list[int]
    place_mean: list[list[float]]
    place_std: list[list[float]]
    left_of: list[list[int]]
    above: list[list[int]]
    inside: list[list[int]]
    clear_sides: list[list[int]]
    template: list[list[float]]
    handedness: list[list[float]]
    evidence_mean: Mapping[str, float]
    evidence_std: Mapping[str, float]
    limits: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a configuration file."""
        return {"version": _VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PlausibilityStatistics:
        """The inverse of `to_dict`. Raises `PlausibilityError` for data of another version or without a key."""
        names = [item.name for item in fields(cls)]
        missing = [name for name in names if name not in data]
        if data.get("version") != _VERSION or missing:
            problem = f"lack {missing[0]!r}" if missing else f"are of version {data.get('version')!r}, not {_VERSION}"
            raise PlausibilityError(f"the plausibility statistics {problem}: fit them again")
        return cls(**{name: data[name] for name in names})


def fit_plausibility(
    boxes: ArrayLike, box_mask: ArrayLike, images: Sequence[np.ndarray], regions: Sequence[str] = REGION_NAMES
) -> PlausibilityStatistics:
    """
    Learn from upright frontal films. Boxes that the model predicts for them make the limits those of its own errors;
    annotated boxes do for a model that finds regions well.

    Args:
        boxes: (n, R, 4), x0 y0 x1 y1 as fractions of the image.
        box_mask: (n, R) bool.
        images: n arrays (height, width), bone bright.
        regions: R names, for their mirror regions.

    Raises `PlausibilityError` for shapes that do not fit, fewer than 10 films, or a region that none of them shows.
    """
    values, known = np.asarray(boxes, dtype=np.float64), np.asarray(box_mask, dtype=bool)
    if values.shape != (len(images), len(regions), 4) or known.shape != values.shape[:2] or len(images) < 10:
        raise PlausibilityError(
            f"{len(images)} films and {len(regions)} regions need boxes of shape ({len(images)}, {len(regions)}, 4) "
            f"and a mask without the 4, of at least 10 films; got {values.shape} and {known.shape}"
        )
    if not known.any(axis=0).all():
        raise PlausibilityError(f"no film shows the region {regions[int(known.any(axis=0).argmin())]!r}")
    boxed = np.where(known[..., None], values, np.nan)
    places = np.stack([_places(film) for film in boxed])
    grids = np.stack([_normalised(image) for image in images])
    learned = {
        "mirror": [list(regions).index(get_region(name).mirror) for name in regions],
        "place_mean": _plain(np.nanmean(places, axis=0)),
        "place_std": _plain(np.nanstd(places, axis=0) + 0.01),
        "left_of": _rules(boxed[..., None, [0, 2]].mean(-1)),
        "above": _rules(boxed[..., None, [1, 3]].mean(-1)),
        "inside": _inside_rules(boxed),
        "clear_sides": np.argwhere(_quiet_mean(_at_border(boxed), known) < _RARELY).tolist(),
        "template": _plain(grids.mean(axis=0)),
        "handedness": _plain(_handedness(grids)),
    }
    zero, one = dict.fromkeys(FLAGS, 0.0), dict.fromkeys(FLAGS, 1.0)
    raw = PlausibilityStatistics(**learned, evidence_mean=zero, evidence_std=one, limits=zero)
    table = [_raw_evidence(raw, film, grid) for film, grid in zip(boxed, grids, strict=True)]
    columns = {flag: np.array([row[flag] for row in table]) for flag in FLAGS}
    mean = {flag: round(float(column.mean()), 6) for flag, column in columns.items()}
    std = {flag: round(float(column.std()) + 1e-3, 6) for flag, column in columns.items()}
    limits = {}
    for flag, column in columns.items():
        limit = float(np.quantile((column - mean[flag]) / std[flag], _QUANTILE)) + 0.5
        limits[flag] = round(max(limit, -mean[flag] / std[flag]) if flag in _COMPARED else limit, 4)
    return PlausibilityStatistics(**learned, evidence_mean=mean, evidence_std=std, limits=limits)


def plausibility_evidence(statistics: PlausibilityStatistics, boxes: ArrayLike, image: np.ndarray) -> dict[str, float]:
    """
    Evidence for each of `FLAGS`, in standard deviations over the films learned from; higher is more suspicious.

    Args:
        statistics: of the model's training films.
        boxes: (R, 4), x0 y0 x1 y1 as fractions of the image; NaN for a region that is not there.
        image: (height, width), bone bright.

    Raises `PlausibilityError` for boxes of another shape.
    """
    values = np.asarray(boxes, dtype=np.float64)
    if values.shape != (len(statistics.mirror), 4):
        raise PlausibilityError(f"boxes have to be of shape ({len(statistics.mirror)}, 4), got {values.shape}")
    raw = _raw_evidence(statistics, values, _normalised(image))
    return {flag: (raw[flag] - statistics.evidence_mean[flag]) / statistics.evidence_std[flag] for flag in FLAGS}


def plausibility_flags(
    statistics: PlausibilityStatistics, boxes: ArrayLike, image: np.ndarray
) -> list[dict[str, str]]:
    """
    Reasons to doubt that this is an upright, whole, frontal chest film: `"flag"` and `"reason"` each, as
    [`quality_flags`] gives them. Args as in `plausibility_evidence`.

    Of a chest that is turned or a negative nothing else is said: its halves and sides mean nothing.
    """
    evidence = plausibility_evidence(statistics, boxes, image)
    raised = [flag for flag in FLAGS if evidence[flag] > statistics.limits[flag]]
    turned = [flag for flag in raised if flag in ("rotated", "inverted")]
    if turned and "not_a_chest" not in raised:
        raised = turned
    return [
        {"flag": flag, "reason": f"{_REASONS[flag]} ({evidence[flag]:.1f} standard deviations)"} for flag in raised
    ]


def _raw_evidence(statistics: PlausibilityStatistics, boxes: FloatArray, grid: FloatArray) -> dict[str, float]:
    template = np.asarray(statistics.template)
    unit = template / (np.linalg.norm(template) or 1.0)
    likeness = [float((np.rot90(grid, turns) * unit).sum()) for turns in range(4)]
    strongest = max(likeness, key=abs)
    poses = [_turned(boxes, turns) for turns in range(4)]
    disorder = [_disorder(statistics, pose) for pose in poses]
    strangeness = [_strangeness(statistics, pose) for pose in poses]
    mirrored = _strangeness(statistics, _mirrored(statistics, boxes))
    sides = np.asarray(statistics.clear_sides, dtype=int).reshape(-1, 2)
    touching = _at_border(boxes)[sides[:, 0], sides[:, 1]]
    return {
        "flipped": strangeness[0]
        - mirrored
        - 2.0 * float((_difference(grid) * np.asarray(statistics.handedness)).sum()),
        "rotated": max(max(map(abs, likeness[1:])) - abs(likeness[0]), disorder[0] - min(disorder[1:])),
        "inverted": -strongest,
        "cropped": float(touching.mean()) if len(touching) else 0.0,
        "lateral": -float((grid * grid[:, ::-1]).sum()),
        "not_a_chest": min(strangeness) / 4 - abs(strongest),
    }


def _normalised(image: np.ndarray) -> FloatArray:
    """Ranks of the pixels at 32x32, of mean 0 and norm 1: no window, gamma or film look changes them."""
    pixels = np.asarray(image)
    if pixels.ndim != 2 or 0 in pixels.shape:
        raise PlausibilityError(f"a film has to be of shape (height, width), got {pixels.shape}")
    small = Image.fromarray(pixels.astype(np.float32)).resize((_GRID, _GRID), Image.Resampling.BOX)
    _, place, count = np.unique(np.asarray(small), return_inverse=True, return_counts=True)
    # Equal pixels share their mean rank, so that an empty picture is no ramp.
    ranks = (np.cumsum(count) - (count + 1) / 2)[place.reshape(_GRID, _GRID)]
    centred = ranks - ranks.mean()
    return centred / (np.linalg.norm(centred) or 1.0)


def _difference(grids: FloatArray) -> FloatArray:
    """Left half minus the mirrored right half, halved."""
    return ((grids - grids[..., ::-1]) / 2)[..., : _GRID // 2]


def _handedness(grids: FloatArray) -> FloatArray:
    """Ridge direction in which films differ most surely from their mirror images, at unit mean response."""
    differences = _difference(grids).reshape(len(grids), -1)
    mean, covariance = differences.mean(axis=0), np.cov(differences.T)
    ridge = _RIDGE * np.trace(covariance) / len(covariance) + 1e-12
    direction = np.linalg.solve(covariance + ridge * np.eye(len(covariance)), mean)
    return (direction / ((direction @ mean) or 1.0)).reshape(_GRID, _GRID // 2)


def _places(boxes: FloatArray) -> FloatArray:
    """Centre, width and height of each box in the frame of all: (R, 4)."""
    if np.isnan(boxes).all():
        return np.full(boxes.shape, np.nan)
    low, high = np.nanmin(boxes[:, :2], axis=0), np.nanmax(boxes[:, 2:], axis=0)
    extent = np.maximum(high - low, 1e-6)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.concatenate([(centre - low) / extent, (boxes[:, 2:] - boxes[:, :2]) / extent], axis=1)


def _strangeness(statistics: PlausibilityStatistics, boxes: FloatArray) -> float:
    """Mean distance of regions from their places, in standard deviations; 0 without boxes."""
    distance = np.abs(_places(boxes) - np.asarray(statistics.place_mean)) / np.asarray(statistics.place_std)
    return float(np.nanmean(distance)) if np.isfinite(distance).any() else 0.0


def _mirrored(statistics: PlausibilityStatistics, boxes: FloatArray) -> FloatArray:
    """Boxes of the flipped film, in the slots of the regions that they would be taken for."""
    return np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)[statistics.mirror]


def _turned(boxes: FloatArray, turns: int) -> FloatArray:
    """Boxes of the film after `np.rot90(film, turns)`."""
    for _ in range(turns):
        boxes = np.stack([boxes[:, 1], 1 - boxes[:, 2], boxes[:, 3], 1 - boxes[:, 0]], axis=1)
    return boxes


def _disorder(statistics: PlausibilityStatistics, boxes: FloatArray) -> float:
    """Share of the rules of order and containment that the boxes break."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    broken = [
        *(centre[i, 0] > centre[j, 0] for i, j in statistics.left_of),
        *(centre[i, 1] > centre[j, 1] for i, j in statistics.above),
        *(_share_inside(boxes[i], boxes[j]) < 0.5 for i, j in statistics.inside),
    ]
    return float(np.mean(broken)) if broken else 0.0


def _share_inside(inner: FloatArray, outer: FloatArray) -> FloatArray:
    """Share of a box's area that lies in another; boxes (..., 4)."""
    overlap = np.minimum(inner[..., 2:], outer[..., 2:]) - np.maximum(inner[..., :2], outer[..., :2])
    area = np.prod(np.maximum(inner[..., 2:] - inner[..., :2], 1e-9), axis=-1)
    return np.prod(np.clip(overlap, 0, None), axis=-1) / area


def _rules(centres: FloatArray) -> list[list[int]]:
    """Pairs of regions whose first centre, (n, R, 1), is always the smaller."""
    gap = centres[:, None, :, 0] - centres[:, :, None, 0]
    both = (~np.isnan(gap)).sum(axis=0) >= 10
    gap = np.where(both, gap, 0.0)
    mean, spread = np.nanmean(gap, axis=0), np.nanstd(gap, axis=0)
    return np.argwhere(both & (mean > _ALWAYS * spread) & (mean > 0.02)).tolist()


def _inside_rules(boxes: FloatArray) -> list[list[int]]:
    """Pairs of regions of which the first always lies in the second."""
    share = _share_inside(boxes[:, :, None], boxes[:, None])
    both = (~np.isnan(share)).sum(axis=0) >= 10
    always = np.nanquantile(np.where(both, share, 0.0), 0.01, axis=0) > 0.9
    return np.argwhere(both & always & ~np.eye(boxes.shape[1], dtype=bool)).tolist()


def _at_border(boxes: FloatArray) -> NDArray[np.bool_]:
    """Whether each side of each box lies at the border of the picture; no for a region that is not there."""
    return np.concatenate([boxes[..., :2] < _BORDER, boxes[..., 2:] > 1 - _BORDER], axis=-1)


def _quiet_mean(values: NDArray[np.bool_], known: NDArray[np.bool_]) -> FloatArray:
    return values.sum(axis=0) / known.sum(axis=0)[:, None]


def _plain(values: FloatArray) -> Any:
    return np.round(values, 5).tolist()


__all__ = [
    "FLAGS",
    "PlausibilityError",
    "PlausibilityStatistics",
    "fit_plausibility",
    "plausibility_evidence",
    "plausibility_flags",
]
