"""A study as data: one recipe, what every run changes of it, and what each variant changes on top."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from anatomy_vlm.processing.data_files import DataFileError, parse_yaml
from anatomy_vlm.training.recipe import (
    Recipe,
    RecipeError,
    check_fields,
    load_recipe,
    parse_recipe,
    read_shipped_or_own,
    suggestion,
)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """
    Args:
        name: Of the variant and its folders.
        title: For tables.
        set: Settings of the recipe by dotted key, over those of the study.
    """

    name: str
    title: str = ""
    set: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Question:
    """
    What two variants are compared for.

    Args:
        ask: The question.
        of: Name of the variant that has it.
        without: Name of the one that has it not.
        against: Scores that only `of` has, each with the score of `without` that it is compared with.
    """

    ask: str
    of: str
    without: str
    against: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Study:
    """
    Args:
        name: Of the study.
        recipe: File or name of the recipe that all variants start from.
        epochs: Passes through the training images in every variant, over all stages: the budget.
        variants: What is compared.
        reference: Name of the variant that the others are compared with.
        seeds: Of the runs, unless they are given.
        title: For tables.
        set: Settings of the recipe by dotted key, for every variant.
        questions: What is answered below the table.
        scoring: Settings of the scores: resamples of the intervals, patients with and without a finding that its AUC
            needs, images at a time.
    """

    name: str
    recipe: str
    epochs: float
    variants: list[Variant]
    reference: str
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    title: str = ""
    set: dict[str, Any] = field(default_factory=dict)
    questions: list[Question] = field(default_factory=list)
    scoring: dict[str, int] = field(default_factory=lambda: {"bootstrap": 200, "min_events": 10, "batch_size": 32})

    def variant(self, name: str) -> Variant:
        """The variant of that name. Raises `RecipeError` where there is none."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        names = [variant.name for variant in self.variants]
        raise RecipeError(f"study {self.name}: no variant '{name}'; {suggestion(name, names)}")

    def recipe_of(self, variant: Variant, seed: int) -> Recipe:
        """The recipe of one run.

        Raises:
            RecipeError: a setting that the recipe does not know, or a budget that is not the study's.
        """
        where = f"study {self.name}, variant {variant.name}"
        values = load_recipe(self.recipe).to_dict()
        for settings in (self.set, variant.set):
            _apply(values, settings, where)
        recipe = parse_recipe({**values, "name": f"{self.name}-{variant.name}", "seed": seed}, where)
        spent = epochs_of(recipe)
        if spent != self.epochs:
            raise RecipeError(f"{where}: its stages take {spent:g} epochs, the study's budget is {self.epochs:g}")
        return recipe


def epochs_of(recipe: Recipe) -> float:
    """Passes through the training images over all stages. Raises `RecipeError` for a stage that counts in steps."""
    total = 0.0
    for stage in recipe.stages:
        settings = {**recipe.training, **stage.training}
        if "max_steps" in settings or "num_train_epochs" not in settings:
            raise RecipeError(f"recipe {recipe.name}, stage '{stage.name}': a study counts in num_train_epochs")
        epochs = settings["num_train_epochs"]
        if not isinstance(epochs, int | float):
            raise RecipeError(f"recipe {recipe.name}, stage '{stage.name}': num_train_epochs is no number")
        total += float(epochs)
    return total


def _apply(values: dict[str, Any], settings: dict[str, Any], where: str) -> None:
    for path, value in settings.items():
        *parents, last = path.split(".")
        target: Any = values
        try:
            for key in parents:
                target = target[int(key)] if isinstance(target, list) else target[key]
            target[int(last) if isinstance(target, list) else last] = copy.deepcopy(value)
        except (KeyError, IndexError, TypeError, ValueError):
            raise RecipeError(f"{where}: set: there is no '{path}' in the recipe") from None


def study_names() -> list[str]:
    """Names of the studies that the package ships."""
    folder = files("anatomy_vlm.training.studies")
    return sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))


def load_study(source: str | Path, overrides: Iterable[str] = ()) -> Study:
    """
    Read a study from a YAML file, or by the name of one that the package ships.

    Args:
        source: File or name.
        overrides: `key.key=value` settings for the recipe of every variant; values are YAML.

    Raises:
        RecipeError: no such study, broken YAML, an unknown or missing key, or two variants of one name.
    """
    read = read_shipped_or_own(source, "study", study_names())
    # A key without a value stands for its default.
    stated = {k: v for k, v in read.items() if v is not None} if isinstance(read, dict) else read
    values = dict(check_fields(stated, Study, str(source)))
    variants = values["variants"]
    if not isinstance(variants, list) or not variants:
        raise RecipeError(f"{source}: 'variants' must be a list of at least one variant")
    values["variants"] = [
        Variant(**check_fields(variant, Variant, f"{source}: variants[{index}]"))
        for index, variant in enumerate(variants)
    ]
    names = [variant.name for variant in values["variants"]]
    if len(set(names)) != len(names):
        raise RecipeError(f"{source}: two variants have the same name: {names}")
    values["questions"] = [
        Question(**check_fields(question, Question, f"{source}: questions[{index}]"))
        for index, question in enumerate(values.get("questions") or [])
    ]
    settings = dict(values.get("set") or {})
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise RecipeError(f"--set {override}: expected KEY=VALUE, such as training.learning_rate=0.001")
        try:
            settings[key] = parse_yaml(value)
        except DataFileError as error:
            raise RecipeError(f"--set {key}: {error}") from None
    study = Study(**{**values, "set": settings})
    for name in (study.reference, *(name for question in study.questions for name in (question.of, question.without))):
        study.variant(name)
    return study
