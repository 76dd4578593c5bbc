"""What the scores of a model mean: calibration on a validation split, kept in the processor and in its folder."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers.utils import PROCESSOR_NAME

from anatomy_vlm.processing.atomic_files import replacing
from anatomy_vlm.processing.score_calibration_anatomy_vlm import ScoreCalibration
from anatomy_vlm.processing.vocabulary import FINDING_NAMES
from anatomy_vlm.training.evaluation.calibration import CalibrationMethod, fit_score_calibration
from anatomy_vlm.training.evaluation.model_evaluation import SplitReader
from anatomy_vlm.training.evaluation.reader import Reader


def calibrate_model(
    model: Any,
    processor: Any,
    validation: Any,
    *,
    method: CalibrationMethod = "platt",
    coverage: float = 0.9,
    sensitivity: float | None = None,
    min_events: int = 10,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    bf16: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> ScoreCalibration:
    """Calibrate the scores of a model's findings; `processor` takes the calibration and its thresholds.

    Args:
        model: an `AnatomyVLMModel`.
        processor: its processor, with finding prompts.
        validation: a `datasets.Dataset` in our schema, of patients of whom no test is made later.
        method, coverage, sensitivity, min_events, seed: see `fit_score_calibration`.
        batch_size: images at a time.
        device: of PyTorch; None takes CUDA where there is one.
        bf16: run the vision tower under bfloat16 autocast.
        progress: show a progress bar.

    Raises:
        DatasetColumnsError: the split is empty or lacks a column.
        MetricInputError: an option out of range.
        ValueError: the processor has no prompts.
    """
    reader = Reader(model, processor, device=device, bf16=bf16)
    names = [name for name in reader.findings if name in FINDING_NAMES]
    columns = [reader.findings.index(name) for name in names]
    split = SplitReader(reader, names, batch_size, progress)
    readings = split.read(validation, "validation")
    calibration = fit_score_calibration(
        split.targets(validation),
        readings.image_margins[:, columns],
        readings.region_margins[:, :, columns],
        findings=names,
        regions=reader.regions,
        method=method,
        coverage=coverage,
        sensitivity=sensitivity,
        min_events=min_events,
        seed=seed,
    )
    processor.score_calibration = calibration.to_dict()
    processor.finding_thresholds = {name: known.threshold for name, known in calibration.image.items()}
    return calibration


def store_calibration(processor: Any, folder: str | Path) -> None:
    """Write the calibration and the thresholds of `processor` into the processor's file of a model folder."""
    path = Path(folder) / PROCESSOR_NAME
    saved = json.loads(path.read_text(encoding="utf-8"))
    saved["score_calibration"] = processor.score_calibration
    saved["finding_thresholds"] = processor.finding_thresholds
    with replacing(path) as beside:
        beside.write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n", encoding="utf-8")
