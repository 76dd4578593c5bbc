"""Letter-box geometry: exact both ways, and laterality-safe."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anatomy_vlm.processing.letterbox_anatomy_vlm import (
    boxes_to_canvas,
    boxes_to_image,
    center_to_corners,
    clip_boxes,
    corners_to_center,
    fit_letterbox,
    flip_boxes,
)


sides = st.integers(16, 5000)
canvases = st.sampled_from([(224, 224), (384, 384), (512, 512), (224, 336)])


@st.composite
def boxes_in(draw, height, width):
    xs = sorted(draw(st.tuples(st.floats(0, width), st.floats(0, width))))
    ys = sorted(draw(st.tuples(st.floats(0, height), st.floats(0, height))))
    return [xs[0], ys[0], xs[1], ys[1]]


@given(st.data(), sides, sides, canvases, st.booleans())
def test_boxes_come_back_exactly(data, height, width, canvas, keep_aspect):
    place = fit_letterbox((height, width), canvas, keep_aspect)
    boxes = np.array([data.draw(boxes_in(height, width))])
    back = boxes_to_image(boxes_to_canvas(boxes, place), place)
    assert np.abs(back - boxes).max() < 1e-4
    on_tensor = boxes_to_image(boxes_to_canvas(torch.tensor(boxes), place), place)
    assert torch.allclose(on_tensor, torch.tensor(boxes), atol=1e-4)


@given(sides, sides, canvases)
def test_image_lies_centred_within_the_canvas(height, width, canvas):
    place = fit_letterbox((height, width), canvas)
    assert place.top + place.height + place.bottom == canvas[0]
    assert place.left + place.width + place.right == canvas[1]
    assert 0 <= place.bottom - place.top <= 1 and 0 <= place.right - place.left <= 1
    assert place.height == canvas[0] or place.width == canvas[1]
    # The aspect is kept to the rounding to whole pixels.
    scale = min(canvas[0] / height, canvas[1] / width)
    assert abs(place.height - height * scale) <= 1 and abs(place.width - width * scale) <= 1


def test_whole_image_maps_onto_its_place():
    place = fit_letterbox((1000, 800), (224, 224))
    assert boxes_to_canvas(np.array([0, 0, 800, 1000]), place).tolist() == [22, 0, 201, 224]


def test_the_resize_puts_pixels_where_the_geometry_says():
    from PIL import Image

    pixels = np.zeros((300, 200), dtype=np.uint8)
    pixels[100:200, 20:80] = 255
    place = fit_letterbox(pixels.shape, (96, 96))
    resized = np.asarray(Image.fromarray(pixels).resize((place.width, place.height), Image.Resampling.BOX))
    canvas = np.pad(resized, ((place.top, place.bottom), (place.left, place.right)))
    rows, columns = np.nonzero(canvas > 127)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert np.abs(boxes_to_canvas(np.array([20, 100, 80, 200]), place) - found).max() <= 0.5


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=5))
def test_center_and_corner_forms_undo_each_other(rows):
    boxes = np.array(rows)
    assert np.allclose(center_to_corners(corners_to_center(boxes)), boxes)
    assert np.allclose(center_to_corners(torch.tensor(boxes)).numpy(), center_to_corners(boxes))


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=3, max_size=3))
def test_flipping_twice_is_the_identity(rows):
    boxes = np.array(rows)
    assert np.allclose(flip_boxes(flip_boxes(boxes, [1, 0, 2]), [1, 0, 2]), boxes)
    assert np.allclose(flip_boxes(torch.tensor(boxes), [1, 0, 2]).numpy(), flip_boxes(boxes, [1, 0, 2]))


def test_flip_keeps_the_right_lung_on_the_images_left():
    right_lung, left_lung = [0.1, 0.2, 0.4, 0.9], [0.55, 0.2, 0.95, 0.8]
    flipped = flip_boxes(np.array([[right_lung, left_lung]]), mirror=[1, 0])[0]
    assert flipped[0, 2] < 0.5 < flipped[1, 0]
    assert np.allclose(flipped[0], [0.05, 0.2, 0.45, 0.8]), "the right slot holds the mirrored left lung"


@pytest.mark.parametrize("mirror", [[0, 1, 2], [1, 2, 0], [1, 0], [1, 0, 3], [-1, 1, 0]])
def test_a_mirror_that_is_no_involution_is_refused(mirror):
    boxes = np.zeros((3, 4))
    if mirror == [0, 1, 2]:
        assert flip_boxes(boxes, mirror).shape == (3, 4)
    else:
        with pytest.raises(ValueError, match="mirror"):
            flip_boxes(boxes, mirror)


def test_boxes_are_cut_at_the_edges():
    boxes = np.array([-5.0, 10.0, 120.0, 90.0])
    assert clip_boxes(boxes, (80, 100)).tolist() == [0, 10, 100, 80]
    assert clip_boxes(torch.tensor(boxes), (80, 100)).tolist() == [0, 10, 100, 80]


def test_no_canvas_for_an_empty_image():
    with pytest.raises(ValueError, match="0x10"):
        fit_letterbox((0, 10), (224, 224))
