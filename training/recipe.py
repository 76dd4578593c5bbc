"""Recipes: a training run as data, read from YAML and checked key by key."""

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from anatomy_vlm.processing.data_files import DataFileError, check_nesting, one_line, parse_yaml, read_yaml_file


LOSSES = ("anatomy", "global", "fine")


class RecipeError(ValueError):
    """A recipe that cannot be run; the message names the file and the key, and the cure."""

    def __init__(self, message: object = ""):
        super().__init__(one_line(message))


@dataclass(frozen=True, kw_only=True)
class TextEncoder:
    """
    The frozen text encoder: exactly one of `name`, `package` and `scratch`.

    Args:
        name: A Hub id or local folder for `AutoModel` and `AutoTokenizer`.
        package: An installed Python package that carries a Transformers model in its folder `model`.
        scratch: Fields of a `BertConfig` to initialise at random, with a tokenizer of the words of the phrases.
        revision: Revision of `name` on the Hub.
        pooling: How token states become a sentence: "cls", "mean" or "pooler"; by default as the encoder was trained.
        layers: Keep only so many of the first layers.
        vocabulary_size: Keep only so many tokens: those of the run's phrases and the most frequent ones.
    """

    name: str | None = None
    package: str | None = None
    scratch: dict[str, Any] | None = None
    revision: str | None = None
    pooling: str | None = None
    layers: int | None = None
    vocabulary_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """
    A public vision transformer to start from.

    Args:
        name: A Hub id or local folder, see `anatomy_vlm.modeling.vision_conversion_anatomy_vlm`.
        revision: Revision of `name` on the Hub.
    """

    name: str
    revision: str | None = None


@dataclass(frozen=True, kw_only=True)
class Lora:
    """
    Low-rank adapters (arXiv 2106.09685) in the vision tower, whose own weights then rest but for its [CLS] and
    anatomy queries; merged into it when the run is exported. Needs the extra `peft`.

    Args:
        r: Rank.
        alpha: The adapters' output is scaled by `alpha / r`.
        dropout: Dropout of the adapters' input.
        targets: Linear layers that get one: of `q_proj`, `k_proj`, `v_proj`, `o_proj`, `fc1`, `fc2`, `gate_proj`.
    """

    r: int = 16
    alpha: float = 32
    dropout: float = 0.0
    targets: list[str] = field(default_factory=lambda: ["q_proj", "v_proj"])


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """
    Args:
        text: The frozen text encoder.
        vision: Fields of `AnatomyVLMVisionConfig`, over those of the backbone where there is one.
        backbone: A public vision transformer to start from; films are normalised as it was trained.
        lora: Low-rank adapters in the vision tower.
        config: Further fields of `AnatomyVLMConfig`, such as `projection_dim` or `region_pooling`.
        attention: "sdpa", "eager", "flash_attention_2" or "flex_attention"; by default "sdpa" on a GPU and "eager" on
            the CPU, where the backward pass of sdpa takes 40 % of a step.
        pretrained: An Anatomy-VLM checkpoint (folder or Hub id) to start from instead of random weights.
    """

    text: TextEncoder
    vision: dict[str, Any] = field(default_factory=dict)
    backbone: Backbone | None = None
    lora: Lora | None = None
    config: dict[str, Any] = field(default_factory=dict)
    attention: str | None = None
    pretrained: str | None = None


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """
    Args:
        loader: Name of a loader, see `anatomy_vlm.training.loaders`.
        arguments: Arguments of the loader.
        train, validation, test: Names of the splits.
    """

    loader: str
    arguments: dict[str, Any] = field(default_factory=dict)
    train: str = "train"
    validation: str = "validation"
    test: str = "test"


