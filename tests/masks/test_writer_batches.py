"""Batches of the mask writer: places move with the film, shapes stay, and what is cut is not taught."""

import numpy as np
import pytest
import torch

from anatomy_vlm.modeling.mask_raster_anatomy_vlm import paste_from_box
from anatomy_vlm.modeling.mask_writer_losses_anatomy_vlm import IGNORED
from anatomy_vlm.training.augmentation import Augmentation, augment
from anatomy_vlm.training.masks.film_shapes import (
    draw_film_shapes,
    drawn_or_kept,
    load_film_shapes,
    save_film_shapes,
)
from anatomy_vlm.training.masks.masked_films import PERTURBATIONS, PerturbedFilms, ShapeFilms
from anatomy_vlm.training.masks.writer_batches import (
    WriterBatching,
    WriterCollator,
    WriterSequence,
    move_boxes,
    recut,
)

from .conftest import SIDE, tiny_writer


STILL = Augmentation(zoom=0, shift=0, contrast=0, brightness=0, gamma=0, noise=0, blur=0, erase=0)


def batch(shapes, augmentation, batching=None, size=6):
    writer = tiny_writer()
    batching = batching or WriterBatching(structures_per_film=3, jittered=0.0)
    sequence = WriterSequence(shapes, batching, size)
    collate = WriterCollator(writer, shapes, [0.5] * 3, [0.5] * 3, augmentation, batching)
    return writer, collate([sequence[index] for index in range(size)])


def test_shapes_select_and_come_back(shapes, tmp_path):
    assert len(shapes) == 6 and shapes.table().min() == -1
    some = shapes.select([5, 2])
    assert torch.equal(some.films[1], shapes.films[2])
    heart, lung = (shapes.names.index(name) for name in ("cardiac silhouette", "left lung"))
    assert some.table()[0, heart] == -1 and some.table()[1, heart] >= 0
    row, other = int(some.table()[1, lung]), int(shapes.table()[2, lung])
    assert torch.equal(some.mask(row, (80, 80)), shapes.mask(other, (80, 80)))
    save_film_shapes(shapes, tmp_path / "films.safetensors")
    loaded = load_film_shapes(tmp_path / "films.safetensors")
    assert loaded.names == shapes.names and torch.equal(loaded.rasters, shapes.rasters)
    with pytest.raises(ValueError, match="holds 6 films of 80 pixels, not 7 of 80"):
        drawn_or_kept(tmp_path / "films.safetensors", 7, 0, 80)
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no films with shapes"):
        load_film_shapes(tmp_path / "broken.safetensors")


