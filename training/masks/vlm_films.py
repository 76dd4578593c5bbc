"""Films with masks from wherever they are: drawn on the fly, CheXanatomy's folders and files, kept shapes."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from anatomy_vlm.training.masks.chexanatomy_npz import CheXanatomyFileError, CodedShape, read_npz


# View of a film -> how an answer calls it.
VIEWS = {"PA": "posteroanterior", "AP": "anteroposterior", "LATERAL": "lateral", "AXIAL": "axial"}
_ORIENTATIONS = {"PA": "PA", "LR": "LATERAL", "LAT": "LATERAL", "AX": "AXIAL"}
# A structure of fewer pixels is neither there nor absent: its footprint says nothing about a shape.
MIN_PIXELS = 24
# An empty mask is at most so many bytes of PNG, up to 2,800 pixels a side; larger files hold something.
SMALL_FILE = 8192


class LazyMasks(Mapping[str, np.ndarray]):
    """Masks by name, each made when it is asked for."""

    def __init__(self, names: tuple[str, ...], load: Callable[[str], np.ndarray]):
        self._names, self._load = dict.fromkeys(names), load

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        return self._load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True)
class MaskFilm:
    """
    A square film and what is known about its structures.

    Args:
        image: uint8 `(side, side)`.
        view: A key of `VIEWS`, None if nobody knows.
        masks: bool `(side, side)` by structure.
        shapes: Structures that are known as tokens alone; boxes as fractions of the square.
        absent: Structures known to be off the film. One that is nowhere named is unknown, not absent.
    """

    image: np.ndarray = field(repr=False)
    view: str | None = None
    masks: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    shapes: Mapping[str, CodedShape] = field(default_factory=dict, repr=False)
    absent: tuple[str, ...] = ()


class MaskFilms(Protocol):
    """A sequence of films."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> MaskFilm: ...


