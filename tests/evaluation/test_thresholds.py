"""Decisions: balanced accuracy and F1 against scikit-learn, and thresholds that cannot lose their source."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix
from sklearn.metrics import f1_score as sklearn_f1

from anatomy_vlm.training.evaluation.arrays import MetricInputError
from anatomy_vlm.training.evaluation.classification import balanced_accuracy, confusion_at, f1_score
from anatomy_vlm.training.evaluation.thresholds import Threshold, ThresholdSourceError, select_threshold


rows = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=1, max_size=40)


@settings(deadline=None)
@given(rows, st.integers(-1, 9))
def test_decisions_equal_scikit_learn(data, cut):
    labels, scores = (np.array(column, dtype=float) for column in zip(*data, strict=True))
    threshold = Threshold(cut, "fixed")
    decided = scores >= cut
    counts = confusion_at(labels, scores, threshold)
    expected = confusion_matrix(labels, decided, labels=[0, 1])
    assert [[counts.true_negatives, counts.false_positives], [counts.false_negatives, counts.true_positives]] == (
        expected.tolist()
    )
    if labels.any() or decided.any():
        assert f1_score(labels, scores, threshold) == pytest.approx(sklearn_f1(labels, decided, zero_division=0))
    else:
        assert np.isnan(f1_score(labels, scores, threshold))
    if 0 < labels.sum() < len(labels):
        assert balanced_accuracy(labels, scores, threshold) == pytest.approx(balanced_accuracy_score(labels, decided))
    else:
        assert np.isnan(balanced_accuracy(labels, scores, threshold))


@settings(deadline=None)
@given(rows, st.sampled_from(["balanced_accuracy", "f1"]))
def test_no_other_threshold_is_better_than_the_selected_one(data, criterion):
    labels, scores = (np.array(column, dtype=float) for column in zip(*data, strict=True))
    if not 0 < labels.sum() < len(labels):
        with pytest.raises(MetricInputError, match="positives and negatives"):
            select_threshold(labels, scores, split="validation", criterion=criterion)
        return
    metric = {"balanced_accuracy": balanced_accuracy, "f1": f1_score}[criterion]
    selected = metric(labels, scores, select_threshold(labels, scores, split="validation", criterion=criterion))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        every = [metric(labels, scores, Threshold(cut, "fixed")) for cut in np.arange(-1, 10, 0.5)]
    assert selected == pytest.approx(np.nanmax(every))


def test_a_threshold_is_of_validation_only_when_selected_on_validation():
    labels, scores = [0, 1], [0.2, 0.7]
    assert select_threshold(labels, scores, split="validation").source == "validation"
    assert select_threshold(labels, scores, split="test").source == "oracle"
    assert select_threshold(labels, scores, split="train").source == "oracle"


@pytest.mark.parametrize("metric", [balanced_accuracy, f1_score, confusion_at])
@pytest.mark.parametrize("bare", [0.5, np.float64(0.5), None, "0.5"])
def test_a_threshold_without_source_is_refused(metric, bare):
    with pytest.raises(ThresholdSourceError, match="source"):
        metric([0, 1], [0.2, 0.7], bare)


def test_unknown_sources_and_infinite_thresholds_are_refused():
    with pytest.raises(ThresholdSourceError, match="test"):
        Threshold(0.5, "test")
    with pytest.raises(ThresholdSourceError, match="finite"):
        Threshold(float("nan"), "fixed")


def test_weights_of_decisions_are_repeats():
    labels, scores = np.array([0, 1, 0, 1, 1.0]), np.array([0.1, 0.3, 0.6, 0.2, 0.9])
    weights = np.array([[1, 2, 0, 1, 3], [2, 0, 5, 1, 1]])
    threshold = Threshold(0.25, "fixed")
    for metric in (balanced_accuracy, f1_score):
        expected = [metric(np.repeat(labels, row), np.repeat(scores, row), threshold) for row in weights]
        assert metric(labels, scores, threshold, weights) == pytest.approx(expected)
