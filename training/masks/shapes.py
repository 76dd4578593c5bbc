"""Shapes to train a mask codec on: the structures of synthetic chests, turned, bent, joined and cut."""

import math
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from tqdm.auto import tqdm

from anatomy_vlm.modeling.mask_raster_anatomy_vlm import crop_to_box, mask_box


# Shapes are kept finer than the raster that codecs see, so that what is bent can be cut out again.
KEPT_SIDE = 112
MIN_PIXELS = 150
# Inside a shape, a point at 0.5 of its coverage lies on its edge; this many times as steep is nearly a mask.
EDGE = 6.0


@dataclass(frozen=True)
class Shapes:
    """
    Args:
        rasters: uint8 `(N, side, side)`, coverage from 0 to 255 inside the tight box; `side` is KEPT_SIDE, or 64 for
            shadows of voxels, which are not bent.
        families: What each is, `(N,)`: "rib", "vertebral_body", "heart", ...
    """

    rasters: torch.Tensor
    families: tuple[str, ...]

    def weights(self) -> torch.Tensor:
        """How often each is drawn: families by the square root of their number, so that ribs are not everything."""
        counts = Counter(self.families)
        return torch.tensor([1 / math.sqrt(counts[family]) for family in self.families])


def family(name: str) -> str:
    """
    The kind of a structure, without its side and number.

    Example:
        >>> family("rib_left_4"), family("left lung"), family("vertebral_body_T4")
        ('rib', 'lung', 'vertebral_body')
    """
    parts = [part for part in name.replace(" ", "_").split("_") if part not in ("left", "right")]
    return "_".join(part for part in parts if not any(letter.isdigit() for letter in part))


def _shapes_of(seeds: range, image_size: int) -> tuple[torch.Tensor, list[str]]:
    from anatomy_vlm.synthesis.phantom.masks import structure_masks
    from anatomy_vlm.synthesis.phantom.patient import draw_study, sample_parameters

    rasters, names = [], []
    for seed in seeds:
        study = draw_study(sample_parameters(seed, image_size=image_size, domain="mixed"))
        for name, mask in structure_masks(study).items():
            tensor = torch.from_numpy(mask)
            box = mask_box(tensor)
            if box is None or tensor.sum() < MIN_PIXELS:
                continue
            rasters.append((crop_to_box(tensor, box, KEPT_SIDE) * 255).round().byte())
            names.append(family(name))
    return torch.stack(rasters), names


def draw_shapes(
    num_patients: int, seed: int = 0, image_size: int = 384, num_workers: int = 2, progress: bool = True
) -> Shapes:
    """Shapes of `num_patients` synthetic patients; the same for the same arguments. Needs the extra `synthesis`."""
    parts = [range(start, min(start + 16, seed + num_patients)) for start in range(seed, seed + num_patients, 16)]
    rasters, names = [], []
    with (
        ProcessPoolExecutor(max(num_workers, 1), mp_context=get_context("spawn")) as pool,
        tqdm(total=len(parts), desc="shapes", unit="part", disable=not progress) as bar,
    ):
        for some, kinds in pool.map(_shapes_of, parts, [image_size] * len(parts)):
            rasters.append(some)
            names += kinds
            bar.update()
    return Shapes(torch.cat(rasters), tuple(names))


def save_shapes(shapes: Shapes, path: Path) -> None:
    """Keep shapes in one file, written beside its place and renamed."""
    scratch = path.with_name(f".{path.name}")
    save_file({"rasters": shapes.rasters}, scratch, metadata={"families": ",".join(shapes.families)})
    os.replace(scratch, path)


def load_shapes(path: Path) -> Shapes:
    """Read what `save_shapes` wrote."""
    with safe_open(path, framework="pt") as file:
        return Shapes(file.get_tensor("rasters"), tuple(file.metadata()["families"].split(",")))


