"""Brier score against scikit-learn, calibration error and reliability curve against a loop over bins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from anatomy_vlm.training.evaluation.arrays import MetricInputError
from anatomy_vlm.training.evaluation.probability_scores import brier_score, calibration_error, reliability_curve


rows = st.lists(st.tuples(st.booleans(), st.floats(0, 1), st.integers(0, 3)), min_size=1, max_size=40)


def loop_over_bins(labels, probabilities, weights, num_bins):
    error = 0.0
    for index in range(num_bins):
        low, high = index / num_bins, (index + 1) / num_bins
        inside = [i for i, p in enumerate(probabilities) if low < p <= high or (index == 0 and p == 0)]
        mass = sum(weights[i] for i in inside)
        if mass:
            frequency = sum(weights[i] * labels[i] for i in inside) / mass
            predicted = sum(weights[i] * probabilities[i] for i in inside) / mass
            error += mass / sum(weights) * abs(frequency - predicted)
    return error


@settings(deadline=None, max_examples=60)
@given(rows, st.sampled_from([1, 2, 4, 8]))
def test_equal_their_references_with_weights(data, num_bins):
    labels, probabilities, weights = (np.array(column, dtype=float) for column in zip(*data, strict=True))
    error = calibration_error(labels, probabilities, weights, num_bins=num_bins)
    if weights.sum() == 0:
        assert np.isnan(error) and np.isnan(brier_score(labels, probabilities, weights))
        return
    assert error == pytest.approx(loop_over_bins(labels, probabilities, weights, num_bins), abs=1e-12)
    expected = brier_score_loss(labels, probabilities, sample_weight=weights)
    assert brier_score(labels, probabilities, weights) == pytest.approx(expected, abs=1e-12)


def test_the_curve_is_scikit_learns():
    rng = np.random.default_rng(0)
    probabilities = rng.random(500)
    labels = rng.random(500) < probabilities**2
    curve = reliability_curve(labels, probabilities, num_bins=10)
    frequency, predicted = calibration_curve(labels, probabilities, n_bins=10)
    assert curve.frequency == pytest.approx(frequency) and curve.probability == pytest.approx(predicted)
    assert curve.mass.sum() == 500


def test_a_rare_finding_that_is_always_denied_is_not_called_calibrated():
    labels = np.arange(100) < 40
    assert calibration_error(labels, np.full(100, 0.02)) == pytest.approx(0.38)


def test_a_true_probability_is_calibrated_and_a_squeezed_one_is_not():
    rng = np.random.default_rng(0)
    probabilities = rng.random(20_000)
    labels = rng.random(20_000) < probabilities
    assert calibration_error(labels, probabilities) < 0.02
    assert calibration_error(labels, 0.5 + (probabilities - 0.5) / 4) > 0.15


def test_many_weightings_in_one_call_equal_one_call_each():
    rng = np.random.default_rng(0)
    labels, probabilities, weights = rng.integers(0, 2, 60), rng.random(60), rng.integers(0, 4, (5, 60))
    for metric in (brier_score, calibration_error):
        assert metric(labels, probabilities, weights) == pytest.approx(
            [metric(labels, probabilities, row) for row in weights]
        )


def test_no_rows_are_undefined_and_margins_are_refused():
    assert np.isnan(brier_score([], [])) and np.isnan(calibration_error([np.nan], [0.5]))
    for metric in (brier_score, calibration_error):
        with pytest.raises(MetricInputError, match="not the margin"):
            metric([0, 1], [0.2, 3.0])
    with pytest.raises(MetricInputError, match="num_bins"):
        calibration_error([0, 1], [0.2, 0.3], num_bins=0)
