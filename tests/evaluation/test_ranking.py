"""ROC AUC and average precision against scikit-learn, on random, tied, weighted and degenerate input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from anatomy_vlm.training.evaluation.arrays import MetricInputError
from anatomy_vlm.training.evaluation.ranking import average_precision, roc_auc


rows = st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=40)


@settings(deadline=None)
@given(rows)
def test_equal_scikit_learn_with_ties_and_weights(data):
    labels, scores, weights = (np.array(column, dtype=float) for column in zip(*data, strict=True))
    positive, negative = (weights * labels).sum(), (weights * (1 - labels)).sum()
    area, precision = roc_auc(labels, scores, weights), average_precision(labels, scores, weights)
    if positive == 0:
        assert np.isnan(area) and np.isnan(precision)
        return
    assert precision == pytest.approx(average_precision_score(labels, scores, sample_weight=weights), abs=1e-12)
    if negative == 0:
        assert np.isnan(area)
    else:
        assert area == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12)


def test_many_weightings_in_one_call_equal_one_call_each():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 200), rng.normal(size=200).round(1)
    weights = rng.integers(0, 4, (7, 200))
    for metric in (roc_auc, average_precision):
        together = metric(labels, scores, weights)
        assert together.shape == (7,)
        assert together == pytest.approx([metric(labels, scores, row) for row in weights])


def test_a_weight_of_two_is_the_row_twice():
    labels, scores = np.array([0, 1, 0, 1, 1.0]), np.array([0.1, 0.3, 0.3, 0.2, 0.9])
    weights = np.array([1, 2, 0, 1, 3])
    for metric in (roc_auc, average_precision):
        assert metric(labels, scores, weights) == pytest.approx(
            metric(np.repeat(labels, weights), np.repeat(scores, weights))
        )


def test_all_scores_equal_is_chance_and_inversion_mirrors():
    labels = np.array([0, 1, 0, 1, 1])
    assert roc_auc(labels, np.full(5, 0.3)) == 0.5
    scores = np.array([0.2, 0.5, 0.1, 0.5, 0.15])
    assert roc_auc(labels, -scores) == pytest.approx(1 - roc_auc(labels, scores))


def test_unknown_labels_are_left_out_whatever_their_score():
    labels, scores = np.array([0, np.nan, 1, np.nan]), np.array([0.2, 0.9, 0.6, np.nan])
    assert roc_auc(labels, scores) == 1.0
    assert average_precision(labels, scores) == 1.0


@pytest.mark.parametrize("labels", [[], [np.nan], [1.0, 1.0], [0.0, 0.0]])
def test_undefined_is_nan_not_a_number(labels):
    assert np.isnan(roc_auc(labels, np.arange(len(labels), dtype=float)))


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [0.1, np.nan], "scores hold NaN"),
        ([0, 2], [0.1, 0.2], "labels have to be"),
        ([0, 1], [0.1], "one length"),
        ([[0, 1]], [[0.1, 0.2]], "one length"),
    ],
)
def test_bad_input_is_named(labels, scores, message):
    with pytest.raises(MetricInputError, match=message):
        roc_auc(labels, scores)


def test_weights_of_another_length_are_refused():
    with pytest.raises(MetricInputError, match="last dimension"):
        roc_auc([0, 1], [0.1, 0.2], [1, 1, 1])
