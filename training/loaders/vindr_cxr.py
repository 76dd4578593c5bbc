"""VinDr-CXR: films that three radiologists read, with boxes of 22 findings and 6 diagnoses."""

from collections import Counter, defaultdict
from pathlib import Path

from anatomy_vlm.processing.vocabulary import dataset_label_names, map_dataset_labels
from anatomy_vlm.training.loaders.image_index import ImageIndex
from anatomy_vlm.training.loaders.patient_splits import with_validation
from anatomy_vlm.training.loaders.record import Box, Entry, Record, RegionFinding, label_findings
from anatomy_vlm.training.loaders.source import Source
from anatomy_vlm.training.loaders.tables import column_names, find_file, need_file, number, read_table


_CORNERS = ("x_min", "y_min", "x_max", "y_max")
_NORMAL = "No finding"


class VinDrCXR(Source):
    """
    VinDr-CXR as PhysioNet has it (`annotations/`, `train/`, `test/`) or as Kaggle's VinBigData (`train.csv`).

    What `min_readers` of an image's readers see is present, what fewer see is uncertain, what none sees is absent. The
    test films have one reading that the readers agreed on. A box says in which lung its finding is. The dataset names
    no patients, so every film counts as its own.

    Args:
        root: Folder with the tables.
        images: Folder with the films, where it is another one.
        min_readers: How many of the readers make a finding present.
        splits: Shares to draw splits by film; by default the official test films (PhysioNet) and a tenth of the others
            for validation.
    """

    name = "vindr_cxr"

    def __init__(
        self, root: str, images: str | None = None, min_readers: int = 2, splits: dict[str, float] | None = None
    ):
        self.notes, self.left_out = Counter[str](), Counter[str]()
        self.min_readers = min_readers
        index = ImageIndex(images or root)
        entries = []
        if find_file(root, "annotations/image_labels_train.csv") is not None:
            for split in ("train", "test"):
                path = need_file(root, f"annotations/image_labels_{split}.csv", holds="the labels")
                votes = _label_votes(path)
                boxes = _boxes(need_file(root, f"annotations/annotations_{split}.csv", holds="the boxes"))[0]
                entries += self._entries(votes, boxes, split, index)
        else:
            boxes, votes = _boxes(need_file(root, "train.csv", holds="boxes and labels (Kaggle)"))
            self.expected = {"total": 15_000}
            entries += self._entries(votes, boxes, "", index)
        self.set_entries(entries, f"vindr_cxr in {root}", splits)

    def _entries(
        self, votes: dict[str, list[dict[str, float]]], boxes: dict[str, list[tuple[str, Box]]], split: str,
        index: ImageIndex,
    ) -> list[Entry]:  # fmt: skip
        return [
            Entry(
                image, image, with_validation(split, image), index.find(image),
                (self._agreed(readings), tuple(boxes.get(image, ()))),
            )
            for image, readings in votes.items()
        ]  # fmt: skip

    def _agreed(self, readings: list[dict[str, float]]) -> dict[str, float]:
        """1, 0 or -1 (uncertain) by label of the readers' votes."""
        needed = min(self.min_readers, len(readings))
        agreed = {}
        for label in dict.fromkeys(name for reading in readings for name in reading):
            count = sum(reading.get(label) == 1 for reading in readings)
            agreed[label] = 1.0 if count >= needed else 0.0 if count == 0 else -1.0
        return agreed

    def record(self, entry: Entry) -> Record:
        values, boxes = entry.row
        labels, uncertain = label_findings("vindr", values)
        placed = [
            RegionFinding(finding, "present" if values.get(label) == 1 else "uncertain", box=box)
            for label, box in boxes
            for finding, value in map_dataset_labels("vindr", {label: 1}, ignore_unknown=True).items()
            if value == 1 and values.get(label) in (1, -1)
        ]
        return Record(findings=[*placed, *uncertain], labels=labels, study_id=entry.image_id)


def _label_votes(path: Path) -> dict[str, list[dict[str, float]]]:
    """One dict of labels per reader and image."""
    names = [name for name in column_names(path) if name not in ("image_id", "rad_id", "rad_ID")]
    votes: dict[str, list[dict[str, float]]] = defaultdict(list)
    for row in read_table(path, ("image_id", *names)):
        votes[row["image_id"]].append({name: number(row[name], f"{path}: {name}") for name in names if row[name]})
    return dict(votes)


def _boxes(path: Path) -> tuple[dict[str, list[tuple[str, Box]]], dict[str, list[dict[str, float]]]]:
    """Label and box by image; and what each reader's boxes say of the labels that anyone drew in the table."""
    boxes: dict[str, list[tuple[str, Box]]] = defaultdict(list)
    drawn: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    names: dict[str, None] = {}
    for row in read_table(path, ("image_id", "class_name", *_CORNERS), ("rad_id",)):
        drawn[row["image_id"]][row["rad_id"]].add(row["class_name"])
        names.setdefault(row["class_name"])
        if row["class_name"] != _NORMAL and row["x_min"]:
            corners = [number(row[name], f"{path}: {name}") for name in _CORNERS]
            boxes[row["image_id"]].append((row["class_name"], (corners[0], corners[1], corners[2], corners[3])))
    known = [name for name in names if name in dataset_label_names("vindr")]
    votes = {
        image: [{name: float(name in seen) for name in known} for seen in readers.values()]
        for image, readers in drawn.items()
    }
    return dict(boxes), votes
