"""Batches for the network that audits films: whole and cut chests, side views, other pictures; warped and erased."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from anatomy_vlm.processing.film_audit import GRID, KINDS, rank_grids


# Where the lungs end outside of a film that has less than the first share of them cut off, it is whole; from the
# second on, cut. What lies between has no label.
_WHOLE, _CUT = 0.01, 0.10
_BORDER = 0.004


@dataclass(frozen=True)
class FilmPool:
    """Films to make batches of.

    Attributes:
        chests: (n, s, s) in [0, 1], upright and frontal.
        lungs: (n, 4), x0 y0 x1 y1 of both lungs as fractions of the film.
        usual: (n,) bool: heart and aorta lie where they usually do (no dextrocardia, no situs inversus).
        laterals: (m, t, t) in [0, 1].
        others: (k, t, t) in [0, 1].
    """

    chests: torch.Tensor
    lungs: torch.Tensor
    usual: torch.Tensor
    laterals: torch.Tensor
    others: torch.Tensor


@dataclass(frozen=True)
class FilmBatch:
    """Grids (b, 64, 64) as `rank_grids` makes them; kinds (b,) of `KINDS`; cropped (b,), 1, 0 or NaN (unknown); and
    posed (b,) bool, whether pose 0 is the right one."""

    grids: torch.Tensor
    kinds: torch.Tensor
    cropped: torch.Tensor
    posed: torch.Tensor


def film_batches(pool: FilmPool, size: int, steps: int, seed: int) -> Iterator[FilmBatch]:
    """
    Batches of `size` films: six tenths chests of which a third is cut, one eighth side views, the rest other
    pictures; among those details of chests, and chests in pieces, so that it is the whole that makes a chest.
    """
    generator = torch.Generator().manual_seed(seed)
    lateral = max(1, size // 8)
    chest = max(1, 6 * size // 10)
    detail = max(1, size // 16)
    pieces = max(1, size // 16)
    other = max(1, size - chest - lateral - detail - pieces)
    for _ in range(steps):
        pick = torch.randint(len(pool.chests), (chest,), generator=generator)
        views = _views(chest, generator, zoom=(0.8, 1.3), shift=0.1)
        cut = torch.rand(chest, generator=generator) < 0.35
        views = torch.where(cut[:, None], _cutting(pool.lungs[pick], generator), views)
        chests, cropped = _seen(pool.chests[pick], views, generator), _cropped(pool.lungs[pick], views)
        parts = [chests]
        for films, count, zoom in (
            (pool.laterals, lateral, (0.75, 1.9)),
            (pool.chests, detail, (3.0, 6.0)),
            (pool.others, other, (0.7, 2.0)),
        ):
            chosen = films[torch.randint(len(films), (count,), generator=generator)]
            shift = 0.35 if zoom[0] > 2 else 0.15
            parts.append(_seen(chosen, _views(count, generator, zoom=zoom, shift=shift), generator))
        broken = pool.chests[torch.randint(len(pool.chests), (pieces,), generator=generator)]
        whole = _seen(broken, _views(pieces, generator, zoom=(0.9, 1.3), shift=0.1), generator)
        parts.append(_in_pieces(whole, generator))
        unknown = torch.full((size - chest,), math.nan)
        kinds = [KINDS.index("frontal")] * chest + [KINDS.index("lateral")] * lateral
        kinds += [KINDS.index("other")] * (size - len(kinds))
        yield FilmBatch(
            grids=rank_grids(_soiled(torch.cat(parts), generator)),
            kinds=torch.tensor(kinds),
            cropped=torch.cat((cropped, unknown)),
            posed=torch.cat((pool.usual[pick] & ~(cropped == 1), torch.zeros(size - chest, dtype=torch.bool))),
        )


def audit_losses(
    outputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor], batch: FilmBatch
) -> dict[str, torch.Tensor]:
    """Cross-entropies of pose, kind and cut."""
    pose, kind, cropped = outputs
    known = ~batch.cropped.isnan()
    right = torch.zeros(int(batch.posed.sum()), dtype=torch.long)
    return {
        "pose": nn.functional.cross_entropy(pose[batch.posed], right),
        "kind": nn.functional.cross_entropy(kind, batch.kinds),
        "cropped": nn.functional.binary_cross_entropy_with_logits(cropped[known], batch.cropped[known]),
    }


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _views(count: int, generator: torch.Generator, *, zoom: tuple[float, float], shift: float) -> torch.Tensor:
    """Windows (count, 4), x0 y0 x1 y1 as fractions of the film, which they may leave."""
    scale = torch.exp(_uniform(count, math.log(zoom[0]), math.log(zoom[1]), generator))
    aspect = torch.exp(0.12 * torch.randn(count, generator=generator))
    half = torch.stack((0.5 / scale * aspect, 0.5 / scale / aspect), dim=1)
    middle = 0.5 + torch.stack([_uniform(count, -shift, shift, generator) for _ in range(2)], dim=1)
    return torch.cat((middle - half, middle + half), dim=1)


def _cutting(lungs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Windows (n, 4) that lose an eighth to two fifths of the lungs on one or two sides."""
    count = len(lungs)
    extent = (lungs[:, 2:] - lungs[:, :2]).repeat(1, 2)
    outward = torch.tensor([-1.0, -1.0, 1.0, 1.0])
    loose = lungs + outward * extent * _uniform(4 * count, 0.02, 0.25, generator).view(count, 4)
    tight = lungs - outward * extent * _uniform(4 * count, 0.125, 0.4, generator).view(count, 4)
    first, second = (torch.randint(4, (count,), generator=generator) for _ in range(2))
    side = torch.arange(4)
    chosen = (side == first[:, None]) | ((side == second[:, None]) & (torch.rand(count, 1, generator=generator) < 0.4))
    return torch.where(chosen, tight, loose)


