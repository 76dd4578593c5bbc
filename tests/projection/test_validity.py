import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomy_vlm.synthesis.projection import Geometry, largest_rectangle, valid_rays


SPACING = (4.0, 4.0, 4.0)


def trunk(shape=(50, 60, 80)):
    """A column of tissue cut at both ends, with air around."""
    tissue = np.zeros(shape, bool)
    tissue[:, 20:40, 20:60] = True
    return tissue


@pytest.mark.parametrize("geometry", [Geometry.pa(detector_shape=(86, 86)), Geometry.lateral(detector_shape=(86, 86))])
def test_only_rays_through_both_cut_ends_are_refused(geometry):
    valid = valid_rays(trunk(), SPACING, geometry)
    source = geometry.source_mm
    way = geometry.pixels_mm() - source
    axis = 1 if geometry.view == "PA" else 0
    half = 40.0 if axis == 1 else 80.0
    heights = [source[2] + (side - source[axis]) / way[..., axis] * way[..., 2] for side in (-half, half)]
    inside = np.all([np.abs(h) < 100 for h in heights], axis=0)
    across = source[1 - axis] + (0 - source[axis]) / way[..., axis] * way[..., 1 - axis]
    through = np.abs(across) < (72 if axis == 1 else 32)
    assert np.array_equal(valid[through], inside[through])
    assert 0.3 < valid.mean() < 0.9


def test_air_at_the_cut_ends_does_no_harm():
    tissue = trunk()
    tissue[:10] = tissue[-10:] = False
    geometry = Geometry.pa(detector_shape=(86, 86))
    valid = valid_rays(tissue, SPACING, geometry)
    rows = np.flatnonzero(valid.all(axis=1))
    centre = (geometry.pixels_mm()[:, 43, 2] * 1600 / 1800)[rows]
    assert centre.max() > 94
    assert centre.min() < -94


def test_an_empty_body_has_no_valid_ray():
    assert not valid_rays(np.zeros((4, 4, 4), bool), SPACING, Geometry.pa(detector_shape=(8, 8))).any()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**20 - 1))
def test_the_largest_rectangle_is_the_largest(bits):
    mask = np.array([(bits >> i) & 1 for i in range(20)], bool).reshape(4, 5)
    top, bottom, left, right = largest_rectangle(mask)
    best = max(
        (
            (b - t) * (r - s)
            for t in range(4)
            for b in range(t + 1, 5)
            for s in range(5)
            for r in range(s + 1, 6)
            if mask[t:b, s:r].all()
        ),
        default=0,
    )
    assert (bottom - top) * (right - left) == best
    assert mask[top:bottom, left:right].all()
