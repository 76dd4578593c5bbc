"""Scores of findings from cases: against scikit-learn by hand-made groups, with priors, events and intervals."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from anatomy_vlm.training.evaluation.bootstrap import PatientBootstrap
from anatomy_vlm.training.evaluation.box_scores import score_boxes
from anatomy_vlm.training.evaluation.finding_scores import FindingScorer, image_pairs, region_pairs, thresholds_of
from anatomy_vlm.training.evaluation.result import (
    BOXES,
    IMAGE_FINDINGS,
    REGION_FINDINGS,
    EvaluationResult,
    EvaluationSettings,
)
from anatomy_vlm.training.evaluation.targets import Prior, Targets, fit_prior
from anatomy_vlm.training.evaluation.thresholds import Threshold


FINDINGS, REGIONS = ("effusion", "nodule", "fracture"), ("right lung", "left lung")
SETTINGS = EvaluationSettings(num_resamples=200, min_events=5)


def make_targets(seed=0, num_images=80):
    """Effusions are frequent on the right, nodules rare, fractures never seen; two films per patient."""
    rng = np.random.default_rng(seed)
    image, region, finding = np.indices((num_images, 2, 3)).reshape(3, -1)
    rate = np.array([[0.8, 0.2, 0.0], [0.2, 0.2, 0.0]])[region, finding]
    labels = (rng.random(len(rate)) < rate).astype(float)
    stated = rng.random(len(rate)) < 0.8
    in_image = labels.reshape(num_images, 2, 3).max(axis=1)
    low = rng.random((num_images, 2, 2)) * 0.2
    return Targets(
        patient_ids=tuple(f"p{index // 2}" for index in range(num_images)),
        boxes=np.concatenate([low, low + 0.5], axis=-1),
        box_mask=rng.random((num_images, 2)) < 0.9,
        image_labels=np.where(rng.random(in_image.shape) < 0.1, np.nan, in_image),
        pair_image=image[stated],
        pair_region=region[stated],
        pair_finding=finding[stated],
        pair_labels=labels[stated],
    )


@pytest.fixture
def targets():
    return make_targets()


@pytest.fixture
def region_scorer(targets):
    rng = np.random.default_rng(1)
    scores = rng.random((80, 2, 3)) * 0.5
    scores[targets.pair_image, targets.pair_region, targets.pair_finding] += 0.3 * targets.pair_labels
    pairs = region_pairs(targets, scores, fit_prior(make_targets(seed=5)))
    patients = PatientBootstrap.draw(targets.patient_ids, num_resamples=200)
    return FindingScorer(REGION_FINDINGS, pairs, patients, SETTINGS)


def by_name(scores, metric):
    return {score.name: score for score in scores if score.metric == metric}


def test_pooled_and_grouped_scores_equal_scikit_learn(region_scorer):
    pairs = region_scorer.pairs
    pooled = by_name(region_scorer.pooled(), "roc_auc")["pooled"]
    assert pooled.value == pytest.approx(roc_auc_score(pairs.labels, pairs.scores))
    assert pooled.baseline == pytest.approx(roc_auc_score(pairs.labels, pairs.prior_scores))
    assert pooled.low < pooled.value < pooled.high
    thresholds = dict.fromkeys(FINDINGS, Threshold(0.4, "fixed"))
    scores = region_scorer.by_finding(FINDINGS, thresholds, thresholds)
    for index, name in enumerate(FINDINGS[:2]):
        rows = pairs.finding == index
        labels, values = pairs.labels[rows], pairs.scores[rows]
        assert by_name(scores, "roc_auc")[name].value == pytest.approx(roc_auc_score(labels, values))
        precision = by_name(scores, "average_precision")[name]
        assert precision.value == pytest.approx(average_precision_score(labels, values))
        decided = by_name(scores, "balanced_accuracy")[name]
        assert decided.value == pytest.approx(balanced_accuracy_score(labels, values >= 0.4))
        assert decided.positives == labels.sum() and decided.negatives == (1 - labels).sum()
    region = by_name(region_scorer.by_region(REGIONS), "roc_auc")["left lung"]
    rows = pairs.region == 1
    assert region.value == pytest.approx(roc_auc_score(pairs.labels[rows], pairs.scores[rows]))


def test_a_finding_without_events_is_named_and_not_averaged(region_scorer):
    thresholds = dict.fromkeys(FINDINGS, Threshold(0.4, "fixed"))
    auc = by_name(region_scorer.by_finding(FINDINGS, thresholds, thresholds), "roc_auc")
    assert math.isnan(auc["fracture"].value) and math.isnan(auc["fracture"].low)
    assert auc["macro"].value == pytest.approx((auc["effusion"].value + auc["nodule"].value) / 2)
    assert region_scorer.too_few_events(FINDINGS, by="finding") == ("fracture",)


def test_the_prior_knows_the_side_and_nothing_more(region_scorer, targets):
    auc = by_name(
        region_scorer.by_finding(FINDINGS, *[dict.fromkeys(FINDINGS, Threshold(0.5, "fixed"))] * 2), "roc_auc"
    )
    assert auc["effusion"].baseline > 0.7
    assert 0.3 < auc["nodule"].baseline < 0.7
    pairs = image_pairs(targets, np.random.default_rng(0).random((80, 3)))
    scorer = FindingScorer(IMAGE_FINDINGS, pairs, region_scorer.bootstrap, SETTINGS)
    thresholds = thresholds_of(pairs, FINDINGS, split="validation", criterion="f1", of_prior=True)
    scores = scorer.by_finding(FINDINGS, thresholds, thresholds)
    assert by_name(scores, "roc_auc")["effusion"].baseline == 0.5
    # Without the image the best that F1 allows is to call every film.
    share = by_name(scores, "f1")["effusion"].positives / np.sum(pairs.finding == 0)
    assert by_name(scores, "f1")["effusion"].baseline == pytest.approx(2 * share / (1 + share))


def test_no_prior_leaves_baselines_undefined_and_nothing_else(targets, region_scorer):
    pairs = region_pairs(targets, np.random.default_rng(0).random((80, 2, 3)), None)
    pooled = FindingScorer(REGION_FINDINGS, pairs, region_scorer.bootstrap, SETTINGS).pooled()[0]
    assert math.isnan(pooled.baseline) and 0 < pooled.low < pooled.high < 1


def test_thresholds_fall_back_where_validation_has_one_class(region_scorer):
    thresholds = thresholds_of(region_scorer.pairs, FINDINGS, split="validation", criterion="balanced_accuracy")
    assert thresholds["effusion"].source == "validation"
    assert thresholds["fracture"] == Threshold(0.5, "fixed")


def test_boxes_beside_the_prior_box(targets):
    prior = fit_prior(make_targets(seed=5)).boxes
    patients = PatientBootstrap.draw(targets.patient_ids, num_resamples=200)
    perfect = score_boxes(targets.boxes, np.ones((80, 2)), targets, prior, REGIONS, patients, SETTINGS)
    iou = {score.name: score for score in perfect if score.metric == "mean_iou"}
    assert iou["mean"].value == iou["left lung"].value == iou["mean"].low == 1.0
    assert iou["mean"].baseline == pytest.approx((iou["right lung"].baseline + iou["left lung"].baseline) / 2)
    gain = next(score for score in perfect if score.metric == "mean_iou_gain")
    assert gain.value == pytest.approx(1 - iou["mean"].baseline) and gain.low > 0
    as_prior = score_boxes(
        np.broadcast_to(prior, targets.boxes.shape), np.ones((80, 2)), targets, prior, REGIONS, patients, SETTINGS
    )
    gain = next(score for score in as_prior if score.metric == "mean_iou_gain")
    assert gain.value == gain.low == gain.high == 0.0
    rare = score_boxes(
        targets.boxes, np.ones((80, 2)), targets, None, REGIONS, patients, EvaluationSettings(min_events=99)
    )
    assert math.isnan(next(score for score in rare if score.name == "left lung").low)
    assert not [score for score in rare if score.metric == "mean_iou_gain"]


def test_the_prior_is_shrunk_to_the_finding():
    targets = make_targets()
    prior = fit_prior(targets)
    assert isinstance(prior, Prior)
    rows = (targets.pair_region == 0) & (targets.pair_finding == 0)
    assert prior.region_rates[0, 0] == pytest.approx(targets.pair_labels[rows].mean(), abs=0.02)
    assert 0 < prior.region_rates[1, 2] < 0.02


def test_the_result_is_json_and_a_table(region_scorer, targets):
    thresholds = {"effusion": Threshold(0.4, "validation"), "fracture": Threshold(0.5, "fixed")}
    scorer = FindingScorer(IMAGE_FINDINGS, region_scorer.pairs, region_scorer.bootstrap, SETTINGS)
    scores = (
        *score_boxes(targets.boxes, np.ones((80, 2)), targets, None, REGIONS, region_scorer.bootstrap, SETTINGS),
        *scorer.by_finding(FINDINGS, *[dict.fromkeys(FINDINGS, Threshold(0.4, "fixed"))] * 2),
        *region_scorer.by_region(REGIONS),
    )
    result = EvaluationResult(80, 40, scores, thresholds, {}, {IMAGE_FINDINGS: ("fracture",)}, SETTINGS)
    plain = result.to_dict()
    assert plain["thresholds"]["effusion"] == {"value": 0.4, "source": "validation"}
    fracture = next(s for s in plain["scores"] if s["name"] == "fracture" and s["metric"] == "roc_auc")
    assert fracture["value"] is None and fracture["positives"] == 0
    table = result.to_markdown()
    assert "| effusion | 0." in table and "| validation |" in table
    assert "| fracture | - | - | - |" in table
    assert "| left lung | 1.000 |" in table
    assert "fewer than 5 patients" in table and "80 images of 40 patients" in table
    assert "### Findings" not in result.to_markdown(details=False)
    assert result.score(BOXES, "mean_iou", "mean").value == 1.0
    with pytest.raises(KeyError, match="no score"):
        result.score(BOXES, "mean_iou", "spleen")
