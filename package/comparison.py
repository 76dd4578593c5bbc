"""Two studies of one patient, region by region: what is new, worse, stable, better or resolved."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anatomy_vlm.hub_cards import REFERENCE_MODEL
from anatomy_vlm.prediction import FileReading, FilmSource, Predictor
from anatomy_vlm.records import PRESENT, Record
from anatomy_vlm.study_change import VERDICTS, Change, change_between
from anatomy_vlm.training.evaluation.boxes import box_iou
from anatomy_vlm.training.evaluation.reader import Readings


COMPARISON_VERSION = "1.0"
_LUNGS = ("right lung", "left lung")


class ComparisonError(ValueError):
    """Two studies that cannot be compared."""


def compare(
    prior: str | Path,
    current: str | Path,
    *,
    model: str | Path = REFERENCE_MODEL,
    device: str | None = None,
    confidence: float = 0.8,
    force: bool = False,
) -> Record:
    """Compare two frontal films of one patient.

    Args:
        prior: file of the earlier film.
        current: file of the later one.
        model: a folder or a Hub id, calibrated (`anatomy-vlm calibrate`).
        device: of PyTorch.
        confidence: two-sided, that a change has to reach to be no noise.
        force: compare even films whose findings are withheld.

    Returns:
        `prior`, `current` (records of `prediction_schema.json`), `findings` and `regions` with verdicts,
        `measurements`, `alignment`, `confidence`, `version`.

    Raises:
        ComparisonError: a film that cannot be read or whose findings are withheld, or a model without calibration.
    """
    return compare_with(
        Predictor.load(model, device=device, force=force), prior, current, confidence=confidence
    ).record


class Comparison:
    """A comparison's record and its films."""

    def __init__(self, record: Record, films: tuple[Image.Image, Image.Image]) -> None:
        self.record = record
        self.films = films


def compare_with(
    predictor: Predictor, prior: FilmSource, current: FilmSource, *, confidence: float = 0.8
) -> Comparison:
    """`compare` with a loaded checkpoint."""
    calibration = predictor.reader.processor.calibration
    if calibration is None or not calibration.image:
        raise ComparisonError(
            f"{predictor.name}: its scores are not calibrated, so no change can be told from noise; "
            "run 'anatomy-vlm calibrate' first"
        )
    # Read one at a time: a film's scores must not depend on its place in a batch, not even by rounding.
    readings = [_usable(reading) for file in (prior, current) for reading in predictor.read_files([file])]
    films = (_film(readings[0]), _film(readings[1]))
    numbers = [predictor.reader.read([film]) for film in films]
    record: Record = {
        "version": COMPARISON_VERSION,
        "confidence": confidence,
        "prior": readings[0].record,
        "current": readings[1].record,
        "findings": [
            {"name": name, **change.to_dict()}
            for name, change in image_changes(predictor, numbers, confidence).items()
        ],
        "regions": _regions(predictor, numbers, confidence),
        "measurements": _measurements(readings),
        "alignment": alignment(predictor.reader.regions, numbers),
    }
    return Comparison(record, films)


def image_changes(predictor: Predictor, numbers: Sequence[Readings], confidence: float) -> dict[str, Change]:
    """Verdicts of the calibrated findings in the whole film."""
    calibration = predictor.reader.processor.calibration
    columns = {name: column for column, name in enumerate(predictor.reader.findings) if name in calibration.image}
    return {
        name: change_between(
            calibration.image[name],
            *(float(reading.image_margins[0, column]) for reading in numbers),
            coverage=calibration.coverage,
            confidence=confidence,
        )
        for name, column in columns.items()
    }


def region_changes(
    predictor: Predictor, numbers: Sequence[Readings], confidence: float
) -> dict[tuple[str, str], Change]:
    """Verdicts by region and finding, where the finding is plausible in the region."""
    calibration = predictor.reader.processor.calibration
    changes = {}
    for slot, region in enumerate(predictor.reader.regions):
        for column, name in enumerate(predictor.reader.findings):
            if name in calibration.region and predictor.is_plausible(name, region):
                changes[region, name] = change_between(
                    calibration.region[name],
                    *(float(reading.region_margins[0, slot, column]) for reading in numbers),
                    coverage=calibration.coverage,
                    confidence=confidence,
                )
    return changes


