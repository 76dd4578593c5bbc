"""mAP, macro and micro, against pycocotools on random, tied and degenerate input."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomy_vlm.training.evaluation.mean_average_precision import mean_average_precision


coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
cocoeval = pytest.importorskip("pycocotools.cocoeval")


def reference(predicted, scores, target, mask, use_categories):
    """COCO's own evaluation: mAP over 0.50:0.95 and at 0.50."""
    images, regions = mask.shape
    categories = [{"id": index + 1, "name": str(index)} for index in range(regions)]

    def annotation(box, image, region):
        x0, y0, x1, y1 = box.tolist()
        sides = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}
        return {**sides, "image_id": image + 1, "category_id": region + 1}

    truth = [
        {**annotation(target[i, r], i, r), "id": i * regions + r + 1, "iscrowd": 0}
        for i, r in zip(*np.nonzero(mask), strict=True)
    ]
    # Detections of one score are ranked in the order of the images here and by region within them in COCO's micro
    # evaluation; the scores are made distinct below, so that no order is left open.
    found = [
        {**annotation(predicted[i, r], i, r), "score": float(scores[i, r])}
        for i in range(images)
        for r in range(regions)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        ground = coco.COCO()
        ground.dataset = {"images": [{"id": i + 1} for i in range(images)], "annotations": truth,
                          "categories": categories, "info": {}}  # fmt: skip
        ground.createIndex()
        evaluation = cocoeval.COCOeval(ground, ground.loadRes(found), "bbox")
        evaluation.params.useCats = use_categories
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [max(100, regions)]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, 0]  # (thresholds, recalls, categories); -1 without ground truth
    per_class = np.where((precision == -1).all(axis=1), np.nan, precision.mean(axis=1))
    return per_class


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 4), st.sampled_from([0.0, 0.3, 0.8, 1.0]))
def test_macro_equals_pycocotools(seed, images, regions, share):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 50, (images, regions, 2))
    target = np.concatenate([low, low + rng.uniform(5, 40, low.shape)], axis=-1)
    predicted = target + rng.normal(scale=3, size=target.shape)
    predicted[..., 2:] = np.maximum(predicted[..., 2:], predicted[..., :2] + 1)
    mask = rng.random((images, regions)) < share
    # A tie leaves the order open; distinct scores do not.
    scores = rng.permutation(images * regions).reshape(images, regions) / (images * regions)
    ours = mean_average_precision(predicted, scores, target, mask)
    if not mask.any():
        assert np.isnan(ours.macro) and np.isnan(ours.micro)
        return
    theirs = reference(predicted, scores, target, mask, use_categories=1)
    # COCO joins ascending id and class; an IoU on the very threshold may round either way.
    assert ours.per_region == pytest.approx(theirs, abs=1e-9, nan_ok=True)
    assert ours.macro == pytest.approx(np.nanmean(theirs), abs=1e-9)
    assert ours.macro_50 == pytest.approx(np.nanmean(theirs[0]), abs=1e-9)


def test_micro_equals_pycocotools_over_one_pooled_class():
    """Every box an image of its own, all of one class: COCO's ranking of everything together."""
    rng = np.random.default_rng(3)
    low = rng.uniform(0, 50, (15, 4, 2))
    target = np.concatenate([low, low + rng.uniform(5, 40, low.shape)], axis=-1)
    predicted = target + rng.normal(scale=2, size=target.shape)
    mask = rng.random((15, 4)) < 0.7
    scores = rng.permutation(60).reshape(15, 4) / 60
    theirs = reference(
        predicted.reshape(60, 1, 4), scores.reshape(60, 1), target.reshape(60, 1, 4), mask.reshape(60, 1), 1
    )
    assert mean_average_precision(predicted, scores, target, mask).micro == pytest.approx(theirs.mean(), abs=1e-9)
