"""Shadows of solids made of voxels: what labels of CT look like on a film, for a mask codec to be trained on."""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context

import numpy as np
import torch
from tqdm.auto import tqdm

from anatomy_vlm.modeling.mask_raster_anatomy_vlm import crop_to_box
from anatomy_vlm.training.masks.shapes import MIN_PIXELS, Shapes, batches
from anatomy_vlm.training.masks.solids import SOLIDS, draw_solid


# From the source of the rays to the patient's middle.
SOURCE_MM = 1800.0
SIDE = 64
# A longer outline, in edges of cells of the raster, is left out: far more than twenty tokens can say.
MOST_EDGES = 520
# A solid is seen so often, each time in another pose.
POSES = 3
# Of a batch so much is voxels, the rest bent shapes of synthetic chests.
VOXEL_SHARE = 0.6


def silhouette(rng: np.random.Generator, solid: np.ndarray, voxel: np.ndarray) -> np.ndarray:
    """
    The shadow `(rows, columns)` bool of a solid on a film in a random pose, cropped to it.

    Mostly from the back or from the side, off the central ray, at times leaning or turned. A pixel is inside where its
    ray meets the solid in the middle of a slice, as in `anatomy_vlm.synthesis.projection`.
    """
    axis = int(rng.choice(3, p=[0.55, 0.05, 0.40]))
    block, size = np.moveaxis(solid, axis, 0), np.delete(voxel, axis)
    block = block[tuple(slice(kept[0], kept[-1] + 1) for kept in _extents(block))]
    number, tall, wide = block.shape
    length = max(tall * size[0], wide * size[1])
    pitch = max(math.exp(rng.uniform(math.log(0.55), math.log(1.6))), length / 300)
    center = rng.uniform(-150, 150, 2)
    lean = rng.uniform(-0.15, 0.15, 2) * (rng.random() < 0.5)
    turn = rng.normal(0, 0.1) * (rng.random() < 0.3)
    nearest = rng.uniform(-120, 120)
    side = int(1.25 * length / pitch) + 4
    v, u = ((np.arange(side) - side / 2 + rng.random()) * pitch for _ in range(2))
    out = np.zeros((side, side), bool)
    padded = np.pad(block, ((0, 0), (1, 1), (1, 1)))
    for index in range(number):
        depth = (index - number / 2) * voxel[axis]
        scale = 1 + (nearest + depth) / SOURCE_MM
        y, x = (scale * (at + c) - c + slope * depth for at, c, slope in zip((v, u), center, lean))
        y, x = y[:, None], x[None]
        if turn:
            y, x = math.cos(turn) * y - math.sin(turn) * x, math.sin(turn) * y + math.cos(turn) * x
        row = np.floor(y / size[0] + tall / 2).astype(np.int32).clip(-1, tall) + 1
        column = np.floor(x / size[1] + wide / 2).astype(np.int32).clip(-1, wide) + 1
        # Rows, then columns: several times as fast as both at once, where both are straight.
        out |= padded[index][row, column] if turn else padded[index][row[:, 0]][:, column[0]]
    return _cropped(out)


def _extents(mask: np.ndarray) -> list[np.ndarray]:
    """Where anything is, along each axis."""
    axes = range(mask.ndim)
    return [np.flatnonzero(mask.any(tuple(other for other in axes if other != axis))) for axis in axes]


def _cropped(mask: np.ndarray) -> np.ndarray:
    return mask[tuple(slice(kept[0], kept[-1] + 1) if len(kept) else slice(0) for kept in _extents(mask))]