def alignment(regions: Sequence[str], numbers: Sequence[Readings]) -> Record:
    """How far the boxes of the two films differ once each is measured in its own frame of both lungs.

    `iou` of both frames' boxes by region is the same for exchanged studies; `shift` (current minus prior centre, x to
    the patient's left and y downwards, in widths and heights of the frame) changes its sign.
    """
    placed = [_in_lung_frame(regions, reading) for reading in numbers]
    seen = np.all([reading.presence[0] >= PRESENT for reading in numbers], axis=0)
    overlap = box_iou(placed[0], placed[1])
    shift = (placed[1][:, :2] + placed[1][:, 2:] - placed[0][:, :2] - placed[0][:, 2:]) / 2
    rows = [
        {"name": name, "iou": round(float(overlap[slot]), 4), "shift": [round(float(v), 4) for v in shift[slot]]}
        for slot, name in enumerate(regions)
        if seen[slot]
    ]
    return {
        "mean_iou": round(float(overlap[seen].mean()), 4) if seen.any() else None,
        "only_in_prior": _only(regions, numbers[0], numbers[1]),
        "only_in_current": _only(regions, numbers[1], numbers[0]),
        "regions": rows,
    }


def verdict_counts(changes: Mapping[Any, Change]) -> dict[str, int]:
    """How many findings have each verdict."""
    return {verdict: sum(change.verdict == verdict for change in changes.values()) for verdict in VERDICTS}


def _usable(reading: FileReading) -> FileReading:
    file = reading.record["file"]
    if reading.film is None:
        raise ComparisonError(f"{file}: {reading.record['error']}")
    quality = reading.record["quality"]
    if quality["findings_withheld"]:
        reasons = "; ".join(flag["reason"] for flag in quality["flags"])
        raise ComparisonError(f"{file}: findings are withheld ({reasons}); --force compares all the same")
    return reading


def _film(reading: FileReading) -> Image.Image:
    assert reading.film is not None
    return reading.film


def _regions(predictor: Predictor, numbers: Sequence[Readings], confidence: float) -> list[Record]:
    changes = region_changes(predictor, numbers, confidence)
    return [
        {
            "name": region,
            "prior_box": _box(numbers[0], slot),
            "current_box": _box(numbers[1], slot),
            "findings": [
                {"name": name, **change.to_dict()} for (place, name), change in changes.items() if place == region
            ],
        }
        for slot, region in enumerate(predictor.reader.regions)
    ]


def _box(reading: Readings, slot: int) -> list[float]:
    height, width = reading.sizes[0]
    return [round(float(min(max(v, 0), top)), 2) for v, top in zip(reading.boxes[0, slot], (width, height) * 2)]


def _measurements(readings: Sequence[FileReading]) -> Record:
    before, after = (reading.record["measurements"]["cardiothoracic_ratio"] for reading in readings)
    change = None if before is None or after is None else round(after - before, 4)
    return {"cardiothoracic_ratio": {"prior": before, "current": after, "change": change}}


def _in_lung_frame(regions: Sequence[str], reading: Readings) -> np.ndarray:
    """(R, 4): boxes as fractions of the box around both lungs, or around all regions where a model has no lungs."""
    boxes = reading.boxes[0]
    lungs = [regions.index(name) for name in _LUNGS if name in regions] or list(range(len(regions)))
    low, high = boxes[lungs, :2].min(0), boxes[lungs, 2:].max(0)
    return (boxes - np.tile(low, 2)) / np.tile(np.maximum(high - low, 1e-6), 2)


def _only(regions: Sequence[str], here: Readings, there: Readings) -> list[str]:
    seen, other = here.presence[0] >= PRESENT, there.presence[0] >= PRESENT
    return [name for slot, name in enumerate(regions) if seen[slot] and not other[slot]]
