import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomy_vlm.synthesis.projection import Geometry, voxel_to_world


LEFT, POSTERIOR, SUPERIOR = np.array((50.0, 0, 0)), np.array((0, 50.0, 0)), np.array((0, 0, 50.0))


@pytest.mark.parametrize("make", [Geometry.pa, Geometry.ap])
def test_frontal_films_show_the_right_side_on_the_left(make):
    geometry = make(detector_shape=(100, 100))
    left, right = geometry.project_points(np.stack([LEFT, -LEFT]))
    up, down = geometry.project_points(np.stack([SUPERIOR, -SUPERIOR]))
    assert left[0] > 50 > right[0]
    assert up[1] < 50 < down[1]


def test_lateral_film_looks_to_the_left_and_the_left_side_lies_at_the_detector():
    geometry = Geometry.lateral(detector_shape=(100, 100))
    front, back = geometry.project_points(np.stack([-POSTERIOR, POSTERIOR]))
    assert front[0] < 50 < back[0]
    assert geometry.source_mm[0] < 0


def test_rotation_of_a_pa_film_by_90_degrees_is_the_lateral():
    turned, lateral = Geometry.pa(rotation_deg=90), Geometry.lateral()
    for a, b in zip(turned.axes(), lateral.axes()):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_positive_tilt_points_the_beam_at_the_head_and_positive_roll_turns_counter_clockwise():
    assert Geometry.pa(tilt_deg=10).axes()[2][2] > 0
    level, turned = Geometry.pa(), Geometry.pa(roll_deg=10)
    assert turned.project_points(LEFT)[1] < level.project_points(LEFT)[1]


def test_magnification_is_that_of_the_distances():
    geometry = Geometry.pa(detector_size_mm=(400, 400), detector_shape=(400, 400))
    x, _ = geometry.project_points(LEFT)
    assert x - 200 == pytest.approx(50 * 1800 / 1600)


@settings(max_examples=50, deadline=None)
@given(st.floats(-40, 40), st.floats(-40, 40), st.floats(-40, 40), st.integers(0, 39), st.integers(0, 29))
def test_pixels_and_projected_points_agree(rotation, tilt, roll, row, column):
    geometry = Geometry.pa(
        detector_shape=(40, 30), rotation_deg=rotation, tilt_deg=tilt, roll_deg=roll, detector_shift_mm=(7, -3)
    )
    pixel = geometry.pixels_mm()[row, column]
    between = geometry.source_mm + 0.8 * (pixel - geometry.source_mm)
    np.testing.assert_allclose(geometry.project_points(between), (column + 0.5, row + 0.5), atol=1e-6)


def test_a_crop_keeps_every_remaining_pixel_in_place():
    geometry = Geometry.pa(detector_shape=(60, 50), roll_deg=5, tilt_deg=3)
    np.testing.assert_allclose(geometry.crop(10, 40, 5, 30).pixels_mm(), geometry.pixels_mm()[10:40, 5:30], atol=1e-9)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"view": "AXIAL"}, "view must be one of"),
        ({"source_to_isocenter_mm": 1900}, "source_to_isocenter_mm"),
        ({"detector_shape": (0, 5)}, "detector_shape"),
        ({"tilt_deg": 90}, "tilt_deg"),
    ],
)
def test_bad_geometry_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Geometry(**options)


def test_spacings_put_the_centre_of_the_volume_at_the_origin():
    affine = voxel_to_world((3.0, 2.0, 1.0), (5, 7, 9))
    np.testing.assert_allclose(affine @ (4, 3, 2, 1), (0, 0, 0, 1))
    np.testing.assert_allclose(np.diag(affine), (1, 2, 3, 1))


@pytest.mark.parametrize("placement", [(1.0, 2.0), (1.0, -1.0, 1.0), np.zeros((4, 4))])
def test_bad_placement_is_refused(placement):
    with pytest.raises(ValueError, match=r"spacings|affine|placement"):
        voxel_to_world(placement, (5, 5, 5))
