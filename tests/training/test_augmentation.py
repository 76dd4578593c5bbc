"""Augmentation moves boxes with the image, keeps left and right, and draws the same on every machine."""

import pytest
import torch

from anatomy_vlm.training.augmentation import MAX_BAR, NUM_DRAWS, Augmentation, augment


OFF = {"zoom": 0, "shift": 0, "contrast": 0, "brightness": 0, "gamma": 0, "noise": 0, "blur": 0, "erase": 0}


def squares(count: int = 8, side: int = 64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images with one bright rectangle each, and its box."""
    generator = torch.Generator().manual_seed(0)
    images, boxes = torch.zeros(count, side, side), torch.zeros(count, 1, 4)
    for index in range(count):
        x0, y0 = torch.randint(16, 28, (2,), generator=generator).tolist()
        width, height = torch.randint(8, 20, (2,), generator=generator).tolist()
        images[index, y0 : y0 + height, x0 : x0 + width] = 1
        boxes[index, 0] = torch.tensor([x0, y0, x0 + width, y0 + height]) / side
    return images, boxes, torch.ones(count, 1, dtype=torch.bool)


def draws(count: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, NUM_DRAWS, generator=torch.Generator().manual_seed(seed))


def test_boxes_follow_the_image():
    options = Augmentation(**{**OFF, "zoom": 0.2, "shift": 0.1})
    images, boxes, mask = augment(*squares(), draws(8), options)
    for image, box in zip(images, boxes[:, 0]):
        rows, columns = (image > 0.5).nonzero(as_tuple=True)
        found = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 64
        assert torch.allclose(found, box, atol=1 / 64)
    assert mask.all()


def test_left_stays_left():
    images = torch.zeros(16, 32, 32)
    images[:, :, :16] = 1
    left = torch.tensor([[[0.0, 0.0, 0.4, 1.0], [0.6, 0.0, 1.0, 1.0]]]).expand(16, -1, -1)
    moved, boxes, _ = augment(images, left, torch.ones(16, 2, dtype=torch.bool), draws(16), Augmentation())
    assert (moved[:, :, 4:12].mean((1, 2)) > moved[:, :, 20:28].mean((1, 2))).all()
    assert (boxes[:, 0, 0] < boxes[:, 1, 0]).all()


def test_a_region_that_leaves_the_picture_is_gone():
    boxes = torch.tensor([[[0.0, 0.0, 0.02, 0.02], [0.4, 0.4, 0.6, 0.6]]])
    largest = torch.full((1, NUM_DRAWS), 0.5)
    largest[:, 2:4] = 1.0
    options = Augmentation(**{**OFF, "shift": 0.5})
    _, moved, mask = augment(torch.zeros(1, 32, 32), boxes, torch.ones(1, 2, dtype=torch.bool), largest, options)
    assert mask.tolist() == [[False, False]]
    assert ((moved >= 0) & (moved <= 1)).all()


def test_bars_hide_two_opposite_sides_and_cut_the_boxes():
    images, whole = torch.ones(64, 60, 60), torch.tensor([[[0.0, 0.0, 1.0, 1.0]]]).expand(64, 1, 4)
    numbers = draws(64)
    covered, boxes, _ = augment(
        images, whole, torch.ones(64, 1, dtype=torch.bool), numbers, Augmentation(**OFF, bars=1)
    )
    upright = numbers[:, 18] < 0.5
    assert 16 < upright.sum() < 48
    for image, box, narrow in zip(covered, boxes[:, 0].tolist(), upright.tolist()):
        rows, columns = (image > 0.5).nonzero(as_tuple=True)
        found = [columns.min() / 60, rows.min() / 60, (columns.max() + 1) / 60, (rows.max() + 1) / 60]
        assert found == pytest.approx(box, abs=1 / 60)
        assert (box[1::2] if narrow else box[::2]) == [0.0, 1.0]
        assert (
            box[0 if narrow else 1] == pytest.approx(1 - box[2 if narrow else 3], abs=1e-6) and max(box[:2]) <= MAX_BAR
        )


def test_nothing_changes_when_all_is_off():
    images, boxes, mask = squares()
    same, same_boxes, same_mask = augment(images, boxes, mask, draws(8), Augmentation(**OFF))
    assert torch.allclose(images, same, atol=1e-5) and torch.allclose(boxes, same_boxes, atol=1e-6)
    assert torch.equal(mask, same_mask)


def test_an_image_does_not_depend_on_its_batch():
    images, boxes, mask = squares()
    numbers = draws(8)
    together, *_ = augment(images, boxes, mask, numbers, Augmentation())
    alone, *_ = augment(images[3:4], boxes[3:4], mask[3:4], numbers[3:4], Augmentation())
    assert torch.allclose(together[3:4], alone, atol=1e-6)
    assert ((together >= 0) & (together <= 1)).all()


def test_impossible_strengths_are_refused():
    with pytest.raises(ValueError, match="'zoom' must be within"):
        Augmentation(zoom=2)
