"""Rasters in boxes: exact sums, the same mask at another resolution, sides, and what is left of thin structures."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomy_vlm.modeling.mask_raster_anatomy_vlm import (
    bins_to_box,
    box_to_bins,
    crop_to_box,
    mask_box,
    paste_from_box,
)


def dice(a: torch.Tensor, b: torch.Tensor) -> float:
    return (2 * (a & b).sum() / (a.sum() + b.sum())).item()


def ellipse(height: int, width: int, tilt: float = 0.4, thin: float = 0.5) -> torch.Tensor:
    y, x = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
    u, v = (x - 0.45) + tilt * (y - 0.5), (y - 0.5) - tilt * (x - 0.45)
    return (u / 0.3) ** 2 + (v / (0.3 * thin)) ** 2 < 1


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 8, 64]))
@settings(max_examples=60)
def test_the_raster_holds_the_mask_s_area(height, width, seed, side):
    mask = torch.from_numpy(np.random.default_rng(seed).random((height, width)) < 0.4)
    box = mask_box(mask)
    if box is None:
        assert not mask.any()
        return
    bins = box_to_bins(box, (height, width))
    grown = bins_to_box(bins, (height, width))
    assert grown[0] <= box[0] + 1e-4 and grown[1] <= box[1] + 1e-4
    assert grown[2] >= box[2] - 1e-4 and grown[3] >= box[3] - 1e-4
    raster = crop_to_box(mask, grown, side)
    cell = (grown[2] - grown[0]) * (grown[3] - grown[1]) / side**2
    # In the box lies all of it, so the cells' shares add up to its pixels.
    assert raster.double().sum().item() * cell == pytest.approx(mask.sum().item(), rel=1e-3, abs=1e-3)


def test_the_raster_equals_a_mean_over_fine_samples():
    mask = ellipse(90, 70)
    box = (10.3, 5.7, 80.9, 61.2)
    raster = crop_to_box(mask, box, 8)
    fine = 400
    rows = (box[0] + (torch.arange(8 * fine) + 0.5) / (8 * fine) * (box[2] - box[0])).long()
    columns = (box[1] + (torch.arange(8 * fine) + 0.5) / (8 * fine) * (box[3] - box[1])).long()
    slow = mask[rows][:, columns].float().unflatten(0, (8, fine)).unflatten(2, (8, fine)).mean((1, 3))
    assert (raster - slow).abs().max() < 2e-3


def test_there_and_back_keeps_the_shape():
    for mask, least in ((ellipse(512, 480), 0.99), (ellipse(512, 480, 1.0, 0.08), 0.97), (ellipse(40, 30), 0.97)):
        size = tuple(mask.shape)
        box = bins_to_box(box_to_bins(mask_box(mask), size), size)
        assert dice(paste_from_box(crop_to_box(mask, box), box, size, threshold=0.5), mask) > least


def test_the_code_does_not_depend_on_the_resolution():
    small, large = ellipse(256, 256), ellipse(1024, 1024)
    bins = [box_to_bins(mask_box(mask), tuple(mask.shape)) for mask in (small, large)]
    assert max(abs(a - b) for a, b in zip(*bins)) <= 4  # a pixel of the small one
    raster = crop_to_box(large, bins_to_box(bins[1], (1024, 1024)))
    pasted = paste_from_box(raster, bins_to_box(bins[1], (256, 256)), (256, 256), threshold=0.5)
    assert dice(pasted, small) > 0.985


def test_left_stays_left():
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[10:30, 40:60] = True
    box = bins_to_box(box_to_bins(mask_box(mask), (64, 64)), (64, 64))
    mirrored = mask.flip(1)
    other = bins_to_box(box_to_bins(mask_box(mirrored), (64, 64)), (64, 64))
    assert box[1] > 32 > other[3]
    assert torch.allclose(crop_to_box(mask, box).flip(1), crop_to_box(mirrored, other), atol=1e-5)


def test_a_box_off_the_image_and_one_within_a_pixel():
    levels = torch.ones(64, 64)
    assert paste_from_box(levels, (10.0, 10.0, 10.2, 10.2), (16, 16)).sum() == 0
    assert paste_from_box(levels, (-5.0, -5.0, 40.0, 40.0), (16, 16)).all()
    assert bins_to_box([9, 9, 3, 3], (1023, 1023)) == (3.0, 3.0, 9.0, 9.0)
