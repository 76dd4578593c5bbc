"""The demo's evaluation, example films and report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from anatomy_vlm.html_report import Gallery, Picture, Report, render_report
from anatomy_vlm.prediction import FileReading, Predictor, draw_reading, library_versions
from anatomy_vlm.processing.atomic_files import replacing, write_text
from anatomy_vlm.processing.image_io import RadiographImage
from anatomy_vlm.processing.pictures import PANEL_WIDTH, draw_overlay
from anatomy_vlm.processing.vocabulary import REGION_NAMES, containing_regions, more_general_findings
from anatomy_vlm.training.checkpoints import finished_stage
from anatomy_vlm.training.evaluation import EvaluationResult, evaluate_model
from anatomy_vlm.training.evaluation.model_calibration import calibrate_model
from anatomy_vlm.training.model_folder import load_checkpoint
from anatomy_vlm.training.run import RunResult


_HEIGHT = 620
_NOTES = (
    "Every film of training and test was drawn by a program. The numbers show that the method, the code and the "
    "training work; they say nothing about patients.",
    "The words of the prompts are those of the synthetic reports. Free wording by radiologists is harder.",
    "Scores were calibrated and thresholds selected on the validation split, never on the test split. They hold for "
    "films like those: on real films 0.8 does not mean 80 %.",
    "Real films differ from synthetic ones in everything that was not modelled. What the model says about a real film "
    "here is a look at the gap, not a reading.",
    "Intervals resample patients. They hold for more patients of the same kind, not for another hospital or scanner.",
)


def evaluate_run(run: RunResult, bootstrap: int) -> tuple[Any, Any, EvaluationResult]:
    """Evaluate a run's model on its test split; the processor takes what validation data said about its scores.

    Returns:
        model, processor, result.
    """
    model, processor = load_checkpoint(run.model)
    data = run.recipe.data
    calibrate_model(model, processor, run.splits[data.validation])
    result = evaluate_model(
        model,
        processor,
        run.splits[data.test],
        validation=run.splits[data.validation],
        train=run.splits[data.train],
        **{"bootstrap": bootstrap, **(run.recipe.evaluation or {})},
    )
    processor.finding_thresholds = {
        name: threshold.value for name, threshold in result.thresholds.items() if threshold.source == "validation"
    }
    return model, processor, result


def read_test_films(predictor: Predictor, split: Any, folder: Path, count: int) -> Gallery:
    """Read films spread over the test split, and draw truth and reading side by side."""
    pictures: list[Picture] = []
    for row in np.linspace(0, len(split) - 1, min(count, len(split))).round().astype(int):
        example = split[int(row)]
        film = RadiographImage(np.asarray(example["image"].convert("L")), view=example["view"])
        record = predictor.record(example["image_id"], film, predictor.reader.read([film.to_pil()]), 0)
        truth = draw_overlay(film, _true_regions(example), title="truth", height=_HEIGHT)
        reading = draw_reading(FileReading(record, film.to_pil()), height=_HEIGHT)
        picture = _beside(truth.crop((0, 0, truth.width - PANEL_WIDTH, truth.height)), reading)
        _save(picture, folder / f"test-{len(pictures) + 1}.png")
        pictures.append(Picture(picture, f"Truth: {_true_findings(example)}. Reading: {_called(record)}."))
    return Gallery("Synthetic films of unseen patients", "Left: truth. Right: the model's reading.", pictures)


def read_real_films(predictor: Predictor, paths: Sequence[Path], folder: Path) -> Gallery:
    """Read real films and draw the readings; what cannot be read is named in the caption."""
    pictures: list[Picture] = []
    failed: list[str] = []
    for number, reading in enumerate(predictor.read_files(paths), start=1):
        if reading.film is None:
            failed.append(f"{Path(reading.record['file']).name}: {reading.record['error']}")
            continue
        picture = draw_reading(reading, height=_HEIGHT)
        _save(picture, folder / f"real-{number}-{Path(reading.record['file']).stem}.png")
        pictures.append(Picture(picture, f"{Path(reading.record['file']).name}. Reading: {_called(reading.record)}."))
    caption = "Read by a model that has seen synthetic films only." + (
        f" Not read: {'; '.join(failed)}." * bool(failed)
    )
    return Gallery("Real films", caption, pictures)


def split_sizes(run: RunResult) -> dict[str, str]:
    """Films and patients of each split in words, by the split's role."""
    sizes = {}
    for role in ("train", "validation", "test"):
        split = run.splits[getattr(run.recipe.data, role)]
        sizes[role] = f"{len(split)} films of {len(set(split['patient_id']))} patients"
    return sizes


