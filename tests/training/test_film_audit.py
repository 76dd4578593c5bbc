"""Training of the film auditor: its drawn pictures, its labels of cut films, and that a few steps learn."""

import numpy as np
import pytest
import torch

from anatomy_vlm.processing.film_audit import KINDS
from anatomy_vlm.training.film_audit.batches import FilmPool, _cropped, _in_pieces, _seen, film_batches
from anatomy_vlm.training.film_audit.fit import choose_limits, train, validation_evidence
from anatomy_vlm.training.film_audit.other_pictures import other_picture
from anatomy_vlm.training.film_audit.side_views import side_view


@pytest.fixture(scope="module")
def pool():
    """Chests as dark ellipses with a bright heart at the image's right."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:96, :96] / 96
    films = []
    for _ in range(40):
        film = np.full((96, 96), 0.6) + rng.normal(0, 0.02, (96, 96))
        for x in (0.3, 0.7):
            film[((columns - x) / 0.16) ** 2 + ((rows - 0.45) / 0.3) ** 2 < 1] = 0.1
        film[((columns - 0.58) / 0.14) ** 2 + ((rows - 0.62) / 0.13) ** 2 < 1] = rng.uniform(0.8, 1.0)
        films.append(film)
    lungs = torch.tensor([[0.14, 0.15, 0.86, 0.75]]).repeat(40, 1)
    return FilmPool(
        chests=torch.tensor(np.stack(films), dtype=torch.float32),
        lungs=lungs,
        usual=torch.ones(40, dtype=torch.bool),
        laterals=torch.from_numpy(np.stack([side_view(rng) for _ in range(6)])),
        others=torch.from_numpy(np.stack([other_picture(rng) for _ in range(30)])),
    )


def test_drawn_pictures_are_in_range_and_differ():
    rng = np.random.default_rng(1)
    for draw in (side_view, other_picture):
        pictures = np.stack([draw(rng) for _ in range(12)])
        assert pictures.shape == (12, 96, 96) and pictures.min() >= 0 and pictures.max() <= 1
        assert np.ptp(pictures, axis=0).mean() > 0.1 and all(picture.std() > 0.01 for picture in pictures)


def test_what_is_cut_is_decided_by_the_lungs_on_each_side():
    lungs = torch.tensor([[0.2, 0.2, 0.8, 0.7]])
    whole, cut, unclear = [0.0, 0.0, 1.0, 1.0], [0.35, 0.0, 1.0, 1.0], [0.22, 0.0, 1.0, 1.0]
    assert _cropped(lungs, torch.tensor([whole])).item() == 0
    for side in range(4):
        window = list(whole)
        window[side] = (0.35, 0.3, 0.7, 0.6)[side]
        assert _cropped(lungs, torch.tensor([window])).item() == 1
    assert _cropped(lungs, torch.tensor([cut])).item() == 1
    assert _cropped(lungs, torch.tensor([unclear])).isnan()
    assert _cropped(torch.tensor([[0.0, 0.2, 0.8, 0.7]]), torch.tensor([whole])).isnan()


def test_windows_keep_the_patients_sides():
    film = torch.zeros(1, 64, 64)
    film[:, :, 40:] = 1.0
    generator = torch.Generator().manual_seed(0)
    seen = _seen(film, torch.tensor([[0.0, 0.0, 1.0, 1.0]]), generator)[0]
    assert seen[20:44, 50:60].mean() > 0.9 > 0.1 > seen[20:44, 5:15].mean()
    right_half = _seen(film, torch.tensor([[0.5, 0.0, 1.0, 1.0]]), generator)[0]
    assert right_half[20:44].mean() > seen[20:44].mean()


def test_pieces_hold_the_same_pixels_in_another_order():
    film = torch.rand(3, 64, 64)
    pieces = _in_pieces(film, torch.Generator().manual_seed(0))
    assert pieces.shape == film.shape and not torch.equal(pieces, film)
    torch.testing.assert_close(pieces.flatten(1).sort().values, film.flatten(1).sort().values)


def test_batches_have_all_kinds_and_only_whole_usual_chests_have_a_pose(pool):
    batch = next(film_batches(pool, 32, 1, seed=0))
    assert batch.grids.shape == (32, 64, 64) and batch.grids.abs().max() <= 1
    assert set(batch.kinds.tolist()) == set(range(len(KINDS)))
    assert not (batch.posed & (batch.kinds != 0)).any() and not (batch.posed & (batch.cropped == 1)).any()
    again = next(film_batches(pool, 32, 1, seed=0))
    assert torch.equal(batch.grids, again.grids)


def test_a_few_steps_learn_the_pose_and_limits_keep_their_rate(pool):
    network = train(pool, 30, seed=0)
    evidence = validation_evidence(network, pool, 3, seed=5)
    # Chance would be a half and a quarter.
    assert (evidence["inverted"] < 0).mean() > 0.8 and (evidence["rotated"] < 0).mean() > 0.5
    limits = choose_limits(evidence, 0.05)
    assert all((evidence[flag] > limits[flag]).mean() <= 0.1 for flag in limits) and min(limits.values()) >= 0