def test_answers_are_what_is_on_the_film(shapes):
    writer, out = batch(shapes, STILL)
    config = writer.config
    labels = out["labels"]
    assert out["pixel_values"].shape == (6, 3, SIDE, SIDE) and labels.shape == (18, 6 + config.num_shape_codes)
    absent = labels[:, 1] == config.eos_token_id
    assert absent.sum() == 1 and (out["rasters"][absent] == -1).all()
    pixels = out["pixel_values"][:, 0] * 0.5 + 0.5
    for row in (~absent).nonzero()[:, 0].tolist():
        box = (labels[row, 1:5] - config.first_place) / (config.box_bins - 1) * SIDE
        mask = paste_from_box(out["rasters"][row], tuple(box.tolist()), (SIDE, SIDE), 0.5)
        name = config.structures[int(labels[row, 0]) - config.first_structure]
        inside = pixels[row // 3][mask].mean()
        assert inside > 0.65 if name == "cardiac silhouette" else inside < 0.45
        # Left is the patient's: on the image's right.
        middle = mask.nonzero()[:, 1].float().mean() / SIDE
        assert middle < 0.45 if name.startswith("right") else middle > 0.5


def test_places_follow_the_film_and_shapes_stay(shapes):
    moving = Augmentation(zoom=0.2, shift=0.1, contrast=0, brightness=0, gamma=0, noise=0, blur=0, erase=0)
    draws = torch.rand(3, 19, generator=torch.Generator().manual_seed(3))
    boxes = shapes.boxes[:6].reshape(3, 2, 4)
    images = torch.zeros(3, SIDE, SIDE)
    xyxy = boxes[..., [1, 0, 3, 2]]
    _, moved, _ = augment(images, xyxy, torch.ones(3, 2, dtype=torch.bool), draws, moving)
    own = move_boxes(boxes, draws, moving)
    inside = ((own > 0) & (own < 1)).all(-1)
    assert inside.any() and torch.allclose(own[inside], moved[inside][:, [1, 0, 3, 2]], atol=1e-6)
    _, still = batch(shapes, STILL)
    _, other = batch(shapes, moving)
    both = (still["labels"][:, 5] >= 0) & (other["labels"][:, 5] >= 0)
    assert both.sum() > 6
    assert not torch.equal(still["labels"][both, 1:5], other["labels"][both, 1:5])
    # The same shape, resampled into a box whose bins lie a little differently.
    assert (still["rasters"][both] - other["rasters"][both]).abs().mean() < 0.02


def test_what_is_cut_is_neither_there_nor_absent(shapes):
    writer, out = batch(
        shapes, Augmentation(zoom=0, shift=1.0, contrast=0, brightness=0, gamma=0, noise=0, blur=0, erase=0)
    )
    first = out["labels"][:, 1]
    assert (first == IGNORED).any() and (first == writer.config.eos_token_id).sum() > 1


def test_a_box_that_is_off_is_read_but_not_taught(shapes):
    batching = WriterBatching(structures_per_film=3, jittered=1.0, jitter=0.1)
    writer, out = batch(shapes, STILL, batching)
    present = out["labels"][:, 1] > writer.config.first_place
    read, true = out["decoder_input_ids"][:, 2:6], out["labels"][:, 1:5]
    assert (read[present] != true[present]).any(1).float().mean() > 0.8
    assert (out["labels"][present, 5:-1] == IGNORED).all() and (out["rasters"][present] >= 0).all()


def test_recutting_into_the_same_box_changes_nothing_and_a_half_shows_half():
    raster = torch.zeros(1, 64, 64)
    raster[:, :, :32] = 1.0
    box = torch.tensor([[0.2, 0.2, 0.6, 0.6]])
    assert torch.allclose(recut(raster, box, box), raster, atol=1e-5)
    half = recut(raster, box, torch.tensor([[0.2, 0.2, 0.6, 0.4]]))
    assert half[0, :, 2:-2].min() > 0.9


def test_items_depend_on_seed_and_place_alone(shapes):
    first, second = (WriterSequence(shapes, WriterBatching(structures_per_film=3), 30) for _ in range(2))
    for index in (7, 3):
        one, other = first[index], second[index]
        assert all(
            torch.equal(one[key], other[key]) if isinstance(one[key], torch.Tensor) else one[key] == other[key]
            for key in one
        )


def test_perturbed_films_keep_masks_on_what_they_show(shapes):
    films = ShapeFilms(shapes, ["right lung", "left lung", "cardiac silhouette"])
    for change, values in PERTURBATIONS.items():
        changed = PerturbedFilms(films, **values)
        film, masks = changed.read(1)
        pixels = np.asarray(film, float)
        lungs = pixels[masks[0] | masks[1]].mean()
        assert (lungs > pixels.mean()) if change == "inverted" else (lungs < pixels.mean() + 30), change
        # Nothing of it exchanges the sides.
        columns = [np.nonzero(mask)[1].mean() for mask in masks[:2]]
        assert columns[0] < columns[1], change
    with pytest.raises(ValueError, match="no structure 'spleen'"):
        ShapeFilms(shapes, ["spleen"])


def test_drawn_films_are_the_same_again():
    pytest.importorskip("numba", reason="needs the extra synthesis")
    one = draw_film_shapes(1, 9_000_000, 64, num_workers=0, progress=False)
    other = draw_film_shapes(1, 9_000_000, 64, num_workers=0, progress=False)
    assert torch.equal(one.films, other.films) and torch.equal(one.boxes, other.boxes)
    lungs = {name: one.boxes[int(one.table()[0, one.names.index(name)])] for name in ("left lung", "right lung")}
    assert lungs["left lung"][1] > lungs["right lung"][1]
