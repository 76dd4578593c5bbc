"""JSON that users and strangers give: boxes, metadata of folders, COCO, manifests, receipts, calibrations."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from anatomy_vlm.processing.radiograph import ImageReadError
from anatomy_vlm.processing.score_calibration_anatomy_vlm import ScoreCalibration, ScoreCalibrationError
from anatomy_vlm.processing.vocabulary import REGION_NAMES
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.folder import Folder
from anatomy_vlm.training.loaders.prepared import shard_files
from anatomy_vlm.training.receipts.errors import ReceiptError
from anatomy_vlm.training.receipts.receipt import differences, load_receipt, remarks
from anatomy_vlm.user_boxes import UserBoxesError, check_within, choose_regions, read_user_boxes
from fuzzing.expect import attempt, outcome
from fuzzing.mutate import bytes_of, data_of, dump_json


_BOXES = {"film.png": [[1, 2, 30, 40], {"box": [0, 0, 9, 9.5], "label": "Left lung", "region": "left lung"}], "b": []}
_LINE = {
    "file_name": "film.png", "patient_id": "p1", "split": "train", "boxes": {"left lung": [20, 5, 40, 40]},
    "labels": {"pneumothorax": 1}, "report": "No effusion.", "study_id": "s1", "view": "PA", "image_id": "i1",
    "findings": [{"finding": "pleural effusion", "polarity": "present", "region": "left lung", "severity": "mild",
                  "phrase": "Small left effusion.", "box": [1, 2, 9, 9]}],
}  # fmt: skip
_COCO = {
    "images": [{"id": 1, "file_name": "film.png", "patient_id": "p", "width": 64, "height": 48, "split": "train"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [3, 4, 10, 12]}],
    "categories": [{"id": 2, "name": "left lung"}, {"id": 3, "name": "pneumothorax"}],
}
_SHARDS = {"shards": [{"split": "train", "rows": 1, "file": "a.parquet", "bytes": 4}], "request": {"mask": False}}
_RECEIPT = {
    "receipt_version": "1.0", "task": "evaluation", "command": "anatomy-vlm evaluate", "settings": {"bootstrap": 100},
    "model": {"source": "phantom-reference", "weights": "ab", "files": {"config.json": "cd"}},
    "data": {"test": {"loader": "phantom", "arguments": {"num_patients": 4}, "split": "test", "images": 4,
    "patients": 4,
                      "ids": "a", "labels": "b", "pixels": "c", "mean_grey": 91.5}},
    "numbers": [{"name": "boxes | iou", "value": 0.5, "low": 0.4, "high": None, "baseline": 0.1}],
    "code": {"version": "0.1.0", "commit": None, "dirty": False}, "libraries": {"torch": "2"},
    "machine": {"processor": "x"}, "tolerances": {"default": 0.002},
}  # fmt: skip
_FINDING = {
    "map": {"kind": "logistic", "scale": 1.5, "offset": -0.2}, "threshold": 0.4, "threshold_source": "validation",
    "cuts": {"present_from": -1.0, "absent_to": None, "num_present": 12, "num_absent": 40},
}  # fmt: skip
_ISOTONIC = {**_FINDING, "map": {"kind": "isotonic", "margins": [-1.0, 2.0], "probabilities": [0.1, 0.9]}}
_CALIBRATION = {
    "version": 1, "coverage": 0.9, "image": {"pneumothorax": _FINDING}, "region": {"pneumothorax": _ISOTONIC},
    "region_cuts": {"left lung": {"pneumothorax": _FINDING["cuts"]}},
}  # fmt: skip


class JsonFiles:
    """Writes one of the files with odd values in it and reads it to the end of its way."""

    name = "json"

    def __init__(self, folder: Path, heavy: bool = False) -> None:
        self.folder = folder
        Image.fromarray(np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))).save(folder / "film.png")
        (folder / "a.parquet").write_bytes(b"PAR1")
        self.targets: list[tuple[str, Any, Callable[[Path], Any]]] = [
            ("boxes.json", _BOXES, _read_boxes),
            ("metadata.jsonl", _LINE, self._read_folder),
            ("annotations.json", _COCO, self._read_folder),
            ("manifest.json", _SHARDS, self._read_shards),
            ("receipt.json", _RECEIPT, _read_receipt),
            ("calibration.json", _CALIBRATION, _read_calibration),
        ]

    def case(self, random: Random) -> str:
        name, seed, read = random.choice(self.targets)
        text = dump_json(data_of(random, seed))
        data = text.encode("utf-8", "surrogatepass")
        if random.random() < 0.2:
            data = bytes_of(random, data)
        path = self.folder / name
        path.write_bytes(data)
        try:
            return f"{name.partition('.')[0]} {outcome(read(path))}"
        finally:
            path.unlink()

    def _read_folder(self, _path: Path) -> Any:
        source = attempt(DatasetError, Folder, str(self.folder))
        if isinstance(source, Exception):
            return source
        return attempt((DatasetError, ImageReadError), source.sample, source.entries[0], 32)

    def _read_shards(self, _path: Path) -> Any:
        return attempt(DatasetError, shard_files, self.folder)


def _read_boxes(path: Path) -> Any:
    boxes = attempt(UserBoxesError, read_user_boxes, path)
    if not isinstance(boxes, Exception):
        attempt(UserBoxesError, boxes.check_images, ["film.png"])
        own = boxes.of("film.png")
        attempt(UserBoxesError, check_within, own, (64, 48), str(path))
        places = np.tile([1.0, 2.0, 30.0, 40.0], (len(REGION_NAMES), 1))
        attempt(UserBoxesError, choose_regions, own, REGION_NAMES, places, str(path))
    return boxes


def _read_receipt(path: Path) -> Any:
    receipt = attempt(ReceiptError, load_receipt, path)
    if not isinstance(receipt, Exception):
        attempt((), differences, receipt, receipt)
        attempt((), remarks, receipt, receipt)
        attempt((), receipt.to_dict)
    return receipt


def _read_calibration(path: Path) -> Any:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        return error  # the file is Transformers' to read, see the kind `checkpoint`
    calibration = attempt(ScoreCalibrationError, ScoreCalibration.from_dict, values)
    if not isinstance(calibration, Exception):
        attempt((), calibration.to_dict)
        for item in (*calibration.image.values(), *calibration.region.values()):
            attempt((), item.score_map, np.array([-2.0, 0.0, 50.0]))
            attempt((), item.cuts.decide, 0.3)
    return calibration
