"""What an adapter knows of one image before its pixels are read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anatomy_vlm.processing.statements import Statement, render_statement
from anatomy_vlm.processing.vocabulary import VocabularyError, get_finding, map_dataset_labels
from anatomy_vlm.training.loaders.errors import DatasetError


Box = tuple[float, float, float, float]
# A box counts as lying on one side if it keeps clear of this middle part of the width.
_MIDDLE = (0.45, 0.55)


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One image of a dataset's index.

    Args:
        image_id, patient_id: Names of the dataset.
        split: "train", "validation", "test", or "" to be drawn by patient.
        path: File of the image.
        row: Whatever the adapter needs for the record; plain values, so that processes can pass it on.
    """

    image_id: str
    patient_id: str
    split: str
    path: str
    row: Any = None


class RegionFinding(NamedTuple):
    """
    A statement on a finding, whose place is a region, or a box to derive one from.

    A named tuple, for a scene graph makes dozens of them.

    Args:
        finding, polarity, severity, region: As in `anatomy_vlm.processing.statements.Statement`, "" for none.
        phrase: What the dataset says; rendered where it says nothing.
        box: x0, y0, x1, y1 in the record's frame.
    """

    finding: str
    polarity: str = "present"
    region: str = ""
    severity: str = ""
    phrase: str = ""
    box: Box | None = None

    def entry(self, frame: tuple[int, int]) -> dict[str, str]:
        """The entry of the schema; `frame` is the width and height that the box is measured in."""
        region = self.region
        if not region and self.box is not None:
            region = region_of_box(self.finding, self.box, frame)
        severity = "" if self.polarity == "absent" else self.severity
        statement = Statement(self.finding, self.polarity, region or None, severity or None)  # type: ignore[arg-type]
        return {
            "region": region,
            "finding": self.finding,
            "polarity": self.polarity,
            "severity": severity,
            "phrase": self.phrase or render_statement(statement),
        }


@dataclass(slots=True)
class Record:
    """
    Args:
        boxes: Box of each named region, x0, y0, x1, y1 in the frame.
        findings: Statements.
        labels: Findings of the whole image: 1 present, 0 absent, what is not named is unknown.
        frame: Width and height that boxes and mask are measured in; None for the image's own pixels.
        mask: Makes the mask, bool `(height, width)`, given the width and height of the frame.
        notes: What was wrong with the annotations, as words that are counted.
    """

    boxes: dict[str, Box] = field(default_factory=dict)
    findings: list[RegionFinding] = field(default_factory=list)
    labels: dict[str, float] = field(default_factory=dict)
    report: str = ""
    study_id: str = ""
    view: str = ""
    frame: tuple[int, int] | None = None
    mask: Callable[[tuple[int, int]], NDArray[np.bool_]] | None = None
    notes: list[str] = field(default_factory=list)


def region_of_box(finding: str, box: Box, frame: tuple[int, int]) -> str:
    """
    The region that a finding's box lies in, "" where it does not say.

    A finding with one plausible region is there. Otherwise a box clear of the middle of a frontal film is in the lung
    of its side, if the finding can be there; the patient's right is on the image's left.

    Examples:
        >>> region_of_box("consolidation", (10, 20, 30, 60), (100, 100))
        'right lung'
    """
    regions = get_finding(finding).regions
    if len(regions) == 1:
        return regions[0]
    left, right = box[0] / frame[0], box[2] / frame[0]
    side = "right lung" if right < _MIDDLE[0] else "left lung" if left > _MIDDLE[1] else ""
    return side if side in regions else ""


def known_label(dataset: str, label: str, where: str) -> str:
    """
    A label of a dataset as it is.

    Raises:
        DatasetError: the dataset has no such label; `where` is named.
    """
    try:
        map_dataset_labels(dataset, {label: 1})
    except VocabularyError as error:
        raise DatasetError(f"{where}: {error}") from None
    return label


def label_findings(dataset: str, labels: Mapping[str, float]) -> tuple[dict[str, float], list[RegionFinding]]:
    """
    The labels of an image in our words, and a statement for each that the dataset calls uncertain (-1).

    Args:
        dataset: A table of `anatomy_vlm.processing.vocabulary.map_dataset_labels`.
        labels: Value by the dataset's label name; what the table does not have is left alone.
    """
    ours = {name: float(value) for name, value in map_dataset_labels(dataset, labels, ignore_unknown=True).items()}
    # One by one: a doubtful "No Finding" denies nothing that another label hints at.
    doubtful = [name for name, value in labels.items() if value == -1]
    hints = [map_dataset_labels(dataset, {name: 1.0}, ignore_unknown=True) for name in doubtful]
    possible = dict.fromkeys(name for hint in hints for name, value in hint.items() if value == 1)
    uncertain = [name for name in possible if ours.get(name) != 1]
    for name in uncertain:
        ours.pop(name, None)
    return ours, [RegionFinding(name, "uncertain") for name in uncertain]
