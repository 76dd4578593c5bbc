"""IoU, prior boxes and COCO mAP against hand computation, counted pixels and a literal reading of COCO's protocol."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomy_vlm.training.evaluation.arrays import MetricInputError
from anatomy_vlm.training.evaluation.boxes import (
    box_iou,
    mean_iou,
    mean_iou_per_region,
    prior_boxes,
    region_iou,
    unconditional_iou,
)
from anatomy_vlm.training.evaluation.mean_average_precision import COCO_IOU_THRESHOLDS, mean_average_precision
from anatomy_vlm.training.evaluation.thresholds import Threshold, ThresholdSourceError


corner = st.integers(0, 12)
pixel_box = st.tuples(corner, corner, corner, corner)


@settings(deadline=None)
@given(pixel_box, pixel_box)
def test_iou_equals_counted_pixels(first, second):
    def raster(box):
        canvas = np.zeros((12, 12), dtype=bool)
        canvas[box[1] : box[3], box[0] : box[2]] = True
        return canvas

    a, b = raster(first), raster(second)
    union = (a | b).sum()
    assert box_iou(first, second) == pytest.approx((a & b).sum() / union if union else 0.0)


@settings(deadline=None)
@given(pixel_box, pixel_box, st.floats(0.01, 50), st.floats(0.01, 50))
def test_iou_is_symmetric_and_free_of_scale(first, second, scale_x, scale_y):
    scale = np.array([scale_x, scale_y] * 2)
    assert box_iou(first, second) == pytest.approx(box_iou(second, first))
    assert box_iou(first * scale, second * scale) == pytest.approx(box_iou(first, second))


def test_missing_regions_are_neither_hits_nor_misses():
    box, away = [0, 0, 1, 1], [2, 2, 3, 3]
    predicted = np.array([[box, box], [box, away]])
    target = np.array([[box, box], [box, box]])
    iou = region_iou(predicted, target, [[True, False], [True, True]])
    assert np.isnan(iou[0, 1]) and iou[1, 1] == 0.0
    assert mean_iou_per_region(iou).tolist() == [1.0, 0.0]
    assert mean_iou(iou) == 0.5
    empty = region_iou(predicted, target, np.zeros((2, 2)))
    assert np.isnan(mean_iou(empty)) and np.isnan(mean_iou_per_region(empty)).all()


def test_misses_and_inventions_count_in_the_unconditional_iou():
    box, half = [0, 0, 2, 2], [0, 0, 1, 2]
    predicted, target = np.array([[half, half, half, half]]), np.array([[box, box, box, box]])
    there, presence = np.array([[True, True, False, False]]), [[0.9, 0.1, 0.9, 0.1]]
    iou = unconditional_iou(predicted, presence, target, there, Threshold(0.5, "fixed"))
    # Found, missed, invented, rightly silent.
    assert iou[0] == pytest.approx([0.5, 0.0, 0.0, np.nan], nan_ok=True)
    assert mean_iou(iou) == pytest.approx(0.5 / 3)
    every = unconditional_iou(predicted, np.ones((1, 4)), target, np.ones((1, 4)), Threshold(0.5, "fixed"))
    assert (every == region_iou(predicted, target, np.ones((1, 4)))).all()
    with pytest.raises(ThresholdSourceError, match="source"):
        unconditional_iou(predicted, presence, target, there, 0.5)
    with pytest.raises(MetricInputError, match="presence"):
        unconditional_iou(predicted, [[np.nan] * 4], target, there, Threshold(0.5, "fixed"))


def test_mean_iou_with_weights_is_repeats():
    rng = np.random.default_rng(0)
    iou = np.where(rng.random((6, 3)) < 0.3, np.nan, rng.random((6, 3)))
    weights = rng.integers(0, 3, (4, 6))
    expected = [np.nanmean(np.repeat(iou, row, axis=0), axis=0) for row in weights]
    assert mean_iou_per_region(iou, weights) == pytest.approx(np.array(expected))
    assert mean_iou(iou, weights) == pytest.approx([np.mean(row) for row in expected])


def test_prior_box_is_the_mean_over_images_that_show_the_region():
    boxes = np.array([[[0, 0, 0.2, 0.2], [9, 9, 9, 9]], [[0.2, 0, 0.4, 0.2], [9, 9, 9, 9]]])
    prior = prior_boxes(boxes, [[True, False], [True, False]])
    assert prior == pytest.approx(np.array([[0.1, 0, 0.3, 0.2], [0, 0, 1, 1]]))
    assert region_iou(prior, boxes, [[True, False], [True, False]])[:, 0] == pytest.approx([1 / 3, 1 / 3])


def test_broken_boxes_are_named():
    with pytest.raises(MetricInputError, match="4 coordinates"):
        box_iou(np.zeros(3), np.zeros(4))
    with pytest.raises(MetricInputError, match="NaN"):
        region_iou(np.full((1, 1, 4), np.nan), np.zeros((1, 1, 4)), [[True]])
    with pytest.raises(MetricInputError, match="mask"):
        region_iou(np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), np.ones((2, 2)))
    with pytest.raises(MetricInputError, match="mask"):
        prior_boxes(np.zeros((2, 3, 4)), np.ones((3, 2)))


def _coco_average_precision(iou, scores, threshold):
    """One class, as COCO's evaluator writes it: a greedy pass, precision made monotone, 101 recall points."""
    order = np.argsort(-scores, kind="mergesort")
    hits = np.array([not np.isnan(iou[row]) and iou[row] >= threshold for row in order])
    num_targets = (~np.isnan(iou)).sum()
    true_positives, false_positives = np.cumsum(hits), np.cumsum(~hits)
    recall, precision = true_positives / num_targets, true_positives / (true_positives + false_positives)
    for index in range(len(precision) - 1, 0, -1):
        precision[index - 1] = max(precision[index - 1], precision[index])
    total = 0.0
    for point in np.linspace(0, 1, 101):
        position = np.searchsorted(recall, point, side="left")
        total += precision[position] if position < len(precision) else 0.0
    return total / 101


