"""The files that describe a user's folder of images, as one dict per image and its place for errors."""

import difflib
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any

from anatomy_vlm.processing.data_files import DataFileError, parse_json
from anatomy_vlm.processing.schema import VIEWS
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES, map_dataset_labels
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.tables import (
    bounded_lines,
    check_columns,
    column_names,
    number,
    open_text,
    read_json,
    read_table,
)
from anatomy_vlm.training.recipe import suggestion


JSONL, CSV, ANNOTATIONS = "metadata.jsonl", "metadata.csv", "annotations.json"
TEXT_KEYS = ("file_name", "patient_id", "split", "report", "study_id", "view", "image_id")
KEYS = (*TEXT_KEYS, "boxes", "labels", "findings")
REQUIRED = ("file_name", "patient_id")
_NAMES = ("patient_id", "study_id", "image_id")
# Usual words for the three splits; a split of another name is the user's own.
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
_KINDS: dict[str, tuple[type, str]] = {
    "boxes": (dict, "an object of boxes by region"),
    "labels": (dict, "an object of 1, 0 or null by finding"),
    "findings": (list, "a list of objects with the key 'finding'"),
}

_LABELS = ("0", "1", "0.0", "1.0")

Line = tuple[str, dict[str, Any]]


def _checked(record: Any, where: str) -> Line:
    if not isinstance(record, dict):
        raise DatasetError(f"{where}: not a JSON object but a {type(record).__name__}")
    for key in record:
        if key not in KEYS:
            raise DatasetError(f"{where}: unknown key '{key}'; {suggestion(str(key), KEYS)}")
    for key in REQUIRED:
        if record.get(key) in (None, ""):
            raise DatasetError(f"{where}: the key '{key}' is missing")
    for key, (kind, meaning) in _KINDS.items():
        if not isinstance(record.get(key, kind()), kind | NoneType):
            raise DatasetError(f"{where}: '{key}' must be {meaning}, not {record[key]!r}")
    for finding in record.get("findings") or ():
        if not isinstance(finding, dict):
            raise DatasetError(f"{where}: 'findings' must be {_KINDS['findings'][1]}, not hold {finding!r}")
    # Numbers are common as names of patients and studies.
    record |= {key: str(record[key]) for key in _NAMES if isinstance(record.get(key), int)}
    for key in TEXT_KEYS:
        if not isinstance(record.get(key, ""), str | NoneType):
            raise DatasetError(f"{where}: '{key}' must be text, not {record[key]!r}")
    if split := record.get("split"):
        record["split"] = _SPLITS.get(split.strip().lower(), split)
    if record.get("view", "") not in (*VIEWS, None):
        raise DatasetError(f"{where}: view '{record['view']}' must be PA, AP, LATERAL or empty")
    return where, record


def json_lines(path: Path) -> Iterator[Line]:
    """The lines of `metadata.jsonl`. Raises `DatasetError` for a line that is no object with the required keys."""
    try:
        with open_text(path) as file:
            lines = list(bounded_lines(file))
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as text: {error}; save it as UTF-8") from error
    for number_of_line, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}:{number_of_line}"
        try:
            record = parse_json(line)
        except DataFileError as error:
            raise DatasetError(f"{where}: not a JSON object: {error}") from None
        yield _checked(record, where)


def csv_lines(path: Path) -> Iterator[Line]:
    """The rows of `metadata.csv`. Raises `DatasetError` for a column that is unknown or missing, or a wrong cell."""
    header = column_names(path)
    check_columns(path, header, REQUIRED)
    for name in header:
        if name not in (*TEXT_KEYS, *FINDING_NAMES, *REGION_NAMES):
            raise DatasetError(f"{path}: unknown column '{name}'; {_meant(name, TEXT_KEYS)}")
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
    if text not in _LABELS:
        raise DatasetError(f"{where}: the label of '{name}' must be 1, 0 or empty, not {text!r}")
    return float(text)


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
    try:
        names = {category["id"]: category["name"] for category in value["categories"]}
        # Tools add keys of their own to an image; only ours are taken.
        records = {image["id"]: {key: image[key] for key in KEYS if key in image} for image in value["images"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path}: images need an id and a file_name, categories an id and a name") from error
    for name in names.values():
        if not isinstance(name, str) or not isinstance(value["annotations"], list):
            raise DatasetError(f"{path}: names of categories are texts, and annotations are a list")
        if name not in (*REGION_NAMES, *FINDING_NAMES) and not _finding(name):
            raise DatasetError(f"{path}: category '{name}' is neither a region nor a finding; {_meant(name, ())}")
    for record in records.values():
        record |= {"patient_id": record.get("patient_id", record.get("file_name")), "boxes": {}, "findings": []}
    for index, annotation in enumerate(value["annotations"]):
        try:
            record, name = records[annotation["image_id"]], names[annotation["category_id"]]
            x, y, width, height = map(float, annotation["bbox"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DatasetError(
                f"{path}: annotations[{index}] needs an image_id and a category_id of this file and a bbox "
                f"[x, y, width, height]; found {str(annotation)[:80]}"
            ) from error
        box = [x, y, x + width, y + height]
        if name in REGION_NAMES:
            record["boxes"][name] = box
        else:
            record["findings"].append({"finding": _finding(name) or name, "box": box})
    for key, record in records.items():
        yield _checked(record, f"{path}: image {key}")


def _meant(name: str, keys: tuple[str, ...]) -> str:
    """What a name of the user's may stand for; the vocabulary is too long for a line."""
    known = (*keys, *REGION_NAMES, *FINDING_NAMES)
    if difflib.get_close_matches(name, known, n=1):
        return suggestion(name, known)
    some = ", ".join((*keys, f"a region such as '{REGION_NAMES[0]}'"))
    return f"known are {some}, and findings such as '{FINDING_NAMES[0]}' (anatomy_vlm.processing.vocabulary)"


def _finding(name: str) -> str:
    """Our name of a finding, of ours or CheXpert's; "" for none."""
    if name in FINDING_NAMES:
        return name
    ours = map_dataset_labels("chexpert", {name: 1}, ignore_unknown=True)
    return next((finding for finding, value in ours.items() if value == 1), "") if len(ours) == 1 else ""
