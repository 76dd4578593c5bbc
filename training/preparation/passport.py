"""The passport of a prepared dataset: what a person wants to know before training on it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES
from anatomy_vlm.training.loaders.dataset_cards import dataset_card
from anatomy_vlm.training.loaders.patient_splits import leaking_patients
from anatomy_vlm.training.preparation.audit import THUMBNAIL_SIDE
from anatomy_vlm.training.preparation.mirrored_films import THRESHOLD, asymmetry_scores
from anatomy_vlm.training.preparation.near_duplicates import near_duplicates


# Examples that are listed by name; the counts are complete.
_LISTED = 50


def make_passport(folder: Path, manifest: dict[str, Any], problems: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The passport as plain values, from the shards and their audits."""
    audits, labels, boxes, splits = _read(folder, manifest["shards"])
    card = dataset_card(manifest["request"]["dataset"])
    ids = audits["image_id"].to_pylist()
    return {
        "dataset": manifest["request"]["dataset"],
        "title": card.title,
        "licence": card.licence,
        "citation": card.citation,
        "origin": card.origin,
        "known": list(card.notes),
        "counts": manifest["counts"],
        "splits": _split_counts(audits, splits),
        "problems": {
            "counts": manifest["problems"],
            "examples": [f"{p['image_id']}: {p['reason']}" for p in problems[:_LISTED]],
            "notes": manifest["notes"],
        },
        "leaks": _leaks(audits, splits),
        "near_duplicates": _duplicates(audits, splits, ids),
        "photometry": _photometry(audits, splits),
        "spacing": _spacing(audits),
        "views": _views(audits, splits),
        "mirrored": _mirrored(audits, ids),
        "marks": _marks(audits, splits),
        "prevalence": _prevalence(labels, splits),
        "regions": _regions(boxes, splits),
    }


def _read(folder: Path, shards: Sequence[dict[str, Any]]) -> tuple[pa.Table, np.ndarray, np.ndarray, np.ndarray]:
    """The audits; labels `(N, findings)`, box masks `(N, 29)` and splits `(N,)` in the same order."""
    kept = [shard for shard in shards if shard["rows"]]
    audits = pa.concat_tables([pq.read_table(folder / shard["audit"]) for shard in kept])
    labels, boxes = [], []
    for shard in kept:
        table = pq.read_table(folder / shard["file"], columns=["labels", "box_mask"])
        labels.append(np.array(table["labels"].to_pylist(), dtype=np.float32))
        boxes.append(np.array(table["box_mask"].to_pylist(), dtype=bool))
    splits = np.array([shard["split"] for shard in kept for _ in range(shard["rows"])])
    return audits, np.concatenate(labels), np.concatenate(boxes), splits


def _names(splits: np.ndarray) -> list[str]:
    order = {"train": 0, "validation": 1, "test": 2}
    return sorted(set(splits.tolist()), key=lambda name: (order.get(name, 3), name))


def _split_counts(audits: pa.Table, splits: np.ndarray) -> dict[str, dict[str, int]]:
    columns = {key: np.array(audits[f"{key}_id"].to_pylist()) for key in ("image", "study", "patient")}
    plurals = {"image": "images", "study": "studies", "patient": "patients"}
    return {
        split: {plurals[key]: len(set(column[splits == split]) - {""}) for key, column in columns.items()}
        for split in _names(splits)
    }


def _leaks(audits: pa.Table, splits: np.ndarray) -> dict[str, Any]:
    leaks = leaking_patients(zip(audits["patient_id"].to_pylist(), splits.tolist()))
    studies = leaking_patients(
        (study, split) for study, split in zip(audits["study_id"].to_pylist(), splits.tolist()) if study
    )
    return {"patients": len(leaks), "studies": len(studies), "examples": sorted(leaks)[:_LISTED]}


def _duplicates(audits: pa.Table, splits: np.ndarray, ids: list[str]) -> dict[str, Any]:
    pairs = near_duplicates(audits["hash"].to_pylist())
    across = [pair for pair in pairs if splits[pair[0]] != splits[pair[1]]]
    # Those across splits first: they are what makes a test result too good.
    listed = [*across, *(pair for pair in pairs if pair not in set(across))][:_LISTED]
    return {
        "pairs": len(pairs),
        "across_splits": len(across),
        "examples": [
            {"first": ids[i], "second": ids[j], "bits": bits, "splits": [str(splits[i]), str(splits[j])]}
            for i, j, bits in listed
        ],
    }


