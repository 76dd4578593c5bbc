"""Calibration maps against scikit-learn, operating points by their definition, and the round trip to JSON."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from anatomy_vlm.processing.score_calibration_anatomy_vlm import (
    ConformalCuts,
    IsotonicMap,
    LogisticMap,
    ScoreCalibration,
    ScoreCalibrationError,
)
from anatomy_vlm.training.evaluation.arrays import MetricInputError
from anatomy_vlm.training.evaluation.calibration import (
    fit_finding,
    fit_isotonic,
    fit_platt,
    fit_score_calibration,
    fit_temperature,
)
from anatomy_vlm.training.evaluation.probability_scores import calibration_error
from anatomy_vlm.training.evaluation.ranking import roc_auc
from anatomy_vlm.training.evaluation.targets import Targets
from anatomy_vlm.training.evaluation.thresholds import threshold_at_sensitivity


def saturated(rng, count, prevalence=0.2):
    """Margins as sums over regions leave them: far below 0 and spread too wide."""
    labels = (rng.random(count) < prevalence).astype(float)
    return labels, 6 * (rng.normal(size=count) + 1.5 * labels) - 25


@pytest.mark.parametrize("seed", range(3))
def test_platt_is_scikit_learns_logistic_regression_on_platts_targets(seed):
    labels, margins = saturated(np.random.default_rng(seed), 200)
    positives, negatives = labels.sum(), (1 - labels).sum()
    high, low = (positives + 1) / (positives + 2), 1 / (negatives + 2)
    target = np.where(labels == 1, high, low)
    # Soft targets as two weighted copies of each row.
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.tile(margins, 2)[:, None], np.repeat([1, 0], 200), sample_weight=np.r_[target, 1 - target]
    )
    fitted = fit_platt(labels, margins)
    assert fitted.scale == pytest.approx(reference.coef_[0, 0], rel=1e-3)
    assert fitted.offset == pytest.approx(reference.intercept_[0], rel=1e-3)


def test_temperature_is_the_best_of_a_grid():
    rng = np.random.default_rng(0)
    labels = rng.random(400) < 0.5
    margins = 8 * (rng.normal(size=400) + labels - 0.5)
    fitted = fit_temperature(labels, margins)
    high = (labels.sum() + 1) / (labels.sum() + 2)
    target = np.where(labels, high, 1 / ((~labels).sum() + 2))
    grid = np.linspace(0.01, 1, 400)
    logits = grid[:, None] * margins
    best = grid[(np.logaddexp(0, logits) - target * logits).mean(axis=1).argmin()]
    assert fitted.offset == 0 and fitted.scale == pytest.approx(best, abs=0.003)


cases = st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=2, max_size=40)


@settings(deadline=None, max_examples=60)
@given(cases)
def test_isotonic_is_scikit_learns_off_the_ends(data):
    labels, margins = (np.array(column, dtype=float) for column in zip(*data, strict=True))
    if labels.all() or not labels.any():
        with pytest.raises(MetricInputError, match="positives and negatives"):
            fit_isotonic(labels, margins)
        return
    edge = 0.5 / (len(labels) + 1)
    queries = np.linspace(-7, 7, 57)
    reference = IsotonicRegression(out_of_bounds="clip").fit(margins, labels)
    at_knots = np.clip(reference.predict(np.unique(margins)), edge, 1 - edge)
    expected = np.interp(queries, np.unique(margins), at_knots)
    assert fit_isotonic(labels, margins)(queries) == pytest.approx(expected)


@settings(deadline=None, max_examples=40)
@given(cases, st.sampled_from([fit_platt, fit_temperature, fit_isotonic]), st.sampled_from([0.001, 1.0, 500.0]))
def test_maps_never_fall_and_stay_inside_0_and_1(data, fit, unit):
    labels, margins = (np.array(column, dtype=float) for column in zip(*data, strict=True))
    if labels.all() or not labels.any():
        return
    probabilities = fit(labels, margins * unit)(np.linspace(-6, 6, 101) * unit)
    assert (np.diff(probabilities) >= 0).all()
    assert (probabilities >= 0).all() and (probabilities <= 1).all()


@pytest.mark.parametrize(("fit", "bound"), [(fit_platt, 0.03), (fit_isotonic, 0.05)])
def test_saturated_margins_become_probabilities_that_hold_on_new_cases(fit, bound):
    rng = np.random.default_rng(0)
    labels, margins = saturated(rng, 2000)
    fresh_labels, fresh = saturated(rng, 5000)
    before = calibration_error(fresh_labels, LogisticMap(1.0)(fresh))
    probabilities = fit(labels, margins)(fresh)
    assert before > 0.15
    assert calibration_error(fresh_labels, probabilities) < bound
    assert roc_auc(fresh_labels, probabilities) == pytest.approx(roc_auc(fresh_labels, fresh), abs=0.005)


def test_separated_classes_stay_finite_and_inverted_ones_get_the_base_rate():
    separated = fit_platt([0] * 8 + [1] * 2, np.arange(10.0))
    assert np.isfinite([separated.scale, separated.offset]).all()
    assert 0.01 < separated(0.0) < 0.2 < 0.5 < separated(9.0) < 0.95
    inverted = fit_platt([1] * 20 + [0] * 20, np.arange(40.0))
    assert inverted.scale == 0 and inverted(0.0) == pytest.approx(0.5)


@settings(deadline=None, max_examples=60)
@given(cases, st.floats(0.01, 1))
def test_the_operating_point_is_the_highest_with_the_sensitivity(data, sensitivity):
    labels, scores = (np.array(column, dtype=float) for column in zip(*data, strict=True))
    if not labels.any():
        with pytest.raises(MetricInputError, match="has none"):
            threshold_at_sensitivity(labels, scores, sensitivity, split="validation")
        return
    cut = threshold_at_sensitivity(labels, scores, sensitivity, split="validation")
    assert cut.source == "validation"
    assert (scores[labels == 1] >= cut.value).mean() >= sensitivity - 1e-9
    higher = scores[scores > cut.value].min() if (scores > cut.value).any() else None
    if higher is not None:
        assert (scores[labels == 1] > higher).mean() < sensitivity
    assert threshold_at_sensitivity(labels, scores, 1.0, split="test").source == "oracle"


def test_operating_points_of_a_finding():
    labels, margins = saturated(np.random.default_rng(1), 400, prevalence=0.3)
    probability = fit_platt(labels, margins)(margins)
    for target in (0.7, 0.95):
        fitted = fit_finding(labels, margins, range(400), sensitivity=target)
        reached = (probability[labels == 1] >= fitted.threshold).mean()
        assert target <= reached < target + 0.02
    youden = fit_finding(labels, margins, range(400))
    gain = [
        (probability[labels == 1] >= cut).mean() - (probability[labels == 0] >= cut).mean()
        for cut in (youden.threshold, *np.linspace(0, 1, 50))
    ]
    assert gain[0] == max(gain) and youden.threshold_source == "validation"


FINDINGS, REGIONS = ("effusion", "nodule"), ("right lung", "left lung")


def make_targets(rng, num_images=240):
    """Effusions frequent in both lungs, stated rarely on the left; nodules too rare to calibrate."""
    image, region, finding = np.indices((num_images, 2, 2)).reshape(3, -1)
    labels = (rng.random(len(image)) < np.array([0.4, 0.005])[finding]).astype(float)
    stated = (region == 0) | (image < 16)
    in_image = labels.reshape(num_images, 2, 2).max(axis=1)
    return Targets(
        patient_ids=tuple(f"p{index // 2}" for index in range(num_images)),
        boxes=np.zeros((num_images, 2, 4)),
        box_mask=np.ones((num_images, 2), dtype=bool),
        image_labels=in_image,
        pair_image=image[stated],
        pair_region=region[stated],
        pair_finding=finding[stated],
        pair_labels=labels[stated],
    )


@pytest.fixture(scope="module")
def calibration():
    rng = np.random.default_rng(0)
    targets = make_targets(rng)
    image_margins = 4 * targets.image_labels - 20 + rng.normal(size=(240, 2))
    region_margins = rng.normal(size=(240, 2, 2)) - 7
    place = targets.pair_image, targets.pair_region, targets.pair_finding
    region_margins[place] += 3 * targets.pair_labels
    return fit_score_calibration(targets, image_margins, region_margins, findings=FINDINGS, regions=REGIONS)


def test_findings_with_too_few_patients_are_left_out_and_regions_fall_back(calibration):
    assert set(calibration.image) == set(calibration.region) == {"effusion"}
    assert set(calibration.region_cuts) == {"right lung"}
    own, shared = calibration.cuts_of("right lung", "effusion"), calibration.cuts_of("left lung", "effusion")
    assert own is calibration.region_cuts["right lung"]["effusion"]
    assert shared is calibration.region["effusion"].cuts
    assert calibration.cuts_of("left lung", "nodule") is None


def test_margins_of_image_and_region_have_maps_of_their_own(calibration):
    image, region = calibration.image["effusion"], calibration.region["effusion"]
    assert image.score_map([-20.0, -16.0]) == pytest.approx([0.05, 0.95], abs=0.06)
    assert region.score_map([-9.0, -2.0]) == pytest.approx([0.0, 1.0], abs=0.06)
    assert image.cuts.decide(-21.0) == "absent" and image.cuts.decide(-15.0) == "present"


@pytest.mark.parametrize("method", ["platt", "temperature", "isotonic"])
def test_json_gives_the_same_calibration_back(method):
    labels, margins = saturated(np.random.default_rng(0), 100)
    fitted = fit_finding(labels, margins, range(100), method=method)
    few = fit_finding([0, 1], [0.0, 1.0], "ab")
    assert few.cuts.present_from is None and few.cuts.decide(99.0) == "uncertain"
    whole = ScoreCalibration(0.9, {"effusion": fitted}, {"effusion": few}, {"left lung": {"effusion": fitted.cuts}})
    text = json.dumps(whole.to_dict(), allow_nan=False)
    assert ScoreCalibration.from_dict(json.loads(text)) == whole


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"version": 2}, "version 2"),
        ({"coverage": 1.5}, "coverage"),
        ({"image": {"effusion": {}}}, "damaged"),
        ({"region_cuts": {"left lung": {"effusion": {"from": 1}}}}, "damaged"),
    ],
)
def test_damaged_data_is_named(calibration, damage, message):
    with pytest.raises(ScoreCalibrationError, match=message):
        ScoreCalibration.from_dict({**calibration.to_dict(), **damage})


def test_maps_that_are_not_monotone_are_refused():
    for wrong in (lambda: LogisticMap(-1.0), lambda: LogisticMap(float("nan"))):
        with pytest.raises(ScoreCalibrationError, match="scale"):
            wrong()
    with pytest.raises(ScoreCalibrationError, match="ascending"):
        IsotonicMap((1.0, 0.0), (0.1, 0.2))
    with pytest.raises(ScoreCalibrationError, match="rise"):
        IsotonicMap((0.0, 1.0), (0.2, 0.1))


def test_options_that_cannot_be_are_named():
    with pytest.raises(MetricInputError, match="method"):
        fit_finding([0, 1], [0.0, 1.0], "ab", method="beta")
    with pytest.raises(MetricInputError, match="sensitivity"):
        fit_finding([0, 1], [0.0, 1.0], "ab", sensitivity=90)
    with pytest.raises(MetricInputError, match="shapes"):
        targets = make_targets(np.random.default_rng(0))
        fit_score_calibration(targets, np.zeros((3, 2)), np.zeros((3, 2, 2)), findings=FINDINGS, regions=REGIONS)


def test_cuts_decide_only_what_is_alone():
    overlap, gap = ConformalCuts(0.0, 2.0), ConformalCuts(2.0, 0.0)
    assert [overlap.decide(margin) for margin in (-1, 1, 3)] == ["absent", "uncertain", "present"]
    assert [gap.decide(margin) for margin in (-1, 1, 3)] == ["absent", "uncertain", "present"]
