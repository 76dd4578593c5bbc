"""What a run of a study is judged by: boxes, findings in the film and in regions, and what it makes of a "no"."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logit, logsumexp
from tqdm.auto import tqdm

from anatomy_vlm.processing.statements import Statement, render_statement
from anatomy_vlm.processing.vocabulary import FINDING_NAMES
from anatomy_vlm.training.evaluation.arrays import FloatArray
from anatomy_vlm.training.evaluation.bootstrap import PatientBootstrap
from anatomy_vlm.training.evaluation.box_scores import score_boxes
from anatomy_vlm.training.evaluation.finding_scores import FindingScorer, Pairs, image_pairs, region_pairs
from anatomy_vlm.training.evaluation.reader import Reader, Readings
from anatomy_vlm.training.evaluation.result import BOXES, EvaluationSettings, Score
from anatomy_vlm.training.evaluation.targets import Prior, Targets, collect_targets, fit_prior
from anatomy_vlm.training.evaluation.thresholds import Threshold
from anatomy_vlm.training.receipts.receipt import Number, number
from anatomy_vlm.training.receipts.tasks import Outcome, TaskInputs


# Names of the numbers. What a run was not trained for it has no number of: an untrained head says nothing.
BOX_IOU, BOX_MAP = "box IoU", "box mAP"
IMAGE_AUC, IMAGE_AUC_WITH_REGIONS = "image AUC", "image AUC with regions"
REGION_AUC, REGION_AUC_BY_FINDING = "region AUC", "region AUC by finding"
REGION_AUC_OF_IMAGE = "region AUC of the film's score"
STATED_AUC, NEGATED_AUC, PAIRED_AUC = "stated AUC", "negated AUC", "paired AUC"
OF_THE_FILM = " of the film's score"


@dataclass(frozen=True)
class Judged:
    """Everything that the scores of a run are computed from."""

    readings: Readings
    targets: Targets
    prior: Prior
    regions: tuple[str, ...]
    findings: tuple[str, ...]
    texts: tuple[str, ...]
    bootstrap: PatientBootstrap
    settings: EvaluationSettings


def run_scores(inputs: TaskInputs) -> Outcome:
    """
    The task "study-run": score a model on "test", by the settings `losses` (that it was trained with), `bootstrap`,
    `min_events`, `seed` and `batch_size`. Baselines come from "train".

    - *image AUC*: macro over findings, of the film's embedding alone; *with regions*: plus the smooth maximum over the
      regions' margins.
    - *region AUC*: (region, finding) pairs with a stated polarity, pooled and by finding, scored on the region's own
      embedding; *of the film's score*: every region given the score of the film.
    - *stated*, *negated* and *paired AUC*, macro over findings: each pair is asked as a statement ("pleural effusion
      in the left lung") and as its negation. Does the logit of the statement find those who have it, that of the
      negation those who have not, and the difference of the two those who have it? A model that matches the words of a
      finding and misses the "no" has a negated AUC as far below 0.5 as its stated AUC is above.
    """
    judged = _judge(inputs)
    losses = set(inputs.settings["losses"])
    numbers: list[Number] = []
    if "anatomy" in losses:
        numbers += _box_numbers(judged)
    if "global" in losses:
        numbers += _image_numbers(judged, with_regions="fine" in losses)
        numbers += _statement_numbers(judged, judged.readings.text_image_scores[:, None], OF_THE_FILM)
    if "fine" in losses:
        numbers += _region_numbers(judged, judged.readings.region_margins, REGION_AUC, REGION_AUC_BY_FINDING)
        numbers += _statement_numbers(judged, judged.readings.text_region_scores)
    return Outcome(tuple(numbers))


def _judge(inputs: TaskInputs) -> Judged:
    model, processor = inputs.checkpoint
    processor.region_evidence = False
    test, train = inputs.split("test"), inputs.split("train")
    settings = inputs.settings
    names = tuple(name for name in processor.finding_prompts if name in FINDING_NAMES)
    regions = tuple(model.config.id2label[index] for index in range(len(model.config.id2label)))
    targets, of_train = (
        collect_targets(split, findings=names, all_findings=FINDING_NAMES, regions=regions) for split in (test, train)
    )
    pairs = sorted(set(zip(targets.pair_region.tolist(), targets.pair_finding.tolist(), strict=True)))
    texts = dict.fromkeys(_statement(regions[r], names[f], polarity) for r, f in pairs for polarity in (1, 0))
    reader = Reader(model, processor, texts=list(texts), device=inputs.device)
    size = int(settings["batch_size"])
    starts = tqdm(range(0, len(test), size), desc="scoring", disable=not inputs.progress, leave=False)
    parts = [reader.read(test[start : start + size]["image"]) for start in starts]
    return Judged(
        readings=Readings.concatenate(parts),
        targets=targets,
        prior=fit_prior(of_train),
        regions=regions,
        findings=names,
        texts=tuple(texts),
        bootstrap=PatientBootstrap.draw(
            targets.patient_ids, num_resamples=int(settings["bootstrap"]), seed=int(settings["seed"])
        ),
        settings=EvaluationSettings(num_resamples=int(settings["bootstrap"]), min_events=int(settings["min_events"])),
    )


def _statement(region: str, finding: str, polarity: int) -> str:
    return render_statement(Statement(finding, "present" if polarity else "absent", region))


def _numbered(name: str, score: Score) -> Number:
    return number(name, score.value, score.low, score.high, score.baseline)


def _box_numbers(judged: Judged) -> list[Number]:
    readings, targets = judged.readings, judged.targets
    scores = {
        (s.metric, s.name): s
        for s in score_boxes(
            readings.relative_boxes,
            readings.presence,
            targets,
            judged.prior.boxes,
            judged.regions,
            judged.bootstrap,
            judged.settings,
        )
        if s.task == BOXES
    }
    return [_numbered(BOX_IOU, scores["mean_iou", "mean"]), _numbered(BOX_MAP, scores["map", "mean"])]


def _image_numbers(judged: Judged, with_regions: bool) -> list[Number]:
    margins, region_margins = judged.readings.image_margins, judged.readings.region_margins
    found = [_numbered(IMAGE_AUC, _macro(judged, image_pairs(judged.targets, margins)))]
    everywhere = np.repeat(margins[:, None], len(judged.regions), axis=1)
    found += _region_numbers(judged, everywhere, REGION_AUC_OF_IMAGE)
    if with_regions:
        joined = margins + logsumexp(region_margins, axis=1)
        found.append(_numbered(IMAGE_AUC_WITH_REGIONS, _macro(judged, image_pairs(judged.targets, joined))))
    return found


def _region_numbers(judged: Judged, margins: FloatArray, pooled: str, by_finding: str | None = None) -> list[Number]:
    pairs = region_pairs(judged.targets, margins, judged.prior)
    scorer = FindingScorer("regions", pairs, judged.bootstrap, judged.settings)
    found = [_numbered(pooled, next(s for s in scorer.pooled() if s.metric == "roc_auc"))]
    if by_finding:
        found.append(_numbered(by_finding, _macro(judged, pairs)))
    return found


def _macro(judged: Judged, pairs: Pairs) -> Score:
    """Mean AUC over the findings with enough events."""
    half = {name: Threshold(0.5, "fixed") for name in judged.findings}
    # Margins are unbounded, the fixed threshold is not used: only the ranking is.
    scorer = FindingScorer("findings", pairs, judged.bootstrap, judged.settings)
    return next(
        s for s in scorer.by_finding(judged.findings, half, half) if (s.metric, s.name) == ("roc_auc", "macro")
    )


def _statement_numbers(judged: Judged, scores: FloatArray, suffix: str = "") -> list[Number]:
    """Stated, negated and paired AUC.

    Args:
        scores: (n, regions or 1, texts), in (0, 1).
        suffix: of the names of the numbers.
    """
    targets, place = judged.targets, {text: index for index, text in enumerate(judged.texts)}
    image, labels = targets.pair_image, targets.pair_labels
    region = targets.pair_region if scores.shape[1] > 1 else np.zeros_like(targets.pair_region)
    named = list(zip(targets.pair_region.tolist(), targets.pair_finding.tolist(), strict=True))

    def asked(polarity: int) -> FloatArray:
        columns = [place[_statement(judged.regions[r], judged.findings[f], polarity)] for r, f in named]
        return np.asarray(logit(np.clip(scores[image, region, columns], 1e-300, 1 - 1e-16)))

    said, denied = asked(1), asked(0)
    found = []
    for name, truth, values in (
        (STATED_AUC, labels, said),
        (NEGATED_AUC, 1 - labels, denied),
        (PAIRED_AUC, labels, said - denied),
    ):
        constant = np.zeros(len(image))
        pairs = Pairs(truth, values, constant, image, targets.pair_finding, targets.pair_region)
        found.append(_numbered(f"{name}{suffix}", _macro(judged, pairs)))
    return found


def losses_of(stages: Sequence[Any]) -> list[str]:
    """Every loss that the stages of a recipe train, sorted."""
    return sorted({loss for stage in stages for loss in stage.losses})