def _cut(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """Now and then the edge of the film cuts a shape."""
    if rng.random() > 0.12:
        return mask
    rows, columns = int(mask.shape[0] * rng.uniform(0.3, 1)), int(mask.shape[1] * rng.uniform(0.5, 1))
    return _cropped(mask[:rows, :columns] if rng.random() < 0.5 else mask[-rows:, -columns:])


def _raster(rng: np.random.Generator, mask: np.ndarray) -> torch.Tensor:
    """Coverage `(64, 64)` uint8 in a box that is up to half a pixel larger, as one rounded to bins is."""
    rows, columns = mask.shape
    grow = rng.uniform(0, 0.5, 4)
    box = 1 - grow[0], 1 - grow[1], rows + 1 + grow[2], columns + 1 + grow[3]
    return (crop_to_box(torch.from_numpy(np.pad(mask, 1)), box, SIDE) * 255).round().byte()


def outline_edges(rasters: torch.Tensor) -> torch.Tensor:
    """
    How many edges of cells the outlines of coverages `(N, 64, 64)` uint8 have, `(N,)`.

    Example:
        >>> outline_edges(torch.full((1, 64, 64), 255, dtype=torch.uint8))
        tensor([256])
    """
    inside = torch.nn.functional.pad(rasters > 127, (1, 1, 1, 1))
    across = (inside[:, 1:] != inside[:, :-1]).flatten(1).sum(1)
    return across + (inside[:, :, 1:] != inside[:, :, :-1]).flatten(1).sum(1)


def _shapes_of(seed: int, number: int) -> tuple[torch.Tensor, list[str]]:
    rng = np.random.default_rng(seed)
    kinds, weights = list(SOLIDS), np.array([weight for _, weight in SOLIDS.values()])
    rasters: list[torch.Tensor] = []
    names: list[str] = []
    while len(rasters) < number:
        kind = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
        solid, voxel = draw_solid(rng, kind)
        for _ in range(POSES if solid.any() else 0):
            mask = _cut(rng, silhouette(rng, solid, voxel))
            if mask.sum() < MIN_PIXELS:
                continue
            raster = _raster(rng, mask)
            if outline_edges(raster[None]) <= MOST_EDGES:
                rasters.append(raster)
                names.append(kind)
    return torch.stack(rasters[:number]), names[:number]


def draw_voxel_shapes(count: int, seed: int = 0, num_workers: int = 2, progress: bool = True) -> Shapes:
    """
    Shadows, coverages `(count, 64, 64)` uint8 in their boxes; the same for the same count and seed.

    About 50 a second on one core; `num_workers` of 0 draws them in this process.
    """
    part = 50
    seeds = range(seed, seed + max(-(-count // part), 1))
    with ExitStack() as stack:
        run: Callable = map
        if num_workers:
            run = stack.enter_context(ProcessPoolExecutor(num_workers, mp_context=get_context("spawn"))).map
        parts = run(_shapes_of, seeds, [part] * len(seeds))
        drawn = list(tqdm(parts, desc="voxel shapes", total=len(seeds), unit="part", disable=not progress))
    rasters, names = [some for some, _ in drawn], [name for _, kinds in drawn for name in kinds]
    return Shapes(torch.cat(rasters)[:count], tuple(names[:count]))


def mixed_batches(bent: Shapes, voxels: Shapes, batch_size: int, seed: int = 0) -> Iterator[torch.Tensor]:
    """
    Endless batches of coverages `(batch_size or a few less, 64, 64)` in [0, 1]: shadows of voxels, mirrored or
    transposed but not bent (steps lie along rows and columns), and bent shapes of synthetic chests.
    """
    generator = torch.Generator().manual_seed(seed)
    number = round(VOXEL_SHARE * batch_size)
    for smooth in batches(bent, batch_size - number, seed):
        steps = voxels.rasters[torch.randint(len(voxels.rasters), (number,), generator=generator)].float().div(255)
        mirror_rows, mirror_columns, transpose = torch.rand(3, number, 1, 1, generator=generator) < 0.5
        steps = torch.where(mirror_rows, steps.flip(1), steps)
        steps = torch.where(mirror_columns, steps.flip(2), steps)
        yield torch.cat((torch.where(transpose, steps.transpose(1, 2), steps), smooth))
