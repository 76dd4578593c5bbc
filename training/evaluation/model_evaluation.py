"""Evaluate a model on a dataset in our schema: boxes, findings in the image, findings in each region."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from tqdm.auto import tqdm

from anatomy_vlm.processing.vocabulary import FINDING_NAMES
from anatomy_vlm.training.evaluation.arrays import MetricInputError
from anatomy_vlm.training.evaluation.bootstrap import PatientBootstrap
from anatomy_vlm.training.evaluation.box_scores import score_boxes
from anatomy_vlm.training.evaluation.finding_scores import (
    FindingScorer,
    Pairs,
    image_pairs,
    region_pairs,
    thresholds_of,
)
from anatomy_vlm.training.evaluation.reader import Reader, Readings
from anatomy_vlm.training.evaluation.result import (
    IMAGE_FINDINGS,
    REGION_FINDINGS,
    EvaluationResult,
    EvaluationSettings,
)
from anatomy_vlm.training.evaluation.targets import Prior, Targets, collect_targets, fit_prior
from anatomy_vlm.training.evaluation.thresholds import Threshold, ThresholdCriterion, require_threshold


def evaluate_model(
    model: Any,
    processor: Any,
    dataset: Any,
    *,
    validation: Any | None = None,
    train: Any | None = None,
    thresholds: Mapping[str, Threshold] | None = None,
    findings: Sequence[str] | None = None,
    batch_size: int = 32,
    device: str | torch.device | None = None,
    bf16: bool = False,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    min_events: int = 10,
    criterion: ThresholdCriterion = "balanced_accuracy",
    seed: int = 0,
    progress: bool = True,
) -> EvaluationResult:
    """Zero-shot evaluation with intervals over patients and beside baselines that do not look at the image.

    - *region boxes*: IoU per region, beside the prior box (the region's mean box in `train`); COCO mAP.
    - *image findings*: AUC, average precision, balanced accuracy and F1 per finding, of the score
      sigmoid(positive prompts - negative prompts) of the image; macro means.
    - *region findings*: the same over (region, finding) pairs with a stated polarity, a statement about a region being
      scored on that region's embedding; pooled, macro over findings, macro over regions; beside the rate at which the
      finding is stated in the region in `train`.

    Decisions use `thresholds` where they are given (image findings), else thresholds selected on `validation`, else
    the processor's `finding_thresholds` (image findings), else 0.5. The source is reported with each.

    Args:
        model: an `AnatomyVLMModel`.
        processor: its processor, with finding prompts.
        dataset: the test split, a `datasets.Dataset` in our schema.
        validation: the split on which thresholds are selected; no patient in common with `dataset`.
        train: the split of the baselines; `validation` if it is not given.
        thresholds: of image findings, by name; the rest is filled as above.
        findings: names to evaluate; those that the processor has prompts for and the vocabulary knows by default.
        batch_size: images at a time.
        device: of PyTorch; None takes CUDA where there is one.
        bf16: run the vision tower under bfloat16 autocast.
        bootstrap: number of resamples.
        confidence: of the intervals.
        min_events: see `EvaluationSettings`.
        criterion: what the thresholds maximise.
        seed: of the bootstrap.
        progress: show a progress bar.

    Raises:
        DatasetColumnsError: a split is empty or lacks a column.
        MetricInputError: a patient is in both `dataset` and `validation`.
        ValueError: an unknown finding or criterion, or no prompts.
    """
    if criterion not in get_args(ThresholdCriterion):
        raise ValueError(f"criterion {criterion!r} is not one of {', '.join(get_args(ThresholdCriterion))}")
    settings = EvaluationSettings(confidence, bootstrap, min_events, seed, criterion)
    reader = Reader(model, processor, device=device, bf16=bf16)
    names = _check_findings(findings, reader)
    unused = sorted(set(thresholds or {}) - set(names))
    if unused:
        raise ValueError(
            f"`thresholds` names {unused[0]!r}, which is not evaluated; evaluated are: {', '.join(names)}"
        )
    splits = SplitReader(reader, names, batch_size, progress)

    targets = splits.targets(dataset)
    validation_targets = None if validation is None else splits.targets(validation)
    if validation_targets is not None:
        _check_disjoint(targets, validation_targets)
    prior_targets = validation_targets if train is None else splits.targets(train)
    prior = None if prior_targets is None else fit_prior(prior_targets)

    readings = splits.read(dataset, "test")
    images, regions = splits.pairs(readings, targets, prior)
    image_thresholds = _known_thresholds(processor, names)
    region_thresholds = {name: Threshold(0.5, "fixed") for name in names}
    prior_thresholds = dict(region_thresholds)
    prior_image_thresholds = dict(region_thresholds)
    if validation_targets is not None:
        val_images, val_regions = splits.pairs(splits.read(validation, "validation"), validation_targets, prior)
        image_thresholds = thresholds_of(val_images, names, split="validation", criterion=criterion)
        region_thresholds = thresholds_of(val_regions, names, split="validation", criterion=criterion)
        prior_image_thresholds, prior_thresholds = (
            thresholds_of(pairs, names, split="validation", criterion=criterion, of_prior=True)
            for pairs in (val_images, val_regions)
        )
    image_thresholds |= {name: require_threshold(cut) for name, cut in (thresholds or {}).items()}

    patients = PatientBootstrap.draw(targets.patient_ids, num_resamples=bootstrap, seed=seed)
    in_image = FindingScorer(IMAGE_FINDINGS, images, patients, settings)
    in_region = FindingScorer(REGION_FINDINGS, regions, patients, settings)
    prior_boxes = None if prior is None else prior.boxes
    scores = [
        *score_boxes(
            readings.relative_boxes, readings.presence, targets, prior_boxes, reader.regions, patients, settings
        ),
        *in_image.by_finding(names, image_thresholds, prior_image_thresholds),
        *in_region.pooled(),
        *in_region.by_finding(names, region_thresholds, prior_thresholds),
        *in_region.by_region(reader.regions),
        *in_region.decisions_by_region(reader.regions, names, region_thresholds, prior_thresholds),
    ]
    return EvaluationResult(
        num_images=len(targets.patient_ids),
        num_patients=patients.num_patients,
        scores=tuple(scores),
        thresholds=image_thresholds,
        region_thresholds=region_thresholds,
        left_out={
            IMAGE_FINDINGS: in_image.too_few_events(names, by="finding"),
            REGION_FINDINGS: in_region.too_few_events(names, by="finding"),
            f"{REGION_FINDINGS} over regions": in_region.too_few_events(reader.regions, by="region"),
        },
        settings=settings,
    )


@dataclass(frozen=True)
class SplitReader:
    """Reads splits with one reader and for one list of findings."""

    reader: Reader
    findings: Sequence[str]
    batch_size: int
    progress: bool

    def targets(self, split: Any) -> Targets:
        return collect_targets(split, findings=self.findings, all_findings=FINDING_NAMES, regions=self.reader.regions)

    def read(self, split: Any, name: str) -> Readings:
        bar = tqdm(total=len(split), desc=f"evaluate, {name}", unit="image", disable=not self.progress)
        parts = []
        with bar:
            for images in _batches(split, self.batch_size):
                parts.append(self.reader.read(images))
                bar.update(len(images))
        return Readings.concatenate(parts)

    def pairs(self, readings: Readings, targets: Targets, prior: Prior | None) -> tuple[Pairs, Pairs]:
        """Cases in the image and in regions."""
        columns = [self.reader.findings.index(name) for name in self.findings]
        in_image = image_pairs(targets, readings.image_scores[:, columns])
        return in_image, region_pairs(targets, readings.region_scores[:, :, columns], prior)


def _batches(split: Any, batch_size: int) -> Iterator[list[Any]]:
    images = split.select_columns(["image"])
    for start in range(0, len(images), batch_size):
        yield images[start : start + batch_size]["image"]


def _check_findings(findings: Sequence[str] | None, reader: Reader) -> tuple[str, ...]:
    if findings is None:
        return tuple(name for name in reader.findings if name in FINDING_NAMES)
    without_prompt = [name for name in findings if name not in reader.findings]
    if without_prompt:
        raise ValueError(
            f"{without_prompt[0]!r} has no prompts in the processor; it has prompts for: {', '.join(reader.findings)}"
        )
    return tuple(findings)


def _check_disjoint(test: Targets, validation: Targets) -> None:
    shared = sorted(set(test.patient_ids) & set(validation.patient_ids))
    if shared:
        raise MetricInputError(
            f"patient {shared[0]!r} is in the test and in the validation split ({len(shared)} in all): thresholds "
            "selected on the test patients are no validation thresholds"
        )


def _known_thresholds(processor: Any, findings: Sequence[str]) -> dict[str, Threshold]:
    stored = processor.finding_thresholds or {}
    return {
        name: Threshold(stored[name], "validation") if name in stored else Threshold(0.5, "fixed") for name in findings
    }
