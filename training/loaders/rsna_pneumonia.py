"""RSNA Pneumonia Detection Challenge: boxes of opacities that may be pneumonia."""

from collections import Counter

from anatomy_vlm.training.loaders.image_index import ImageIndex
from anatomy_vlm.training.loaders.record import Box, Entry, Record, RegionFinding, label_findings
from anatomy_vlm.training.loaders.source import Source
from anatomy_vlm.training.loaders.tables import find_file, need_file, number, read_table


_SIDE = 1024
_FINDING = "lung opacity"
_BOX_COLUMNS = ("x", "y", "width", "height")


class RSNAPneumonia(Source):
    """
    The second stage of the challenge. A box is a lung opacity, and says in which lung it is.

    Args:
        root: Folder with `stage_2_train_labels.csv`, `stage_2_detailed_class_info.csv` and the films.
        images: Folder with the films, where it is another one.
        splits: Shares of the splits drawn by patient; 70, 10 and 20 % by default.
    """

    name = "rsna_pneumonia"

    def __init__(self, root: str, images: str | None = None, splits: dict[str, float] | None = None):
        self.notes, self.left_out = Counter[str](), Counter[str]()
        path = need_file(root, "stage_2_train_labels.csv", "*train_labels.csv", holds="the boxes")
        boxes: dict[str, list[Box]] = {}
        for row in read_table(path, ("patientId", *_BOX_COLUMNS, "Target")):
            found = boxes.setdefault(row["patientId"], [])
            if row["Target"] == "1":
                x, y, width, height = (number(row[name], f"{path}: {name}") for name in _BOX_COLUMNS)
                found.append((x, y, x + width, y + height))
        details = find_file(root, "stage_2_detailed_class_info.csv", "*detailed_class_info.csv")
        classes = {}
        if details is None:
            self.notes["table missing: stage_2_detailed_class_info.csv, so normal films are not told"] += 1
        else:
            classes = {row["patientId"]: row["class"] for row in read_table(details, ("patientId", "class"))}
        index = ImageIndex(images or root)
        entries = [
            Entry(patient, patient, "", index.find(patient), (classes.get(patient, ""), tuple(found)))
            for patient, found in boxes.items()
        ]
        self.set_entries(entries, f"rsna_pneumonia in {root}", splits)

    def record(self, entry: Entry) -> Record:
        kind, boxes = entry.row
        labels, _ = label_findings("rsna", {kind: 1.0} if kind else {})
        return Record(
            findings=[RegionFinding(_FINDING, box=box) for box in boxes],
            labels=labels | {_FINDING: float(bool(boxes))},
            study_id=entry.image_id,
            frame=(_SIDE, _SIDE),
        )
