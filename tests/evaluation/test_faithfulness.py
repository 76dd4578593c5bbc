"""Filling regions of a film, and deletion and insertion curves with a score that is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anatomy_vlm.training.evaluation.arrays import MetricInputError
from anatomy_vlm.training.evaluation.faithfulness import box_mask, curve_area, deletion_insertion, fill_from_around


CELLS = np.kron(np.arange(16).reshape(4, 4), np.ones((5, 5), dtype=int))


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_what_is_there_stays_and_what_is_filled_lies_between(seed, height, width):
    rng = np.random.default_rng(seed)
    film = rng.integers(0, 256, (height, width), dtype=np.uint8)
    missing = rng.random((height, width)) < rng.random()
    filled = fill_from_around(film, missing)
    assert (filled[~missing] == film[~missing]).all()
    if not missing.all():
        assert filled.min() >= film[~missing].min() and filled.max() <= film[~missing].max()


def test_a_slope_is_filled_like_its_surroundings_and_without_an_edge():
    slope = np.tile(np.linspace(20, 220, 64), (64, 1)).astype(np.uint8)
    missing = box_mask(slope.shape, (24, 24, 40, 40))
    hidden = np.where(missing, 255, slope).astype(np.uint8)
    filled = fill_from_around(hidden, missing)
    assert np.abs(filled.astype(int) - slope).max() < 20
    assert (fill_from_around(hidden, np.ones_like(missing)) == round(hidden.mean())).all()


def test_box_masks_lie_where_the_box_does_and_are_never_empty():
    mask = box_mask((10, 20), (2, 1, 5, 4))
    assert mask.sum() == 9 and mask[1:4, 2:5].all()
    assert box_mask((10, 20), (30, 30, 40, 40)).sum() >= 1 and box_mask((10, 20), (3.2, 3.2, 3.2, 3.2)).sum() >= 1


def test_the_order_that_names_the_bright_cell_first_falls_and_rises_first():
    film = np.full((20, 20), 50, dtype=np.uint8)
    film[CELLS == 6] = 250

    def brightest(films):
        return np.array([float(item.max()) / 255 for item in films])

    others = [cell for cell in range(16) if cell != 6]
    best = deletion_insertion(film, CELLS, [6, *others], brightest, steps=16)
    worst = deletion_insertion(film, CELLS, [*others, 6], brightest, steps=16)
    assert curve_area(best[0]) < curve_area(worst[0]) and curve_area(best[1]) > curve_area(worst[1])
    for deletion, insertion in (best, worst):
        assert deletion[0] == insertion[-1] == pytest.approx(250 / 255)
        assert deletion[-1] == insertion[0] < 0.4
    with pytest.raises(MetricInputError, match="each of the 16 cells once"):
        deletion_insertion(film, CELLS, [0, 0, *others], brightest)
    with pytest.raises(MetricInputError, match="one shape"):
        fill_from_around(film, np.zeros((3, 3), dtype=bool))
