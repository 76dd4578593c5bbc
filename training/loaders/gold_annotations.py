"""Chest ImaGenome's gold set: boxes and statements that radiologists made."""

from pathlib import Path
from typing import Any

from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES
from anatomy_vlm.training.loaders.record import Box, RegionFinding
from anatomy_vlm.training.loaders.scene_graph import last_said, place
from anatomy_vlm.training.loaders.tables import find_file, need_file, number, read_table


_BOX_COLUMNS = ("image_id", "bbox_name", "original_x1", "original_y1", "original_x2", "original_y2")
_STATEMENT_COLUMNS = ("patient_id", "study_id", "image_id", "bbox", "relation", "label_name", "context")


def gold_records(folder: Path) -> dict[str, dict[str, Any]]:
    """
    By film: `boxes` in original pixels, `findings`, and `subject_id` and `study_id` where the tables name them.

    Gold boxes leave out the mediastinum, which is taken as the union of upper mediastinum and cardiac silhouette.

    Raises:
        DatasetError: no table of boxes, or one without its columns.
    """
    path = need_file(folder, "gold_bbox_coordinate_annotations_1000images.csv", holds="the gold boxes")
    records: dict[str, dict[str, Any]] = {}
    for row in read_table(path, _BOX_COLUMNS):
        record = records.setdefault(_dicom(row["image_id"]), {"boxes": {}, "findings": []})
        corners = [number(row[name], f"{path}: {name}") for name in _BOX_COLUMNS[2:]]
        record["boxes"][row["bbox_name"]] = tuple(corners)
    for record in records.values():
        boxes: dict[str, Box] = record["boxes"]
        if "mediastinum" not in boxes and {"upper mediastinum", "cardiac silhouette"} <= set(boxes):
            first, second = boxes["upper mediastinum"], boxes["cardiac silhouette"]
            boxes["mediastinum"] = (*map(min, first[:2], second[:2]), *map(max, first[2:], second[2:]))  # type: ignore[assignment]
    statements = find_file(folder, "gold_attributes_relations_500pts_500studies1st.txt")
    if statements is not None:
        _add_statements(statements, records)
    return records


def _add_statements(path: Path, records: dict[str, dict[str, Any]]) -> None:
    for row in read_table(path, _STATEMENT_COLUMNS, ("sentence",), delimiter="\t"):
        record = records.get(_dicom(row["image_id"]))
        if record is None:
            continue
        record |= {"subject_id": row["patient_id"], "study_id": row["study_id"]}
        if row["label_name"] not in FINDING_NAMES or row["relation"] not in ("1", "1.0"):
            continue
        polarity = "absent" if row["context"] == "no" else "present"
        region = place(row["bbox"] if row["bbox"] in REGION_NAMES else "", polarity, additional=False)
        if region is not None:
            record["findings"].append(RegionFinding(row["label_name"], polarity, region, "", row["sentence"]))
    for record in records.values():
        record["findings"] = last_said(record["findings"])


def _dicom(image: str) -> str:
    return image.removesuffix(".dcm")
