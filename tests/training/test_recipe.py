"""Recipes are checked key by key, and errors name the key and the cure."""

import pytest
import yaml

from anatomy_vlm.training.augmentation import Augmentation
from anatomy_vlm.training.batches import LabelOptions
from anatomy_vlm.training.recipe import RecipeError, load_recipe, parse_recipe, recipe_names
from anatomy_vlm.training.run import claim_output, with_overrides
from anatomy_vlm.training.setup import options
from anatomy_vlm.training.stages import training_arguments


MINIMAL = {
    "name": "mine",
    "model": {"text": {"scratch": {"hidden_size": 16}}},
    "data": {"loader": "saved", "arguments": {"path": "nowhere"}},
    "stages": [{"name": "detection", "losses": ["anatomy"]}],
}


def changed(path: str, value) -> dict:
    values = yaml.safe_load(yaml.safe_dump(MINIMAL))
    *parents, last = path.split(".")
    target = values
    for key in parents:
        target = target[int(key)] if isinstance(target, list) else target[key]
    target[last] = value
    return values


@pytest.mark.parametrize("name", recipe_names())
def test_options_of_shipped_recipes_are_valid(name):
    recipe = load_recipe(name)
    labels = options(LabelOptions, recipe.labels, name)
    options(Augmentation, recipe.augmentation, name)
    assert list(labels.findings or []) == recipe.labels.get("findings", [])
    with pytest.raises(RecipeError, match="'findings' must be a list or null, not"):
        options(LabelOptions, {"findings": "pleural effusion"}, name)


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_are_valid(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert parse_recipe(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (changed("seeed", 1), "unknown key 'seeed'; did you mean 'seed'"),
        (changed("model.vison", {}), "model: unknown key 'vison'; did you mean 'vision'"),
        (changed("stages.0.losses", ["anatom"]), r"stages\[0\]: unknown loss 'anatom'; did you mean 'anatomy'"),
        (changed("stages.0.losses", []), "'losses' is empty"),
        (changed("stages", []), "at least one stage"),
        (changed("stages", MINIMAL["stages"] * 2), "same name"),
        (changed("model.text", {}), "exactly one of name, package and scratch"),
        (changed("model.text", {"name": "a", "package": "b"}), "exactly one of"),
        (changed("data", None), "data: expected a mapping"),
        ({k: v for k, v in MINIMAL.items() if k != "data"}, "the key 'data' is missing"),
        ([1, 2], "expected a mapping, found list"),
    ],
)
def test_what_is_wrong_is_named(values, message):
    with pytest.raises(RecipeError, match=message):
        parse_recipe(values)


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(RecipeError, match="no such recipe file; the package ships"):
        load_recipe(tmp_path / "absent.yaml")
    with pytest.raises(RecipeError, match=r"^a{80}: cannot be read as a recipe \(File name too long\)$"):
        load_recipe("a" * 5000)
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1, 2")
    with pytest.raises(RecipeError, match="not valid YAML"):
        load_recipe(broken)


def test_overrides():
    recipe = with_overrides(parse_recipe(MINIMAL), ["seed=7", "stages.0.name=boxes", "training.learning_rate=0.1"])
    assert (recipe.seed, recipe.stages[0].name, recipe.training["learning_rate"]) == (7, "boxes", 0.1)
    for wrong in ("seed", "stages.4.name=x", "model.text.nothing.deeper=1"):
        with pytest.raises(RecipeError, match="--set"):
            with_overrides(recipe, [wrong])
    with pytest.raises(RecipeError, match="unknown key 'sed'"):
        with_overrides(recipe, ["sed=1"])


def test_training_arguments_are_checked(tmp_path):
    recipe = parse_recipe(changed("training", {"learning_rte": 1.0}))
    with pytest.raises(RecipeError, match="unknown training argument 'learning_rte'; did you mean 'learning_rate'"):
        training_arguments(recipe, recipe.stages[0], tmp_path)
    recipe = parse_recipe(changed("training", {"learning_rate": 0.5}))
    arguments = training_arguments(recipe, recipe.stages[0], tmp_path)
    assert arguments.learning_rate == 0.5 and arguments.dataloader_drop_last


def test_a_folder_belongs_to_one_run(tmp_path):
    recipe = parse_recipe(MINIMAL)
    claim_output(recipe, tmp_path)
    claim_output(recipe, tmp_path)
    with pytest.raises(RecipeError, match="holds a run of another recipe"):
        claim_output(with_overrides(recipe, ["seed=1"]), tmp_path)
