"""Polygons: outlines against all edges of the pixels, exact filling, sides, and what one outline can say."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from anatomy_vlm.modeling.mask_polygon_anatomy_vlm import (
    PolygonMaskCodec,
    fill_polygon,
    fit_vertices,
    simplify_outline,
    trace_outline,
)


def dice(a, b) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def filled_largest(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask)
    sizes = ndimage.sum_labels(mask, labels, range(1, count + 1))
    # What a hole's corner connects to the outside is no hole: pixels belong together by edges, what is around them by
    # corners too.
    return ndimage.binary_fill_holes(labels == int(np.argmax(sizes)) + 1, np.ones((3, 3)))


def blob(size: int = 256) -> torch.Tensor:
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) / size] * 2, indexing="ij")
    angle = torch.atan2(y - 0.5, x - 0.4)
    return (y - 0.5) ** 2 + (x - 0.4) ** 2 < (
        0.22 + 0.06 * torch.sin(3 * angle + 0.5) + 0.02 * torch.cos(5 * angle)
    ) ** 2


@given(st.integers(1, 14), st.integers(1, 14), st.integers(0, 2**32 - 1), st.floats(0.2, 0.9))
@settings(max_examples=150)
def test_the_whole_outline_is_the_mask(height, width, seed, share):
    mask = np.random.default_rng(seed).random((height, width)) < share
    outline = trace_outline(mask)
    if not mask.any():
        assert len(outline) == 0 and PolygonMaskCodec(8).encode(torch.from_numpy(mask)[None]) == [[]]
        return
    # As long as all edges between the filled component and what is around it, each once.
    whole = filled_largest(mask)
    padded = np.pad(whole, 1)
    assert len(outline) == sum((np.diff(padded.astype(int), axis=axis) != 0).sum() for axis in (0, 1))
    assert len({tuple(point) for point in outline}) == len(outline)
    found = np.zeros_like(mask)
    fill_polygon(outline, found)
    assert (found == whole).all()


@given(st.integers(3, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_filling_is_even_odd_at_pixel_centres(number, seed):
    rng = np.random.default_rng(seed)
    vertices = rng.uniform(-8, 30, (number, 2)).round(rng.integers(0, 3))
    found = np.zeros((24, 20), dtype=bool)
    fill_polygon(vertices, found)
    for row, column in rng.integers(0, (24, 20), (40, 2)):
        y, x, crossings = row + 0.5, column + 0.5, 0
        for (y0, x0), (y1, x1) in zip(vertices, np.roll(vertices, -1, axis=0)):
            # A ray to the left, against the definition.
            crossings += (y0 <= y) != (y1 <= y) and x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x
        assert found[row, column] == crossings % 2


def test_the_smallest_triangles_go_first():
    rng = np.random.default_rng(0)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 40))
    outline = np.stack((np.sin(angle), np.cos(angle)), 1) * rng.uniform(5, 9, (40, 1))
    left, least = list(range(40)), 0.0
    while len(left) > 7:
        areas = []
        for place in range(len(left)):
            a, b, c = (outline[left[(place + step) % len(left)]] for step in (-1, 0, 1))
            areas.append(abs((b[1] - a[1]) * (c[0] - a[0]) - (c[1] - a[1]) * (b[0] - a[0])))
        if not least:
            least = min(areas)
        left.pop(int(np.argmin(areas)))
    kept = simplify_outline(outline, 7)
    assert len(kept) == 7 and (np.diff(kept) > 0).all()
    # An effective area never falls, so the two may differ in a few points, not in the large ones.
    assert len(set(kept) & set(left)) >= 5


def test_fitted_vertices_are_nearer_to_the_outline():
    outline = trace_outline(blob().numpy())
    kept = simplify_outline(outline, 12)
    errors = []
    for vertices in (outline[kept], fit_vertices(outline, kept)):
        found = np.zeros((256, 256), dtype=bool)
        fill_polygon(vertices, found)
        errors.append(1 - dice(found, blob().numpy()))
    assert errors[1] < 0.8 * errors[0]


def test_there_and_back():
    mask = blob()
    scores = []
    for number in (8, 16, 24):
        codec = PolygonMaskCodec(number)
        (codes,) = codec.encode(mask[None])
        assert len(codes) == codec.num_codes == 2 * number and set(codec.prefixes) == {"loc"}
        scores.append(dice(codec.decode([codes], (256, 256))[0], mask))
        # The same code on a larger image is the same shape.
        assert dice(codec.decode([codes], (512, 512))[0], blob(512)) > scores[-1] - 0.01
        assert tuple(codes[:2]) == min(zip(codes[::2], codes[1::2]))
    assert scores == sorted(scores) and scores[0] > 0.95 and scores[2] > 0.99
    assert codec.vocabulary()[:2] == ["<loc0000>", "<loc0001>"] and len(codec.vocabulary()) == 1024
    assert codec.tokens(codes).count("<loc") == 48


def test_left_stays_left():
    codec, mask = PolygonMaskCodec(24), blob()
    plain, mirrored = codec.decode(codec.encode(torch.stack((mask, mask.flip(1)))), (256, 256))
    assert dice(mirrored, plain.flip(1)) > 0.98
    assert dice(mirrored, mask.flip(1)) > 0.98
    assert plain[:, :128].sum() > 2 * plain[:, 128:].sum() and mirrored[:, 128:].sum() > 2 * mirrored[:, :128].sum()


def test_absent_whole_thin_and_parted():
    masks = torch.zeros(5, 40, 60, dtype=torch.bool)
    masks[1] = True
    masks[2, 7, 5] = True
    masks[3, 10:30, 20] = True
    masks[4, 5:25, 5:25], masks[4, 10:15, 10:15], masks[4, 30:35, 30:35] = True, False, True
    codec = PolygonMaskCodec(12)
    codes = codec.encode(masks)
    found = codec.decode(codes, (40, 60))
    assert codes[0] == [] and not found[0].any()
    assert all(len(one) == 24 for one in codes[1:])
    assert dice(found[1], masks[1]) > 0.99 and found[2].sum() == 1 and found[2, 7, 5]
    assert dice(found[3], masks[3]) > 0.9
    # One outline: without the hole, and without the smaller part.
    assert found[4, 12, 12] and not found[4, 28:].any()


def test_codes_that_no_mask_has():
    codec = PolygonMaskCodec(3)
    assert not codec.decode([[5] * 6], (20, 20)).any()
    with pytest.raises(ValueError, match="a mask has 6 codes"):
        codec.decode([[1, 2, 3]], (8, 8))
    with pytest.raises(ValueError, match="code 2 is 1024"):
        codec.decode([[0, 0, 1024, 0, 5, 5]], (8, 8))
    with pytest.raises(ValueError, match="at least 3 vertices"):
        PolygonMaskCodec(2)
