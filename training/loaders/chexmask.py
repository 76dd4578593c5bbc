"""CheXmask: masks of the lungs and the heart for the films of six datasets."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from anatomy_vlm.training.loaders.arrow_table import ArrowTable
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.image_index import ImageIndex, first_existing
from anatomy_vlm.training.loaders.mimic_layout import subject_and_study
from anatomy_vlm.training.loaders.record import Box, Entry, Record
from anatomy_vlm.training.loaders.run_length import Mask, RunLengthError, decode_chexmask
from anatomy_vlm.training.loaders.source import Source
from anatomy_vlm.training.loaders.tables import check_columns, column_names, need_file, number, whole_number


ID_COLUMNS = ("dicom_id", "Path", "image_id", "ImageID", "Image Index")
_ORGANS = {"Right Lung": "right lung", "Left Lung": "left lung", "Heart": "cardiac silhouette"}
_TARGETS = {"heart": ("Heart",), "lungs": ("Right Lung", "Left Lung")}
_QUALITY = "Dice RCA (Mean)"
# Points of the contours, in the order of the column Landmarks.
LANDMARKS = {"right lung": slice(0, 44), "left lung": slice(44, 94), "cardiac silhouette": slice(94, 120)}


class CheXmask(Source):
    """
    One table of CheXmask with the films that it annotates.

    Boxes of both lungs and the heart enclose the masks; names are the patient's sides. `mask` is the heart or the
    lungs. Films and table have to be of one version: "OriginalResolution" for films as their dataset has them.

    Args:
        root: The table (CSV, plain or gzipped), or a folder with just one.
        images: Folder with the films.
        target: What `mask` shows: "heart" or "lungs".
        min_quality: Least mean Dice of the reverse classification accuracy; rows below it are left out.
        splits: Shares of the splits drawn by patient; 70, 10 and 20 % by default.
    """

    name = "chexmask"
    has_mask = True

    def __init__(
        self,
        root: str,
        images: str,
        target: str = "heart",
        min_quality: float = 0.7,
        splits: dict[str, float] | None = None,
    ):
        if target not in _TARGETS:
            raise DatasetError(f"chexmask: target '{target}' is not one of {', '.join(_TARGETS)}")
        self.target = target
        self.notes, self.left_out = Counter[str](), Counter[str]()
        path = Path(root) if Path(root).is_file() else need_file(root, "*.csv", holds="the masks")
        header = column_names(path)
        self.id_column = next((name for name in ID_COLUMNS if name in header), "")
        if not self.id_column:
            raise DatasetError(f"{path}: no column {' or '.join(ID_COLUMNS)}; found {', '.join(header)}")
        check_columns(path, header, (*_ORGANS, "Height", "Width", _QUALITY))
        self.table = ArrowTable(path, (self.id_column, *_ORGANS, "Landmarks", "Height", "Width", _QUALITY))
        index = ImageIndex(images)
        entries = []
        for row, (image, quality) in enumerate(self.table.pairs(self.id_column, _QUALITY)):
            if quality and number(quality, f"{path}: {_QUALITY}") < min_quality:
                self.leave_out(f"{_QUALITY} below {min_quality}")
                continue
            film = self._film(index, image)
            entries.append(Entry(image, self._patient(image, film), "", film, row))
        self.set_entries(entries, f"chexmask in {path}", splits)

    def _film(self, index: ImageIndex, image: str) -> str:
        if self.id_column == "Path":  # CheXpert: every study has a view1_frontal.jpg
            parts = image.split("/")
            if ".." in parts:
                return ""
            return first_existing(index.root.joinpath(*parts[i:]) for i in range(len(parts) - 1))
        return index.find(image)

    def _patient(self, image: str, film: str) -> str:
        """The patient as far as the table's id tells: MIMIC-CXR's by the path, VinDr-CXR names none."""
        if self.id_column == "Path":
            return next((part for part in image.split("/") if part.startswith("patient")), image)
        if self.id_column == "Image Index":
            return image.partition("_")[0]
        if self.id_column == "dicom_id" and film:
            return subject_and_study(film, "chexmask")[0]
        return image

    def record(self, entry: Entry) -> Record:
        row = self.table.row(entry.row)
        where = f"{self.table.source}: {entry.image_id}"
        height, width = whole_number(row["Height"], where), whole_number(row["Width"], where)
        masks: dict[str, Mask] = {}
        for column in _ORGANS:
            try:
                masks[column] = decode_chexmask(row[column], height, width)
            except RunLengthError as error:
                raise DatasetError(f"{where}: {column}: {error}") from error
        boxes = {name: box for column, name in _ORGANS.items() if (box := mask_box(masks[column])) is not None}
        target = np.logical_or.reduce([masks[column] for column in _TARGETS[self.target]])
        return Record(boxes=boxes, frame=(width, height), mask=lambda _frame: target)


def mask_box(mask: Mask) -> Box | None:
    """The box around a mask: x0, y0, x1, y1 in pixels, the last ones exclusive; None for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def read_landmarks(text: str, where: str = "Landmarks") -> np.ndarray:
    """
    The contour points `(120, 2)` as x and y, of either form: "395,178,..." or the print of an array "[[ 395 178]".

    `LANDMARKS` says which points outline what.

    Raises:
        DatasetError: not 120 points.
    """
    numbers: list[Any] = re.findall(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", text)
    if len(numbers) != 240:
        raise DatasetError(f"{where}: expected 120 points, found {len(numbers) / 2:g}")
    return np.array(numbers, dtype=np.float64).reshape(120, 2)
