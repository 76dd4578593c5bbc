"""The patient bootstrap: what it resamples, its intervals against scipy, and its coverage by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from anatomy_vlm.training.evaluation.arrays import MetricInputError
from anatomy_vlm.training.evaluation.bootstrap import PatientBootstrap, percentile_interval
from anatomy_vlm.training.evaluation.ranking import roc_auc


def test_all_films_of_a_patient_are_drawn_together():
    bootstrap = PatientBootstrap.draw(["b", "a", "b", "c"], num_resamples=50, seed=1)
    weights = bootstrap.resample(lambda weight: weight)
    assert weights.shape == (50, 4)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 0] + weights[:, 1] + weights[:, 3] == 3).all()


def test_the_resamples_are_distinct_and_seeded():
    names = [f"patient {index}" for index in range(30)]
    first, again = (PatientBootstrap.draw(names, num_resamples=1000, seed=7) for _ in range(2))
    other = PatientBootstrap.draw(names, num_resamples=1000, seed=8)
    assert first.num_distinct == len({tuple(row) for row in first.counts}) == 1000
    assert PatientBootstrap.draw(["a", "b"], num_resamples=1000).num_distinct == 3
    assert (first.counts == again.counts).all()
    assert (first.counts != other.counts).any()


def test_items_take_the_weight_of_their_film():
    bootstrap = PatientBootstrap.draw(["a", "b"], num_resamples=20)
    rows = np.array([1, 1, 0])
    by_item = bootstrap.resample(lambda weight: weight, rows)
    by_film = bootstrap.resample(lambda weight: weight)
    assert (by_item == by_film[:, rows]).all()


def test_the_interval_of_a_mean_is_scipys():
    values = np.random.default_rng(0).normal(size=80)
    bootstrap = PatientBootstrap.draw(range(80), num_resamples=4000)
    low, high = percentile_interval(bootstrap.resample(lambda weight: weight @ values / 80))
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert low == pytest.approx(expected.low, abs=0.02)
    assert high == pytest.approx(expected.high, abs=0.02)


def test_coverage_of_the_mean_is_near_its_name():
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(300):
        patient_means = rng.normal(size=60)
        films = np.repeat(patient_means, 2) + rng.normal(scale=0.3, size=120)
        bootstrap = PatientBootstrap.draw(np.repeat(np.arange(60), 2), num_resamples=400, seed=trial)
        low, high = percentile_interval(bootstrap.resample(lambda weight, films=films: weight @ films / 120))
        inside += low <= 0 <= high
    # Percentile intervals are slightly narrow; the bound is the 99.9 % binomial range around 93 to 95 %.
    assert 0.885 <= inside / 300 <= 0.99


def test_coverage_of_the_auc_is_within_binomial_error():
    """Patients with two films that resemble each other, and an AUC that is known beforehand."""
    rng = np.random.default_rng(4)
    num_patients, trials = 120, 200
    labels = np.repeat(np.arange(num_patients) % 3 == 0, 2)
    patients = np.repeat(np.arange(num_patients), 2)
    truth = stats.norm.cdf(1.0 / math.sqrt(2))
    inside = 0
    for trial in range(trials):
        alike = np.repeat(rng.normal(scale=math.sqrt(0.7), size=num_patients), 2)
        scores = labels + alike + rng.normal(scale=math.sqrt(0.3), size=2 * num_patients)
        bootstrap = PatientBootstrap.draw(patients, num_resamples=250, seed=trial)
        low, high = percentile_interval(
            bootstrap.resample(lambda weight, scores=scores: roc_auc(labels, scores, weight))
        )
        inside += low <= truth <= high
    low, high = stats.binom.interval(0.999, trials, 0.95)
    assert low <= inside <= high


def test_resampling_films_would_be_too_sure():
    rng = np.random.default_rng(0)
    films = np.repeat(rng.normal(size=40), 5)
    patients = PatientBootstrap.draw(np.repeat(np.arange(40), 5), num_resamples=1000)
    independent = PatientBootstrap.draw(range(200), num_resamples=1000)
    width = [
        np.diff(percentile_interval(b.resample(lambda w: w @ films / w.sum(-1))))[0] for b in (patients, independent)
    ]
    assert width[0] > 1.8 * width[1]


def test_undefined_resamples_are_left_out_and_too_many_forbid_an_interval():
    values = np.arange(100.0)
    values[:3] = np.nan
    assert percentile_interval(values).tolist() == pytest.approx(np.quantile(values[3:], [0.025, 0.975]).tolist())
    values[:6] = np.nan
    assert np.isnan(percentile_interval(values)).all()
    both = percentile_interval(np.stack([values, np.ones(100)], axis=1))
    assert np.isnan(both[:, 0]).all() and (both[:, 1] == 1).all()


def test_chunks_do_not_change_the_result(monkeypatch):
    labels, scores = np.arange(50) % 2, np.random.default_rng(0).random(50)
    bootstrap = PatientBootstrap.draw(range(50), num_resamples=100)
    whole = bootstrap.resample(lambda weight: roc_auc(labels, scores, weight))
    monkeypatch.setattr("anatomy_vlm.training.evaluation.bootstrap._CHUNK_ELEMENTS", 7 * 50)
    assert (bootstrap.resample(lambda weight: roc_auc(labels, scores, weight)) == whole).all()


@pytest.mark.parametrize(("patients", "resamples"), [([], 10), (["a"], 0)])
def test_nothing_to_resample_is_refused(patients, resamples):
    with pytest.raises(MetricInputError, match="at least one"):
        PatientBootstrap.draw(patients, num_resamples=resamples)


def test_confidence_outside_the_open_interval_is_refused():
    with pytest.raises(MetricInputError, match="confidence"):
        percentile_interval(np.arange(10.0), confidence=1.0)
