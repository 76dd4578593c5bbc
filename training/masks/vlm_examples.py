"""Questions and answers about films: detect, segment, several structures, caption, view and turn (CheXanatomy's)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from anatomy_vlm.modeling.mask_codec_anatomy_vlm import RasterCodec
from anatomy_vlm.modeling.mask_raster_anatomy_vlm import bins_to_box, box_to_bins, crop_to_box, mask_box
from anatomy_vlm.processing.mask_text_anatomy_vlm import write_answer, write_prompt
from anatomy_vlm.processing.vocabulary import STRUCTURES, find_structures
from anatomy_vlm.training.masks.codec_files import grammar_of
from anatomy_vlm.training.masks.vlm_augmentation import FilmAugmentation, Placement
from anatomy_vlm.training.masks.vlm_films import MIN_PIXELS, VIEWS, MaskFilm, MaskFilms


TASKS = ("detect", "segment", "several", "caption", "view", "turn")
VIEW_QUESTIONS = (
    "Which view is this film?",
    "What is the view position?",
    "Name the projection of this radiograph.",
    "In which direction did the rays pass?",
)
TURN_QUESTIONS = (
    "How is this film turned?",
    "Is this film upright?",
    "By how much was this radiograph turned?",
)
# Quarter turns clockwise -> the answer.
TURNS = ("upright", "turned clockwise", "upside down", "turned counterclockwise")
# Of little use, and left out by CheXanatomy as well.
EXCLUDED = ("torso_fat", "subcutaneous_fat", "intervertebral_discs")
_PHRASES = {structure.name: structure.phrases for structure in STRUCTURES}


@dataclass(frozen=True)
class VLMExample:
    """
    One question about one film.

    Args:
        image: uint8 `(side, side)`.
        prompt: The question.
        answer: What is to be written; empty where all that was asked for is absent.
        task: Of `TASKS`.
        structures: Names of what was asked for, in this order.
    """

    image: np.ndarray = field(repr=False)
    prompt: str
    answer: str
    task: str
    structures: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ExampleOptions:
    """
    Args:
        tasks: Task -> how often it is drawn, relative to the others; those that a film cannot answer are not drawn.
        structures: What is asked for (names, synonyms, groups); None for all that films have but `EXCLUDED`.
        absent: Share of the questions about a single structure, and of the structures among several, that ask for
            something known to be off the film.
        most: Most structures in one question.
        synonyms: Draw among all names of a structure, not only its usual one.
        augmentation: Of the film; None leaves it as it is.
    """

    tasks: Mapping[str, float] = field(
        default_factory=lambda: {"detect": 1, "segment": 3, "several": 2, "caption": 0.5, "view": 0.3, "turn": 0.2}
    )
    structures: Sequence[str] | None = None
    absent: float = 0.1
    most: int = 5
    synonyms: bool = True
    augmentation: FilmAugmentation | None = field(default_factory=FilmAugmentation)

    def __post_init__(self) -> None:
        if unknown := [task for task in self.tasks if task not in TASKS]:
            raise ValueError(f"unknown task {unknown[0]!r}; choose from {', '.join(TASKS)}")
        if not self.tasks or min(self.tasks.values()) < 0 or not sum(self.tasks.values()):
            raise ValueError("tasks must have weights of at least 0, and one of more")
        if not 0 <= self.absent <= 1 or self.most < 2:
            raise ValueError(f"absent {self.absent} must be within [0, 1] and most {self.most} at least 2")

    def allowed(self) -> frozenset[str] | None:
        """Names of the structures to ask for; None for all."""
        if self.structures is None:
            return None
        return frozenset(structure.name for structure in find_structures(self.structures))


class ExampleMaker:
    """
    Makes questions of films.

    Args:
        codec: What writes masks.
        options: What is asked.

    Raises:
        ValueError: for structures that the vocabulary does not have.
    """

    def __init__(self, codec: RasterCodec, options: ExampleOptions | None = None):
        self.codec, self.options = codec, options or ExampleOptions()
        self.grammar = grammar_of(codec)
        self._allowed = self.options.allowed()

    def make(self, film: MaskFilm, rng: np.random.Generator) -> VLMExample | None:
        """A random question about a film, or None if there is nothing to ask."""
        present = self._chosen((*film.masks, *film.shapes))
        absent = self._chosen(film.absent) if self.options.absent else []
        possible: dict[str, Callable[..., VLMExample | None]] = {}
        if present or absent:
            possible |= {"detect": self._objects, "segment": self._objects}
        if len(present) + len(absent) > 1:
            possible["several"] = self._objects
        if present:
            possible["caption"] = self._caption
        if film.view in VIEWS:
            possible["view"] = self._view
        possible["turn"] = self._turn
        tasks = [task for task in possible if self.options.tasks.get(task, 0) > 0]
        while tasks:
            weights = np.array([self.options.tasks[task] for task in tasks])
            task = str(rng.choice(tasks, p=weights / weights.sum()))
            if (example := possible[task](film, rng, task, present, absent)) is not None:
                return example
            tasks.remove(task)
        return None

    def ask(self, film: MaskFilm, structures: Sequence[str], task: str = "segment") -> VLMExample:
        """The question for some structures of a film as it is, by their usual names, as an evaluation asks it."""
        placement = Placement(len(film.image), len(film.image))
        phrases = [_PHRASES.get(name, (name.replace("_", " "),))[0] for name in structures]
        codes = [self.codes(film, name, placement, task == "segment") or [] for name in structures]
        answer = write_answer(zip(codes, phrases), self.grammar)
        return VLMExample(film.image, write_prompt(task, phrases), answer, task, tuple(structures))

    def codes(self, film: MaskFilm, name: str, placement: Placement, shape: bool = True) -> list[int] | None:
        """
        The numbers of a structure in the placed film, only its places without `shape`; none if it is absent, None if
        nothing can be said: it is too small, cut by the border when turned, or has no shape tokens.
        """
        if name in film.absent:
            return []
        bins = self.codec.box_bins
        if name in film.shapes:
            coded = film.shapes[name]
            if shape and len(coded.codes) != self.grammar.num_shape_codes:
                return None
            places = box_to_bins(placement.place_box(coded.box), (1, 1), bins, outward=False)
            return self._checked([*places, *(coded.codes if shape else ())])
        original = film.masks[name]
        mask = placement.turn_mask(original)
        if mask.sum() < max(MIN_PIXELS, 0.9 * original.sum()):
            return None
        tensor = torch.from_numpy(np.ascontiguousarray(mask))
        box = mask_box(tensor)
        assert box is not None  # it has pixels
        side = len(mask)
        y0, x0, y1, x1 = (edge / side for edge in box)
        places = box_to_bins(placement.place_box((y0, x0, y1, x1)), (1, 1), bins, self.codec.outward)
        if not shape:
            return self._checked(places)
        # What is coded is what will be read back: the mask inside the box that the bins say.
        y0, x0, y1, x1 = placement.find_box(bins_to_box(places, (1, 1), bins))
        raster = crop_to_box(tensor, (y0 * side, x0 * side, y1 * side, x1 * side), self.codec.side)
        with torch.no_grad():
            codes = self.codec.encode_rasters(raster[None].to(self.codec.device))[0].tolist()
        return self._checked([*places, *codes])

    @staticmethod
    def _checked(codes: list[int]) -> list[int] | None:
        return codes if codes[2] > codes[0] and codes[3] > codes[1] else None

    def _chosen(self, names: Sequence[str]) -> list[str]:
        if self._allowed is not None:
            return [name for name in names if name in self._allowed]
        return [name for name in names if name not in EXCLUDED]

    def _phrase(self, name: str, rng: np.random.Generator) -> str:
        phrases = _PHRASES.get(name, (name.replace("_", " "),))
        return phrases[int(rng.integers(len(phrases)))] if self.options.synonyms else phrases[0]

    def _placed(self, film: MaskFilm, rng: np.random.Generator) -> tuple[np.ndarray, Placement]:
        side = len(film.image)
        augmentation = self.options.augmentation
        if augmentation is None:
            return film.image, Placement(side, side)
        placement = augmentation.sample(rng, side, turned=not film.shapes)
        return augmentation.develop(placement.place_image(film.image), rng), placement

    def _objects(
        self, film: MaskFilm, rng: np.random.Generator, task: str, present: list[str], absent: list[str]
    ) -> VLMExample | None:
        number = 1 if task != "several" else int(rng.integers(2, self.options.most + 1))
        task = task if task != "several" else str(rng.choice(["detect", "segment"]))
        image, placement = self._placed(film, rng)
        names: list[str] = []
        codes: list[list[int]] = []
        left = {True: list(rng.permutation(present)), False: list(rng.permutation(absent))}
        while len(names) < number and (left[True] or (left[False] and not names)):
            there = bool(left[True]) and (not left[False] or rng.random() >= self.options.absent)
            name = str(left[there].pop())
            if (numbers := self.codes(film, name, placement, task == "segment")) is not None:
                names.append(name)
                codes.append(numbers)
        if not names:
            return None
        phrases = [self._phrase(name, rng) for name in names]
        answer = write_answer(zip(codes, phrases), self.grammar)
        kind = task if number == 1 else "several"
        return VLMExample(image, write_prompt(task, phrases), answer, kind, tuple(names))

    def _caption(
        self, film: MaskFilm, rng: np.random.Generator, task: str, present: list[str], absent: list[str]
    ) -> VLMExample | None:
        image, placement = self._placed(film, rng)
        shape = bool(rng.random() < 0.5)
        for name in map(str, rng.permutation(present)):
            if codes := self.codes(film, name, placement, shape):
                prompt = f"caption {self.grammar.write(codes)}"
                return VLMExample(image, prompt, self._phrase(name, rng), task, (name,))
        return None

    def _view(
        self, film: MaskFilm, rng: np.random.Generator, task: str, present: list[str], absent: list[str]
    ) -> VLMExample:
        image, _ = self._placed(film, rng)
        assert film.view is not None  # else the task is not drawn
        return VLMExample(image, str(rng.choice(VIEW_QUESTIONS)), VIEWS[film.view], task)

    def _turn(
        self, film: MaskFilm, rng: np.random.Generator, task: str, present: list[str], absent: list[str]
    ) -> VLMExample:
        image, _ = self._placed(film, rng)
        quarters = int(rng.integers(4))
        # NumPy turns counterclockwise.
        turned = np.ascontiguousarray(np.rot90(image, -quarters))
        return VLMExample(turned, str(rng.choice(TURN_QUESTIONS)), TURNS[quarters], task)


class VLMExamples(torch.utils.data.Dataset):
    """
    One question a film an epoch, the same for the same seed, in a new order every epoch: `epochs * len(films)`
    examples to be read one after the other.

    Args:
        films: The films.
        maker: Of the questions.
        epochs: How often each film is seen.
        seed: Of orders and questions.
    """

    def __init__(self, films: MaskFilms, maker: ExampleMaker, epochs: int = 1, seed: int = 0):
        self.films, self.maker, self.epochs, self.seed = films, maker, epochs, seed

    def __len__(self) -> int:
        return self.epochs * len(self.films)

    def __getitem__(self, index: int) -> VLMExample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        epoch, place = divmod(index, len(self.films))
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.films))
        # A film about which nothing can be asked gives its turn to the next one.
        for step in range(len(self.films)):
            film = int(order[(place + step) % len(order)])
            rng = np.random.default_rng((self.seed, epoch, film))
            if (example := self.maker.make(self.films[film], rng)) is not None:
                return example
        raise ValueError("nothing can be asked about any of the films; allow more tasks or structures")
