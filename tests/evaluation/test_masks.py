"""Dice and IoU against scikit-learn, HD95 against all distances between outline pixels."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist
from sklearn.metrics import f1_score, jaccard_score

from anatomy_vlm.training.evaluation.arrays import MetricInputError
from anatomy_vlm.training.evaluation.hausdorff import hausdorff_95
from anatomy_vlm.training.evaluation.masks import dice, two_class_iou


mask_pairs = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9).flatmap(
    lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
)


@settings(deadline=None, max_examples=60)
@given(mask_pairs)
def test_overlap_equals_scikit_learn(masks):
    found, true = masks
    flat = true.ravel(), found.ravel()
    if found.any() or true.any():
        assert dice(found, true) == pytest.approx(f1_score(*flat, zero_division=0))
    else:
        assert np.isnan(dice(found, true))
    present = [label for label in (False, True) if (true == label).any() or (found == label).any()]
    assert two_class_iou(found, true) == pytest.approx(jaccard_score(*flat, average="macro", labels=present))


def test_many_masks_in_one_call_equal_one_call_each():
    rng = np.random.default_rng(0)
    found, true = rng.random((2, 3, 4, 8, 8)) < 0.4
    for metric in (dice, two_class_iou):
        together = metric(found, true)
        assert together.shape == (3, 4)
        assert together[1, 2] == metric(found[1, 2], true[1, 2])


def test_the_papers_miou_counts_the_background():
    true = np.zeros((100, 100), dtype=bool)
    true[:30, :50] = True
    nothing = np.zeros_like(true)
    assert dice(nothing, true) == 0.0
    assert two_class_iou(nothing, true) == pytest.approx(0.85 / 2)


def outline(mask):
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.argwhere(mask & ~inner)


@settings(deadline=None, max_examples=60)
@given(mask_pairs, st.floats(0.2, 3), st.floats(0.2, 3), st.sampled_from([50.0, 95.0, 100.0]))
def test_hausdorff_equals_all_distances(masks, row_size, column_size, percentile):
    found, true = masks
    value = hausdorff_95(found, true, (row_size, column_size), percentile)
    if not found.any() and not true.any():
        assert math.isnan(value)
        return
    if not found.any() or not true.any():
        assert value == pytest.approx(math.hypot(found.shape[0] * row_size, found.shape[1] * column_size))
        return
    distances = cdist(outline(found) * [row_size, column_size], outline(true) * [row_size, column_size])
    directed = (np.percentile(distances.min(axis=axis), percentile) for axis in (0, 1))
    assert value == pytest.approx(max(directed), abs=1e-9)
    assert value == pytest.approx(hausdorff_95(true, found, (row_size, column_size), percentile))


def test_hausdorff_is_in_millimetres_by_axis():
    found, true = np.zeros((2, 40, 40), dtype=bool)
    found[10:20, 10:20], true[13:23, 10:20] = True, True
    assert hausdorff_95(found, true) == 3.0
    assert hausdorff_95(found, true, spacing=(0.5, 4.0)) == 1.5


def test_one_lost_pixel_moves_the_maximum_but_not_the_percentile():
    true = np.zeros((60, 60), dtype=bool)
    true[10:40, 10:40] = True
    found = true.copy()
    found[58, 58] = True
    assert hausdorff_95(found, true) == 0.0
    assert hausdorff_95(found, true, percentile=100) == pytest.approx(math.hypot(19, 19))


@pytest.mark.parametrize(
    ("metric", "arguments", "message"),
    [
        (dice, (np.zeros((2, 2)), np.zeros((2, 3))), "one shape"),
        (dice, (np.zeros(3), np.zeros(3)), "height, width"),
        (two_class_iou, (np.full((2, 2), 0.3), np.zeros((2, 2))), "probabilities"),
        (dice, (np.zeros((2, 2)), np.full((2, 2), 255)), "0 and 1 only"),
        (hausdorff_95, (np.zeros((1, 2, 2)), np.zeros((1, 2, 2))), "one mask"),
        (hausdorff_95, (np.ones((2, 2)), np.ones((2, 2)), (0.0, 1.0)), "spacing"),
        (hausdorff_95, (np.ones((2, 2)), np.ones((2, 2)), (1.0, 1.0), 0.0), "percentile"),
    ],
)
def test_masks_that_are_none_are_named(metric, arguments, message):
    with pytest.raises(MetricInputError, match=message):
        metric(*arguments)