@dataclass(frozen=True, kw_only=True)
class StageRecipe:
    """
    Args:
        name: Name of the stage, and of its folder.
        losses: Which of "anatomy", "global" and "fine" this stage trains (paper section 1.5).
        freeze: Prefixes of parameter names that this stage keeps fixed, on top of the text encoder.
        training: Fields of `TrainingArguments`, over those of the recipe.
        image_size: Side of the input in pixels, if not the model's.
        head_learning_rate_factor: How many times as fast what is on top of the vision tower learns.
    """

    name: str
    losses: list[str]
    freeze: list[str] = field(default_factory=list)
    training: dict[str, Any] = field(default_factory=dict)
    image_size: int | None = None
    head_learning_rate_factor: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """
    Args:
        name: Name of the run.
        model, data: What is trained on what.
        stages: One after another, each starting from the last one's weights.
        description: What the recipe is for.
        seed: Seed of everything random.
        training: Fields of `TrainingArguments` for every stage.
        image_processor: Options of the image processor, such as `do_window`.
        processor: Options of the processor, such as `region_evidence`.
        augmentation: Fields of `anatomy_vlm.training.augmentation.Augmentation`.
        labels: Options of `anatomy_vlm.training.batches.LabelOptions`.
        evaluation: Arguments of `anatomy_vlm.training.evaluation.evaluate_model`; no evaluation when null.
    """

    name: str
    model: ModelRecipe
    data: DataRecipe
    stages: list[StageRecipe]
    description: str = ""
    seed: int = 0
    training: dict[str, Any] = field(default_factory=dict)
    image_processor: dict[str, Any] = field(default_factory=dict)
    processor: dict[str, Any] = field(default_factory=dict)
    augmentation: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The recipe as nested built-in types."""
        return dataclasses.asdict(self)


def suggestion(name: str, known: list[str] | tuple[str, ...]) -> str:
    """The end of an error message about an unknown `name`: a likely spelling, or all that is known."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _fits(value: Any, hint: Any) -> bool:
    """
    Whether a value read from YAML is of a field's type. Nested dataclasses are checked when their turn comes, and
    kinds that YAML has not (tuples, paths, choices) by who uses them.
    """
    if hint is Any or dataclasses.is_dataclass(hint):
        return True
    kinds = get_args(hint)
    if isinstance(hint, UnionType):
        return any(_fits(value, kind) for kind in kinds)
    origin = get_origin(hint)
    if origin in (list, Sequence):  # YAML has lists only
        return isinstance(value, list) and all(_fits(item, kinds[0]) for item in value)
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(_fits(k, kinds[0]) and _fits(v, kinds[1]) for k, v in value.items())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint not in (str, int, bool, type(None)):
        return True
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _wanted(hint: Any) -> str:
    names = {str: "text", bool: "true or false", int: "a whole number", float: "a number", type(None): "null"}
    if isinstance(hint, UnionType):
        return " or ".join(_wanted(kind) for kind in get_args(hint))
    kinds = {list: "a list", Sequence: "a list", dict: "a mapping of keys that are texts"}
    return names.get(hint) or kinds.get(get_origin(hint) or hint, "a mapping")


def check_keys(values: Any, cls: type, where: str) -> dict[str, Any]:
    """`values` as a mapping with the fields of the dataclass `cls`: none unknown, none missing."""
    if not isinstance(values, dict):
        raise RecipeError(f"{where}: expected a mapping, found {type(values).__name__}")
    known = {f.name: f for f in dataclasses.fields(cls)}
    for key in values:
        if key not in known:
            raise RecipeError(f"{where}: unknown key '{key}'; {suggestion(str(key), tuple(known))}")
    for name, f in known.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise RecipeError(f"{where}: the key '{name}' is missing")
    return values


def check_fields(values: Any, cls: type, where: str) -> dict[str, Any]:
    """As `check_keys`, and every value of its field's type."""
    check_keys(values, cls, where)
    for name, value in values.items():
        hint = _hints(cls)[name]
        try:
            fits = _fits(value, hint)
        except OverflowError:  # a whole number that no float holds
            fits = False
        if not fits:
            raise RecipeError(f"{where}: '{name}' must be {_wanted(hint)}, not {one_line(repr(value), 80)}")
    return values


