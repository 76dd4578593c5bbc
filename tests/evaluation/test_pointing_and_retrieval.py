"""Pointing game against argmax, recall@k against scikit-learn's top-k accuracy, both with ties written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import top_k_accuracy_score

from anatomy_vlm.training.evaluation.arrays import MetricInputError, weighted_mean
from anatomy_vlm.training.evaluation.pointing import boxes_to_mask, pointing_hits
from anatomy_vlm.training.evaluation.retrieval import first_relevant_rank, recall_at_k


def test_a_map_without_ties_hits_where_its_maximum_lies():
    rng = np.random.default_rng(0)
    maps, targets = rng.random((50, 7, 9)), rng.random((50, 7, 9)) < 0.3
    expected = [target.ravel()[values.argmax()] for values, target in zip(maps, targets, strict=True)]
    assert pointing_hits(maps, targets).tolist() == expected


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.int8, (3, 4, 5), elements=st.integers(0, 2)), hnp.arrays(bool, (3, 4, 5)))
def test_equal_maxima_share_the_point(maps, targets):
    for values, target, hit in zip(maps, targets, pointing_hits(maps, targets), strict=True):
        if not target.any():
            assert np.isnan(hit)
            continue
        places = [place for place in np.ndindex(4, 5) if values[place] == values.max()]
        assert hit == pytest.approx(sum(target[place] for place in places) / len(places))


def test_a_constant_map_earns_chance():
    target = np.zeros((1, 10, 10), dtype=bool)
    target[0, 2:4, 5:10] = True
    assert pointing_hits(np.ones((1, 10, 10)), target)[0] == pytest.approx(0.1)


def test_boxes_are_the_side_that_they_say():
    mask = boxes_to_mask([[0.0, 0.25, 0.5, 1.0], [0.9, 0.0, 0.91, 0.01]], (4, 8))
    expected = np.zeros((4, 8), dtype=bool)
    expected[1:, :4] = True
    expected[0, 7] = True  # smaller than a cell, and yet somewhere
    assert (mask == expected).all()


def test_recall_equals_top_k_accuracy_for_one_relevant_item():
    rng = np.random.default_rng(0)
    similarity, truth = rng.normal(size=(80, 12)), rng.integers(0, 12, 80)
    values = recall_at_k(similarity, np.eye(12, dtype=bool)[truth], ks=(1, 3, 5, 12))
    expected = [top_k_accuracy_score(truth, similarity, k=k, labels=range(12)) for k in (1, 3, 5)]
    assert values == pytest.approx([*expected, 1.0])


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.int8, (4, 6), elements=st.integers(0, 3)), hnp.arrays(bool, (4, 6)))
def test_ties_with_irrelevant_items_count_as_lost(similarity, relevant):
    for scores, wanted, rank in zip(similarity, relevant, first_relevant_rank(similarity, relevant), strict=True):
        if not wanted.any():
            assert np.isnan(rank)
            continue
        worst_order = sorted(zip(scores, wanted, strict=True), key=lambda item: (-item[0], item[1]))
        # Other relevant items that tie do not push the first one down.
        assert rank == [bool(item[1]) for item in worst_order].index(True) + 1


def test_constant_similarity_retrieves_nothing_and_queries_without_answer_do_not_count():
    relevant = np.array([[True, False, False], [False, False, False]])
    assert recall_at_k(np.ones((2, 3)), relevant, ks=(1, 2, 3)).tolist() == [0.0, 0.0, 1.0]
    assert np.isnan(recall_at_k(np.ones((2, 3)), np.zeros((2, 3)))).all()


def test_weights_are_repeats():
    rng = np.random.default_rng(0)
    similarity, relevant, weights = rng.normal(size=(9, 5)), rng.random((9, 5)) < 0.3, rng.integers(0, 3, (4, 9))
    together = recall_at_k(similarity, relevant, (1, 2), weights)
    expected = [
        recall_at_k(np.repeat(similarity, row, axis=0), np.repeat(relevant, row, axis=0), (1, 2)) for row in weights
    ]
    assert together == pytest.approx(np.array(expected))
    values = np.array([0.5, np.nan, 1.0])
    assert weighted_mean(values, [[1, 5, 1], [0, 1, 0]]) == pytest.approx([0.75, np.nan], nan_ok=True)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (pointing_hits, (np.zeros((1, 2, 2)), np.zeros((1, 2, 3))), "height, width"),
        (pointing_hits, (np.full((1, 2, 2), np.nan), np.ones((1, 2, 2))), "NaN"),
        (boxes_to_mask, ([0, 0, 1, 1], (2, 2)), "boxes"),
        (recall_at_k, (np.zeros((2, 2)), np.zeros((2, 3))), "one shape"),
        (recall_at_k, (np.full((2, 2), np.nan), np.ones((2, 2))), "NaN"),
        (recall_at_k, (np.zeros((2, 2)), np.ones((2, 2)), (0, 1)), "ks"),
        (recall_at_k, (np.zeros((2, 2)), np.ones((2, 2)), (1,), np.ones(3)), "weights"),
    ],
)
def test_bad_input_is_named(function, arguments, message):
    with pytest.raises(MetricInputError, match=message):
        function(*arguments)
