"""COCO's run lengths and its JSON of one or many films.

The compressed run lengths are those of the COCO mask API (`pycocotools.mask`), column by column.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomy_vlm.exports.film_source import RESEARCH_ONLY


Mask = NDArray[np.bool_]


def encode_rle(mask: Mask) -> dict[str, Any]:
    """
    A mask `(height, width)` as COCO's compressed run lengths: `size` [height, width] and `counts`, ASCII.

    Example:
        >>> encode_rle(np.array([[False, True], [False, True]]))
        {'size': [2, 2], 'counts': '22'}
    """
    flat = np.asarray(mask, dtype=bool).ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flat)).astype(np.int8)))
    runs = np.diff(np.concatenate(([0], edges, [flat.size]))) if flat.size else np.zeros(1, dtype=np.int64)
    return {"size": [int(side) for side in mask.shape], "counts": _compress(runs)}


def _compress(runs: NDArray[np.int64]) -> str:
    """From the third run on the difference to the run two before; five bits a character, as LEB128 has seven."""
    values = runs.astype(np.int64)
    values[3:] -= runs[1:-2]
    characters = []
    for value in values.tolist():
        while True:
            low = value & 0x1F
            value >>= 5
            more = value != (-1 if low & 0x10 else 0)
            characters.append(chr(low + 0x30 + (0x20 if more else 0)))
            if not more:
                break
    return "".join(characters)


class CocoFile:
    """
    Annotations of many films, to be written as one JSON.

    Args:
        title: What it holds, for `info`.
        contributor: The model that made it.
    """

    def __init__(self, title: str, contributor: str = "") -> None:
        self.info = {"description": f"{title}. {RESEARCH_ONLY}", "contributor": contributor or "Anatomy-VLM"}
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.categories: dict[str, int] = {}

    def add_image(self, file: str | Path, size: tuple[int, int]) -> int:
        """A film of (height, width) pixels; its identifier."""
        number = len(self.images) + 1
        self.images.append({"id": number, "file_name": str(file), "width": int(size[1]), "height": int(size[0])})
        return number

    def add_box(self, image: int, category: str, box: Sequence[float], score: float | None = None) -> None:
        """A box x0, y0, x1, y1 in pixels."""
        x0, y0, x1, y1 = (float(value) for value in box)
        self._add(image, category, [x0, y0, x1 - x0, y1 - y0], (x1 - x0) * (y1 - y0), score)

    def add_mask(self, image: int, category: str, mask: Mask, score: float | None = None) -> None:
        """A mask; an empty one is an annotation of no area, so that it is told from one that was not asked for."""
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [0.0, 0.0, 0.0, 0.0]
        if len(rows):
            box = [float(columns[0]), float(rows[0]), float(np.ptp(columns) + 1), float(np.ptp(rows) + 1)]
        self._add(image, category, box, float(mask.sum()), score, encode_rle(mask))

    def _add(
        self,
        image: int,
        category: str,
        box: list[float],
        area: float,
        score: float | None,
        segmentation: Any = None,
    ) -> None:
        annotation: dict[str, Any] = {
            "id": len(self.annotations) + 1,
            "image_id": image,
            "category_id": self.categories.setdefault(category, len(self.categories) + 1),
            "bbox": [round(value, 2) for value in box],
            "area": round(area, 2),
            "iscrowd": 0,
        }
        if segmentation is not None:
            annotation["segmentation"] = segmentation
        if score is not None:
            annotation["score"] = float(score)
        self.annotations.append(annotation)

    def to_dict(self) -> Mapping[str, Any]:
        """The JSON, with files named from the folder that holds all of them."""
        return {
            "info": self.info,
            "licenses": [],
            "images": [{**image, "file_name": name} for image, name in zip(self.images, self._names(), strict=True)],
            "annotations": self.annotations,
            "categories": [
                {"id": number, "name": name, "supercategory": "anatomy"} for name, number in self.categories.items()
            ],
        }

    def _names(self) -> list[str]:
        """Paths from the deepest folder that all files share: where that lies is no business of who gets the file."""
        paths = [Path(image["file_name"]).absolute() for image in self.images]
        shared = [set(level) for level in zip(*(path.parent.parts for path in paths), strict=False)]
        depth = next((level for level, parts in enumerate(shared) if len(parts) > 1), len(shared))
        return [Path(*path.parts[depth:]).as_posix() for path in paths]


__all__ = ["CocoFile", "encode_rle"]
