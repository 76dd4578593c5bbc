"""Paired bootstrap tests by simulation, and Holm's correction against its definition."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from anatomy_vlm.training.evaluation.arrays import MetricInputError
from anatomy_vlm.training.evaluation.bootstrap import PatientBootstrap
from anatomy_vlm.training.evaluation.paired_tests import holm, holm_by_name, paired_bootstrap_test
from anatomy_vlm.training.evaluation.ranking import roc_auc


def mean_of(values):
    return lambda weights: weights @ values / weights.sum(axis=-1)


def paired(first, second, seed=0, resamples=400):
    bootstrap = PatientBootstrap.draw(range(len(first)), num_resamples=resamples, seed=seed)
    return paired_bootstrap_test(mean_of(first), mean_of(second), bootstrap)


def test_equal_models_are_told_apart_as_often_as_the_level_says():
    rng = np.random.default_rng(0)
    rejected = 0
    for trial in range(400):
        hard = rng.normal(size=80) * 5
        rejected += paired(hard + rng.normal(size=80), hard + rng.normal(size=80), seed=trial).p_value < 0.05
    low, high = stats.binom.interval(0.999, 400, 0.06)  # percentile intervals are slightly narrow
    assert low <= rejected <= high


def test_pairing_sees_what_two_intervals_would_not():
    rng = np.random.default_rng(1)
    hard = rng.normal(size=100) * 5
    result = paired(hard + 0.5 + rng.normal(size=100), hard + rng.normal(size=100))
    assert result.p_value < 0.05 and result.low > 0
    assert result.high - result.low < 1.0


def test_p_value_agrees_with_the_interval_and_changes_no_side():
    rng = np.random.default_rng(2)
    for trial in range(30):
        first, second = rng.normal(size=(2, 40)) + rng.normal(scale=0.2, size=(2, 1))
        forth, back = paired(first, second, seed=trial), paired(second, first, seed=trial)
        assert forth.difference == pytest.approx(-back.difference)
        assert forth.p_value == back.p_value
        if forth.p_value < 0.04:
            assert not forth.low <= 0 <= forth.high
        if forth.p_value > 0.06:
            assert forth.low <= 0 <= forth.high


def test_identical_models_have_p_one_and_undefined_ones_none():
    labels, scores = np.arange(30) % 2, np.arange(30.0)
    bootstrap = PatientBootstrap.draw(range(30), num_resamples=100)
    same = paired_bootstrap_test(*[lambda w: roc_auc(labels, scores, w)] * 2, bootstrap)
    assert (same.difference, same.p_value) == (0.0, 1.0)
    never = paired_bootstrap_test(*[lambda w: roc_auc(np.zeros(30), scores, w)] * 2, bootstrap)
    assert math.isnan(never.difference) and math.isnan(never.p_value) and math.isnan(never.low)


def test_the_smallest_p_value_is_bounded_by_the_resamples():
    assert paired(np.ones(20), np.zeros(20), resamples=99).p_value == pytest.approx(2 / 100)


def test_items_of_a_film_follow_their_film():
    bootstrap = PatientBootstrap.draw(range(10), num_resamples=200)
    rows = np.repeat(np.arange(10), 3)
    values = np.repeat(np.random.default_rng(0).normal(size=10), 3)
    by_item = paired_bootstrap_test(mean_of(values), mean_of(0 * values), bootstrap, rows=rows)
    by_film = paired_bootstrap_test(mean_of(values[::3]), mean_of(0 * values[::3]), bootstrap)
    assert by_item.low == pytest.approx(by_film.low) and by_item.p_value == by_film.p_value


def closed_testing(p_values):
    """Holm is the closed test of Bonferroni: a hypothesis falls if every intersection that holds it falls."""
    indices = range(len(p_values))
    subsets = [s for size in range(1, len(p_values) + 1) for s in itertools.combinations(indices, size)]
    return [max(min(1.0, len(s) * min(p_values[i] for i in s)) for s in subsets if index in s) for index in indices]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_is_the_closed_bonferroni_test(p_values):
    assert holm(p_values) == pytest.approx(closed_testing(p_values))


def test_holm_keeps_the_family_wise_error():
    rng = np.random.default_rng(0)
    families = sum((holm(rng.random(20)) <= 0.05).any() for _ in range(1000))
    assert families <= stats.binom.ppf(0.999, 1000, 0.05)


def test_tests_that_were_not_made_do_not_count():
    assert holm([0.02, np.nan, 0.03]) == pytest.approx([0.04, np.nan, 0.04], nan_ok=True)
    assert holm([]).shape == (0,)
    assert np.isnan(holm([np.nan])).all()
    assert holm_by_name({"a": 0.5, "b": 0.01}) == {"a": 0.5, "b": 0.02}
    for wrong in ([1.2], [-0.1], [[0.1]]):
        with pytest.raises(MetricInputError, match="p values"):
            holm(wrong)
