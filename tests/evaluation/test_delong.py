"""DeLong's covariance against brute force over all pairs, and its intervals and tests by simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from anatomy_vlm.training.evaluation.arrays import MetricInputError
from anatomy_vlm.training.evaluation.bootstrap import PatientBootstrap
from anatomy_vlm.training.evaluation.delong import auc_interval, compare_aucs, delong
from anatomy_vlm.training.evaluation.ranking import roc_auc


def brute_force(labels, scores):
    """Equations 4 to 6 of DeLong et al., written out over pairs of rows."""
    positives, negatives = scores[:, labels == 1], scores[:, labels == 0]
    models, m, n = len(scores), positives.shape[1], negatives.shape[1]
    x, y = positives[:, :, None], negatives[:, None, :]
    psi = (x > y) + 0.5 * (x == y)
    auc, v10, v01 = psi.mean(axis=(1, 2)), psi.mean(axis=2), psi.mean(axis=1)
    covariance = np.zeros((models, models))
    for a, b in itertools.product(range(models), repeat=2):
        s10 = ((v10[a] - auc[a]) * (v10[b] - auc[b])).sum() / (m - 1)
        s01 = ((v01[a] - auc[a]) * (v01[b] - auc[b])).sum() / (n - 1)
        covariance[a, b] = s10 / m + s01 / n
    return auc, covariance


cases = st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 6)), min_size=4, max_size=30)


@settings(deadline=None, max_examples=50)
@given(cases)
def test_equals_brute_force_with_ties(data):
    labels, *scores = (np.array(column, dtype=float) for column in zip(*data, strict=True))
    estimates = delong(labels, scores)
    positives = labels.sum()
    if 0 < positives < len(labels):
        assert estimates.auc == pytest.approx([roc_auc_score(labels, row) for row in scores])
    else:
        assert np.isnan(estimates.auc).all()
    if min(positives, len(labels) - positives) < 2:
        assert np.isnan(estimates.covariance).all()
    else:
        auc, covariance = brute_force(labels, np.array(scores))
        assert estimates.auc == pytest.approx(auc, abs=1e-12)
        assert estimates.covariance == pytest.approx(covariance, abs=1e-12)


def test_unknown_labels_are_left_out():
    labels, scores = np.array([0, 1, 0, 1, np.nan]), np.array([[0.1, 0.9, 0.5, 0.3, 7], [1, 2, 3, 4, np.nan]])
    known = delong(labels[:4], scores[:, :4])
    assert delong(labels, scores).covariance == pytest.approx(known.covariance)


def test_agrees_with_the_bootstrap_of_independent_rows():
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3 == 0
    scores = rng.normal(size=300) + labels
    resampled = PatientBootstrap.draw(range(300), num_resamples=1000).resample(lambda w: roc_auc(labels, scores, w))
    assert math.sqrt(delong(labels, scores).covariance[0, 0]) == pytest.approx(resampled.std(), rel=0.08)


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(1)
    truth = stats.norm.cdf(1.2 / math.sqrt(2))
    labels = np.arange(120) % 3 == 0
    intervals = [auc_interval(labels, rng.normal(size=120) + 1.2 * labels) for _ in range(400)]
    covered = sum(low <= truth <= high for _, low, high in intervals)
    low, high = stats.binom.interval(0.999, 400, 0.95)
    assert low <= covered <= high


def test_p_values_of_equal_models_are_uniform_and_of_unequal_ones_small():
    rng = np.random.default_rng(2)
    labels = np.arange(150) % 2 == 0

    def p_value(gap):
        common = rng.normal(size=150) + labels
        return compare_aucs(
            labels, common + gap * labels + rng.normal(size=150), common + rng.normal(size=150)
        ).p_value

    rejected = sum(p_value(0.0) < 0.05 for _ in range(400))
    low, high = stats.binom.interval(0.999, 400, 0.05)
    assert low <= rejected <= high
    assert np.mean([p_value(0.8) < 0.05 for _ in range(100)]) > 0.7


def test_comparison_is_antisymmetric_and_its_interval_agrees_with_its_p_value():
    rng = np.random.default_rng(3)
    labels = np.arange(80) % 2
    for _ in range(20):
        one, other = rng.normal(size=(2, 80)) + 0.7 * labels * rng.random((2, 1))
        forth, back = compare_aucs(labels, one, other), compare_aucs(labels, other, one)
        assert (forth.difference, forth.low, forth.p_value) == pytest.approx(
            (-back.difference, -back.high, back.p_value)
        )
        assert (forth.low <= 0 <= forth.high) == (forth.p_value >= 0.05)


def test_what_has_no_variance_has_no_interval():
    labels = [0, 0, 1, 1]
    assert auc_interval(labels, [1, 2, 3, 4])[0] == 1.0
    assert np.isnan(auc_interval(labels, [1, 2, 3, 4])[1:]).all()
    assert np.isnan(auc_interval([1, 1, 1], [1, 2, 3])).all()
    assert np.isnan(auc_interval([0, 1, 1], [2, 1, 3])[1:]).all()
    assert compare_aucs(labels, [1, 2, 3, 4], [10, 20, 30, 40]).p_value == 1.0
    assert math.isnan(compare_aucs(labels, [1, 2, 3, 4], [4, 3, 2, 1]).p_value)
    assert math.isnan(compare_aucs([0, 1, 1], [1, 2, 3], [1, 3, 2]).p_value)


def test_bad_input_is_named():
    with pytest.raises(MetricInputError, match="scores hold NaN"):
        delong([0, 1], [[0.1, 0.2], [0.1, np.nan]])
    with pytest.raises(MetricInputError, match="confidence"):
        auc_interval([0, 0, 1, 1], [1, 3, 2, 4], confidence=95)
    with pytest.raises(MetricInputError, match="shape"):
        delong([0, 1], np.zeros((2, 2, 2)))
