"""A user's own data: a folder of images and a `metadata.jsonl` that says what is known about each.

Every line of `metadata.jsonl` is a JSON object; only the first two keys are required:

    {"file_name": "images/0001.dcm",           path below the folder: PNG, JPEG, TIFF or DICOM
     "patient_id": "p17",                      splits are made by patient
     "split": "train",                         drawn by patient where no line has one
     "boxes": {"left lung": [x0, y0, x1, y1]}, pixels of the image; left is the patient's left
     "labels": {"pleural effusion": 1},        1 present, 0 absent, what is not named is unknown
     "findings": [{"finding": "pleural effusion", "polarity": "present", "region": "left lung",
                   "severity": "mild", "phrase": "Small left effusion."}],
     "report": "...", "study_id": "...", "view": "PA"}
"""

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
from tqdm import tqdm

from anatomy_vlm.processing.image_io import ImageReadError, read_image
from anatomy_vlm.processing.schema import features, validate_example
from anatomy_vlm.processing.statements import Statement, render_statement
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES
from anatomy_vlm.training.loaders.saved import check_splits
from anatomy_vlm.training.recipe import RecipeError, suggestion


KEYS = ("file_name", "patient_id", "split", "boxes", "labels", "findings", "report", "study_id", "view", "image_id")
FINDING_KEYS = ("finding", "polarity", "region", "severity", "phrase")


def _check(keys: Any, known: tuple[str, ...], where: str, what: str) -> None:
    for key in keys:
        if key not in known:
            raise RecipeError(f"{where}: unknown {what} '{key}'; {suggestion(str(key), known)}")


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not path.is_file():
        raise RecipeError(f"{path}: no such file; the folder loader needs a metadata.jsonl beside the images")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise RecipeError(f"{where}: not a JSON object: {error}") from error
            if not isinstance(record, dict):
                raise RecipeError(f"{where}: not a JSON object but a {type(record).__name__}")
            _check(record, KEYS, where, "key")
            for key in ("file_name", "patient_id"):
                if not record.get(key):
                    raise RecipeError(f"{where}: the key '{key}' is missing")
            yield where, record


def _boxes(record: dict[str, Any], size: tuple[int, int], where: str) -> tuple[list[list[float]], list[bool]]:
    boxes, mask = [[0.0] * 4 for _ in REGION_NAMES], [False] * len(REGION_NAMES)
    named = record.get("boxes") or {}
    _check(named, REGION_NAMES, where, "region")
    width, height = size
    for name, box in named.items():
        if not (isinstance(box, list) and len(box) == 4 and all(isinstance(v, int | float) for v in box)):
            raise RecipeError(f"{where}: the box of '{name}' must be [x0, y0, x1, y1] in pixels, not {box!r}")
        limits = (width, height, width, height)
        clipped = [min(max(value / limit, 0.0), 1.0) for value, limit in zip(box, limits)]
        if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
            raise RecipeError(f"{where}: the box {box} of '{name}' is empty in an image of {width} x {height} pixels")
        index = REGION_NAMES.index(name)
        boxes[index], mask[index] = clipped, True
    return boxes, mask


def _findings(record: dict[str, Any], where: str) -> list[dict[str, str]]:
    entries = []
    for entry in record.get("findings") or []:
        _check(entry, FINDING_KEYS, where, "key of a finding")
        _check([entry.get("finding")], FINDING_NAMES, where, "finding")
        try:
            statement = Statement(
                entry["finding"], entry.get("polarity", "present"), entry.get("region"), entry.get("severity")
            )
        except ValueError as error:
            raise RecipeError(f"{where}: {error}") from error
        entries.append(
            {
                "region": statement.region or "",
                "finding": statement.finding,
                "polarity": statement.polarity,
                "severity": statement.severity or "",
                "phrase": entry.get("phrase") or render_statement(statement),
            }
        )
    return entries


def _labels(record: dict[str, Any], entries: list[dict[str, str]], where: str) -> list[float]:
    labels = [math.nan] * len(FINDING_NAMES)
    for entry in entries:
        index = FINDING_NAMES.index(entry["finding"])
        if entry["polarity"] == "present":
            labels[index] = 1.0
        elif entry["polarity"] == "absent" and not entry["region"] and math.isnan(labels[index]):
            labels[index] = 0.0
    named = record.get("labels") or {}
    _check(named, FINDING_NAMES, where, "finding")
    for name, value in named.items():
        if value not in (0, 1, None):
            raise RecipeError(f"{where}: the label of '{name}' must be 1, 0 or null, not {value!r}")
        if value is not None:
            labels[FINDING_NAMES.index(name)] = float(value)
    return labels


def read_record(folder: Path, record: dict[str, Any], where: str) -> dict[str, Any]:
    """The example of one line of `metadata.jsonl`; `where` names the line in errors."""
    try:
        radiograph = read_image(folder / record["file_name"])
    except ImageReadError as error:
        raise RecipeError(f"{where}: {error}") from error
    image = radiograph.to_pil()
    boxes, mask = _boxes(record, image.size, where)
    entries = _findings(record, where)
    example = {
        "image": image,
        "boxes": boxes,
        "box_mask": mask,
        "region_findings": entries,
        "labels": _labels(record, entries, where),
        "report": record.get("report") or "",
        "patient_id": str(record["patient_id"]),
        "study_id": str(record.get("study_id") or ""),
        "image_id": str(record.get("image_id") or record["file_name"]),
        "view": record.get("view") or radiograph.view,
        "source": "folder",
    }
    try:
        validate_example(example)
    except ValueError as error:
        raise RecipeError(f"{where}: {error}") from error
    return example


def drawn_split(patient: str, splits: dict[str, float]) -> str:
    """The split of a patient: by a hash of the name, so that it stays when patients are added."""
    draw = int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8], "big") / 2**64 * sum(splits.values())
    for name, fraction in splits.items():
        draw -= fraction
        if draw < 0:
            return name
    return next(reversed(splits))


def load_folder(path: str, splits: dict[str, float] | None = None) -> datasets.DatasetDict:
    """
    Args:
        path: Folder with `metadata.jsonl` and the images.
        splits: Fraction of the patients in each split where the lines name none; 70, 10 and 20 % by default.

    Raises:
        RecipeError: with the file and line, and what is wrong there.
    """
    folder = Path(path)
    splits = splits or {"train": 0.7, "validation": 0.1, "test": 0.2}
    records = list(_lines(folder / "metadata.jsonl"))
    if not records:
        raise RecipeError(f"{folder / 'metadata.jsonl'}: no lines, so no examples")
    named = [record.get("split") for _, record in records]
    if any(named) and not all(named):
        where = records[named.index(None)][0]
        raise RecipeError(f"{where}: the key 'split' is missing, but other lines have one")
    by_split: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for where, record in records:
        split = record.get("split") or drawn_split(str(record["patient_id"]), splits)
        by_split.setdefault(split, []).append((where, record))

    def examples(lines: list[tuple[str, dict[str, Any]]], name: str) -> Iterator[dict[str, Any]]:
        for where, record in tqdm(lines, desc=f"Reading {name}", leave=False):
            yield read_record(folder, record, where)

    dataset = datasets.DatasetDict(
        {
            name: datasets.Dataset.from_list(list(examples(lines, name)), features=features())
            for name, lines in by_split.items()
        }
    )
    return check_splits(dataset, str(folder))
