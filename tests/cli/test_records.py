"""Measurements, flags and atomic files."""

import json

import pytest

from anatomy_vlm.processing.atomic_files import replacing, write_json, write_text
from anatomy_vlm.records import anatomy_flags, cardiothoracic_ratio


BOXES = {"right lung": [10, 0, 45, 90], "left lung": [55, 0, 90, 90], "cardiac silhouette": [38, 50, 78, 90]}


def regions(boxes, presence=0.9):
    return [{"name": name, "box": box, "presence": presence, "findings": []} for name, box in boxes.items()]


def test_cardiothoracic_ratio_is_heart_over_thorax_from_outer_edge_to_outer_edge():
    assert cardiothoracic_ratio(BOXES) == pytest.approx(40 / 80)
    shifted = {name: [x0 + 7, y0, x1 + 7, y1] for name, (x0, y0, x1, y1) in BOXES.items()}
    assert cardiothoracic_ratio(shifted) == cardiothoracic_ratio(BOXES)


@pytest.mark.parametrize("missing", BOXES)
def test_no_ratio_without_heart_or_lung(missing):
    boxes = {name: box for name, box in BOXES.items() if name != missing}
    assert cardiothoracic_ratio(boxes) is None
    assert anatomy_flags(regions(boxes)) == [
        {"flag": "regions_missing", "reason": f"not found in the picture: {missing}"}
    ]


def test_exchanged_lungs_give_a_flag_and_no_ratio():
    exchanged = {**BOXES, "right lung": BOXES["left lung"], "left lung": BOXES["right lung"]}
    assert cardiothoracic_ratio(exchanged) is None
    assert [flag["flag"] for flag in anatomy_flags(regions(exchanged))] == ["exchanged_lungs"]
    assert anatomy_flags(regions(BOXES)) == []


def test_a_region_that_is_probably_absent_is_not_measured():
    assert len(anatomy_flags(regions(BOXES, presence=0.2))) == 1


def test_a_failed_write_leaves_what_was_there(tmp_path):
    target = tmp_path / "deep" / "out.json"
    write_text(target, "old")
    with pytest.raises(ValueError, match="JSON"):
        write_json(target, {"score": float("nan")})
    with pytest.raises(RuntimeError), replacing(target) as beside:
        beside.write_text("half")
        raise RuntimeError("power cut")
    assert target.read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["out.json"]
    write_json(target, {"score": 0.5})
    assert json.loads(target.read_text()) == {"score": 0.5}
