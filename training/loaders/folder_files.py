"""The files that describe a user's folder of images, as one dict per image and its place for errors."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES, map_dataset_labels
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.tables import column_names, number, read_json, read_table
from anatomy_vlm.training.recipe import suggestion


JSONL, CSV, ANNOTATIONS = "metadata.jsonl", "metadata.csv", "annotations.json"
TEXT_KEYS = ("file_name", "patient_id", "split", "report", "study_id", "view", "image_id")
KEYS = (*TEXT_KEYS, "boxes", "labels", "findings")
REQUIRED = ("file_name", "patient_id")
_COCO_KEYS = ("id", "width", "height", "license", "flickr_url", "coco_url", "date_captured")

Line = tuple[str, dict[str, Any]]


def _checked(record: Any, where: str) -> Line:
    if not isinstance(record, dict):
        raise DatasetError(f"{where}: not a JSON object but a {type(record).__name__}")
    for key in record:
        if key not in KEYS:
            raise DatasetError(f"{where}: unknown key '{key}'; {suggestion(str(key), KEYS)}")
    for key in REQUIRED:
        if not record.get(key):
            raise DatasetError(f"{where}: the key '{key}' is missing")
    return where, record


def json_lines(path: Path) -> Iterator[Line]:
    """The lines of `metadata.jsonl`. Raises `DatasetError` for a line that is no object with the required keys."""
    with path.open(encoding="utf-8") as file:
        for number_of_line, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"{path}:{number_of_line}"
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise DatasetError(f"{where}: not a JSON object: {error}") from error
            yield _checked(record, where)


def csv_lines(path: Path) -> Iterator[Line]:
    """The rows of `metadata.csv`. Raises `DatasetError` for a column that is unknown or missing, or a wrong cell."""
    header = column_names(path)
    known = (*TEXT_KEYS, *FINDING_NAMES, *REGION_NAMES)
    for name in header:
        if name not in known:
            raise DatasetError(f"{path}: unknown column '{name}'; {suggestion(name, known)}")
    for row_number, row in enumerate(read_table(path, REQUIRED, header), start=2):
        where = f"{path}:{row_number}"
        record: dict[str, Any] = {key: row[key] for key in TEXT_KEYS if row.get(key)}
        record["labels"] = {name: _label(row[name], where, name) for name in FINDING_NAMES if row.get(name)}
        record["boxes"] = {
            name: [number(word, f"{where}: {name}") for word in row[name].split()]
            for name in REGION_NAMES
            if row.get(name)
        }
        yield _checked(record, where)


def _label(text: str, where: str, name: str) -> float:
    value = number(text, f"{where}: {name}")
    if value not in (0, 1):
        raise DatasetError(f"{where}: the label of '{name}' must be 1, 0 or empty, not {text!r}")
    return value


def coco_lines(path: Path) -> Iterator[Line]:
    """
    The images of COCO's `annotations.json`. Without a `patient_id` an image counts as its own patient.

    Raises:
        DatasetError: a category that is neither a region nor a finding, or an annotation without its image.
    """
    value = read_json(path)
    for key in ("images", "annotations", "categories"):
        if not isinstance(value, dict) or key not in value:
            raise DatasetError(f"{path}: no key '{key}'; expected COCO's images, annotations and categories")
    names = {category["id"]: category["name"] for category in value["categories"]}
    known = (*REGION_NAMES, *FINDING_NAMES)
    for name in names.values():
        if name not in known and not _finding(name):
            raise DatasetError(
                f"{path}: category '{name}' is neither a region nor a finding; {suggestion(name, known)}"
            )
    records: dict[Any, dict[str, Any]] = {}
    for image in value["images"]:
        record = {key: item for key, item in image.items() if key not in _COCO_KEYS}
        records[image["id"]] = {"patient_id": record.get("file_name"), **record, "boxes": {}, "findings": []}
    for annotation in value["annotations"]:
        record = records.get(annotation.get("image_id"), {})
        where = f"{path}: annotation {annotation.get('id')}"
        if not record or annotation.get("category_id") not in names or len(annotation.get("bbox", ())) != 4:
            raise DatasetError(f"{where}: its image, category or bbox [x, y, width, height] is missing")
        x, y, width, height = annotation["bbox"]
        box, name = [x, y, x + width, y + height], names[annotation["category_id"]]
        if name in REGION_NAMES:
            record["boxes"][name] = box
        else:
            record["findings"].append({"finding": _finding(name) or name, "box": box})
    for key, record in records.items():
        yield _checked(record, f"{path}: image {key}")


def _finding(name: str) -> str:
    """Our name of a finding, of ours or CheXpert's; "" for none."""
    if name in FINDING_NAMES:
        return name
    ours = map_dataset_labels("chexpert", {name: 1}, ignore_unknown=True)
    return next((finding for finding, value in ours.items() if value == 1), "") if len(ours) == 1 else ""
