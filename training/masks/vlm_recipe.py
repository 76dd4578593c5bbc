"""A fine-tuning as data: read from YAML and checked key by key."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from anatomy_vlm.training.augmentation import Augmentation
from anatomy_vlm.training.masks.vlm_adapters import AdapterOptions
from anatomy_vlm.training.masks.vlm_augmentation import FilmAugmentation
from anatomy_vlm.training.masks.vlm_examples import ExampleOptions
from anatomy_vlm.training.recipe import RecipeError


@dataclass(frozen=True, kw_only=True)
class VLMRecipe:
    """
    A fine-tuning. Learning rate, weight decay and adapters are those of CheXanatomy's published configuration.

    Args:
        model: Image-text-to-text model of Transformers to start from, folder or Hub id.
        films: What it is trained on, see `open_films`.
        codec: Weights of the mask codec (`load_codec`).
        epochs: How often each film is seen, with a new question each time.
        batch_size, accumulation: Films per step and process, and steps whose gradients are added up.
        learning_rate, weight_decay, adam_beta2, warmup_steps: Of AdamW; the rate falls linearly.
        adapters: What is trained.
        examples: What is asked.
        image_size: Side of synthetic films.
        image_options: Further arguments of the image processor, such as `do_image_splitting: false`.
        dtype: Of the weights.
        gradient_checkpointing: Less memory for more time.
        save_steps: Steps between checkpoints, from which an interrupted training goes on; 0 keeps none.
        num_workers: Processes that draw films and questions.
        seed: Of everything random.
    """

    model: str
    films: str
    codec: str
    epochs: int = 1
    batch_size: int = 8
    accumulation: int = 1
    learning_rate: float = 5e-5
    weight_decay: float = 0.01
    adam_beta2: float = 0.999
    warmup_steps: int = 2
    adapters: AdapterOptions = field(default_factory=AdapterOptions)
    examples: ExampleOptions = field(default_factory=ExampleOptions)
    image_size: int = 448
    image_options: Mapping[str, Any] | None = None
    dtype: str = "float32"
    gradient_checkpointing: bool = False
    save_steps: int = 0
    num_workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.accumulation) < 1 or min(self.save_steps, self.num_workers) < 0:
            raise RecipeError("epochs, batch_size and accumulation must be at least 1, save_steps and num_workers 0")
        if self.learning_rate <= 0:
            raise RecipeError(f"learning_rate must be above 0, not {self.learning_rate}")


_NESTED: dict[tuple[type, str], type] = {
    (VLMRecipe, "adapters"): AdapterOptions,
    (VLMRecipe, "examples"): ExampleOptions,
    (ExampleOptions, "augmentation"): FilmAugmentation,
    (FilmAugmentation, "look"): Augmentation,
}


def read_recipe(path: str | Path | None, **overrides: Any) -> VLMRecipe:
    """
    The recipe of a YAML file, with what is not None in `overrides` in its place.

    Raises:
        RecipeError: for a file that cannot be read, an unknown or missing key, or a value that cannot be.
    """
    values: Any = {}
    if path is not None:
        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise RecipeError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
        if not isinstance(values, dict):
            raise RecipeError(f"{path}: expected a mapping of keys to values")
    given = {key: value for key, value in overrides.items() if value is not None}
    recipe: VLMRecipe = _build(VLMRecipe, {**values, **given}, str(path or "command line"), "")
    return recipe


def _build(cls: type, values: Mapping[str, Any], where: str, prefix: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in values:
        if key not in fields:
            raise RecipeError(f"{where}: unknown key {prefix}{key}; there are {', '.join(fields)}")
    required = [name for name, f in fields.items() if f.default is dataclasses.MISSING is f.default_factory]
    if missing := [name for name in required if name not in values]:
        raise RecipeError(f"{where}: {prefix}{missing[0]} is missing")
    filled = {}
    for key, value in values.items():
        inner = _NESTED.get((cls, key))
        if inner is not None and isinstance(value, Mapping):
            base = {"zoom": 0, "shift": 0} if inner is Augmentation else {}
            value = _build(inner, {**base, **value}, where, f"{prefix}{key}.")
        elif inner is not None and value is not None and not isinstance(value, inner):
            raise RecipeError(f"{where}: {prefix}{key} must be a mapping, not {value!r}")
        default = fields[key].default
        if isinstance(default, float) and isinstance(value, str):
            # YAML 1.1 reads 5e-5 as text.
            value = _number(value, where, f"{prefix}{key}")
        elif isinstance(default, (int, float)) and not isinstance(value, (int, float)):
            raise RecipeError(f"{where}: {prefix}{key} must be a number, not {value!r}")
        filled[key] = value
    try:
        return cls(**filled)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{where}: {prefix}{' '.join(str(error).split())}") from error


def _number(text: str, where: str, key: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise RecipeError(f"{where}: {key} must be a number, not {text!r}") from None