def write_report(
    path: Path, run: RunResult, result: EvaluationResult, galleries: Sequence[Gallery], seconds: Mapping[str, float]
) -> None:
    """Write the HTML report of a demo."""
    recipe = run.recipe
    stages = []
    for number, stage in enumerate(recipe.stages, start=1):
        done = finished_stage(run.output / f"{number}-{stage.name}")
        stages.append((stage.name, [] if done is None else done["log"]))
    facts = [
        ("recipe", recipe.name),
        *((f"data, {role}", size) for role, size in split_sizes(run).items()),
        ("time", ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())),
        (
            "device",
            torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads",
        ),
        ("versions", ", ".join(f"{name} {version}" for name, version in library_versions().items())),
    ]
    report = Report(
        title="Anatomy-VLM on synthetic chests",
        lead=f"Chests were synthesised, a model was trained in {len(stages)} stages "
        f"({', '.join(name for name, _ in stages)}) and evaluated on {result.num_patients} unseen patients.",
        notice="Trained and evaluated on synthetic films: nothing here is a clinical result.",
        result=result,
        stages=stages,
        galleries=galleries,
        notes=_NOTES,
        facts=facts,
        recipe=yaml.safe_dump(recipe.to_dict(), sort_keys=False, allow_unicode=True),
    )
    write_text(path, render_report(report))


def _true_regions(example: Mapping[str, Any]) -> list[dict[str, Any]]:
    width, height = example["image"].size
    scale = np.array([width, height, width, height])
    return [
        {"name": name, "box": (np.asarray(box) * scale).tolist()}
        for name, box, known in zip(REGION_NAMES, example["boxes"], example["box_mask"], strict=True)
        if known
    ]


def _true_findings(example: Mapping[str, Any]) -> str:
    """Findings that are present, the most special ones, each with the smallest regions where it is stated."""
    places: dict[str, list[str]] = {}
    for entry in example["region_findings"]:
        if entry["polarity"] == "present":
            places.setdefault(entry["finding"], []).extend([entry["region"]] if entry["region"] else [])
    implied = {general for name in places for general in more_general_findings(name)}
    texts = []
    for name, regions in places.items():
        around = {outer for region in regions for outer in containing_regions(region)}
        smallest = [region for region in dict.fromkeys(regions) if region not in around]
        if name not in implied:
            texts.append(f"{name} ({', '.join(smallest)})" if smallest else name)
    return "; ".join(texts) or "no finding"


def _called(record: Mapping[str, Any]) -> str:
    if record["quality"]["findings_withheld"]:
        return f"findings withheld: {'; '.join(flag['reason'] for flag in record['quality']['flags'])}"
    called = [finding for finding in record["findings"] if finding["score"] >= finding["threshold"]]
    called.sort(key=lambda finding: -finding["score"])
    return ", ".join(f"{finding['name']} {finding['score']:.2f}" for finding in called) or "no finding"


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    picture = Image.new("RGB", (left.width + right.width, max(left.height, right.height)))
    picture.paste(left, (0, 0))
    picture.paste(right, (left.width, 0))
    return picture


def _save(picture: Image.Image, path: Path) -> None:
    with replacing(path) as beside:
        picture.save(beside)
