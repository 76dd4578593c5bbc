"""A dataset's adapter: an index of its images, and the record of each, turned into examples of the one schema."""

import copy
import itertools
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from anatomy_vlm.processing.radiograph import ImageReadError, RadiographImage
from anatomy_vlm.processing.schema import MASK_TARGET, VIEWS, validate_example
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.patient_splits import DEFAULT_SPLITS, check_patients, check_shares, drawn_split
from anatomy_vlm.training.loaders.record import Entry, Record
from anatomy_vlm.training.loaders.scaled_image import read_scaled


# How far the aspect of an image may be from that of the annotations' frame: rounding of resized exports.
_ASPECT_TOLERANCE = 0.01
# What an index says of a dataset, but no record depends on.
_OF_THE_INDEX = ("entries", "missing", "notes", "left_out", "own_splits", "expected")


@dataclass(frozen=True)
class Sample:
    """
    Args:
        example: An example of the schema.
        radiograph: The film that it shows.
        size: Width and height of the original in pixels.
        notes: What was wrong with the annotations, in words that are counted.
    """

    example: dict[str, Any]
    radiograph: RadiographImage
    size: tuple[int, int]
    notes: list[str] = field(default_factory=list)


class Source(ABC):
    """
    A dataset on disk. Subclasses read its tables in `__init__` and hand the entries to `set_entries`.

    A record may use nothing but its entry and files that it opens itself, so that a source without its entries
    (`without_entries`) and some entries are all that another process needs.

    Attributes:
        name: Of the loader; also the `source` of the examples.
        has_mask: Whether the examples have a mask.
        entries: The images that are there.
        missing: Images that the tables name and that are not there.
        notes: Counts of what was wrong with the tables.
        left_out: Images by split that were left out on purpose; "" where they have no split yet.
        own_splits: Whether the splits are those of the dataset, not drawn.
        expected: Images per split, where this form of the dataset has other numbers than its card says.
    """

    name: ClassVar[str]
    has_mask: bool = False
    entries: Sequence[Entry] = ()
    missing: Sequence[Entry] = ()
    notes: Counter[str]
    left_out: Counter[str]
    own_splits: bool = False
    expected: Mapping[str, int] | None = None

    @abstractmethod
    def record(self, entry: Entry) -> Record:
        """What is known of the image of an entry."""

    def leave_out(self, reason: str, split: str = "") -> None:
        """Count an image that is left out on purpose."""
        self.notes[f"film left out: {reason}"] += 1
        self.left_out[split] += 1

    def set_entries(self, entries: Sequence[Entry], where: str, splits: Mapping[str, float] | None) -> None:
        """
        Keep the index: sorted by image, missing files set aside, splits drawn where the dataset has none.

        Args:
            entries: Every image that the tables name; path "" or of no file where it is missing.
            where: Names the dataset in errors.
            splits: Shares to draw splits by patient whatever the dataset says; None for its own.

        Raises:
            DatasetError: no entry, no image at all, an image twice, or a patient in two splits.
        """
        if not entries:
            raise DatasetError(f"{where}: the tables name no image")
        self.own_splits = splits is None and all(entry.split for entry in entries)
        if splits is not None:
            shares = check_shares(splits)
            entries = [_with_split(entry, drawn_split(entry.patient_id, shares)) for entry in entries]
        else:
            entries = [
                entry if entry.split else _with_split(entry, drawn_split(entry.patient_id, DEFAULT_SPLITS))
                for entry in entries
            ]
        check_patients(((entry.patient_id, entry.split) for entry in entries), where)
        entries = sorted(entries, key=lambda entry: (entry.split, entry.image_id))
        for first, second in itertools.pairwise(entries):
            if first.image_id == second.image_id and first.split == second.split:
                raise DatasetError(f"{where}: image '{first.image_id}' is listed twice; keep one of them")
        there = [os.path.exists(entry.path) for entry in entries]
        self.entries = [entry for entry, found in zip(entries, there) if found]
        self.missing = [entry for entry, found in zip(entries, there) if not found]
        if not self.entries:
            first = self.missing[0]
            raise DatasetError(
                f"{where}: none of the {len(self.missing)} images is there; '{first.image_id}' was looked for "
                f"{expected_place(first)}"
            )

    def without_entries(self) -> "Source":
        """A copy that makes samples of entries given to it."""
        bare = copy.copy(self)
        bare.entries, bare.missing = (), ()
        return bare

    def describe(self) -> str:
        """What the records depend on besides the entries, as text; attributes with an underscore only save time."""
        kept = {k: v for k, v in vars(self).items() if not k.startswith("_") and k not in _OF_THE_INDEX}
        return repr((self.name, self.has_mask, sorted(kept.items())))

    def split_entries(self) -> dict[str, list[Entry]]:
        """The entries of each split; training first, test last."""
        order = {"train": 0, "validation": 1, "test": 3}
        names = sorted({entry.split for entry in self.entries}, key=lambda name: (order.get(name, 2), name))
        return {name: [entry for entry in self.entries if entry.split == name] for name in names}

    def read(self, entry: Entry, longer_side: int | None) -> tuple[RadiographImage, tuple[int, int]]:
        """The film of an entry, its longer side at most `longer_side`, and the original's width and height."""
        scaled = read_scaled(entry.path, longer_side)
        return scaled.radiograph, scaled.size

    def sample(self, entry: Entry, longer_side: int | None = None) -> Sample:
        """
        The example of an entry.

        Raises:
            ImageReadError: an image that cannot be read, or has another shape than its annotations.
            DatasetError: annotations that cannot be used.
        """
        record = self.record(entry)
        film, size = self.read(entry, longer_side)
        frame = record.frame or size
        if abs(frame[0] * size[1] / (frame[1] * size[0]) - 1) > _ASPECT_TOLERANCE:
            raise ImageReadError(
                entry.path,
                f"the image is {size[0]}x{size[1]} pixels, its annotations are for {frame[0]}x{frame[1]}; "
                "use images and annotations of the same version",
            )
        boxes, box_mask, notes = normalised_boxes(record, frame)
        image = film.to_pil()
        example = {
            "image": image,
            "boxes": boxes,
            "box_mask": box_mask,
            "region_findings": _unique([finding.entry(frame) for finding in record.findings]),
            "labels": label_vector(record.labels),
            "report": record.report,
            "patient_id": entry.patient_id,
            "study_id": record.study_id,
            "image_id": entry.image_id,
            "view": record.view if record.view in VIEWS and record.view else film.view,
            "source": self.name,
        }
        if self.has_mask:
            example["mask"] = _mask_image(record, frame, image.size)
        try:
            validate_example(example)
        except ValueError as error:
            raise DatasetError(f"{entry.path}: {error}") from error
        return Sample(example, film, size, [*record.notes, *notes])


