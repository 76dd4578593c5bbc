"""Everything that README.md and CONTRIBUTING.md tell a user to type or paste."""

import argparse
import doctest
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from transformers import BertConfig

from anatomy_vlm.cli import build_parser
from anatomy_vlm.modeling import AnatomyVLMConfig, AnatomyVLMModel
from anatomy_vlm.processing import AnatomyVLMImageProcessorPil, AnatomyVLMProcessor
from anatomy_vlm.processing.prompts import finding_prompts
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES
from anatomy_vlm.training import run
from anatomy_vlm.training.export_hub import export
from anatomy_vlm.training.loaders import SOURCES, load_data
from anatomy_vlm.training.recipe import load_recipe, parse_recipe
from anatomy_vlm.training.text_encoder import word_tokenizer


ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


COMMANDS = [
    line.partition("  #")[0].strip()
    for text in (README, CONTRIBUTING)
    for block in blocks(text, "bash")
    for line in block.splitlines()
    if line.strip()
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with what the examples read: a film and a model, tiny and untrained."""
    folder = tmp_path_factory.mktemp("home")
    prompts = finding_prompts(["pleural effusion", "pneumothorax"])
    tokenizer = word_tokenizer([text for pair in prompts.values() for side in pair.values() for text in side], 32)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    config = AnatomyVLMConfig(
        vision_config={**sizes, "image_size": 32, "patch_size": 8},
        text_config=BertConfig(**sizes, vocab_size=len(tokenizer), max_position_embeddings=32).to_dict(),
        projection_dim=8,
    )
    image_processor = AnatomyVLMImageProcessorPil(size={"height": 32, "width": 32})
    processor = AnatomyVLMProcessor(image_processor, tokenizer, list(REGION_NAMES), prompts)
    (folder / "outputs" / "demo").mkdir(parents=True)
    export(AnatomyVLMModel(config), folder / "outputs" / "demo" / "model", processor)
    levels = np.random.default_rng(0).integers(0, 256, (60, 50), dtype=np.uint8)
    Image.fromarray(levels).save(folder / "film.png")
    return folder


def test_the_python_examples_of_the_readme_run(home, monkeypatch):
    monkeypatch.chdir(home)
    text = "\n".join(blocks(README, "python"))
    examples = doctest.DocTestParser().get_doctest(text, {}, "README.md", "README.md", 0)
    assert len(examples.examples) >= 25
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(examples, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command, pyproject, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(command)
    match words:
        case ["make", target]:
            assert re.search(rf"^\.PHONY:.*\b{target}\b", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
        case ["pip", "install", "-e", source, *_]:
            (extras,) = re.findall(r"^\.(?:\[(.*)\])?$", source)
            assert set(filter(None, extras.split(","))) <= set(pyproject["project"]["optional-dependencies"])
        case ["anatomy-vlm", *arguments]:
            try:
                parsed = build_parser().parse_args(arguments)
            except SystemExit:
                pytest.fail(f"{command}: not understood")
            if getattr(parsed, "overrides", None):
                run.with_overrides(load_recipe(parsed.recipe), parsed.overrides)
        case ["accelerate", "launch", "training/run.py", *arguments]:
            run.parser().parse_args(arguments)
        case ["accelerate", "launch", "-m", "anatomy_vlm.training.run", *arguments]:
            parsed = run.parser().parse_args(arguments)
            run.with_overrides(load_recipe(parsed.recipe), parsed.overrides)
        case ["python", "-m", "pytest", folder, *_]:
            assert (ROOT / folder).is_dir()
        case _:
            pytest.fail(f"{command}: a kind of command that nothing checks")


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