@pytest.mark.parametrize("seed", range(4))
def test_map_equals_the_coco_protocol(seed):
    rng = np.random.default_rng(seed)
    shape = (30, 5)
    low = rng.random((*shape, 2)) * 0.5
    target = np.concatenate([low, low + 0.3], axis=-1)
    predicted = target + rng.normal(scale=0.02, size=target.shape)
    mask = rng.random(shape) < [1.0, 0.8, 0.4, 0.1, 0.0]
    scores = rng.random(shape).round(1)
    result = mean_average_precision(predicted, scores, target, mask)
    iou = region_iou(predicted, target, mask)
    for region in range(shape[1]):
        if not mask[:, region].any():
            assert np.isnan(result.per_region[:, region]).all()
            continue
        expected = [_coco_average_precision(iou[:, region], scores[:, region], t) for t in COCO_IOU_THRESHOLDS]
        assert result.per_region[:, region] == pytest.approx(expected, abs=1e-12)
    assert result.macro == pytest.approx(np.nanmean(result.per_region))
    assert result.macro_50 == pytest.approx(np.nanmean(result.per_region[0]))
    pooled = [_coco_average_precision(iou.ravel(), scores.ravel(), t) for t in COCO_IOU_THRESHOLDS]
    assert result.micro == pytest.approx(np.mean(pooled), abs=1e-12)


def test_map_of_perfect_and_of_absent_boxes():
    target = np.array([[[0, 0, 1, 1], [0, 0, 2, 2]]] * 3, dtype=float)
    everywhere, nowhere = np.ones((3, 2), dtype=bool), np.zeros((3, 2), dtype=bool)
    assert mean_average_precision(target, np.ones((3, 2)), target, everywhere).macro == 1.0
    assert mean_average_precision(target + 5, np.ones((3, 2)), target, everywhere).macro == 0.0
    assert np.isnan(mean_average_precision(target, np.ones((3, 2)), target, nowhere).macro)


def test_a_box_where_there_is_none_costs_precision():
    target = np.array([[[0, 0, 1, 1]], [[0, 0, 1, 1]]], dtype=float)
    mask = np.array([[True], [False]])
    sure_of_the_wrong_one = mean_average_precision(target, [[0.1], [0.9]], target, mask)
    sure_of_the_right_one = mean_average_precision(target, [[0.9], [0.1]], target, mask)
    assert sure_of_the_right_one.macro == 1.0
    assert sure_of_the_wrong_one.macro == pytest.approx(0.5)
