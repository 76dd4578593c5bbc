"""SIIM-ACR: pneumothorax, as masks."""

from collections import Counter
from pathlib import Path

import numpy as np

from anatomy_vlm.training.loaders.chexmask import mask_box
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.image_index import ImageIndex
from anatomy_vlm.training.loaders.record import Entry, Record, RegionFinding
from anatomy_vlm.training.loaders.run_length import RunLengthError, decode_siim
from anatomy_vlm.training.loaders.source import Source
from anatomy_vlm.training.loaders.tables import need_file, read_table


_SIDE = 1024
_FINDING = "pneumothorax"
_NO_MASK = "-1"


class SIIMACR(Source):
    """
    SIIM-ACR Pneumothorax Segmentation: `mask` is the pneumothorax, the union of an image's rows.

    The dataset names no patients, so every image counts as its own.

    Args:
        root: Folder with `train-rle.csv` or `stage_2_train.csv`, and the films in any folders below.
        images: Folder with the films, where it is another one.
        splits: Shares of the splits drawn by image; 70, 10 and 20 % by default.
    """

    name = "siim_acr"
    has_mask = True

    def __init__(self, root: str, images: str | None = None, splits: dict[str, float] | None = None):
        self.notes, self.left_out = Counter[str](), Counter[str]()
        path = need_file(root, "train-rle.csv", "stage_2_train.csv", "*rle*.csv", holds="the masks")
        rows: dict[str, list[str]] = {}
        for row in read_table(path, ("ImageId", "EncodedPixels")):
            rows.setdefault(row["ImageId"], []).append(row["EncodedPixels"])
        index = ImageIndex(images or root)
        self.table = Path(path)
        entries = [Entry(image, image, "", index.find(image), tuple(runs)) for image, runs in rows.items()]
        self.set_entries(entries, f"siim_acr in {root}", splits)

    def record(self, entry: Entry) -> Record:
        runs = [text for text in entry.row if text != _NO_MASK]
        try:
            masks = [decode_siim(text, _SIDE, _SIDE) for text in runs]
        except RunLengthError as error:
            raise DatasetError(f"{self.table}: {entry.image_id}: {error}") from error
        boxes = [box for mask in masks if (box := mask_box(mask)) is not None]
        union = np.logical_or.reduce(masks) if masks else np.zeros((_SIDE, _SIDE), dtype=bool)
        return Record(
            findings=[RegionFinding(_FINDING, box=box) for box in boxes] or [RegionFinding(_FINDING, "absent")],
            labels={_FINDING: float(bool(boxes))},
            study_id=entry.image_id,
            frame=(_SIDE, _SIDE),
            mask=lambda _frame: union,
        )
