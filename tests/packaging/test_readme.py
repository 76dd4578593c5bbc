"""What README.md and CONTRIBUTING.md say beside their code blocks, which `tests/docs` runs and parses."""

import argparse
import json
import re
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from anatomy_vlm.cli import build_parser
from anatomy_vlm.modeling import AnatomyVLMConfig
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES
from anatomy_vlm.training.loaders import SOURCES, load_data
from anatomy_vlm.training.recipe import parse_recipe


ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_the_table_of_commands_is_that_of_the_command_line():
    (commands,) = [action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    assert re.findall(r"^\| `anatomy-vlm ([\w-]+)", README, flags=re.MULTILINE) == list(commands.choices)


def test_the_datasets_of_the_readme_are_those_that_can_be_read():
    (section,) = re.findall(r"^## Public datasets\n(.*?)^## ", README, flags=re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"`([a-z]+(?:_[a-z0-9]+)*)`", section.partition("```")[0]))
    assert named - {"prepare"} == set(SOURCES) - {"folder"}


def test_the_metadata_of_the_readme_loads_as_a_dataset(tmp_path):
    (lines,) = blocks(README, "json")
    records = [json.loads(line) for line in lines.splitlines()]
    for record in records:
        Image.linear_gradient("L").resize((400, 440)).save(tmp_path / record["file_name"])
    (tmp_path / "metadata.jsonl").write_text(lines, encoding="utf-8")
    splits = load_data("folder", {"path": str(tmp_path)})
    assert {name: len(split) for name, split in splits.items()} == {"train": 1, "validation": 1, "test": 1}
    example = splits["train"][0]
    assert example["box_mask"][REGION_NAMES.index("left lung")] and sum(example["box_mask"]) == 1
    labels = dict(zip(FINDING_NAMES, example["labels"]))
    assert labels["pneumothorax"] == 0 and labels["pleural effusion"] == 1 and np.isnan(labels["atelectasis"])
    assert splits["test"][0]["labels"][FINDING_NAMES.index("pleural effusion")] == 0


def test_the_recipe_of_the_readme_is_one():
    (text,) = blocks(README, "yaml")
    recipe = parse_recipe(yaml.safe_load(text), "README.md")
    assert [stage.name for stage in recipe.stages] == ["detection", "global", "fine"]
    AnatomyVLMConfig(vision_config=recipe.model.vision)


def test_links_lead_somewhere():
    targets = re.findall(r"\]\(([^)#]+)\)", README + CONTRIBUTING)
    local = [target for target in targets if "://" not in target]
    assert local and [target for target in local if not (ROOT / target).exists()] == []


def test_folders_of_the_readme_exist():
    for folder in ("modeling", "processing", "synthesis", "training", "hub_cards", "package", "tests", "docs"):
        assert f"{folder}/" in README and (ROOT / folder).is_dir()


def test_the_picture_is_small():
    assert (ROOT / "docs" / "overlay.png").stat().st_size < 300_000
