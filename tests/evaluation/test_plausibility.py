"""Box statistics: the rules of a chest, turned and exchanged boxes, and the package's own on real films."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from anatomy_vlm.processing.plausibility import (
    BoxStatistics,
    PlausibilityError,
    box_evidence,
    box_flags,
    fit_box_statistics,
    usual_boxes,
)
from anatomy_vlm.processing.vocabulary import REGION_NAMES, get_region


# Where regions lie on a whole film; the patient's right is on the image's left, and the heart to the patient's left.
PLACES = {
    "right lung": (0.12, 0.15, 0.46, 0.80),
    "right upper lung zone": (0.16, 0.15, 0.46, 0.38),
    "right mid lung zone": (0.14, 0.38, 0.46, 0.58),
    "right lower lung zone": (0.12, 0.58, 0.46, 0.80),
    "right hilar structures": (0.34, 0.38, 0.46, 0.56),
    "right apical zone": (0.22, 0.15, 0.42, 0.24),
    "right costophrenic angle": (0.12, 0.74, 0.20, 0.82),
    "right hemidiaphragm": (0.13, 0.72, 0.45, 0.84),
    "trachea": (0.46, 0.08, 0.54, 0.38),
    "spine": (0.44, 0.05, 0.56, 0.95),
    "right clavicle": (0.14, 0.14, 0.45, 0.24),
    "aortic arch": (0.51, 0.30, 0.60, 0.40),
    "mediastinum": (0.38, 0.14, 0.72, 0.84),
    "upper mediastinum": (0.42, 0.14, 0.60, 0.40),
    "svc": (0.41, 0.28, 0.48, 0.46),
    "cardiac silhouette": (0.38, 0.50, 0.74, 0.84),
    "cavoatrial junction": (0.40, 0.46, 0.47, 0.52),
    "right atrium": (0.38, 0.50, 0.48, 0.72),
    "carina": (0.48, 0.37, 0.53, 0.41),
    "abdomen": (0.08, 0.80, 0.92, 0.98),
}


def place_of(name):
    if name in PLACES:
        return PLACES[name]
    x0, y0, x1, y1 = PLACES[get_region(name).mirror]
    return 1 - x1, y0 + 0.02, 1 - x0, y1 + 0.02


def draw_boxes(rng):
    """(29, 4), the regions of one chest."""
    scale, shift = rng.uniform(0.7, 1.05), rng.normal(scale=0.03, size=2)
    boxes = np.array([place_of(name) for name in REGION_NAMES])
    boxes = (boxes - 0.5) * scale + 0.5 + np.tile(shift, 2) + rng.normal(scale=0.006, size=boxes.shape)
    return boxes.clip(0, 1)


def mirrored(boxes):
    """The mirror image, every region keeping its name: sides are exchanged."""
    return np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)


def turned(boxes):
    """Boxes after a turn by 90 degrees anticlockwise, as `np.rot90` turns the film."""
    return np.stack([boxes[:, 1], 1 - boxes[:, 2], boxes[:, 3], 1 - boxes[:, 0]], axis=1)


@pytest.fixture(scope="module")
def chests():
    rng = np.random.default_rng(0)
    return np.stack([draw_boxes(rng) for _ in range(90)])


@pytest.fixture(scope="module")
def statistics(chests):
    return fit_box_statistics(chests[:60], np.ones((60, 29), dtype=bool))


@pytest.mark.parametrize("change", [mirrored, turned, lambda boxes: turned(turned(boxes)), lambda boxes: boxes[::-1]])
def test_boxes_that_are_not_those_of_a_chest_are_told_apart_and_named(change, chests, statistics):
    good, bad = chests[60:], [change(boxes) for boxes in chests[60:]]
    labels = [0] * len(good) + [1] * len(bad)
    for name in ("broken_rules", "strangeness"):
        assert roc_auc_score(labels, [box_evidence(statistics, boxes)[name] for boxes in (*good, *bad)]) == 1.0
    assert all(box_flags(statistics, boxes)[0]["flag"] == "implausible_regions" for boxes in bad)
    assert np.mean([bool(box_flags(statistics, boxes)) for boxes in good]) <= 0.15


def test_a_mirrored_chest_breaks_the_rules_of_the_sides(chests, statistics):
    (flag,) = box_flags(statistics, mirrored(chests[70]))
    assert "right lung not left of (in the image)" in flag["reason"]


def test_neither_unit_nor_place_nor_size_of_the_chest_matters(chests, statistics):
    boxes = chests[70]
    moved = boxes * np.array([300.0, 500.0, 300.0, 500.0]) + np.array([40.0, 10.0, 40.0, 10.0])
    assert box_evidence(statistics, moved) == pytest.approx(box_evidence(statistics, boxes))


def test_the_rules_are_those_of_a_chest(statistics):
    def index(*names):
        return [REGION_NAMES.index(name) for name in names]

    assert index("right lung", "left lung") in statistics.left_of
    assert index("left lung", "right lung") not in statistics.left_of
    assert index("carina", "abdomen") in statistics.above
    assert index("right mid lung zone", "right lung") in statistics.inside


def test_the_statistics_of_the_package_know_left_from_right_and_real_films(real_data):
    usual = usual_boxes()
    assert usual.regions == list(REGION_NAMES) and usual.source
    right, left = REGION_NAMES.index("right lung"), REGION_NAMES.index("left lung")
    assert [right, left] in usual.left_of and [left, right] not in usual.left_of
    folder = real_data / "cxr_wingspan_ctr"
    if not folder.is_dir():
        pytest.skip("the real radiographs with boxes are not there")
    heart = REGION_NAMES.index("cardiac silhouette")
    keys = {"right_lung": right, "left_lung": left, "heart": heart}
    exchanged = list(range(29))
    exchanged[right], exchanged[left] = left, right
    for film in list(json.loads((folder / "boxes_xyxy_512.json").read_text()).values())[:40]:
        boxes = np.full((29, 4), np.nan)
        for key, slot in keys.items():
            boxes[slot] = film[key]
        plain, crossed = (box_evidence(usual, values)["broken_rules"] for values in (boxes, boxes[exchanged]))
        assert plain < 0.5 < crossed


def test_statistics_travel_as_json(chests, statistics):
    again = BoxStatistics.from_dict(json.loads(json.dumps(statistics.to_dict(), allow_nan=False)))
    assert box_evidence(again, chests[0]) == box_evidence(statistics, chests[0])
    with pytest.raises(PlausibilityError, match="version 1"):
        BoxStatistics.from_dict({**statistics.to_dict(), "version": 1})
    with pytest.raises(PlausibilityError, match="'inside'"):
        BoxStatistics.from_dict({key: value for key, value in statistics.to_dict().items() if key != "inside"})


def test_missing_regions_are_judged_by_the_others(chests, statistics):
    fewer = chests[70].copy()
    fewer[::3] = np.nan
    assert all(np.isfinite(list(box_evidence(statistics, fewer).values())))
    nothing = np.full((29, 4), np.nan)
    assert box_evidence(statistics, nothing) == {"broken_rules": 0.0, "strangeness": 0.0}
    assert box_flags(statistics, nothing) == []


def test_bad_input_is_named(chests, statistics):
    mask = np.ones((12, 29), dtype=bool)
    with pytest.raises(PlausibilityError, match="shape"):
        box_evidence(statistics, chests[0][:5])
    with pytest.raises(PlausibilityError, match="need boxes of shape"):
        fit_box_statistics(chests[:12, :5], mask)
    with pytest.raises(PlausibilityError, match="too few"):
        fit_box_statistics(chests[:1], mask[:1])
    mask[:, 3] = False
    with pytest.raises(PlausibilityError, match="no film shows the region 'right lower lung zone'"):
        fit_box_statistics(chests[:12], mask)
