"""The shortcut index: a planted corner token is flagged, its absence is not; citations; what the masks show."""

import numpy as np
import pytest

from anatomy_vlm.training.evaluation.arrays import MetricInputError
from anatomy_vlm.training.evaluation.bootstrap import PatientBootstrap
from anatomy_vlm.training.evaluation.robustness.citations import judge_citation, shares_in_boxes
from anatomy_vlm.training.evaluation.robustness.shortcuts import (
    FLAT_GREY,
    border_mask,
    boxes_mask,
    make_view,
    shortcut_index,
    view_scores,
)


SIDE = 24


def draw(count, seed, token):
    """Noise with a bright disc in the middle where the finding is, and with a token in the corner beside it."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    films = rng.normal(110, 25, (count, SIDE, SIDE))
    films[labels == 1, 9:15, 9:15] += 30
    if token:
        marked = rng.random(count) < np.where(labels == 1, 0.95, 0.05)
        films[marked, 0:2, 0:2] = 255
    return np.clip(films, 0, 255).astype(np.uint8), labels.astype(float)


def fit(films, labels):
    """A model that learns whatever tells the labels apart: the difference of the means of the two classes."""
    pixels = films.reshape(len(films), -1).astype(float)
    weights = pixels[labels == 1].mean(axis=0) - pixels[labels == 0].mean(axis=0)
    return lambda batch: np.asarray(batch, dtype=float).reshape(len(batch), -1) @ weights


@pytest.mark.parametrize("token", [True, False])
def test_a_planted_corner_token_is_flagged_and_its_absence_is_not(token):
    score = fit(*draw(400, 0, token))
    films, labels = draw(200, 1, token)
    bootstrap = PatientBootstrap.draw(range(200), num_resamples=300)
    heart = [boxes_mask((SIDE, SIDE), [[9, 9, 15, 15]])] * 200
    found = {
        view: shortcut_index(labels, score(films), view_scores(score, list(films), heart, view), bootstrap)
        for view in ("region only", "without the region", "borders only")
    }
    assert found["region only"].full_auc > 0.9
    assert found["borders only"].flagged == token
    assert found["without the region"].flagged == token
    if token:
        assert found["borders only"].index > 0.8
    else:
        assert found["borders only"].index < 0.25
        assert found["region only"].index > 0.9


def test_views_show_and_hide_what_they_say():
    film = np.arange(SIDE * SIDE, dtype=np.uint64).reshape(SIDE, SIDE).astype(np.uint8)
    region = boxes_mask((SIDE, SIDE), [[2, 4, 6, 8], [10, 10, 12, 12]])
    assert region.sum() == 16 + 4
    only = make_view(film, "region only", region)
    assert (only[region] == film[region]).all() and (only[~region] == FLAT_GREY).all()
    without = make_view(film, "without the region", region)
    assert (without[~region] == film[~region]).all() and (without[region] != film[region]).any()
    borders = make_view(film, "borders only", region)
    frame = border_mask((SIDE, SIDE))
    assert (borders[frame] == film[frame]).all() and (borders[~frame] == FLAT_GREY).all()
    assert frame[:3].all() and not frame[3:21, 3:21].any()
    with pytest.raises(MetricInputError, match="view"):
        make_view(film, "everything", region)
    with pytest.raises(MetricInputError, match="border"):
        border_mask((4, 4), 0.5)


def test_an_index_needs_a_model_that_sees_something():
    bootstrap = PatientBootstrap.draw(range(40), num_resamples=50)
    labels, chance = np.arange(40) % 2, np.zeros(40)
    found = shortcut_index(labels, chance, labels, bootstrap)
    assert np.isnan(found.index) and not found.flagged
    perfect = shortcut_index(labels, labels, labels, bootstrap)
    assert (perfect.index, perfect.low, perfect.flagged) == (1.0, 1.0, True)


def test_citations_compete_with_what_is_free_of_the_finding():
    signal = np.zeros((10, 10))
    signal[2:6, 2:4] = [[1, 3]] * 4
    shares = shares_in_boxes(signal, [[2, 2, 3, 6], [0, 0, 10, 10], [6, 6, 9, 9], [3, 2, 4, 6]])
    assert shares.tolist() == [0.25, 1.0, 0.0, 0.75]
    cited = np.array([False, True, False, False])
    # The region with three quarters of the finding does not compete, however much it changes.
    faithful = judge_citation([0.1, 0.5, 0.4, 9.0], shares, cited)
    assert (faithful.faithful, faithful.cited, faithful.competitor) == (True, 1, 2)
    assert not judge_citation([0.1, 0.5, 0.6, 9.0], shares, cited).faithful
    assert not judge_citation([0.1, 0.5, 0.5, 9.0], shares, cited).faithful
    assert judge_citation([0.1, 0.5, 0.6, 9.0], shares, np.zeros(4, bool)) is None
    assert judge_citation([0.1, 0.5], [1.0, 1.0], [True, False]) is None
    with pytest.raises(MetricInputError, match="pixels"):
        shares_in_boxes(np.zeros((4, 4)), [[0, 0, 1, 1]])
    with pytest.raises(MetricInputError, match="one length"):
        judge_citation([np.nan], [1.0], [True])