def expected_place(entry: Entry) -> str:
    """Where an image was looked for, in words."""
    return f"at {entry.path}" if entry.path else "by its name in the folder of the images"


def _with_split(entry: Entry, split: str) -> Entry:
    return Entry(entry.image_id, entry.patient_id, split, entry.path, entry.row)


def _unique(entries: list[dict[str, str]]) -> list[dict[str, str]]:
    return list({tuple(entry.items()): entry for entry in entries}.values())


def normalised_boxes(record: Record, frame: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """
    The boxes of a record in [0, 1] of its frame `(29, 4)`, their mask `(29,)`, and notes: boxes that leave the frame
    are clipped, those of less than a pixel dropped.
    """
    width, height = frame
    boxes, mask, notes = np.zeros((len(REGION_NAMES), 4), np.float32), np.zeros(len(REGION_NAMES), bool), []
    for name, (x0, y0, x1, y1) in record.boxes.items():
        if name not in REGION_NAMES:
            continue
        clipped = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
        if clipped[2] - clipped[0] < 1 or clipped[3] - clipped[1] < 1:
            notes.append("box dropped: empty or outside the image")
            continue
        if clipped != (x0, y0, x1, y1):
            notes.append("box clipped to the image")
        index = REGION_NAMES.index(name)
        boxes[index] = clipped[0] / width, clipped[1] / height, clipped[2] / width, clipped[3] / height
        mask[index] = True
    return boxes, mask, notes


def label_vector(labels: Mapping[str, float]) -> np.ndarray:
    """float32 `(findings,)` of values by finding; NaN where none is given."""
    vector = np.full(len(FINDING_NAMES), np.nan, dtype=np.float32)
    for name, value in labels.items():
        vector[FINDING_NAMES.index(name)] = value
    return vector


def _mask_image(record: Record, frame: tuple[int, int], size: tuple[int, int]) -> Image.Image:
    if record.mask is None:
        return Image.new("L", size)
    mask = Image.fromarray(np.where(record.mask(frame), np.uint8(MASK_TARGET), np.uint8(0)))
    return mask if mask.size == size else mask.resize(size, Image.Resampling.NEAREST)