def to_square(image: np.ndarray) -> np.ndarray:
    """
    An image `(height, width)` centred on a black square, as all films are seen here.

    Example:
        >>> to_square(np.ones((2, 4), np.uint8)).sum(1).tolist()
        [0, 4, 4, 0]
    """
    side = max(image.shape)
    margins = [((side - extent) // 2, side - extent - (side - extent) // 2) for extent in image.shape]
    return np.pad(image, margins)


class PhantomFilms:
    """
    Synthetic patients, each drawn when it is asked for. Needs the extra `synthesis`.

    Args:
        number: How many.
        seed: Of the first one; patient `i` has `seed + i`.
        image_size: Side of the films.
        domain: Of the films' looks.
    """

    def __init__(self, number: int, seed: int = 0, image_size: int = 448, domain: str = "mixed"):
        if number < 1:
            raise ValueError(f"the number of phantoms must be at least 1, not {number}")
        self.number, self.seed, self.image_size, self.domain = number, seed, image_size, domain

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> MaskFilm:
        from anatomy_vlm.synthesis.phantom.masks import structure_masks
        from anatomy_vlm.synthesis.phantom.patient import draw_study, sample_parameters

        if not 0 <= index < self.number:
            raise IndexError(index)
        parameters = sample_parameters(self.seed + index, image_size=self.image_size, domain=self.domain)
        study = draw_study(parameters)
        masks = structure_masks(study, keep_empty=True)
        kept = {name: mask for name, mask in masks.items() if mask.sum() >= MIN_PIXELS}
        absent = tuple(name for name, mask in masks.items() if not mask.any())
        return MaskFilm(study.film, parameters.pose.view, kept, absent=absent)


class CaseFolders:
    """
    CheXanatomy's folders: below the root, `..._PA/<case>/ct.png` with one `<structure>.png` each, and `..._LR`.

    The end of the folder above a case says the view. An empty mask is an absent structure, a missing file says
    nothing.

    Raises:
        CheXanatomyFileError: without cases.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self._empty: dict[Path, bool] = {}
        self.folders = sorted(path.parent for path in self.root.rglob("ct.png"))
        if not self.folders:
            raise CheXanatomyFileError(f"{root}: no cases (folders with ct.png) are below this folder")

    def __len__(self) -> int:
        return len(self.folders)

    def orientation(self, index: int) -> str:
        """CheXanatomy's "PA" or "LR"; "ax" where the folder says nothing."""
        found = re.search(r"(?:^|[_-])(PA|LR|LAT)$", self.folders[index].parent.name, re.IGNORECASE)
        return {"PA": "PA", "LR": "LR", "LAT": "LR"}[found[1].upper()] if found else "ax"

    def read(self, index: int) -> tuple[np.ndarray, LazyMasks]:
        """Film and masks as they are in the files."""
        folder = self.folders[index]
        names = tuple(sorted(path.stem for path in folder.glob("*.png") if path.name != "ct.png"))
        return _read_grey(folder / "ct.png"), LazyMasks(names, lambda name: _read_grey(folder / f"{name}.png") > 0)

    def __getitem__(self, index: int) -> MaskFilm:
        image, masks = self.read(index)
        view = self.orientation(index)
        absent = tuple(name for name in masks if self._is_empty(index, name))
        return MaskFilm(
            to_square(image),
            None if view == "ax" else _ORIENTATIONS[view],
            LazyMasks(tuple(name for name in masks if name not in absent), lambda name: to_square(masks[name])),
            absent=absent,
        )

    def _is_empty(self, index: int, name: str) -> bool:
        path = self.folders[index] / f"{name}.png"
        if path not in self._empty:
            # All of an empty mask is in a few bytes; nothing else needs to be opened to know.
            self._empty[path] = path.stat().st_size < SMALL_FILE and not (_read_grey(path) > 0).any()
        return self._empty[path]


class NpzFiles:
    """
    CheXanatomy's training files below a folder (`chexanatomy_npz`).

    Raises:
        CheXanatomyFileError: without files.
    """

    def __init__(self, root: str | Path):
        self.paths = sorted(Path(root).rglob("*.npz"))
        if not self.paths:
            raise CheXanatomyFileError(f"{root}: no NPZ files are below this folder")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> MaskFilm:
        film = read_npz(self.paths[index])
        height, width = film.image.shape
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        shapes = {
            name: CodedShape(
                (
                    (shape.box[0] * height + top) / side,
                    (shape.box[1] * width + left) / side,
                    (shape.box[2] * height + top) / side,
                    (shape.box[3] * width + left) / side,
                ),
                shape.codes,
            )
            for name, shape in film.shapes.items()
        }
        view = _ORIENTATIONS.get(film.orientation.upper())
        return MaskFilm(to_square(film.image), view, shapes=shapes, absent=film.absent)


class KeptShapes:
    """Films of one file that `film_shapes.save_film_shapes` wrote; nobody knows their views."""

    def __init__(self, path: str | Path):
        from anatomy_vlm.training.masks.film_shapes import load_film_shapes

        self.shapes = load_film_shapes(Path(path))
        self._table = self.shapes.table()

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> MaskFilm:
        rows = {name: int(row) for name, row in zip(self.shapes.names, self._table[index])}
        image = self.shapes.films[index].numpy()
        present = tuple(name for name, row in rows.items() if row >= 0)
        masks = LazyMasks(present, lambda name: self.shapes.mask(rows[name], image.shape).numpy())
        return MaskFilm(image, None, masks, absent=tuple(name for name, row in rows.items() if row == -1))


class Part:
    """Some of the films, in this order."""

    def __init__(self, films: MaskFilms, indices: list[int]):
        self.films, self.indices = films, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> MaskFilm:
        return self.films[self.indices[index]]


def open_films(source: str, seed: int = 0, image_size: int = 448) -> MaskFilms:
    """
    The films of a source.

    Args:
        source: "phantom:2000" for so many synthetic patients, a folder with CheXanatomy's NPZ files or cases, or a
            safetensors file of `film_shapes.save_film_shapes`.
        seed: Of the first synthetic patient.
        image_size: Side of synthetic films.

    Raises:
        ValueError: for anything else.
    """
    if match := re.fullmatch(r"phantom:([0-9]+)", source):
        return PhantomFilms(int(match[1]), seed, image_size)
    path = Path(source)
    if path.suffix == ".safetensors":
        return KeptShapes(path)
    if not path.is_dir():
        raise ValueError(
            f"{source!r}: name phantom:NUMBER, a folder of CheXanatomy's cases or NPZ files, or kept shapes"
        )
    return NpzFiles(path) if next(path.rglob("*.npz"), None) else CaseFolders(path)


def _read_grey(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L"))
    except (OSError, SyntaxError) as error:
        raise CheXanatomyFileError(f"{path}: cannot be read as a picture: {' '.join(str(error).split())}") from error
