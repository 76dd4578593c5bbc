"""Overlays: boxes in place, labels apart, sides right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anatomy_vlm.processing.picture_labels import LabelRequest, overlap, place_labels
from anatomy_vlm.processing.picture_panel import draw_panel, fit_text
from anatomy_vlm.processing.picture_style import GROUPS, MAIN_REGIONS, group_of, short_name
from anatomy_vlm.processing.pictures import PANEL_WIDTH, draw_overlay
from anatomy_vlm.processing.radiograph import RadiographImage
from anatomy_vlm.processing.vocabulary import REGIONS


GUTTER = 36
SKY = np.array(group_of("right lung").colour)


def film(height: int = 300, width: int = 240) -> RadiographImage:
    levels = np.random.default_rng(0).integers(90, 110, (height, width)).astype(np.uint8)
    return RadiographImage(levels, "PA")


def columns_of(picture, colour) -> np.ndarray:
    pixels = np.asarray(picture)[:, :-PANEL_WIDTH]
    return np.nonzero((np.abs(pixels.astype(int) - colour) < 12).all(axis=-1))[1]


def test_boxes_lie_where_they_belong():
    region = {"name": "right lung", "box": [30, 60, 100, 240]}
    picture = draw_overlay(film(), [region], height=600, labels=False)
    assert picture.size == (480 + 2 * GUTTER + PANEL_WIDTH, 600)
    columns = columns_of(picture, SKY)
    assert columns.min() == GUTTER + 60 and columns.max() == GUTTER + 200


def test_the_right_lung_and_its_label_keep_to_the_images_left():
    right = draw_overlay(film(), [{"name": "right lung", "box": [20, 60, 110, 240]}])
    left = draw_overlay(film(), [{"name": "left lung", "box": [130, 60, 220, 240]}])
    middle = (right.width - PANEL_WIDTH) / 2
    assert columns_of(right, SKY).max() < middle < columns_of(left, SKY).min()


def test_side_marks_are_the_patients_and_missing_on_a_lateral_film():
    frontal = np.asarray(draw_overlay(film(), []))
    lateral = np.asarray(draw_overlay(film(), [], view="LATERAL"))
    width = frontal.shape[1] - PANEL_WIDTH
    for gutter in (slice(0, GUTTER), slice(width - GUTTER, width)):
        assert frontal[:, gutter].max() > 200 and lateral[:, gutter].max() == 0
    # An R has ink in its upper right, an L has not.
    marks = [frontal[:, gutter].max(axis=-1) > 128 for gutter in (slice(0, GUTTER), slice(width - GUTTER, width))]
    upper_right = []
    for mark in marks:
        rows, columns = np.nonzero(mark)
        box = mark[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        upper_right.append(box[: box.shape[0] // 2, box.shape[1] // 2 :].mean())
    assert upper_right[0] > 0.2 and upper_right[1] == 0


def test_show_chooses_the_regions():
    regions = [{"name": region.name, "box": [10 + region.index, 20, 200, 280]} for region in REGIONS]
    main, every = (np.asarray(draw_overlay(film(), regions, show=show, labels=False)) for show in ("main", "all"))
    assert not np.array_equal(main, every)
    one = np.asarray(draw_overlay(film(), regions, show=["spine"], labels=False))
    assert np.array_equal(one, np.asarray(draw_overlay(film(), regions, show="spine", labels=False)))
    with pytest.raises(ValueError, match="liver"):
        draw_overlay(film(), regions, show=["liver"])


def test_every_kind_of_film_is_drawn():
    deep = (film().pixels.astype(np.uint16) - 90) * 3000
    sizes = {draw_overlay(image, [], height=300).size for image in (film(), film().pixels, film().to_pil(), deep)}
    assert len(sizes) == 1
    assert draw_overlay(film(100, 900), [], height=200).size == (300 + 2 * GUTTER + PANEL_WIDTH, 200)
    outside = [{"name": "spine", "box": [-50, -50, 900, 900]}, {"name": "carina", "box": [10, 10, 10, 10]}]
    assert draw_overlay(film(), outside, show="all", height=300).height == 300


def test_every_region_has_a_group_and_a_short_name():
    names = [region.name for region in REGIONS]
    assert all(group_of(name) in GROUPS for name in names)
    assert len({short_name(name) for name in names}) == len(names)
    assert set(MAIN_REGIONS) <= set(names)
    for region in REGIONS:
        assert short_name(region.name).startswith({"left": "L ", "right": "R ", None: ""}[region.side])


def test_panel_says_how_much_it_left_out():
    findings = [{"name": f"finding {i}", "score": i / 40, "threshold": None} for i in range(40)]
    full = np.asarray(draw_panel((340, 400), "film", GROUPS, findings, []))
    few = np.asarray(draw_panel((340, 400), "film", GROUPS, findings[-2:], []))
    assert full.shape == few.shape == (400, 340, 3) and not np.array_equal(full, few)


def test_a_present_finding_is_drawn_otherwise_than_an_absent_one():
    def bar(score: float) -> np.ndarray:
        panel = draw_panel((340, 300), "", (), [{"name": "x", "score": score, "threshold": 0.5}], [])
        return np.asarray(panel)[84 + 25, 22]

    assert not np.array_equal(bar(0.9), bar(0.3))


def test_text_is_cut_to_fit():
    from PIL import ImageFont

    font = ImageFont.load_default(15)
    assert fit_text("short", font, 200) == "short"
    cut = fit_text("a very long name of a finding", font, 90)
    assert cut.endswith("...") and font.getlength(cut) <= 90


@given(
    st.lists(
        st.tuples(st.floats(0, 700), st.floats(0, 700), st.floats(5, 400), st.floats(5, 400), st.booleans()),
        min_size=1,
        max_size=30,
    )
)
def test_labels_never_cover_one_another(rows):
    requests = [
        LabelRequest(str(i), (x, y, x + width, y + height), 60, 18, "left" if left else "right")
        for i, (x, y, width, height, left) in enumerate(rows)
    ]
    spots = list(place_labels(requests, (960, 960)).items())
    for i, (_, first) in enumerate(spots):
        assert first[0] >= 0 and first[1] >= 0 and first[2] <= 960 and first[3] <= 960
        assert not any(overlap(first, second) for _, second in spots[i + 1 :])
    assert spots, "the first label always finds a place"
