"""YAML: recipes and studies with aliases, tags, deep nesting and wrong types."""

from pathlib import Path
from random import Random
from typing import Any

import yaml

from anatomy_vlm.training.recipe import RecipeError, load_recipe, parse_recipe
from anatomy_vlm.training.run import with_overrides
from anatomy_vlm.training.studies.study import load_study
from fuzzing.expect import attempt, outcome
from fuzzing.mutate import NUMBERS, TEXTS, data_of, text_of


_RECIPE = {
    "name": "mine", "description": "words", "seed": 3,
    "model": {"text": {"scratch": {"hidden_size": 16}, "pooling": "mean"}, "vision": {"image_size": 32},
              "config": {"projection_dim": 8}, "lora": {"r": 4, "targets": ["q_proj"]}, "attention": "eager"},
    "data": {"loader": "saved", "arguments": {"path": "nowhere"}, "train": "train"},
    "training": {"learning_rate": 0.001, "num_train_epochs": 1},
    "stages": [{"name": "detection", "losses": ["anatomy"], "freeze": ["a"], "image_size": 64},
               {"name": "fine", "losses": ["anatomy", "fine"], "training": {"num_train_epochs": 2}}],
    "evaluation": {"min_events": 5}, "labels": {}, "augmentation": {"probability": 0.5},
}  # fmt: skip
_STUDY = {
    "name": "s", "recipe": "recipe.yaml", "epochs": 3, "title": "t", "seeds": [0, 1], "reference": "a",
    "set": {"training.learning_rate": 0.1}, "scoring": {"bootstrap": 10},
    "variants": [{"name": "a", "title": "A"}, {"name": "b", "set": {"stages.0.losses": ["fine"]}}],
    "questions": [{"ask": "Why?", "of": "b", "without": "a", "against": {"x": "y"}}],
}  # fmt: skip
_TAGS = (
    "!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!!timestamp 2001-99-99", "2001-02-30",
    "!!int x", "!!float y", "!!timestamp z", "!!binary '%%'", "!!set {a, b}", "!!omap [a: 1]", "!!pairs [a: 1]",
    "!<tag:x> 1", "&a [*a]", "&a {*a : 1}", "{[1]: 2}", "? [a]\n: 1", "<<: 1", "<<: *b", "*nobody", "0b", "1:90:90",
    "0x", "1_000", ".inf", "%TAG ! x", "---\na: 1\n---\nb: 2", "\t- a", "!!int 0b", "!!float .", "=", "~", "'",
    '"\\x1b"',
)  # fmt: skip


def alias_bomb(levels: int) -> str:
    """A few lines that stand for 9 ** levels items."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


class YamlFiles:
    """Reads recipes, studies and settings of the command line."""

    name = "yaml"

    def __init__(self, folder: Path, heavy: bool = False) -> None:
        self.folder = folder
        (folder / "recipe.yaml").write_text(yaml.safe_dump(_RECIPE), encoding="utf-8")
        study: dict[str, Any] = {**_STUDY, "recipe": str(folder / "recipe.yaml")}
        self.study = study

    def case(self, random: Random) -> str:
        kind = random.randrange(5)
        if kind == 0:
            values = data_of(random, _RECIPE)
            recipe = attempt(RecipeError, parse_recipe, values)
            if not isinstance(recipe, Exception):
                attempt((), recipe.to_dict)
            return f"values {outcome(recipe)}"
        if kind == 1:
            key = random.choice(
                ("seed", "model.text", "stages.0.losses", "stages.9", "stages.x.y", "a..b", "", "training")
            )
            setting = f"{key}={self._snippet(random)}"
            return f"setting {outcome(attempt(RecipeError, with_overrides, parse_recipe(_RECIPE), [setting]))}"
        seed = self.study if kind == 2 else _RECIPE
        text = self._text(random, seed)
        path = self.folder / "x.yaml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            if kind == 2:
                study = attempt(RecipeError, load_study, path)
                if not isinstance(study, Exception):
                    for variant in study.variants:
                        attempt(RecipeError, study.recipe_of, variant, 0)
                return f"study {outcome(study)}"
            recipe = attempt(RecipeError, load_recipe, path)
            if not isinstance(recipe, Exception):
                attempt((), recipe.to_dict)
            return f"recipe {outcome(recipe)}"
        finally:
            path.unlink()

    def _snippet(self, random: Random) -> str:
        draw = random.random()
        if draw < 0.4:
            return random.choice(_TAGS)
        if draw < 0.6:
            return str(random.choice((*NUMBERS, *TEXTS)))[:5000]
        opening = random.choice(("[", "{a: ", "- ", "? ", "[{", "&a ["))
        return opening * random.choice((5, 60, 500, 3000))

    def _text(self, random: Random, seed: dict[str, Any]) -> str:
        draw = random.random()
        if draw < 0.5:
            try:
                return yaml.safe_dump(data_of(random, seed), allow_unicode=random.random() < 0.5)
            except (RecursionError, yaml.YAMLError, ValueError):
                pass
        text = yaml.safe_dump(seed)
        if draw < 0.75:
            lines = text.splitlines()
            place = random.randrange(len(lines))
            lines[place] = f"{lines[place].partition(':')[0]}: {self._snippet(random)}"
            return "\n".join(lines)
        if draw < 0.85:
            return f"{text}{alias_bomb(random.choice((2, 5, 9, 40)))}\nname: *a1\n"
        return text_of(random, text)
