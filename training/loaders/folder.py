"""A user's own data: a folder of images and a file that says what is known about each.

`metadata.jsonl`, one JSON object per line; only the first two keys are required:

    {"file_name": "images/0001.dcm",           path below the folder: PNG, JPEG, TIFF or DICOM
     "patient_id": "p17",                      splits are made by patient
     "split": "train",                         drawn by patient where no line has one
     "boxes": {"left lung": [x0, y0, x1, y1]}, pixels of the image; left is the patient's left
     "labels": {"pleural effusion": 1},        1 present, 0 absent, what is not named is unknown
     "findings": [{"finding": "pleural effusion", "polarity": "present", "region": "left lung",
                   "severity": "mild", "phrase": "Small left effusion."}],
     "report": "...", "study_id": "...", "view": "PA"}

or `metadata.csv` with the same columns, apart from `boxes`, `labels` and `findings`, and one column per finding (1, 0
or empty) and per region ("x0 y0 x1 y1" or empty); or COCO's `annotations.json`, whose images may have those keys too,
and whose categories are regions (their boxes) and findings (present, in the lung of the box's side).

The splits are "train", "validation" and "test"; "training", "val" or "valid", and "testing" mean the same, in any case
of letters. A split of another name ("holdout", "dev") stays one of its own.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from anatomy_vlm.processing.statements import Statement
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.folder_files import ANNOTATIONS, CSV, JSONL, Line, coco_lines, csv_lines, json_lines
from anatomy_vlm.training.loaders.paths import path_inside
from anatomy_vlm.training.loaders.record import Box, Entry, Record, RegionFinding
from anatomy_vlm.training.loaders.source import Source
from anatomy_vlm.training.recipe import suggestion


_FARTHEST = 1e9  # pixels
FINDING_KEYS = ("finding", "polarity", "region", "severity", "phrase", "box")


class Folder(Source):
    """
    A folder of images with `metadata.jsonl`, `metadata.csv` or `annotations.json`, see the module.

    Args:
        path: The folder.
        splits: Shares of the splits drawn by patient where the file names none; 70, 10 and 20 % by default.

    Raises:
        DatasetError: with the file and line, and what is wrong there.
    """

    name = "folder"

    def __init__(self, path: str, splits: dict[str, float] | None = None):
        self.notes, self.left_out = Counter[str](), Counter[str]()
        folder = Path(path)
        readers = {JSONL: json_lines, CSV: csv_lines, ANNOTATIONS: coco_lines}
        name = next((name for name in readers if (folder / name).is_file()), None)
        if name is None:
            raise DatasetError(
                f"{folder / JSONL}: no such file; the folder loader needs {JSONL}, {CSV} or {ANNOTATIONS} beside the "
                "images"
            )
        lines = list(readers[name](folder / name))
        if not lines:
            raise DatasetError(f"{folder / name}: no lines, so no examples")
        named = [bool(record.get("split")) for _, record in lines]
        if any(named) and not all(named):
            raise DatasetError(f"{lines[named.index(False)][0]}: the key 'split' is missing, but other lines have one")
        entries = [_entry(folder, line) for line in lines]
        absent = [entry for entry in entries if not Path(entry.path).is_file()]
        if absent:
            raise DatasetError(
                f"{absent[0].row[0]}: {absent[0].path}: there is no such file ({len(absent)} of {len(entries)} images "
                f"are missing); check the path, or take the image out of {name}"
            )
        self.set_entries(entries, str(folder), splits if not any(named) else None)

    def record(self, entry: Entry) -> Record:
        where, values = entry.row
        findings = _findings(values, where)
        return Record(
            boxes=_boxes(values, where),
            findings=findings,
            labels=_labels(values, findings, where),
            report=values.get("report") or "",
            study_id=str(values.get("study_id") or ""),
            view=values.get("view") or "",
        )


def _entry(folder: Path, line: Line) -> Entry:
    where, record = line
    # What stands in the file is checked before the first image is read.
    _labels(record, _findings(record, where), where)
    _boxes(record, where)
    image = str(record.get("image_id") or record["file_name"])
    path = path_inside(folder, record["file_name"], where)
    return Entry(image, record["patient_id"], record.get("split") or "", str(path), (where, record))


def _check(keys: Any, known: tuple[str, ...], where: str, what: str) -> None:
    for key in keys:
        if key not in known:
            raise DatasetError(f"{where}: unknown {what} '{key}'; {suggestion(str(key), known)}")


def _boxes(record: dict[str, Any], where: str) -> dict[str, Box]:
    named = record.get("boxes") or {}
    _check(named, REGION_NAMES, where, "region")
    return {name: _box(box, name, where) for name, box in named.items()}


def _box(box: Any, name: str, where: str) -> Box:
    if not (isinstance(box, list) and len(box) == 4 and all(isinstance(v, int | float) for v in box)):
        raise DatasetError(f"{where}: the box of '{name}' must be [x0, y0, x1, y1] in pixels, not {str(box)[:80]}")
    if not all(-_FARTHEST <= v <= _FARTHEST for v in box):
        raise DatasetError(f"{where}: the box {str(box)[:80]} of '{name}' lies outside of any image")
    if not (box[0] < box[2] and box[1] < box[3]):
        raise DatasetError(f"{where}: the box {box} of '{name}' is empty; expected [x0, y0, x1, y1], x0 < x1, y0 < y1")
    return float(box[0]), float(box[1]), float(box[2]), float(box[3])


def _findings(record: dict[str, Any], where: str) -> list[RegionFinding]:
    entries = []
    for entry in record.get("findings") or []:
        _check(entry, FINDING_KEYS, where, "key of a finding")
        for key in FINDING_KEYS[:-1]:
            if not isinstance(entry.get(key), str | None):
                raise DatasetError(f"{where}: '{key}' of a finding must be text, not {str(entry[key])[:80]}")
        _check([entry.get("finding")], FINDING_NAMES, where, "finding")
        try:
            statement = Statement(
                entry["finding"],
                entry.get("polarity", "present"),
                entry.get("region") or None,
                # The example schema writes "" where there is none.
                entry.get("severity") or None,
            )
        except ValueError as error:
            raise DatasetError(f"{where}: {error}") from error
        entries.append(
            RegionFinding(
                statement.finding,
                statement.polarity,
                statement.region or "",
                statement.severity or "",
                entry.get("phrase") or "",
                _box(entry["box"], statement.finding, where) if entry.get("box") else None,
            )
        )
    return entries


def _labels(record: dict[str, Any], findings: list[RegionFinding], where: str) -> dict[str, float]:
    labels = {f.finding: 0.0 for f in findings if f.polarity == "absent" and not f.region}
    labels |= {f.finding: 1.0 for f in findings if f.polarity == "present"}
    named = record.get("labels") or {}
    _check(named, FINDING_NAMES, where, "finding")
    for name, value in named.items():
        if not isinstance(value, int | float | None) or value not in (0, 1, None):
            raise DatasetError(f"{where}: the label of '{name}' must be 1, 0 or null, not {value!r}")
        if value is not None:
            labels[name] = float(value)
    return labels
