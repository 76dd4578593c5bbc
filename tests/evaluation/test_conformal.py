"""Conformal cuts: coverage over 1,000 draws within binomial bounds, for each class, with several films per patient."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from anatomy_vlm.training.evaluation.arrays import MetricInputError
from anatomy_vlm.training.evaluation.conformal import fit_cuts


def draw_patient(rng, present):
    """Margins of one patient's films: skewed, alike, and more of them the higher they are."""
    base = rng.exponential() * (3 if present else 1)
    return base + 0.1 * rng.normal(size=1 + int(3 * base) % 5)


def calibrate_and_draw(rng, num_positives, num_negatives, coverage):
    """Cuts from validation patients, and one film of a new patient of each class."""
    labels, margins, patients = [], [], []
    for index in range(num_positives + num_negatives):
        present = index < num_positives
        films = draw_patient(rng, present)
        labels += [float(present)] * len(films)
        margins += films.tolist()
        patients += [f"p{index}"] * len(films)
    cuts = fit_cuts(labels, margins, patients, coverage=coverage, seed=int(rng.integers(2**31)))
    new = {present: rng.choice(draw_patient(rng, present)) for present in (True, False)}
    return cuts, new


@pytest.mark.parametrize(("positives", "negatives", "coverage"), [(19, 39, 0.9), (9, 24, 0.8)])
def test_coverage_is_exact_for_each_class(positives, negatives, coverage):
    rng = np.random.default_rng(0)
    draws = [calibrate_and_draw(rng, positives, negatives, coverage) for _ in range(1000)]
    # These sizes make (n + 1) * coverage whole, so that the coverage is not only bounded but known.
    low, high = stats.binom.interval(0.999, 1000, coverage)
    for present in (True, False):
        covered = sum(bool(cuts.keeps_open(new[present], present)) for cuts, new in draws)
        assert low <= covered <= high
    wrong = {True: "absent", False: "present"}
    for present, answer in wrong.items():
        mistaken = sum(cuts.decide(new[present]) == answer for cuts, new in draws)
        assert mistaken <= stats.binom.ppf(0.999, 1000, 1 - coverage)


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=1, max_size=40),
    st.sampled_from([0.5, 0.8, 0.9, 0.95]),
)
def test_leaving_one_out_keeps_the_coverage(data, coverage):
    """The exchangeability argument itself: of n + 1 cases, each left out once, at least c (n + 1) are covered."""
    for present in (True, False):
        margins = np.array([margin for label, margin in data if label == present], dtype=float)
        if len(margins) == 0:
            continue
        covered = 0
        for index, margin in enumerate(margins):
            others = np.delete(margins, index)
            cuts = fit_cuts(np.full(len(others), float(present)), others, range(len(others)), coverage=coverage)
            covered += bool(cuts.keeps_open(margin, present))
        assert covered >= coverage * len(margins) - 1e-9


def test_too_few_patients_exclude_nothing():
    labels, margins = [1.0] * 30 + [0.0] * 8, np.arange(38.0)
    cuts = fit_cuts(labels, margins, ["one"] * 30 + list(range(8)), coverage=0.9)
    assert (cuts.present_from, cuts.absent_to) == (None, None)
    assert (cuts.num_present, cuts.num_absent) == (1, 8)
    assert cuts.keeps_open([-1e9, 1e9], True).all() and cuts.keeps_open([-1e9, 1e9], False).all()
    assert cuts.decide(1e9) == "uncertain"


def test_unknown_labels_take_no_part_and_the_seed_decides():
    rng = np.random.default_rng(0)
    labels, margins = rng.integers(0, 2, 60).astype(float), rng.normal(size=60)
    labels[:10] = np.nan
    patients = np.arange(60) // 2
    known = fit_cuts(labels[10:], margins[10:], patients[10:], seed=3)
    assert fit_cuts(labels, margins, patients, seed=3) == known
    assert any(fit_cuts(labels, margins, patients, seed=seed) != known for seed in range(10))


def test_bad_input_is_named():
    with pytest.raises(MetricInputError, match="coverage"):
        fit_cuts([0, 1], [0, 1], "ab", coverage=90)
    with pytest.raises(MetricInputError, match="patient ids"):
        fit_cuts([0, 1], [0, 1], "abc")
