"""Ground truth of a dataset in our schema as arrays, and what can be guessed from it without an image."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anatomy_vlm.training.evaluation.arrays import BoolArray, FloatArray
from anatomy_vlm.training.evaluation.boxes import prior_boxes


_COLUMNS = ("boxes", "box_mask", "labels", "region_findings", "patient_id")


class DatasetColumnsError(ValueError):
    """A dataset that cannot be evaluated: empty, or a column is missing."""


@dataclass(frozen=True)
class Targets:
    """Ground truth of n images, R regions and F findings; p (image, region, finding) triples have a known polarity.

    Attributes:
        patient_ids: (n,) names.
        boxes: (n, R, 4), x0 y0 x1 y1 as fractions of the image.
        box_mask: (n, R) bool.
        image_labels: (n, F), 1, 0 or NaN.
        pair_image, pair_region, pair_finding: (p,) int, the triple.
        pair_labels: (p,), 1 or 0.
    """

    patient_ids: tuple[str, ...]
    boxes: FloatArray
    box_mask: BoolArray
    image_labels: FloatArray
    pair_image: np.ndarray
    pair_region: np.ndarray
    pair_finding: np.ndarray
    pair_labels: FloatArray


@dataclass(frozen=True)
class Prior:
    """What training data says about a chest that nobody looked at.

    Attributes:
        boxes: (R, 4), the mean box of each region.
        region_rates: (R, F), how often a stated finding is present in a region; shrunk to the finding's own rate by
            one pseudo-observation, so that a region without statements has the rate of the finding.
    """

    boxes: FloatArray
    region_rates: FloatArray


def collect_targets(
    dataset: Any, *, findings: Sequence[str], all_findings: Sequence[str], regions: Sequence[str]
) -> Targets:
    """Read the ground truth columns (the images stay unread).

    Several statements about one finding in one region of one image become one: present if any says so, else absent if
    any says so; only uncertain ones leave the triple out.

    Args:
        dataset: a `datasets.Dataset` in our schema.
        findings: to evaluate, in this order.
        all_findings: names of the columns of `labels`.
        regions: names of the slots of `boxes`.

    Raises:
        DatasetColumnsError: the dataset is empty, lacks a column, or holds labels of another length.
        ValueError: a finding that is not in `all_findings`.
    """
    missing = [name for name in (*_COLUMNS, "image") if name not in dataset.column_names]
    if missing:
        raise DatasetColumnsError(
            f"the dataset lacks the column {missing[0]!r}; it has {', '.join(dataset.column_names)}"
        )
    if len(dataset) == 0:
        raise DatasetColumnsError("the dataset is empty: nothing to evaluate")
    unknown = [name for name in findings if name not in all_findings]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not a finding of the dataset; known: {', '.join(all_findings)}")
    rows = dataset.select_columns(list(_COLUMNS)).with_format(None)
    columns = {name: rows[:][name] for name in _COLUMNS}
    labels = np.asarray([[np.nan if x is None else x for x in row] for row in columns["labels"]], dtype=np.float64)
    if labels.shape[1:] != (len(all_findings),):
        raise DatasetColumnsError(
            f"column 'labels' has {labels.shape[1:]} entries per image, {len(all_findings)} findings are known"
        )
    finding_index = {name: index for index, name in enumerate(findings)}
    region_index = {name: index for index, name in enumerate(regions)}
    triples = [
        (image, region, finding, label)
        for image, statements in enumerate(columns["region_findings"])
        for (region, finding), label in _polarities(statements, region_index, finding_index).items()
    ]
    table = np.asarray(triples, dtype=np.int64).reshape(-1, 4)
    return Targets(
        patient_ids=tuple(str(name) for name in columns["patient_id"]),
        boxes=np.asarray(columns["boxes"], dtype=np.float64),
        box_mask=np.asarray(columns["box_mask"], dtype=bool),
        image_labels=labels[:, [list(all_findings).index(name) for name in findings]],
        pair_image=table[:, 0],
        pair_region=table[:, 1],
        pair_finding=table[:, 2],
        pair_labels=table[:, 3].astype(np.float64),
    )


def fit_prior(targets: Targets) -> Prior:
    """Mean boxes and rates of findings by region, of (training) targets."""
    num_regions, num_findings = targets.boxes.shape[1], targets.image_labels.shape[1]
    stated, present = np.zeros((2, num_regions, num_findings))
    place = (targets.pair_region, targets.pair_finding)
    np.add.at(stated, place, 1.0)
    np.add.at(present, place, targets.pair_labels)
    finding_rate = (present.sum(axis=0) + 0.5) / (stated.sum(axis=0) + 1.0)
    return Prior(prior_boxes(targets.boxes, targets.box_mask), (present + finding_rate) / (stated + 1.0))


def _polarities(
    statements: Iterable[Mapping[str, str]], regions: Mapping[str, int], findings: Mapping[str, int]
) -> dict[tuple[int, int], int]:
    """Known polarity, 1 or 0, of each (region, finding) that the statements of one image speak about."""
    known: dict[tuple[int, int], int] = {}
    for statement in statements:
        if statement["polarity"] == "uncertain" or statement["finding"] not in findings:
            continue
        if statement["region"] not in regions:
            continue
        key = regions[statement["region"]], findings[statement["finding"]]
        known[key] = max(known.get(key, 0), int(statement["polarity"] == "present"))
    return known