def _stage(values: Any, where: str) -> StageRecipe:
    stage = StageRecipe(**check_fields(values, StageRecipe, where))
    if not stage.losses:
        raise RecipeError(f"{where}: 'losses' is empty; choose from {', '.join(LOSSES)}")
    for loss in stage.losses:
        if loss not in LOSSES:
            raise RecipeError(f"{where}: unknown loss '{loss}'; {suggestion(str(loss), LOSSES)}")
    return stage


def parse_recipe(values: Any, where: str = "recipe") -> Recipe:
    """A `Recipe` of nested built-in types; `where` names the source in errors."""
    try:
        check_nesting(values)
    except DataFileError as error:
        raise RecipeError(f"{where}: {error}") from None
    values = dict(check_fields(values, Recipe, where))
    model = dict(check_fields(values["model"], ModelRecipe, f"{where}: model"))
    model["text"] = TextEncoder(**check_fields(model["text"], TextEncoder, f"{where}: model.text"))
    sources = [key for key in ("name", "package", "scratch") if getattr(model["text"], key) is not None]
    if len(sources) != 1:
        raise RecipeError(
            f"{where}: model.text needs exactly one of name, package and scratch, found {sources or 'none'}"
        )
    for key, cls in (("backbone", Backbone), ("lora", Lora)):
        if model.get(key) is not None:
            model[key] = cls(**check_fields(model[key], cls, f"{where}: model.{key}"))
    if model.get("backbone") is not None and model.get("pretrained") is not None:
        raise RecipeError(f"{where}: model: backbone and pretrained are two beginnings; choose one")
    values["model"] = ModelRecipe(**model)
    values["data"] = DataRecipe(**check_fields(values["data"], DataRecipe, f"{where}: data"))
    if not isinstance(values["stages"], list) or not values["stages"]:
        raise RecipeError(f"{where}: 'stages' must be a list of at least one stage")
    values["stages"] = [_stage(stage, f"{where}: stages[{i}]") for i, stage in enumerate(values["stages"])]
    names = [stage.name for stage in values["stages"]]
    if len(set(names)) != len(names):
        raise RecipeError(f"{where}: two stages have the same name: {names}")
    return Recipe(**values)


def recipe_names() -> list[str]:
    """Names of the recipes that the package ships."""
    return sorted(
        path.name.removesuffix(".yaml")
        for path in files("anatomy_vlm.training.recipes").iterdir()
        if path.name.endswith(".yaml")
    )


def read_shipped_or_own(source: str | Path, kind: str, shipped: Sequence[str]) -> Any:
    """
    The YAML of a file, or of a "recipe" or "study" that the package ships, by its name.

    Raises:
        RecipeError: neither is there, the file cannot be read, or its YAML is broken.
    """
    path = Path(source)
    try:
        if path.is_file():
            return read_yaml_file(path)
        if str(source) in shipped:
            folder = files(f"anatomy_vlm.training.{'recipes' if kind == 'recipe' else 'studies'}")
            return parse_yaml(folder.joinpath(f"{source}.yaml").read_text(encoding="utf-8"))
    except DataFileError as error:
        raise RecipeError(f"{source}: {error}") from None
    except OSError as error:
        # A name that no file can have, among others.
        raise RecipeError(f"{str(source)[:80]}: cannot be read as a {kind} ({error.strerror})") from None
    raise RecipeError(f"{source}: no such {kind} file; the package ships {', '.join(shipped)}")


def load_recipe(source: str | Path) -> Recipe:
    """
    Read a recipe from a YAML file, or by the name of one that the package ships.

    Raises:
        RecipeError: if there is no such recipe, the YAML is broken, or a key is unknown or missing.
    """
    return parse_recipe(read_shipped_or_own(source, "recipe", recipe_names()), str(source))
