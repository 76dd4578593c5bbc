"""Negation, wording and laterality: against scikit-learn and counting, and on models that get it wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from anatomy_vlm.training.evaluation.arrays import MetricInputError
from anatomy_vlm.training.evaluation.robustness.laterality import (
    flip_consistency,
    laterality_margins,
    right_side_share,
    sided_pairs,
)
from anatomy_vlm.training.evaluation.robustness.negation import negation_ledger, swap_consistency
from anatomy_vlm.training.evaluation.robustness.prompt_sensitivity import prompt_sensitivity
from anatomy_vlm.training.evaluation.targets import Targets


rows = st.lists(
    st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=20
)


@settings(deadline=None, max_examples=60)
@given(rows)
def test_the_ledger_equals_scikit_learn_and_counted_pairs(data):
    labels, positive, negated, weights = (np.array(column, dtype=float) for column in zip(*data, strict=True))
    ledger = negation_ledger(labels, positive, negated, weights)
    with_it, without = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    if weights[with_it].sum() == 0 or weights[without].sum() == 0:
        assert np.isnan([ledger.positive_auc, ledger.negated_auc, ledger.swap_consistency]).all()
        return
    assert ledger.positive_auc == pytest.approx(roc_auc_score(labels, positive, sample_weight=weights))
    assert ledger.negated_auc == pytest.approx(roc_auc_score(1 - labels, negated, sample_weight=weights))
    assert ledger.paired_auc == pytest.approx(roc_auc_score(labels, positive - negated, sample_weight=weights))

    def order(first, second):
        return 1.0 if first > second else 0.5 if first == second else 0.0

    total = sum(
        weights[i] * weights[j] * order(positive[i], positive[j]) * order(negated[j], negated[i])
        for i in with_it
        for j in without
    )
    assert ledger.swap_consistency == pytest.approx(total / (weights[with_it].sum() * weights[without].sum()))


def test_who_reads_the_word_and_not_the_no_is_found_out():
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    word = labels + 0.3 * rng.normal(size=200)
    matching = negation_ledger(labels, word, word)
    reading = negation_ledger(labels, word, -word)
    assert matching.positive_auc > 0.95 and matching.negated_auc < 0.05 and matching.swap_consistency < 0.05
    assert reading.negated_auc > 0.95 and reading.swap_consistency > 0.95
    chance = swap_consistency(labels, rng.normal(size=200), rng.normal(size=200))
    assert chance == pytest.approx(0.25, abs=0.05)


def test_unknown_labels_take_no_part():
    labels, states, denies = [0, 1, np.nan], [0.1, 0.9, np.nan], [0.9, 0.1, np.nan]
    assert negation_ledger(labels, states, denies).swap_consistency == 1.0


def test_wordings_that_disagree_are_told_from_those_that_do_not():
    rng = np.random.default_rng(1)
    labels = np.arange(100) % 2
    good = labels + 0.2 * rng.normal(size=100)
    alike = prompt_sensitivity(labels, np.stack([good, 2 * good + 1], axis=1))
    assert alike.spread == 0 and alike.agreement == pytest.approx(1) and alike.flips == 0
    odd = prompt_sensitivity(labels, np.stack([good, rng.normal(size=100)], axis=1))
    assert odd.spread > 0.3 and odd.agreement < 0.5 and odd.flips > 0.3
    assert odd.auc[0] == pytest.approx(roc_auc_score(labels, good))
    one = prompt_sensitivity(labels, good[:, None])
    assert np.isnan(one.agreement) and one.spread == 0
    with pytest.raises(MetricInputError, match="wordings"):
        prompt_sensitivity(labels, good)


def targets_of(triples, num_images=2):
    image, region, finding, label = np.array(triples).T
    return Targets(
        tuple(f"p{index}" for index in range(num_images)), np.zeros((num_images, 3, 4)),
        np.ones((num_images, 3), bool), np.zeros((num_images, 1)), image, region, finding, label.astype(float),
    )  # fmt: skip


def test_only_one_sided_findings_are_asked():
    # Regions: right lung, left lung, heart. Image 0: right only. Image 1: both sides, and the heart.
    targets = targets_of([[0, 0, 0, 1], [0, 1, 0, 0], [1, 0, 0, 1], [1, 1, 0, 1], [1, 2, 0, 1]])
    pairs = sided_pairs(targets, [1, 0, 2])
    assert (pairs.image.tolist(), pairs.region.tolist(), pairs.mirrored.tolist()) == ([0], [0], [1])
    scores = np.zeros((2, 3, 1))
    scores[0, :, 0] = [2.0, 0.5, 9.0]
    assert laterality_margins(scores, pairs).tolist() == [1.5]
    # The same film with sides exchanged by mistake: the margin changes its sign.
    assert laterality_margins(scores[:, [1, 0, 2]], pairs).tolist() == [-1.5]
    assert right_side_share([1.5, -1.0, 0.0, 2.0]) == 0.625
    nothing = sided_pairs(targets_of([[0, 2, 0, 1]]), [1, 0, 2])
    assert len(nothing.image) == 0 and np.isnan(right_side_share(laterality_margins(scores, nothing)))


def test_a_mirrored_film_has_to_give_mirrored_answers():
    rng = np.random.default_rng(0)
    mirror = np.array([1, 0, 2, 4, 3])
    scores = rng.random((6, 5, 2))
    perfect = flip_consistency(scores, scores[:, mirror], mirror)
    assert perfect.side_preference == 1 and perfect.score_difference == 0
    side_blind = flip_consistency(scores, scores, mirror)
    assert side_blind.side_preference == 0 and side_blind.score_difference > 0.1
    with pytest.raises(MetricInputError, match="one shape"):
        flip_consistency(scores, scores[:3], mirror)
