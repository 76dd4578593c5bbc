"""From one reading to one record of the prediction JSON: plain data in, plain data out."""

from collections.abc import Mapping, Sequence
from typing import Any

from anatomy_vlm.processing.plausibility import box_flags, usual_boxes


PREDICTION_SCHEMA_VERSION = "1.3"

# A region counts as found from this probability on.
PRESENT = 0.5
_NOT_THERE = (float("nan"),) * 4
_LANDMARKS = ("right lung", "left lung", "cardiac silhouette")

Record = dict[str, Any]


def reading_record(
    *,
    file: str,
    size: tuple[int, int],
    view: str,
    flags: Sequence[Mapping[str, str]],
    findings: Sequence[Record],
    regions: Sequence[Record],
    model: str,
    versions: Mapping[str, str],
    prompts: Sequence[Record] | None = None,
    findings_withheld: bool = False,
) -> Record:
    """Assemble a record of `prediction_schema.json`; measurements are taken from the region boxes.

    Args:
        file: as the user would name it.
        size: (width, height) of the original image in pixels.
        view: PA, AP, LATERAL or empty.
        flags: {flag, reason} each.
        findings: {name, score, threshold, threshold_source, calibrated} each, and decision where calibrated.
        regions: {name, box, presence, findings} each; box is x0, y0, x1, y1 in pixels of the original.
        model: the checkpoint's folder or id.
        versions: library versions; the schema's own is added.
        prompts: {text, score, regions} each, left out if None.
        findings_withheld: whether the flags forbid to state findings; nothing is measured then either.
    """
    record: Record = {
        "file": file,
        "size": [int(size[0]), int(size[1])],
        "view": view,
        "quality": {"flags": [dict(flag) for flag in flags], "findings_withheld": findings_withheld},
        "findings": list(findings),
        "regions": list(regions),
        "measurements": {
            "cardiothoracic_ratio": None if findings_withheld else cardiothoracic_ratio(_present_boxes(regions))
        },
        "model": model,
        "versions": {"prediction_schema": PREDICTION_SCHEMA_VERSION, **versions},
    }
    if prompts is not None:
        record["prompts"] = list(prompts)
    return record


def cardiothoracic_ratio(boxes: Mapping[str, Sequence[float]]) -> float | None:
    """Width of the heart over the inner width of the thorax, from boxes.

    The thorax reaches from the outer edge of the right lung (the left edge of its box, for the patient's right is on
    the image's left) to the outer edge of the left lung.

    Args:
        boxes: x0, y0, x1, y1 by region name, in any unit.

    Returns:
        The ratio, or None if one of the three boxes is missing or the lungs are exchanged.

    >>> cardiothoracic_ratio({"right lung": [10, 0, 45, 90], "left lung": [55, 0, 90, 90],
    ...                       "cardiac silhouette": [38, 50, 78, 90]})
    0.5
    """
    if not boxes.keys() >= set(_LANDMARKS):
        return None
    if _center_x(boxes["right lung"]) > _center_x(boxes["left lung"]):
        return None
    thorax = boxes["left lung"][2] - boxes["right lung"][0]
    heart = boxes["cardiac silhouette"][2] - boxes["cardiac silhouette"][0]
    if thorax <= 0 or heart <= 0:
        return None
    return round(float(heart / thorax), 4)


def anatomy_flags(regions: Sequence[Record]) -> list[dict[str, str]]:
    """Reasons to distrust a reading that show in its own boxes.

    Args:
        regions: see `reading_record`.

    Returns:
        `{flag, reason}` each: `regions_missing` where a lung or the heart was not found, `exchanged_lungs` where the
        right lung lies right of the left one (a flipped film or a failed reading), `implausible_regions` where the
        regions do not lie to one another as in a chest.
    """
    boxes = _present_boxes(regions)
    missing = [name for name in _LANDMARKS if name not in boxes]
    if missing:
        return [{"flag": "regions_missing", "reason": f"not found in the picture: {', '.join(missing)}"}]
    if _center_x(boxes["right lung"]) > _center_x(boxes["left lung"]):
        return [{"flag": "exchanged_lungs", "reason": "the patient's right lung was found right of the left lung"}]
    usual = usual_boxes()
    return box_flags(usual, [boxes.get(name, _NOT_THERE) for name in usual.regions])


def _present_boxes(regions: Sequence[Record]) -> dict[str, Sequence[float]]:
    return {region["name"]: region["box"] for region in regions if region["presence"] >= PRESENT}


def _center_x(box: Sequence[float]) -> float:
    return (box[0] + box[2]) / 2