def batches(shapes: Shapes, batch_size: int, seed: int = 0) -> Iterator[torch.Tensor]:
    """
    Endless batches of coverages `(batch_size or a few less, 64, 64)` in [0, 1], each shape in its tight box.

    Both sides of a mirrored shape are seen: a codec must code either, and what is left is for the words to say.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = shapes.weights()
    while True:
        first, second = (
            shapes.rasters[torch.multinomial(weights, batch_size, replacement=True, generator=generator)][:, None]
            .float()
            .div(255)
            for _ in range(2)
        )
        yield tight_rasters(_bend(_join(first, second, generator), generator), generator)


def _uniform(generator: torch.Generator, *size: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    return torch.rand(*size, generator=generator) * (high - low) + low


def _join(first: torch.Tensor, second: torch.Tensor, generator: torch.Generator, share: float = 0.12) -> torch.Tensor:
    """A share of the shapes with another one, made small, beside them or cut out of them."""
    count = len(first)
    matrices = torch.zeros(count, 2, 3)
    for axis in (0, 1):
        matrices[:, axis, axis] = _uniform(generator, count, low=1.5, high=3.5)
    matrices[:, :, 2] = _uniform(generator, count, 2, low=-1.5, high=1.5)
    grid = nn.functional.affine_grid(matrices, list(second.shape), align_corners=False)
    second = nn.functional.grid_sample(second, grid, align_corners=False)
    chosen = (_uniform(generator, count) < share)[:, None, None, None]
    cut = (_uniform(generator, count) < 0.5)[:, None, None, None]
    joined = torch.where(cut, first * (1 - second), torch.maximum(first, second))
    return torch.where(chosen, joined, first)


def _bend(shapes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random turns, stretches, shears, mirrors and smooth displacements."""
    count, side = len(shapes), shapes.shape[-1]
    most = torch.where(_uniform(generator, count) < 0.5, 0.25, 1.2)
    angle = _uniform(generator, count, low=-1.0) * most
    stretch = 1.35 * torch.exp(0.15 * torch.randn(count, 2, generator=generator))
    shear = 0.15 * torch.randn(count, generator=generator)
    cos, sin = angle.cos(), angle.sin()
    rows = (
        torch.stack([cos * stretch[:, 0], -sin * stretch[:, 1] + shear], 1),
        torch.stack([sin * stretch[:, 0], cos * stretch[:, 1]], 1),
    )
    matrices = torch.stack(rows, 1)
    mirror = torch.stack([_uniform(generator, count) < 0.5, _uniform(generator, count) < 0.15], 1)
    matrices = matrices * torch.where(mirror, -1.0, 1.0)[:, None]
    matrices = nn.functional.pad(matrices, (0, 1))
    grid = nn.functional.affine_grid(matrices, [count, 1, side, side], align_corners=False)
    strength = 0.25 * _uniform(generator, count, 1, 1, 1) ** 2
    for cells, share in ((5, 1.0), (10, 0.3)):
        noise = torch.randn(count, 2, cells, cells, generator=generator)
        noise = nn.functional.interpolate(noise, (side, side), mode="bicubic", align_corners=True)
        grid = grid + share * strength * noise.permute(0, 2, 3, 1)
    return nn.functional.grid_sample(shapes, grid, align_corners=False)


def tight_rasters(shapes: torch.Tensor, generator: torch.Generator, side: int = 64) -> torch.Tensor:
    """Coverages `(N, side, side)` of shapes `(N, 1, S, S)` in their boxes, grown by less than a bin; empty ones go."""
    inside = shapes[:, 0] > 0.5
    kept = inside.flatten(1).sum(1) > 60
    shapes, inside = shapes[kept], inside[kept]
    extent = shapes.shape[-1]
    edges = []
    for seen in (inside.any(2), inside.any(1)):
        first, last = seen.float().argmax(1), extent - seen.flip(1).float().argmax(1)
        grow = 0.4 * torch.rand(2, len(shapes), generator=generator)
        edges.append((first - grow[0], last + grow[1]))
    fine = (torch.arange(2 * side) + 0.5) / (2 * side)
    y, x = ((start[:, None] + (stop - start)[:, None] * fine) / extent * 2 - 1 for start, stop in edges)
    grid = torch.stack((x[:, None].expand(-1, 2 * side, -1), y[:, :, None].expand(-1, -1, 2 * side)), -1)
    levels = nn.functional.grid_sample(shapes, grid, align_corners=False)
    return nn.functional.avg_pool2d(((levels - 0.5) * EDGE + 0.5).clamp(0, 1), 2)[:, 0]