def _cropped(lungs: torch.Tensor, views: torch.Tensor) -> torch.Tensor:
    """Whether a window cuts the lungs: 1, 0, or NaN where it is not clear. Lungs that end at the film's own border are
    cut already, nobody knows by how much."""
    extent = (lungs[:, 2:] - lungs[:, :2]).repeat(1, 2)
    lost = torch.cat((views[:, :2] - lungs[:, :2], lungs[:, 2:] - views[:, 2:]), dim=1) / extent
    most = lost.amax(1)
    open_ended = torch.cat((lungs[:, :2] < _BORDER, lungs[:, 2:] > 1 - _BORDER), dim=1).any(1)
    unclear = (most >= _WHOLE) & (most < _CUT) | (open_ended & (most < _CUT))
    return torch.where(unclear, math.nan, (most >= _CUT).float())


def _seen(films: torch.Tensor, views: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The windows of the films at 64x64, turned by a few degrees; what lies outside of a film is black or its edge."""
    count = len(films)
    angle = 0.07 * torch.randn(count, generator=generator)
    middle, half = (views[:, :2] + views[:, 2:]) - 1, views[:, 2:] - views[:, :2]
    cos, sin = angle.cos(), angle.sin()
    first = torch.stack((half[:, 0] * cos, -half[:, 1] * sin, middle[:, 0]), dim=1)
    second = torch.stack((half[:, 0] * sin, half[:, 1] * cos, middle[:, 1]), dim=1)
    matrix = torch.stack((first, second), dim=1)
    # Twice as fine and averaged: what is smaller than a cell is not sampled at chance.
    grid = nn.functional.affine_grid(matrix, [count, 1, 2 * GRID, 2 * GRID], align_corners=False)
    black, edge = (
        nn.functional.grid_sample(films[:, None], grid, padding_mode=mode, align_corners=False)
        for mode in ("zeros", "border")
    )
    sampled = torch.where((torch.rand(count, generator=generator) < 0.5)[:, None, None, None], black, edge)
    return nn.functional.avg_pool2d(sampled, 2)[:, 0]


def _in_pieces(films: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Sixteen or four squares of each film in another order."""
    out = []
    for film in films:
        count = 4 if torch.rand(1, generator=generator) < 0.6 else 2
        side = film.shape[-1] // count
        squares = film.unflatten(0, (count, side)).unflatten(2, (count, side)).transpose(1, 2).flatten(0, 1)
        order = torch.randperm(count * count, generator=generator)
        mixed = squares[order].unflatten(0, (count, count)).transpose(1, 2)
        out.append(mixed.flatten(2).flatten(0, 1))
    return torch.stack(out)


def _processed(films: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """What detectors and archives do: low frequencies taken back, sharpness lost."""
    count = len(films)
    low = nn.functional.avg_pool2d(films[:, None], 4)
    for _ in range(3):
        low = nn.functional.avg_pool2d(low, 3, stride=1, padding=1, count_include_pad=False)
    low = nn.functional.interpolate(low, size=films.shape[-2:], mode="bilinear", align_corners=False)
    strength = _uniform(count, -0.3, 0.9, generator) * (torch.rand(count, generator=generator) < 0.5)
    films = films - strength[:, None, None] * low[:, 0]
    soft = nn.functional.avg_pool2d(films[:, None], 3, stride=1, padding=1, count_include_pad=False)[:, 0]
    blurred = torch.rand(count, generator=generator) < 0.3
    return torch.where(blurred[:, None, None], soft, films)


def _soiled(films: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Processing, noise, uneven exposure, bars at the borders and erased blocks."""
    films = _processed(films, generator)
    count, size = len(films), films.shape[-1]
    steps = torch.linspace(-0.5, 0.5, size)
    # A faint film with noise of full strength would show nothing.
    contrast = films.flatten(1).std(1)
    tilt = 0.9 * contrast * torch.randn(2, count, generator=generator)
    films = films + tilt[0][:, None, None] * steps + tilt[1][:, None, None] * steps[:, None]
    noise = (contrast * _uniform(count, 0.0, 0.25, generator))[:, None, None]
    films = films + noise * torch.randn(films.shape, generator=generator)
    films = films.clone()
    for row in range(count):
        for _ in range(int(torch.randint(0, 4, (1,), generator=generator))):
            top, left = torch.randint(0, size - 4, (2,), generator=generator).tolist()
            height, width = torch.randint(3, 18, (2,), generator=generator).tolist()
            level = float(torch.rand(1, generator=generator))
            films[row, top : top + height, left : left + width] = level
        if torch.rand(1, generator=generator) < 0.25:
            bar = int(torch.randint(1, 9, (1,), generator=generator))
            level = float(torch.rand(1, generator=generator) < 0.3)
            side = int(torch.randint(4, (1,), generator=generator))
            films[row].rot90(side)[:bar] = level
    return films
