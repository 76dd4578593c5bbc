"""Boxes that a user gives for `predict`: read from JSON, checked, and matched to the regions of a model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anatomy_vlm.processing.data_files import DataFileError, one_line, read_json_file
from anatomy_vlm.training.evaluation.boxes import box_iou


Box = tuple[float, float, float, float]

_KEYS = {"box", "label", "region"}
_FARTHEST = 1e9  # pixels
_SLACK = 1.0  # pixel; what rounding may push a box over the border


class UserBoxesError(ValueError):
    """A file of boxes that cannot be used."""

    def __init__(self, message: object = ""):
        super().__init__(one_line(message))


@dataclass(frozen=True)
class UserBox:
    """A box that a user gave.

    Attributes:
        label: what the user calls it; a region's name or free words.
        box: x0, y0, x1, y1 in pixels of the original image.
        region: the region as which the model is to read it; empty where the label or the place decides.
    """

    label: str
    box: Box
    region: str = ""


@dataclass(frozen=True)
class UserBoxes:
    """The boxes of a file.

    Attributes:
        source: name of the file, for errors.
        by_image: boxes by name of image, as the user wrote it; None where one list is for every image.
        shared: boxes of every image.
    """

    source: str
    by_image: Mapping[str, Sequence[UserBox]] | None = None
    shared: Sequence[UserBox] = ()

    def of(self, file: str | Path) -> Sequence[UserBox]:
        """Boxes of an image, looked for by its whole path first and its name then; none where it has none."""
        if self.by_image is None:
            return self.shared
        path = Path(file)
        for key in (str(file), path.as_posix(), path.name):
            if key in self.by_image:
                return self.by_image[key]
        return ()

    def check_images(self, files: Sequence[str | Path]) -> None:
        """Raise `UserBoxesError` for boxes of an image that is not among the files."""
        known = {name for file in files for name in (str(file), Path(file).as_posix(), Path(file).name)}
        strangers = [name for name in self.by_image or {} if name not in known]
        if strangers:
            raise UserBoxesError(f"{self.source}: boxes for {strangers[0]!r}, which is none of the images")


def read_user_boxes(path: str | Path) -> UserBoxes:
    """Read boxes in pixels of the original images.

    The file holds a list of boxes for every image, or an object of lists by image (path or name). A box is
    `[x0, y0, x1, y1]` or `{"box": [x0, y0, x1, y1], "label": text, "region": name}`; label and region may be left out.

    Raises:
        UserBoxesError: a file that cannot be read, or that holds something else; names the place.
    """
    try:
        data = read_json_file(path)
    except FileNotFoundError:
        raise UserBoxesError(f"{path}: no such file") from None
    except OSError as error:
        raise UserBoxesError(f"{path}: cannot be read ({error})") from None
    except DataFileError as error:
        raise UserBoxesError(f"{path}: {error}") from None
    return parse_user_boxes(data, str(path))


def parse_user_boxes(data: Any, source: str = "boxes") -> UserBoxes:
    """What `read_user_boxes` does, of data that is read already.

    >>> parse_user_boxes([[10, 20, 30, 40]]).of("any.png")[0].box
    (10.0, 20.0, 30.0, 40.0)
    """
    if isinstance(data, Mapping):
        return UserBoxes(source, {name: _boxes(boxes, f"{source}: {name}") for name, boxes in data.items()})
    if isinstance(data, list):
        return UserBoxes(source, shared=_boxes(data, source))
    raise UserBoxesError(f"{source}: expected a list of boxes or an object of lists by image")


def check_within(boxes: Sequence[UserBox], size: tuple[int, int], source: str) -> None:
    """Raise `UserBoxesError` for a box that leaves an image of (width, height) by more than a pixel."""
    width, height = size
    for number, item in enumerate(boxes, start=1):
        x0, y0, x1, y1 = item.box
        if x0 < -_SLACK or y0 < -_SLACK or x1 > width + _SLACK or y1 > height + _SLACK:
            name = f" ({item.label})" if item.label else ""
            raise UserBoxesError(
                f"{source}: box {number}{name} leaves the image of {width}x{height} pixels; "
                "boxes are x0, y0, x1, y1 in pixels of the original"
            )


def choose_regions(
    boxes: Sequence[UserBox], regions: Sequence[str], predicted: np.ndarray, source: str = "boxes"
) -> list[int]:
    """Index of the region as which each box is read: the one named, else the one whose predicted box is most like it.

    Args:
        boxes: k boxes.
        regions: names of the R regions.
        predicted: (R, 4), their boxes in the image in the units of the boxes.
        source: for errors.

    Raises:
        UserBoxesError: a `region` that the model does not have.
    """
    chosen = []
    for item in boxes:
        name = item.region or item.label.strip().lower()
        if name in regions:
            chosen.append(list(regions).index(name))
            continue
        if item.region:
            raise UserBoxesError(f"{source}: the model has no region {item.region!r}")
        own = np.broadcast_to(np.asarray(item.box), predicted.shape)
        overlap = box_iou(own, predicted)
        away = np.hypot(*((own[:, :2] + own[:, 2:] - predicted[:, :2] - predicted[:, 2:]) / 2).T)
        # Where nothing overlaps, the nearest.
        chosen.append(int(overlap.argmax() if overlap.max() > 0 else away.argmin()))
    return chosen


def _boxes(values: Any, source: str) -> list[UserBox]:
    if not isinstance(values, list):
        raise UserBoxesError(f"{source}: expected a list of boxes, got {type(values).__name__}")
    return [_box(value, f"{source}: box {number}") for number, value in enumerate(values, start=1)]


def _box(value: Any, source: str) -> UserBox:
    if not isinstance(value, Mapping):
        value = {"box": value}
    unknown = sorted(set(value) - _KEYS)
    if unknown or "box" not in value:
        problem = f"unknown key {unknown[0]!r}" if unknown else "no key 'box'"
        raise UserBoxesError(f"{source}: {problem}; a box has 'box' and may have 'label' and 'region'")
    texts = [value.get(key, "") for key in ("label", "region")]
    if not all(isinstance(text, str) for text in texts):
        raise UserBoxesError(f"{source}: 'label' and 'region' have to be texts")
    corners = value["box"]
    numbers = isinstance(corners, list) and len(corners) == 4
    numbers = numbers and all(isinstance(x, int | float) and not isinstance(x, bool) for x in corners)
    # Whole numbers of JSON have no bound, and no float may hold them.
    if not numbers or not all(-_FARTHEST <= x <= _FARTHEST for x in corners):
        raise UserBoxesError(f"{source}: {json.dumps(corners)} is not [x0, y0, x1, y1], four numbers in pixels")
    x0, y0, x1, y1 = (float(x) for x in corners)
    if x1 <= x0 or y1 <= y0:
        raise UserBoxesError(f"{source}: {json.dumps(corners)} is empty; x1 has to exceed x0, and y1 y0")
    return UserBox(texts[0], (x0, y0, x1, y1), texts[1])
