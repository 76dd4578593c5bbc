"""NIH ChestX-ray14: 14 labels mined from reports, and boxes of some findings."""

import csv
from collections import Counter
from pathlib import Path

from anatomy_vlm.processing.vocabulary import dataset_label_names, map_dataset_labels
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.image_index import ImageIndex
from anatomy_vlm.training.loaders.mimic_layout import mimic_view
from anatomy_vlm.training.loaders.patient_splits import with_validation
from anatomy_vlm.training.loaders.record import Box, Entry, Record, RegionFinding, known_label, label_findings
from anatomy_vlm.training.loaders.source import Source
from anatomy_vlm.training.loaders.tables import (
    bounded_lines,
    check_columns,
    find_file,
    need_file,
    number,
    open_text,
    read_table,
    reading,
)


_SIDE = 1024
_BOX_SUFFIX = "Bbox [x"


class NIHChestXray14(Source):
    """
    NIH ChestX-ray14. Labels that a film does not list are absent. A box says in which lung its finding is.

    Args:
        root: Folder with `Data_Entry_2017*.csv`, `BBox_List_2017.csv` and the lists of the official splits.
        images: Folder with the films, where it is another one.
        splits: Shares to draw splits by patient; by default the official test list, and a tenth of the other
            patients for validation.
    """

    name = "nih_chestxray14"

    def __init__(self, root: str, images: str | None = None, splits: dict[str, float] | None = None):
        self.notes, self.left_out = Counter[str](), Counter[str]()
        path = need_file(root, "Data_Entry_2017*.csv", holds="the labels")
        index = ImageIndex(images or root)
        official = _official_splits(root)
        boxes_path = find_file(root, "BBox_List_2017*.csv")
        boxes = read_nih_boxes(boxes_path) if boxes_path is not None else {}
        if boxes_path is None:
            self.notes["table missing: BBox_List_2017.csv, so no finding has a box"] += 1
        entries = []
        for row in read_table(path, ("Image Index", "Finding Labels", "Patient ID"), ("View Position", "Follow-up #")):
            image, patient = row["Image Index"], row["Patient ID"]
            split = with_validation(official[image], patient) if image in official else ""
            if official and not split:
                self.leave_out("in no official list")
                continue
            details = (row["Finding Labels"], mimic_view(row["View Position"]), tuple(boxes.get(image, ())))
            entries.append(Entry(image, patient, split, index.find(image), details))
        self.set_entries(entries, f"nih_chestxray14 in {root}", splits)

    def record(self, entry: Entry) -> Record:
        names, view, boxes = entry.row
        listed = set(names.split("|"))
        labels, _ = label_findings("nih", {name: float(name in listed) for name in dataset_label_names("nih")})
        findings = [
            RegionFinding(finding, box=box)
            for label, box in boxes
            for finding, value in map_dataset_labels("nih", {label: 1}).items()
            if value == 1
        ]
        unknown = listed - set(dataset_label_names("nih"))
        return Record(
            findings=findings,
            labels=labels | {finding.finding: 1.0 for finding in findings},
            study_id=entry.image_id.rpartition(".")[0],
            view=view,
            frame=(_SIDE, _SIDE),
            notes=[f"label left out: {name}" for name in sorted(unknown)],
        )


def read_nih_boxes(path: str | Path) -> dict[str, list[tuple[str, Box]]]:
    """
    Label and box x0, y0, x1, y1 in pixels of 1024 x 1024, by image, of `BBox_List_2017.csv`.

    Its header splits "Bbox [x,y,w,h]" at the commas and goes on with empty cells that no row has.

    Raises:
        DatasetError: a column that is missing, a cell that is no number, or an unknown label; the line is named.
    """
    boxes: dict[str, list[tuple[str, Box]]] = {}
    with reading(path), open_text(path) as file:
        reader = csv.reader(bounded_lines(file))
        header = [name.strip() for name in next(reader, [])]
        check_columns(path, header, ("Image Index", "Finding Label", _BOX_SUFFIX))
        image, label, first = (header.index(name) for name in ("Image Index", "Finding Label", _BOX_SUFFIX))
        for row in reader:
            if not any(row):
                continue
            where = f"{path}:{reader.line_num}"
            if len(row) < first + 4:
                raise DatasetError(f"{where}: {len(row)} cells, expected a box of 4 numbers from cell {first + 1} on")
            x, y, width, height = (number(cell, where) for cell in row[first : first + 4])
            name = known_label("nih", row[label].strip(), where)
            boxes.setdefault(row[image], []).append((name, (x, y, x + width, y + height)))
    return boxes


def _official_splits(root: str) -> dict[str, str]:
    splits: dict[str, str] = {}
    for pattern, split in (("train_val_list*.txt", "train"), ("test_list*.txt", "test")):
        path = find_file(root, pattern)
        if path is not None:
            with reading(path), open_text(path) as file:
                splits |= {line.strip(): split for line in bounded_lines(file) if line.strip()}
    return splits if {"train", "test"} <= set(splits.values()) else {}
