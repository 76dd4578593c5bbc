"""The film auditor: its symmetries are exact, its weights tell spoilt films, and nothing hangs on the film's look."""

import json

import numpy as np
import pytest
import torch

from anatomy_vlm.processing.film_audit import (
    FLAGS,
    FilmAuditNetwork,
    audit_flags,
    audit_limits,
    film_evidence,
    film_grid,
    poses,
    rank_grids,
)
from anatomy_vlm.processing.image_io import read_image


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return FilmAuditNetwork().eval()


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (128, 128), dtype=np.uint8)


def test_the_poses_are_all_turns_mirror_images_and_negatives():
    grid = torch.arange(9.0).view(1, 3, 3)
    views = poses(grid)[0]
    assert torch.equal(views[0], grid[0]) and torch.equal(views[4], grid[0].flip(-1))
    assert torch.equal(views[1], torch.rot90(grid[0])) and torch.equal(views[8], -grid[0])
    assert len({tuple(view.flatten().tolist()) for view in views}) == 16


def test_ranks_know_neither_window_nor_gamma_and_a_negative_is_minus_the_film(noise):
    grid = torch.from_numpy(film_grid(noise).copy())[None]
    ranks = rank_grids(grid)
    assert ranks.abs().max() < 1 and ranks.mean().abs() < 1e-6
    assert torch.equal(rank_grids((grid / 255) ** 0.5 * 30 + 7), ranks)
    torch.testing.assert_close(rank_grids(255 - grid), -ranks)
    assert (rank_grids(torch.full((1, 4, 4), 9.0)) == 0).all()


def test_evidence_of_a_mirror_image_is_exactly_opposite_whatever_the_weights(network, noise):
    """The laterality of the auditor: what speaks for a flip of a film speaks against that of the flipped film."""
    plain, flipped, negative, turned = (
        {name: float(value[0]) for name, value in film_evidence([film], network).items()}
        for film in (noise, noise[:, ::-1], 255 - noise, np.rot90(noise))
    )
    assert flipped["flipped"] == pytest.approx(-plain["flipped"], abs=1e-5)
    assert negative["inverted"] == pytest.approx(-plain["inverted"], abs=1e-5)
    for name in ("lateral", "not_a_chest", "cropped"):
        for other in (flipped, negative, turned):
            assert other[name] == pytest.approx(plain[name], abs=1e-4)
    for other in (flipped, negative):
        assert other["rotated"] == pytest.approx(plain["rotated"], abs=1e-5)


def test_films_of_another_shape_are_refused(network):
    with pytest.raises(ValueError, match="height, width"):
        film_evidence([np.zeros((3, 4, 3))], network)
    assert all(len(values) == 0 for values in film_evidence([], network).values())


def test_limits_are_stored_with_their_rate():
    assert set(audit_limits()) == set(FLAGS) and min(audit_limits().values()) >= 0


def test_empty_and_noisy_pictures_are_doubted(noise):
    pictures = [noise, np.zeros((50, 40), dtype=np.uint8), np.tile(np.arange(256, dtype=np.uint8), (256, 1))]
    serious = {"not_a_chest", "lateral", "rotated", "inverted"}
    assert all(serious & {flag["flag"] for flag in flags} for flags in audit_flags(pictures))


def test_real_films_are_left_alone_and_spoilt_ones_are_named(real_data):
    """No film of these sets was in training, which was on drawn films."""
    folder = real_data / "cxr_wingspan_ctr" / "png"
    if not folder.is_dir():
        pytest.skip("the real radiographs are not there")
    films = [read_image(file).pixels for file in sorted(folder.glob("*.png"))[::5]]

    def named(flag, changed):
        return np.mean([flag in [item["flag"] for item in flags] for flags in audit_flags(changed)])

    assert np.mean([bool(flags) for flags in audit_flags(films)]) <= 0.15
    assert named("flipped", [film[:, ::-1] for film in films]) >= 0.8
    assert named("inverted", [255 - film for film in films]) >= 0.95
    for turns in (1, 2, 3):
        assert named("rotated", [np.rot90(film, turns) for film in films]) >= 0.9
    leg = read_image(real_data / "dicom_radiographs" / "other_body_parts" / "RG3_RLE.dcm").pixels
    assert named("not_a_chest", [leg, leg[:, ::-1], np.rot90(leg)]) == 1.0


def test_a_drawn_dextrocardia_looks_flipped_and_its_mirror_image_does_not():
    """The doubt is about the picture: an inverted situs cannot be told from a flipped film, and the reason says so."""
    pytest.importorskip("numba", reason="the parametric chest needs the extra `synthesis`")
    import dataclasses

    from anatomy_vlm.synthesis.phantom import draw_study, sample_parameters

    base = sample_parameters(910_000_001, image_size=160)
    body = dataclasses.replace(base.body, situs_inversus=True, dextrocardia=False)
    film = draw_study(dataclasses.replace(base, body=body, findings=())).film
    evidence = film_evidence([film, film[:, ::-1]])["flipped"]
    assert evidence[0] > 0 > evidence[1]
    reasons = json.dumps(audit_flags([film]))
    assert "flipped" not in reasons or "situs inverted" in reasons
