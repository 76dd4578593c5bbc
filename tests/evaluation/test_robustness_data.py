"""Corruptions, groups, held-out combinations and the Fréchet distance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg
from sklearn.metrics import roc_auc_score

from anatomy_vlm.training.evaluation.arrays import MetricInputError
from anatomy_vlm.training.evaluation.bootstrap import PatientBootstrap
from anatomy_vlm.training.evaluation.ranking import roc_auc
from anatomy_vlm.training.evaluation.robustness.combinations import Combination, held_out, stated_combinations
from anatomy_vlm.training.evaluation.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from anatomy_vlm.training.evaluation.robustness.frechet import frechet_distance, split_half_distance
from anatomy_vlm.training.evaluation.robustness.groups import group_gaps
from anatomy_vlm.training.evaluation.targets import Targets


def chest(side=160):
    """Two dark lungs, the image's left one larger, in a smooth body."""
    y, x = np.mgrid[:side, :side] / side
    film = 180 + 40 * y
    film[((x - 0.28) / 0.18) ** 2 + ((y - 0.45) / 0.30) ** 2 < 1] = 60
    film[((x - 0.74) / 0.12) ** 2 + ((y - 0.45) / 0.25) ** 2 < 1] = 60
    return film.astype(np.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_are_seeded_grow_with_severity_and_keep_left_left(name):
    film = chest()
    before = film.copy()
    made = [corrupt(film, name, severity, seed=3) for severity in SEVERITIES]
    assert (film == before).all()
    for severity, result in zip(SEVERITIES, made, strict=True):
        assert result.dtype == np.uint8
        assert (result == corrupt(film, name, severity, seed=3)).all()
        if name != "crop":
            assert result.shape == film.shape
    if name == "crop":
        assert [result.size for result in made] == sorted((result.size for result in made), reverse=True)
        assert made[0].size < film.size
        return
    distances = [np.abs(result.astype(float) - film).mean() for result in made]
    assert distances[0] > 0 and distances == sorted(distances)
    # The darker half stays on its side.
    for result in made[:4]:
        assert result[40:100, :80].mean() < result[40:100, 80:].mean()


def test_what_is_random_depends_on_the_seed():
    film = chest()
    assert (corrupt(film, "noise", 3, seed=0) != corrupt(film, "noise", 3, seed=1)).any()
    assert (corrupt(film, "blur", 3, seed=0) == corrupt(film, "blur", 3, seed=1)).all()


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(sorted(CORRUPTIONS)), st.sampled_from(SEVERITIES), st.integers(1, 9), st.integers(1, 9))
def test_the_smallest_and_flattest_films_survive(name, severity, height, width):
    for value in (0, 255):
        assert corrupt(np.full((height, width), value, np.uint8), name, severity).dtype == np.uint8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("fog", 1), "corruption"), (("noise", 6), "severity"), (("noise", 0), "severity")],
)
def test_unknown_corruptions_are_named(arguments, message):
    with pytest.raises(MetricInputError, match=message):
        corrupt(chest(), *arguments)
    with pytest.raises(MetricInputError, match="uint8"):
        corrupt(chest().astype(float), "noise", 1)


def test_gaps_between_groups_are_those_of_direct_computation():
    rng = np.random.default_rng(0)
    labels, groups = np.arange(240) % 2, np.repeat(["old", "new", "rare"], [110, 120, 10])
    scores = labels * np.where(groups == "old", 3.0, 0.5) + rng.normal(size=240)
    bootstrap = PatientBootstrap.draw(range(240), num_resamples=400)
    found = {gap.group: gap for gap in group_gaps(roc_auc, labels, scores, groups, bootstrap)}
    assert list(found) == ["old", "new", "rare"]
    for name, gap in found.items():
        inside = groups == name
        value = roc_auc_score(labels[inside], scores[inside])
        assert gap.value == pytest.approx(value)
        assert gap.gap == pytest.approx(value - roc_auc_score(labels[~inside], scores[~inside]))
    assert found["old"].gap_low > 0 and found["new"].gap_high < 0
    assert (found["old"].positives, found["old"].negatives) == (55, 55)
    assert np.isnan([found["rare"].low, found["rare"].gap_low]).all()
    same = group_gaps(roc_auc, labels, scores, np.tile(["a", "b"], 120)[rng.permutation(240)], bootstrap)
    assert all(gap.gap_low < 0 < gap.gap_high for gap in same)


def test_groups_without_both_classes_have_no_number():
    bootstrap = PatientBootstrap.draw(range(20), num_resamples=50)
    found = group_gaps(roc_auc, [1] * 10 + [0] * 10, np.arange(20.0), ["a"] * 10 + ["b"] * 10, bootstrap)
    assert np.isnan([found[0].value, found[0].gap, found[0].low]).all()
    with pytest.raises(MetricInputError, match="one length"):
        group_gaps(roc_auc, [0, 1], [0.1, 0.2], ["a"], bootstrap)


def test_held_out_combinations():
    targets = Targets(
        ("p",), np.zeros((1, 2, 4)), np.ones((1, 2), bool), np.zeros((1, 2)), np.array([0, 0, 0]),
        np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([1.0, 0.0, 1.0]),
    )  # fmt: skip
    seen = stated_combinations(targets, 2, 2)
    assert seen.tolist() == [[True, False], [False, True]]
    regions, findings = ("right lung", "left lung"), ("nodule", "edema")
    unseen = held_out([Combination("right lung", "nodule")], regions, findings, seen)
    assert unseen.tolist() == [[True, True], [True, False]]
    assert held_out([Combination("left lung", "edema")], regions, findings).tolist() == [[False, False], [False, True]]
    with pytest.raises(ValueError, match="held-out finding 'oedema' is unknown; known are: nodule, edema"):
        held_out([Combination("left lung", "oedema")], regions, findings)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(9, 15), st.integers(9, 15), st.integers(1, 6))
def test_frechet_distance_equals_the_matrix_root_of_scipy(seed, first, second, features):
    rng = np.random.default_rng(seed)
    one, other = rng.normal(size=(first, features)), 0.5 + 2 * rng.normal(size=(second, features))
    means = one.mean(0) - other.mean(0)
    covariances = [np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (one, other)]
    shared = linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = means @ means + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.trace(shared)
    assert frechet_distance(one, other) == pytest.approx(expected, abs=1e-7)
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one), abs=1e-8)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-8)
    few = one[:2], other[:2]  # covariances of rank one
    assert frechet_distance(*few) == pytest.approx(frechet_distance(*few[::-1]), abs=1e-7)


def test_the_distance_of_halves_is_what_no_difference_looks_like():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 4))
    assert split_half_distance(rows) < 0.2 < frechet_distance(rows, rng.normal(size=(400, 4)) + 1)
    with pytest.raises(MetricInputError, match="features"):
        frechet_distance(np.zeros((1, 3)), np.zeros((4, 3)))
    with pytest.raises(MetricInputError, match="finite"):
        frechet_distance(np.full((3, 3), np.nan), np.zeros((4, 3)))
