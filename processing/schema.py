"""The one example schema that every loader returns and every loss and metric reads."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .facts import FactTable, default_hierarchy, example_facts
from .statements import Statement
from .vocabulary import FINDING_NAMES, REGIONS, get_region, mirror_text


if TYPE_CHECKING:
    import datasets


__all__ = [
    "MASK_TARGET",
    "MASK_VALUES",
    "VIEWS",
    "Example",
    "ExampleError",
    "FactTable",
    "example_facts",
    "features",
    "flip_example",
    "validate_example",
]

Example = dict[str, Any]

VIEWS: tuple[str, ...] = ("PA", "AP", "LATERAL", "")
# What the pixels of `mask` are: 0 background, a region, or the dataset's target, which has no side.
MASK_VALUES = {"right lung": 1, "left lung": 2, "cardiac silhouette": 3}
MASK_TARGET = 255
_TEXT_KEYS = ("report", "patient_id", "study_id", "image_id", "view", "source")
_FINDING_KEYS = ("region", "finding", "polarity", "severity", "phrase")
_KEYS = ("image", "boxes", "box_mask", "region_findings", "labels", *_TEXT_KEYS)


class ExampleError(ValueError):
    """An example that does not follow the schema; the message names the key and the image."""


def features(*, mask: bool = False) -> "datasets.Features":
    """The schema as `datasets.Features`.

    - `image`: radiograph, mode "L", bone bright.
    - `boxes`: float32 (29, 4), one (x0, y0, x1, y1) per region in [0, 1] of the image's width and height.
    - `box_mask`: bool (29,), False where a region has no box; its box is then without meaning.
    - `region_findings`: list of {region, finding, polarity, severity, phrase}; region "" for the whole image,
      severity "" where none is given.
    - `labels`: float32 (number of findings,), 1 present, 0 absent, NaN unknown, for the whole image.
    - `report`, `patient_id`, `study_id`, `image_id`, `view` (one of `VIEWS`), `source`: text.
    - `mask` (on request): segmentation on the pixels of `image`, mode "L": 0 background, a region of `MASK_VALUES`, or
      `MASK_TARGET` for the target of the dataset.
    """
    from datasets import Array2D, Features, List, Value
    from datasets import Image as ImageFeature

    columns: dict[str, Any] = {
        "image": ImageFeature(mode="L"),
        "boxes": Array2D((len(REGIONS), 4), "float32"),
        "box_mask": List(Value("bool"), length=len(REGIONS)),
        "region_findings": List({key: Value("string") for key in _FINDING_KEYS}),
        "labels": List(Value("float32"), length=len(FINDING_NAMES)),
    }
    columns |= {key: Value("string") for key in _TEXT_KEYS}
    if mask:
        columns["mask"] = ImageFeature(mode="L")
    return Features(columns)


def _array(example: Mapping[str, Any], key: str, dtype: type, shape: tuple[int, ...], name: str) -> np.ndarray:
    try:
        array: np.ndarray = np.asarray(example[key], dtype=dtype)
    except (TypeError, ValueError) as error:
        raise ExampleError(f"{name}: {key} is not an array of numbers: {error}") from None
    if array.shape != shape:
        raise ExampleError(f"{name}: {key} has shape {array.shape}, expected {shape}")
    return array


def _validate_boxes(example: Mapping[str, Any], name: str) -> None:
    box_mask = _array(example, "box_mask", bool, (len(REGIONS),), name)
    boxes = _array(example, "boxes", np.float32, (len(REGIONS), 4), name)
    inside = np.isfinite(boxes).all(1) & (boxes >= 0).all(1) & (boxes <= 1).all(1)
    ordered = (boxes[:, :2] < boxes[:, 2:]).all(1)
    for index in np.flatnonzero(box_mask & ~(inside & ordered))[:1]:
        raise ExampleError(
            f"{name}: boxes[{index}] ({REGIONS[index].name}) is {boxes[index].tolist()}; expected x0 < x1 and y0 < y1"
            " within [0, 1], or box_mask False where the region has no box"
        )


def _validate_region_findings(example: Mapping[str, Any], name: str) -> None:
    entries = example["region_findings"]
    if not isinstance(entries, list | tuple):
        raise ExampleError(f"{name}: region_findings is {type(entries).__name__}, expected a list of dicts")
    for i, entry in enumerate(entries):
        place = f"{name}: region_findings[{i}]"
        if not isinstance(entry, Mapping) or set(entry) != set(_FINDING_KEYS):
            raise ExampleError(f"{place} is {entry!r}, expected a dict with the keys {', '.join(_FINDING_KEYS)}")
        wrong = [key for key in _FINDING_KEYS if not isinstance(entry[key], str)]
        if wrong:
            raise ExampleError(f"{place}: {wrong[0]} is {entry[wrong[0]]!r}, expected text ('' for none)")
        try:
            Statement.from_entry(entry)
        except ValueError as error:
            raise ExampleError(f"{place}: {error}") from None


def validate_example(example: Mapping[str, Any]) -> None:
    """Check an example against the schema.

    Raises:
        ExampleError: the first violation found, in one line with the image's id and the key.
    """
    missing = [key for key in _KEYS if key not in example]
    name = f"example {example.get('image_id') or '(no image_id)'}"
    if missing:
        raise ExampleError(f"{name}: {', '.join(missing)} missing; every example has {', '.join(_KEYS)}")
    unknown = sorted(set(example) - {*_KEYS, "mask"})
    if unknown:
        raise ExampleError(f"{name}: unknown key {', '.join(unknown)}; the schema has {', '.join(_KEYS)} and mask")
    for key in ("image", "mask"):
        picture = example.get(key)
        if key in example and not (isinstance(picture, Image.Image) and picture.mode == "L"):
            raise ExampleError(f"{name}: {key} is {picture!r}, expected a PIL image of mode L")
    if example.get("mask") is not None and example["mask"].size != example["image"].size:
        raise ExampleError(f"{name}: mask is {example['mask'].size} pixels, the image {example['image'].size}")
    _validate_mask(example.get("mask"), name)
    for key in _TEXT_KEYS:
        if not isinstance(example[key], str):
            raise ExampleError(f"{name}: {key} is {example[key]!r}, expected text")
    for key in ("patient_id", "image_id"):
        if not example[key]:
            raise ExampleError(f"{name}: {key} is empty; splits and results are kept apart by it")
    if example["view"] not in VIEWS:
        raise ExampleError(f"{name}: view is {example['view']!r}, expected one of {VIEWS}")
    _validate_boxes(example, name)
    _validate_region_findings(example, name)
    labels = _array(example, "labels", np.float32, (len(FINDING_NAMES),), name)
    for index in np.flatnonzero(~(np.isnan(labels) | (labels == 0) | (labels == 1)))[:1]:
        raise ExampleError(
            f"{name}: labels[{index}] ({FINDING_NAMES[index]}) is {labels[index]}, expected 0, 1 or NaN"
        )


def _validate_mask(mask: Image.Image | None, name: str) -> None:
    known = {0, *MASK_VALUES.values(), MASK_TARGET}
    unknown = {value for _, value in mask.getcolors(256) or ()} - known if mask is not None else set()
    if unknown:
        meanings = ", ".join(f"{value} {region}" for region, value in MASK_VALUES.items())
        raise ExampleError(
            f"{name}: mask has the value {min(unknown)}; expected 0 background, {meanings}, {MASK_TARGET} the target"
        )


def _mirror_mask(mask: Image.Image) -> Image.Image:
    values = list(range(256))
    for region, value in MASK_VALUES.items():
        values[value] = MASK_VALUES[get_region(region).mirror]
    return mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT).point(values)


def _mirror_entry(entry: Mapping[str, str]) -> dict[str, str]:
    region = get_region(entry["region"]).mirror if entry["region"] else ""
    return {**entry, "region": region, "phrase": mirror_text(entry["phrase"])}


def flip_example(example: Mapping[str, Any]) -> Example:
    """The laterality-safe horizontal flip: the only flip there is.

    Mirrors image, mask and boxes, exchanges the slots of paired regions and their values in the mask, and swaps left
    and right in the region findings and the report, so that every statement stays true of the mirrored image. `labels`
    stay, for no finding has a side of its own. Twice is the identity (the coordinates of boxes to 1e-7).
    """
    slots = default_hierarchy().mirror
    boxes = np.asarray(example["boxes"], dtype=np.float32)[slots]
    flipped = {
        **example,
        "image": example["image"].transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "boxes": np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1),
        "box_mask": np.asarray(example["box_mask"], dtype=bool)[slots],
        "region_findings": [_mirror_entry(entry) for entry in example["region_findings"]],
        "report": mirror_text(example["report"]),
    }
    if example.get("mask") is not None:
        flipped["mask"] = _mirror_mask(example["mask"])
    return flipped
