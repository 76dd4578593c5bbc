"""Sections about films: masks, corruptions, blank films."""

from collections.abc import Sequence

import numpy as np

from anatomy_vlm.processing.vocabulary import get_finding
from anatomy_vlm.training.evaluation.arrays import FloatArray, nan_mean
from anatomy_vlm.training.evaluation.bootstrap import percentile_interval
from anatomy_vlm.training.evaluation.boxes import mean_iou, region_iou
from anatomy_vlm.training.evaluation.ranking import roc_auc
from anatomy_vlm.training.evaluation.robustness.corruptions import CORRUPTIONS, corrupt
from anatomy_vlm.training.evaluation.robustness.material import Material
from anatomy_vlm.training.evaluation.robustness.report import Row, Section
from anatomy_vlm.training.evaluation.robustness.shortcuts import (
    FLAT_GREY,
    VIEWS,
    boxes_mask,
    shortcut_index,
    view_scores,
)


# Their pixels lie where those of the film lay, so that boxes can be compared.
_KEEPS_PLACE = frozenset(CORRUPTIONS) - {"crop", "rotation"}


def macro_auc(labels: FloatArray, scores: FloatArray, columns: Sequence[int]) -> FloatArray:
    """AUC of each of the columns, (k,)."""
    return np.array([float(roc_auc(labels[:, column], scores[:, column])) for column in columns])


def shortcuts(material: Material) -> Section:
    """Shortcut index of each finding in each view; a view of a finding hides or shows its plausible regions."""
    rows: list[Row] = []
    # Findings of the same regions share their films, and all share the borders.
    read: dict[tuple[str, tuple[int, ...]], FloatArray] = {}
    for column in material.judged:
        name = material.findings[column]
        plausible = get_finding(name).regions
        slots = tuple(slot for slot, region in enumerate(material.reader.regions) if region in plausible)
        for view in VIEWS:
            key = view, () if view == "borders only" else slots
            if key not in read:
                regions = [
                    boxes_mask((film.shape[0], film.shape[1]), boxes[list(slots)])
                    for film, boxes in zip(material.films, material.readings.boxes, strict=True)
                ]
                read[key] = view_scores(
                    material.margins, material.films, regions, view, batch_size=material.batch_size
                )
            scores = read[key][:, column]
            labels = material.targets.image_labels[:, column]
            found = shortcut_index(
                labels, material.image_margins[:, column], scores, material.bootstrap, confidence=material.confidence
            )
            rows.append(
                {
                    "finding": name,
                    "view": view,
                    "auc": found.view_auc,
                    "auc_of_film": found.full_auc,
                    "index": found.index,
                    "low": found.low,
                    "high": found.high,
                    "flagged": found.flagged and view != "region only",
                }
            )
    about = (
        "The film with only the finding's plausible regions visible, without them (filled from around), and with the "
        "outer frame alone. Index: share of the AUC above 0.5 that is left. Of a score that rests on the region the "
        "index is near 1 in the first view and near 0 in the others; it is flagged where the interval lies above 0.25."
    )
    return Section("shortcuts", "Masked regions and the shortcut index", about, tuple(rows))


def corruptions(material: Material, severities: Sequence[int], names: Sequence[str], seed: int) -> Section:
    """Macro AUC, change of scores and box IoU under each corruption."""
    labels, columns = material.targets.image_labels, material.judged
    iou = float(
        mean_iou(region_iou(material.readings.relative_boxes, material.targets.boxes, material.targets.box_mask))
    )
    clean = float(nan_mean(macro_auc(labels, material.image_margins, columns)))
    rows: list[Row] = [
        {"corruption": "none", "severity": 0, "macro_auc": clean, "change": 0.0, "low": 0.0, "high": 0.0,
         "score_change": 0.0, "box_iou": iou}
    ]  # fmt: skip
    for name in names:
        for severity in severities:
            films = [corrupt(film, name, severity, seed=seed + index) for index, film in enumerate(material.films)]
            readings = material.read(films)
            margins = readings.image_margins[:, material.columns]

            def change(weights: FloatArray, after: FloatArray = margins) -> FloatArray:
                gains = [
                    roc_auc(labels[:, c], after[:, c], weights)
                    - roc_auc(labels[:, c], material.image_margins[:, c], weights)
                    for c in columns
                ]
                return nan_mean(np.stack(gains, axis=-1)) if gains else np.full(len(weights), np.nan)

            low, high = percentile_interval(material.bootstrap.resample(change), material.confidence)
            moved = np.abs(readings.image_scores - material.readings.image_scores)[:, material.columns]
            overlap = np.nan
            if name in _KEEPS_PLACE:
                overlap = float(
                    mean_iou(region_iou(readings.relative_boxes, material.targets.boxes, material.targets.box_mask))
                )
            after = float(nan_mean(macro_auc(labels, margins, columns)))
            rows.append(
                {
                    "corruption": name,
                    "severity": severity,
                    "macro_auc": after,
                    "change": after - clean,
                    "low": float(low),
                    "high": float(high),
                    "score_change": float(moved.mean()),
                    "box_iou": overlap,
                }
            )
    about = (
        "Every film corrupted alike, severity 1 slight to 5 severe, seeded. Change: of the macro AUC against the film "
        "as it is, with a paired interval. Score change: mean absolute change of a finding's score. Box IoU where the "
        "corruption leaves everything in its place."
    )
    return Section("corruptions", "Corruptions", about, tuple(rows))


def no_image(material: Material) -> Section:
    """What the model says about a film with nothing on it, beside what its films get."""
    side = material.films[0].shape
    grey = np.full(side, FLAT_GREY, dtype=np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, side, dtype=np.uint8)
    readings = material.read([grey, noise])
    thresholds = material.reader.processor.finding_thresholds or {}
    rows: list[Row] = []
    for column, name in enumerate(material.findings):
        scores = readings.image_scores[:, material.columns[column]]
        cut = float(thresholds.get(name, 0.5))
        labels = material.targets.image_labels[:, column]
        rows.append(
            {
                "finding": name,
                "prevalence": float(nan_mean(labels)),
                "mean_score": float(material.readings.image_scores[:, material.columns[column]].mean()),
                "blank_film": float(scores[0]),
                "noise_film": float(scores[1]),
                "threshold": cut,
                "called_on_blank": bool(scores[0] >= cut),
                "auc_without_image": 0.5,
            }
        )
    about = (
        "Scores of a grey film and of pure noise. Whoever does not look gives every film the same score, which is an "
        "AUC of 0.5; a finding that is called on a blank film is the model's prejudice."
    )
    return Section("no_image", "No image", about, tuple(rows))
