"""Boxes of the user's own: what is read, what is refused in one line, and that they are really looked into."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anatomy_vlm.cli import main
from anatomy_vlm.hub_cards import REFERENCE_MODEL
from anatomy_vlm.prediction import predict
from anatomy_vlm.processing.vocabulary import REGION_NAMES
from anatomy_vlm.training.evaluation.box_reading import read_boxes
from anatomy_vlm.training.evaluation.reader import Reader
from anatomy_vlm.training.model_folder import load_checkpoint
from anatomy_vlm.user_boxes import UserBox, UserBoxesError, choose_regions, parse_user_boxes, read_user_boxes


@pytest.fixture(scope="module")
def reader():
    return Reader(*load_checkpoint(REFERENCE_MODEL), device="cpu")


@pytest.fixture(scope="module")
def film():
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 255, (200, 160), dtype=np.uint8))


def test_boxes_are_lists_for_all_images_or_by_image():
    shared = parse_user_boxes([[1, 2, 30, 40], {"box": [5, 5, 9, 9.5], "label": "a nodule"}])
    assert shared.of("anything.png") == [
        UserBox("", (1.0, 2.0, 30.0, 40.0)),
        UserBox("a nodule", (5.0, 5.0, 9.0, 9.5)),
    ]
    by_image = parse_user_boxes({"a.png": [[0, 0, 1, 1]], "ward/b.png": []})
    assert len(by_image.of("films/a.png")) == 1 and by_image.of("films/c.png") == ()
    by_image.check_images(["films/a.png", "ward/b.png"])
    with pytest.raises(UserBoxesError, match=r"'ward/b.png', which is none of the images"):
        by_image.check_images(["films/a.png"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("text", "expected a list of boxes"),
        ({"a.png": {"box": [0, 0, 1, 1]}}, "a.png: expected a list of boxes, got dict"),
        ([[1, 2, 3]], "box 1: .* is not .x0, y0, x1, y1."),
        ([[1, 2, 3, "4"]], "four numbers"),
        ([[1, 2, True, 4]], "four numbers"),
        ([[1, 2, 1, 4]], "is empty; x1 has to exceed x0"),
        ([[0, 0, 1, 1], [3, 4, 5, 2]], "box 2: .* is empty"),
        ([{"boxes": [1, 2, 3, 4]}], "unknown key 'boxes'"),
        ([{"label": "heart"}], "no key 'box'"),
        ([{"box": [1, 2, 3, 4], "label": 7}], "have to be texts"),
    ],
)
def test_bad_boxes_are_named(data, message):
    with pytest.raises(UserBoxesError, match=message) as caught:
        parse_user_boxes(data)
    assert "\n" not in str(caught.value)


def nested(inner):
    return st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), nested))
def test_no_data_makes_it_fail_in_another_way(data):
    try:
        boxes = parse_user_boxes(data)
    except UserBoxesError as error:
        assert "\n" not in str(error)
    else:
        assert all(box.box[0] < box.box[2] for name in boxes.by_image or {"": 0} for box in boxes.of(name))


def test_a_box_is_read_as_the_region_of_its_name_or_place():
    places = np.tile([0.0, 0.0, 1.0, 1.0], (len(REGION_NAMES), 1))
    right, left = (REGION_NAMES.index(name) for name in ("right lung", "left lung"))
    places[right], places[left] = [10, 10, 40, 90], [60, 10, 90, 90]
    boxes = [
        UserBox("Left Lung", (10, 10, 40, 90)),
        UserBox("shadow", (12, 12, 40, 88)),
        UserBox("shadow", (62, 12, 90, 88)),
        UserBox("shadow", (62, 12, 90, 88), "right lung"),
        UserBox("far away", (95, 95, 99, 99)),
    ]
    chosen = choose_regions(boxes, REGION_NAMES, places)
    assert chosen == [left, right, left, right, left]
    with pytest.raises(UserBoxesError, match="no region 'pancreas'"):
        choose_regions([UserBox("", (0, 0, 1, 1), "pancreas")], REGION_NAMES, places)


def test_the_models_own_box_gives_the_models_own_score(reader, film):
    own = reader.read([film])
    slots = [0, 8, 24]
    scores, texts = read_boxes(reader, film, own.boxes[0, slots], slots)
    np.testing.assert_allclose(scores, own.region_scores[0, slots], atol=1e-4)
    assert texts.shape == (3, 0)


def test_another_box_gives_another_score_and_two_boxes_of_one_region_do_not_meet(reader, film):
    boxes = [[10, 10, 70, 100], [90, 100, 150, 190], [20, 20, 60, 60]]
    together, _ = read_boxes(reader, film, boxes, [0, 0, 8])
    alone = np.concatenate([read_boxes(reader, film, [box], [slot])[0] for box, slot in zip(boxes, [0, 0, 8])])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_only_what_is_in_the_box_and_the_tower_counts_for_sides(reader, film):
    """The box at the image's left is the patient's right: exchanging the boxes of the lungs exchanges what is seen."""
    right, left = REGION_NAMES.index("right lung"), REGION_NAMES.index("left lung")
    given = np.full((1, len(REGION_NAMES), 4), np.nan)
    given[0, right], given[0, left] = [10, 20, 70, 160], [90, 20, 150, 160]
    exchanged = given.copy()
    exchanged[0, [right, left]] = given[0, [left, right]]
    first, second = reader.read([film], given), reader.read([film], exchanged)
    assert not np.allclose(first.region_scores[0, right], second.region_scores[0, right], atol=1e-4)
    # The boxes that the model states stay its own.
    np.testing.assert_allclose(first.boxes, second.boxes)
    others = [slot for slot in range(29) if slot not in (right, left)]
    np.testing.assert_allclose(first.region_scores[0, others], second.region_scores[0, others], atol=1e-5)


def test_records_hold_the_boxes(tmp_path, film):
    film.save(tmp_path / "a.png")
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"a.png": [{"box": [10, 10, 70, 100], "label": "spot"}]}))
    record = predict(tmp_path / "a.png", boxes=boxes, prompts=["a nodule"], force=True, device="cpu")[0]
    row = record["boxes"][0]
    assert row["label"] == "spot" and row["box"] == [10, 10, 70, 100] and row["region"] in REGION_NAMES
    assert [f["name"] for f in row["findings"]] == [f["name"] for f in record["findings"]]
    assert row["prompts"][0]["text"] == "a nodule"
    withheld = predict(tmp_path / "a.png", boxes=read_user_boxes(boxes), device="cpu")[0]
    assert withheld["quality"]["findings_withheld"] and withheld["boxes"][0]["findings"] == []


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        ("{", 2, "not valid JSON"),
        ('{"other.png": []}', 2, "which is none of the images"),
        ("[[0, 0, 5]]", 2, "box 1"),
        ("[[0, 0, 5000, 10]]", 1, "leaves the image of 160x200 pixels"),
        (None, 2, "no such file"),
    ],
)
def test_the_command_names_bad_boxes_in_one_line(tmp_path, film, capsys, content, status, message):
    film.save(tmp_path / "a.png")
    path = tmp_path / "boxes.json"
    if content is not None:
        path.write_text(content)
    assert main(["predict", str(tmp_path / "a.png"), "--boxes", str(path), "--device", "cpu"]) == status
    lines = [line for line in capsys.readouterr().err.splitlines() if message in line]
    assert len(lines) == 1 and "Traceback" not in lines[0]


def test_a_model_that_reads_no_boxes_says_so(checkpoint, film):
    with pytest.raises(ValueError, match="reads no boxes"):
        read_boxes(Reader(*load_checkpoint(checkpoint), device="cpu"), film, [[0, 0, 9, 9]], [0])
