"""Films with the boxes and rasters of their structures: what a mask writer is trained on and judged by."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm.auto import tqdm

from anatomy_vlm.modeling.mask_raster_anatomy_vlm import crop_to_box, mask_box, paste_from_box


SIDE = 64
# A structure of fewer pixels is neither there nor absent: its footprint says nothing about a shape.
MIN_PIXELS = 24


@dataclass(frozen=True)
class FilmShapes:
    """
    Films and, for every structure on a film, a row of its box and of the raster inside.

    Args:
        films: uint8 `(N, side, side)`.
        names: Names of the structures; sides are the patient's.
        row_film, row_structure: `(R,)` int64, which film and which structure a row is about; films ascend.
        boxes: float32 `(R, 4)`, y0, x0, y1, x1 as fractions of the film, tight.
        rasters: uint8 `(R, 64, 64)`, coverage of the cells of the box from 0 to 255.
        small: Pairs of film and structure that are too small to say anything, `(K, 2)` int64.
    """

    films: torch.Tensor
    names: tuple[str, ...]
    row_film: torch.Tensor
    row_structure: torch.Tensor
    boxes: torch.Tensor
    rasters: torch.Tensor
    small: torch.Tensor

    def __len__(self) -> int:
        return len(self.films)

    def table(self) -> torch.Tensor:
        """`(films, structures)` int64: the row of each pair, -1 where the structure is absent, -2 where unknown."""
        rows = torch.full((len(self.films), len(self.names)), -1, dtype=torch.int64)
        if len(self.small):
            rows[self.small[:, 0], self.small[:, 1]] = -2
        rows[self.row_film, self.row_structure] = torch.arange(len(self.row_film))
        return rows

    def mask(self, row: int, size: tuple[int, int]) -> torch.Tensor:
        """The mask of a row at a size, bool `(height, width)`."""
        y0, x0, y1, x1 = self.boxes[row].tolist()
        box = (y0 * size[0], x0 * size[1], y1 * size[0], x1 * size[1])
        return paste_from_box(self.rasters[row].float() / 255, box, size, 0.5)

    def select(self, films: Sequence[int]) -> "FilmShapes":
        """Some of the films, in this order, with their rows."""
        place = torch.full((len(self.films),), -1, dtype=torch.int64)
        place[list(films)] = torch.arange(len(films))
        kept = (place[self.row_film] >= 0).nonzero()[:, 0]
        kept = kept[place[self.row_film[kept]].argsort(stable=True)]
        small = self.small[place[self.small[:, 0]] >= 0] if len(self.small) else self.small
        if len(small):
            small = torch.stack((place[small[:, 0]], small[:, 1]), dim=1)
        return FilmShapes(
            self.films[list(films)],
            self.names,
            place[self.row_film[kept]],
            self.row_structure[kept],
            self.boxes[kept],
            self.rasters[kept],
            small,
        )


def shapes_of(masks: dict[str, np.ndarray]) -> dict[str, tuple[torch.Tensor, torch.Tensor] | None]:
    """Box (as fractions) and raster of each mask `(height, width)` bool; None for one that is too small."""
    out: dict[str, tuple[torch.Tensor, torch.Tensor] | None] = {}
    for name, mask in masks.items():
        tensor = torch.from_numpy(np.ascontiguousarray(mask))
        box = mask_box(tensor)
        if box is None:
            continue
        if int(tensor.sum()) < MIN_PIXELS:
            out[name] = None
            continue
        raster = (crop_to_box(tensor, box, SIDE) * 255).round().byte()
        height, width = tensor.shape
        out[name] = (torch.tensor(box) / torch.tensor([height, width, height, width]), raster)
    return out


def gather(films: Sequence[np.ndarray], masks: Sequence[dict[str, np.ndarray]]) -> FilmShapes:
    """Put films `(side, side)` uint8 and their masks together; names in alphabetical order."""
    return _put_together([(film, shapes_of(some)) for film, some in zip(films, masks, strict=True)])


def _put_together(items) -> FilmShapes:
    names = tuple(sorted({name for _, shapes in items for name in shapes}))
    index = {name: place for place, name in enumerate(names)}
    rows, small = [], []
    for film, (_, shapes) in enumerate(items):
        for name, shape in shapes.items():
            if shape is None:
                small.append((film, index[name]))
            else:
                rows.append((film, index[name], *shape))
    return FilmShapes(
        torch.from_numpy(np.stack([film for film, _ in items])),
        names,
        torch.tensor([row[0] for row in rows], dtype=torch.int64),
        torch.tensor([row[1] for row in rows], dtype=torch.int64),
        torch.from_numpy(np.stack([row[2] for row in rows])),
        torch.from_numpy(np.stack([row[3] for row in rows])),
        torch.tensor(small, dtype=torch.int64).reshape(-1, 2),
    )


def _one_thread() -> None:
    torch.set_num_threads(1)


def _draw(seeds: range, image_size: int, domain: str):
    from anatomy_vlm.synthesis.phantom.masks import structure_masks
    from anatomy_vlm.synthesis.phantom.patient import draw_study, sample_parameters

    items = []
    for seed in seeds:
        study = draw_study(sample_parameters(seed, image_size=image_size, domain=domain))
        shapes = shapes_of(structure_masks(study))
        # As arrays: every tensor that passes between processes would hold a file open.
        items.append((study.film, {name: shape and tuple(map(np.asarray, shape)) for name, shape in shapes.items()}))
    return items


def draw_film_shapes(
    num_films: int,
    seed: int,
    image_size: int = 224,
    domain: str = "mixed",
    num_workers: int = 2,
    progress: bool = True,
) -> FilmShapes:
    """
    Films of the synthetic patients `seed`, `seed + 1`, ... with all their structures; the same for the same arguments,
    whatever the number of processes (0: this one).

    Needs the extra `synthesis`.
    """
    parts = [range(start, min(start + 32, seed + num_films)) for start in range(seed, seed + num_films, 32)]
    items = []
    same = [image_size] * len(parts), [domain] * len(parts)
    with ExitStack() as stack:
        run: Callable[..., Iterable] = map
        if num_workers > 0:
            pool = ProcessPoolExecutor(num_workers, mp_context=get_context("spawn"), initializer=_one_thread)
            run = stack.enter_context(pool).map
        bar = stack.enter_context(tqdm(total=num_films, desc="films", unit="film", disable=not progress))
        for some in run(_draw, parts, *same):
            items += some
            bar.update(len(some))
    return _put_together(items)


def save_film_shapes(shapes: FilmShapes, path: Path) -> None:
    """Keep films and shapes in one file, written beside its place and renamed."""
    scratch = path.with_name(f".{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: getattr(shapes, name).contiguous() for name in _TENSORS}
    save_file(tensors, scratch, metadata={"names": "\n".join(shapes.names)})
    scratch.replace(path)


def load_film_shapes(path: Path) -> FilmShapes:
    """
    Read what `save_film_shapes` wrote; the tensors stay on the disk until they are used.

    Raises:
        ValueError: for another file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = tuple(file.metadata()["names"].split("\n"))
            tensors = {name: file.get_tensor(name) for name in _TENSORS}
    except Exception as error:
        raise ValueError(f"{path}: no films with shapes ({error}); draw them again") from error
    return FilmShapes(names=names, **tensors)


def drawn_or_kept(path: Path, num_films: int, seed: int, image_size: int, **drawing: Any) -> FilmShapes:
    """
    The films of a file, or new ones that are then kept in it.

    Raises:
        ValueError: for a file of other films.
    """
    if not path.is_file():
        shapes = draw_film_shapes(num_films, seed, image_size, **drawing)
        save_film_shapes(shapes, path)
        return shapes
    shapes = load_film_shapes(path)
    if (len(shapes), shapes.films.shape[-1]) != (num_films, image_size):
        raise ValueError(
            f"{path}: holds {len(shapes)} films of {shapes.films.shape[-1]} pixels, not {num_films} of {image_size}; "
            "delete it or name another folder"
        )
    return shapes


_TENSORS = ("films", "row_film", "row_structure", "boxes", "rasters", "small")