def _spread(values: Iterable[float | None]) -> dict[str, float] | None:
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if not len(known):
        return None
    low, middle, high = np.percentile(known, (0, 50, 100))
    return {"min": round(float(low), 4), "median": round(float(middle), 4), "max": round(float(high), 4)}


def _photometry(audits: pa.Table, splits: np.ndarray) -> dict[str, Any]:
    flags = audits["flags"].to_pylist()
    ids = audits["image_id"].to_pylist()
    levels = {name: np.array(audits[f"level_{name}"].to_pylist()) for name in ("low", "middle", "high")}
    counts = Counter(flag for found in flags for flag in found)
    return {
        "levels": {
            split: {name: round(float(np.median(values[splits == split])), 1) for name, values in levels.items()}
            for split in _names(splits)
        },
        "doubts": dict(sorted(counts.items())),
        "examples": [f"{image}: {', '.join(found)}" for image, found in zip(ids, flags) if found][:_LISTED],
    }


def _spacing(audits: pa.Table) -> dict[str, Any]:
    rows, columns = audits["row_spacing"].to_pylist(), audits["column_spacing"].to_pylist()
    known = [(row, column) for row, column in zip(rows, columns) if row and column]
    return {
        "films_with_spacing": len(known),
        "row_mm": _spread(row for row, _ in known),
        "not_square": sum(abs(row / column - 1) > 0.01 for row, column in known),
        "width": _spread(audits["width"].to_pylist()),
        "height": _spread(audits["height"].to_pylist()),
    }


def _views(audits: pa.Table, splits: np.ndarray) -> dict[str, dict[str, int]]:
    views = np.array([view or "unknown" for view in audits["view"].to_pylist()])
    return {split: dict(sorted(Counter(views[splits == split].tolist()).items())) for split in _names(splits)}


def _mirrored(audits: pa.Table, ids: list[str]) -> dict[str, Any]:
    frontal = [index for index, view in enumerate(audits["view"].to_pylist()) if view != "LATERAL"]
    small = np.frombuffer(b"".join(audits["thumbnail"].to_pylist()), np.uint8)
    films = small.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)[frontal]
    scores = asymmetry_scores(films)
    if scores is None:
        return {"checked": 0, "doubtful": 0, "examples": []}
    doubtful = [int(i) for i in np.argsort(scores) if scores[i] < THRESHOLD]
    return {
        "checked": len(frontal),
        "doubtful": len(doubtful),
        "examples": [f"{ids[frontal[i]]}: {scores[i]:.2f}" for i in doubtful[:_LISTED]],
    }


def _marks(audits: pa.Table, splits: np.ndarray) -> dict[str, dict[str, float]]:
    """Share of the films of each split with a white mark at the image's left and right margin."""
    sides = {side: np.array(audits[f"mark_{side}"].to_pylist(), dtype=bool) for side in ("left", "right")}
    return {
        split: {side: round(float(marks[splits == split].mean()), 4) for side, marks in sides.items()}
        for split in _names(splits)
    }


def _prevalence(labels: np.ndarray, splits: np.ndarray) -> dict[str, dict[str, dict[str, int]]]:
    """By finding and split the number of films that have it, have it not, or do not say; unsaid ones left out."""
    table = {}
    for index, finding in enumerate(FINDING_NAMES):
        column = labels[:, index]
        if np.isnan(column).all():
            continue
        table[finding] = {
            split: {
                "present": int((column[splits == split] == 1).sum()),
                "absent": int((column[splits == split] == 0).sum()),
                "unknown": int(np.isnan(column[splits == split]).sum()),
            }
            for split in _names(splits)
        }
    return table


def _regions(boxes: np.ndarray, splits: np.ndarray) -> dict[str, dict[str, int]]:
    """By region and split the number of films with its box; regions without any are left out."""
    return {
        region: {split: int(boxes[splits == split, index].sum()) for split in _names(splits)}
        for index, region in enumerate(REGION_NAMES)
        if boxes[:, index].any()
    }
