"""A film's look: a chain of deterministic transforms, and the random twin that draws one and logs it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import yaml

from anatomy_vlm.synthesis.look import detector, display, marks


class FilmTransform(Protocol):
    """A frozen dataclass whose fields are its parameters."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __call__(self, image: np.ndarray, field: np.ndarray | None = None) -> np.ndarray: ...


TRANSFORMS: dict[str, type] = {
    t.__name__: t
    for t in (
        detector.Scatter,
        detector.DetectorBlur,
        detector.QuantumNoise,
        detector.LogResponse,
        display.MultiFrequency,
        display.LocalEqualisation,
        display.Window,
        display.GreyRange,
        marks.Collimation,
        marks.SideMarker,
        marks.BurntInText,
    )
}


@dataclass(frozen=True)
class FilmLook:
    """A chain of transforms from the transmitted beam to a grey film.

    Example:
        >>> look = FilmLook((detector.LogResponse(), display.Window()))
        >>> FilmLook.from_parameters(look.parameters()) == look
        True
    """

    transforms: tuple[FilmTransform, ...]

    def __call__(self, transmission: np.ndarray, field: np.ndarray | None = None) -> np.ndarray:
        """Develops a film.

        Args:
            transmission: (rows, columns), share of the beam that gets through.
            field: bool (rows, columns), the rays whose densities set the display (the body, without metal); None is
                every ray that lost at least a quarter of the beam.

        Returns:
            uint8 (rows, columns), bone bright.
        """
        image = np.asarray(transmission, np.float32)
        if field is None:
            field = image < 0.75
        for transform in self.transforms:
            image = transform(image, field)
        return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)

    def parameters(self) -> list[dict[str, Any]]:
        """The chain as plain data, for a manifest: a `transform` name and its parameters per stage."""
        return [{"transform": type(t).__name__, **asdict(t)} for t in self.transforms]

    @classmethod
    def from_parameters(cls, parameters: Sequence[Mapping[str, Any]]) -> "FilmLook":
        """The chain that `parameters` logged.

        Raises:
            ValueError: for a transform that does not exist or parameters it does not take.
        """
        return cls(tuple(_transform(stage) for stage in parameters))

    @classmethod
    def standard(cls) -> "FilmLook":
        """The look of a current digital system, without noise in its settings: the middle of the default domain."""
        return cls.from_parameters([{"transform": name} for name in ("Scatter", *_STANDARD)])


_STANDARD = ("QuantumNoise", "DetectorBlur", "LogResponse", "MultiFrequency", "Window")


@dataclass(frozen=True)
class RandomFilmLook:
    """Draws looks of a named domain; the ranges are data, in `domains.yaml`.

    Raises:
        ValueError: for a domain that does not exist.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> RandomFilmLook("portable").sample(rng).parameters()[0]["transform"]
        'Scatter'
    """

    domain: str = "default"

    def __post_init__(self) -> None:
        if self.domain not in DOMAINS:
            raise ValueError(f"unknown domain {self.domain!r}; choose one of {', '.join(DOMAINS)}")

    def sample(self, rng: np.random.Generator) -> FilmLook:
        """One deterministic look; its `parameters()` are the log of what was drawn."""
        stages = []
        for stage in _domains()[self.domain]:
            stage = dict(stage)
            chance = stage.pop("chance", 1.0)
            if rng.random() < chance:
                stages.append({name: _draw(value, rng) for name, value in stage.items()})
        return FilmLook.from_parameters(stages)

    def __call__(
        self, transmission: np.ndarray, rng: np.random.Generator, field: np.ndarray | None = None
    ) -> tuple[np.ndarray, FilmLook]:
        """A developed film (see `FilmLook`) and the look that was drawn."""
        look = self.sample(rng)
        return look(transmission, field), look


def _transform(stage: Mapping[str, Any]) -> FilmTransform:
    options = dict(stage)
    name = options.pop("transform", None)
    if name not in TRANSFORMS:
        raise ValueError(f"unknown film transform {name!r}; choose one of {', '.join(TRANSFORMS)}")
    try:
        return TRANSFORMS[name](**options)
    except TypeError as error:
        raise ValueError(f"film transform {name}: {error}") from None


def _draw(value: Any, rng: np.random.Generator) -> Any:
    """[a, b] is uniform, {log: [a, b]} uniform in the logarithm, {choice: [...]} one of them, {integer: [a, b]}."""
    if isinstance(value, list):
        return float(rng.uniform(*value))
    if isinstance(value, dict):
        kind, argument = next(iter(value.items()))
        if kind == "log":
            return float(np.exp(rng.uniform(*np.log(argument))))
        if kind == "choice":
            return argument[int(rng.integers(len(argument)))]
        if kind == "integer":
            return int(rng.integers(*argument))
        raise ValueError(f"domains.yaml: unknown way to draw {kind!r}")
    return value


@lru_cache(maxsize=1)
def _domains() -> dict[str, list[dict[str, Any]]]:
    data = yaml.safe_load((Path(__file__).parent / "domains.yaml").read_text(encoding="utf-8"))
    domains = {}
    for name, changes in data["domains"].items():
        stages = [dict(stage) for stage in data["base"]]
        for stage in stages:
            stage.update((changes or {}).get(stage["transform"], {}))
        domains[name] = stages
    return domains


DOMAINS: tuple[str, ...] = tuple(_domains())
