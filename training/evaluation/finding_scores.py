"""Scores of findings: in the image, and in each region that a statement speaks about."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from anatomy_vlm.training.evaluation.arrays import FloatArray, nan_mean
from anatomy_vlm.training.evaluation.bootstrap import PatientBootstrap, percentile_interval
from anatomy_vlm.training.evaluation.classification import balanced_accuracy, f1_score
from anatomy_vlm.training.evaluation.ranking import average_precision, roc_auc
from anatomy_vlm.training.evaluation.result import EvaluationSettings, Score
from anatomy_vlm.training.evaluation.targets import Prior, Targets
from anatomy_vlm.training.evaluation.thresholds import Threshold, ThresholdCriterion, select_threshold


Metric = Callable[[FloatArray, FloatArray, FloatArray | None], FloatArray]
_RANKING: tuple[tuple[str, Metric], ...] = (("roc_auc", roc_auc), ("average_precision", average_precision))
_DECISIONS = (("balanced_accuracy", balanced_accuracy), ("f1", f1_score))


@dataclass(frozen=True)
class Pairs:
    """p cases with a known label.

    Attributes:
        labels: (p,), 1 or 0.
        scores: (p,), of the model.
        prior_scores: (p,), of the guess without the image; NaN throughout if there is none.
        image: (p,) int, row of the dataset.
        finding: (p,) int.
        region: (p,) int; 0 throughout for findings in the image.
    """

    labels: FloatArray
    scores: FloatArray
    prior_scores: FloatArray
    image: np.ndarray
    finding: np.ndarray
    region: np.ndarray

    @property
    def has_prior(self) -> bool:
        return not np.isnan(self.prior_scores).any()


def image_pairs(targets: Targets, scores: FloatArray) -> Pairs:
    """Findings in the image. Without the image every film gets the same score: AUC 0.5 by definition.

    Args:
        targets: of n images.
        scores: (n, F).
    """
    image, finding = np.nonzero(~np.isnan(targets.image_labels))
    constant = np.zeros(len(image))
    return Pairs(
        targets.image_labels[image, finding], scores[image, finding], constant, image, finding, np.zeros_like(image)
    )


def region_pairs(targets: Targets, scores: FloatArray, prior: Prior | None) -> Pairs:
    """Findings in regions. Without the image a pair's score is how often the finding is stated in that region.

    Args:
        targets: of n images.
        scores: (n, R, F).
        prior: of training data; None leaves the baselines undefined.
    """
    image, region, finding = targets.pair_image, targets.pair_region, targets.pair_finding
    rates = np.full(len(image), np.nan) if prior is None else prior.region_rates[region, finding]
    return Pairs(targets.pair_labels, scores[image, region, finding], rates, image, finding, region)


def thresholds_of(
    pairs: Pairs, findings: Sequence[str], *, split: str, criterion: ThresholdCriterion, of_prior: bool = False
) -> dict[str, Threshold]:
    """One threshold per finding, selected on `split`; 0.5, fixed, where that split has only positives or negatives."""
    scores = pairs.prior_scores if of_prior else pairs.scores
    selected = {}
    for index, name in enumerate(findings):
        labels = pairs.labels[pairs.finding == index]
        if 0 < labels.sum() < len(labels):
            selected[name] = select_threshold(labels, scores[pairs.finding == index], split=split, criterion=criterion)
        else:
            selected[name] = Threshold(0.5, "fixed")
    return selected


class FindingScorer:
    """Turns pairs into scores of one task, with intervals from one bootstrap.

    Args:
        task: for the scores.
        pairs: the cases.
        bootstrap: over the patients of the dataset.
        settings: confidence and the minimum number of events.
    """

    def __init__(self, task: str, pairs: Pairs, bootstrap: PatientBootstrap, settings: EvaluationSettings) -> None:
        self.task, self.bootstrap, self.settings = task, bootstrap, settings
        # In order of the scores once, not again for every chunk of resamples.
        order = np.argsort(pairs.scores, kind="stable")
        self.pairs = Pairs(**{name: getattr(pairs, name)[order] for name in Pairs.__annotations__})

    def pooled(self) -> list[Score]:
        """Ranking metrics over all cases together."""
        everything = np.zeros(len(self.pairs.labels), dtype=int)
        return [
            score
            for metric_name, metric in _RANKING
            for score in self._grouped(metric_name, [metric], [metric], everything, ["pooled"], joined=None)
        ]

    def by_finding(
        self, findings: Sequence[str], thresholds: Mapping[str, Threshold], prior_thresholds: Mapping[str, Threshold]
    ) -> list[Score]:
        """Ranking metrics and decisions of each finding, and their macro means."""
        scores = []
        for metric_name, metric in _RANKING:
            metrics = [metric] * len(findings)
            scores += self._grouped(metric_name, metrics, metrics, self.pairs.finding, findings, joined="macro")
        for metric_name, decision in _DECISIONS:
            of_model = [_at(decision, thresholds[name]) for name in findings]
            of_prior = [_at(decision, prior_thresholds[name]) for name in findings]
            scores += self._grouped(metric_name, of_model, of_prior, self.pairs.finding, findings, joined="macro")
        return scores

    def by_region(self, regions: Sequence[str]) -> list[Score]:
        """AUC of each region over its findings, and the macro mean."""
        metrics: list[Metric] = [roc_auc] * len(regions)
        return self._grouped("roc_auc", metrics, metrics, self.pairs.region, regions, joined="macro over regions")

    def decisions_by_region(
        self,
        regions: Sequence[str],
        findings: Sequence[str],
        thresholds: Mapping[str, Threshold],
        prior_thresholds: Mapping[str, Threshold],
    ) -> list[Score]:
        """Balanced accuracy and F1 of each region over its findings, each finding decided by its own threshold."""
        pairs = self.pairs
        cuts, prior_cuts = (
            np.array([given[name].value for name in findings])[pairs.finding]
            for given in (thresholds, prior_thresholds)
        )
        called = Pairs(
            pairs.labels,
            (pairs.scores >= cuts).astype(np.float64),
            np.where(np.isnan(pairs.prior_scores), np.nan, pairs.prior_scores >= prior_cuts),
            pairs.image,
            pairs.finding,
            pairs.region,
        )
        of_calls = FindingScorer(self.task, called, self.bootstrap, self.settings)
        scores = []
        for metric_name, decision in _DECISIONS:
            metrics = [_at(decision, Threshold(0.5, "fixed"))] * len(regions)
            scores += of_calls._grouped(
                metric_name, metrics, metrics, pairs.region, regions, joined="macro over regions"
            )
        return scores

    def too_few_events(self, names: Sequence[str], by: Literal["finding", "region"]) -> tuple[str, ...]:
        """Names of the findings or regions with fewer than `min_events` patients with or without."""
        groups = self.pairs.finding if by == "finding" else self.pairs.region
        return tuple(name for index, name in enumerate(names) if not self._enough(groups == index))

    def _grouped(
        self,
        metric_name: str,
        metrics: Sequence[Metric],
        prior_metrics: Sequence[Metric],
        groups: np.ndarray,
        names: Sequence[str],
        joined: str | None,
    ) -> list[Score]:
        """One score per group, preceded by their macro mean over the groups with enough events if `joined`."""
        scores: list[Score] = []
        resampled: list[tuple[int, FloatArray]] = []
        for index, (name, metric, prior_metric) in enumerate(zip(names, metrics, prior_metrics, strict=True)):
            rows = groups == index
            labels, values = self.pairs.labels[rows], self.pairs.scores[rows]
            baseline = np.nan
            if self.pairs.has_prior:
                baseline = float(prior_metric(labels, self.pairs.prior_scores[rows], None))
            low = high = np.nan
            enough = self._enough(rows)
            if enough:
                resamples = self.bootstrap.resample(
                    lambda weights, m=metric, y=labels, s=values: m(y, s, weights), self.pairs.image[rows]
                )
                low, high = percentile_interval(resamples, self.settings.confidence)
                resampled.append((len(scores), resamples))
            counts = int(labels.sum()), int((1 - labels).sum())
            value = float(metric(labels, values, None))
            scores.append(Score(self.task, metric_name, name, value, float(low), float(high), baseline, *counts))
        if joined is None:
            return scores
        return [self._macro(metric_name, joined, scores, resampled), *scores]

    def _macro(
        self, metric_name: str, joined: str, scores: list[Score], resampled: list[tuple[int, FloatArray]]
    ) -> Score:
        members = [scores[index] for index, _ in resampled]
        if not members:
            return Score(self.task, metric_name, joined, np.nan)
        means = nan_mean(np.stack([resamples for _, resamples in resampled], axis=1))
        low, high = percentile_interval(means, self.settings.confidence)
        value = float(nan_mean([member.value for member in members]))
        baseline = float(nan_mean([member.baseline for member in members]))
        counts = sum(member.positives for member in members), sum(member.negatives for member in members)
        return Score(self.task, metric_name, joined, value, float(low), float(high), baseline, *counts)

    def _enough(self, rows: np.ndarray) -> bool:
        patients, labels = self.bootstrap.patient_of_row[self.pairs.image[rows]], self.pairs.labels[rows]
        return all(len(np.unique(patients[labels == label])) >= self.settings.min_events for label in (0, 1))


def _at(decision: Callable[..., FloatArray], threshold: Threshold) -> Metric:
    return lambda labels, scores, weights: decision(labels, scores, threshold, weights)
