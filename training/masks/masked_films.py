"""Films with masks to judge writers and U-Nets by: synthetic ones, and the same films turned, moved and re-lit."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anatomy_vlm.training.evaluation.mask_reading import MaskReader
from anatomy_vlm.training.masks.film_shapes import FilmShapes
from anatomy_vlm.training.segmentation.films import MaskedFilms
from anatomy_vlm.training.segmentation.scores import score_masks


class ShapeFilms(MaskedFilms):
    """
    Synthetic films, each of a patient of its own.

    Args:
        shapes: Films and shapes.
        structures: Those of its structures whose masks are given.
    """

    def __init__(self, shapes: FilmShapes, structures: Sequence[str]):
        unknown = [name for name in structures if name not in shapes.names]
        if unknown:
            raise ValueError(f"no structure '{unknown[0]}' on these films; there are {', '.join(shapes.names)}")
        self.shapes, self.structures = shapes, tuple(structures)
        self.film_ids = self.patients = [f"phantom-{index}" for index in range(len(shapes))]
        self.splits = [""] * len(shapes)
        self._rows = shapes.table()[:, [shapes.names.index(name) for name in structures]]

    def read(self, index: int) -> tuple[Image.Image, NDArray[np.bool_]]:
        film = self.shapes.films[index].numpy()
        masks = np.zeros((len(self.structures), *film.shape), bool)
        for place, row in enumerate(self._rows[index].tolist()):
            if row >= 0:
                masks[place] = self.shapes.mask(row, film.shape).numpy()
        return Image.fromarray(film), masks


# Films under a change: degrees, scale, shift as a fraction of the side, contrast, noise as a fraction of the range,
# inversion.
PERTURBATIONS: dict[str, dict[str, float]] = {
    "as it is": {},
    "turned by 10 degrees": {"angle": 10},
    "turned by 20 degrees": {"angle": 20},
    "shrunk to 0.7": {"scale": 0.7},
    "enlarged to 1.3": {"scale": 1.3},
    "moved by 0.15": {"shift": 0.15},
    "contrast halved": {"contrast": 0.5},
    "noise 0.1": {"noise": 0.1},
    "inverted": {"invert": 1},
}


class PerturbedFilms(MaskedFilms):
    """
    Films turned, scaled, moved or re-lit, and their masks with them; what falls off the film is cut off.

    Args:
        films: The films.
        angle: Degrees, anticlockwise on every other film, clockwise on the rest.
        scale, shift, contrast, noise, invert: As in `PERTURBATIONS`; the direction of the shift goes round.
    """

    def __init__(
        self,
        films: MaskedFilms,
        angle: float = 0,
        scale: float = 1,
        shift: float = 0,
        contrast: float = 1,
        noise: float = 0,
        invert: float = 0,
    ):
        self.films = films
        self.structures, self.film_ids = films.structures, films.film_ids
        self.patients, self.splits = films.patients, films.splits
        self.angle, self.scale, self.shift = angle, scale, shift
        self.contrast, self.noise, self.invert = contrast, noise, invert

    def read(self, index: int) -> tuple[Image.Image, NDArray[np.bool_]]:
        film, masks = self.films.read(index)
        if self.angle or self.scale != 1 or self.shift:
            inverse = self._inverse(index, film.size)
            film = film.transform(film.size, Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR)
            masks = np.stack([_transformed(mask, inverse) for mask in masks])
        pixels = np.asarray(film, np.float32) / 255
        pixels = (pixels - 0.5) * self.contrast + 0.5
        if self.noise:
            pixels = pixels + np.random.default_rng(index).normal(0, self.noise, pixels.shape)
        pixels = np.clip(1 - pixels if self.invert else pixels, 0, 1)
        return Image.fromarray((pixels * 255).round().astype(np.uint8)), masks

    def _inverse(self, index: int, size: tuple[int, int]) -> tuple[float, ...]:
        """Where an output pixel comes from, in the six numbers that PIL takes."""
        angle = math.radians(self.angle if index % 2 else -self.angle)
        cosine, sine = math.cos(angle) / self.scale, math.sin(angle) / self.scale
        way = math.radians(90 * (index % 4) + 45)
        width, height = size
        shift = self.shift * min(size) * math.sqrt(0.5)
        x, y = (
            width / 2 + shift * math.copysign(1, math.cos(way)),
            height / 2 + shift * math.copysign(1, math.sin(way)),
        )
        return (cosine, sine, width / 2 - cosine * x - sine * y, -sine, cosine, height / 2 + sine * x - cosine * y)


def _transformed(mask: NDArray[np.bool_], inverse: tuple[float, ...]) -> NDArray[np.bool_]:
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(image.transform(image.size, Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR)) > 127


def parts_of(structure: str) -> list[str]:
    """
    The structures that a mask of real films joins, written with a plus.

    >>> parts_of("right lung+left lung")
    ['right lung', 'left lung']
    """
    return [part.strip() for part in structure.split("+")]


def score_reader(
    reader: MaskReader, films: MaskedFilms, indices: Sequence[int] | None = None, batch_size: int = 16
) -> list[dict[str, Any]]:
    """
    Scores of a writer's masks at the films' own size, as `score_films` gives them for networks: per film `film`,
    `patient`, and per structure `dice`, `miou` and `hd95`; what is not defined is None. A structure of the films may
    be several of the writer's (`parts_of`).
    """
    rows: list[dict[str, Any]] = []
    indices = range(len(films)) if indices is None else indices
    for start in range(0, len(indices), batch_size):
        part = list(indices[start : start + batch_size])
        pairs = [films.read(index) for index in part]
        wanted = list(dict.fromkeys(part for name in films.structures for part in parts_of(name)))
        found = reader.read([film for film, _ in pairs], wanted)
        for index, written, (_, truth) in zip(part, found, pairs):
            row: dict[str, Any] = {"film": films.film_ids[index], "patient": films.patients[index]}
            for name, true in zip(films.structures, truth):
                joined = np.logical_or.reduce([written.masks[part] for part in parts_of(name)])
                scores = score_masks(joined, true)
                row[name] = {metric: None if math.isnan(value) else value for metric, value in scores.items()}
            rows.append(row)
    return rows
