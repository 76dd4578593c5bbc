"""The pages, their code blocks, and a folder with what the examples read."""

import argparse
import importlib.util
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import BertConfig

from anatomy_vlm import generate_patient
from anatomy_vlm.cli import build_parser
from anatomy_vlm.hub_cards import model_card
from anatomy_vlm.modeling import AnatomyVLMConfig, AnatomyVLMModel
from anatomy_vlm.processing import AnatomyVLMImageProcessorPil, AnatomyVLMProcessor
from anatomy_vlm.processing.prompts import finding_prompts
from anatomy_vlm.processing.vocabulary import REGION_NAMES
from anatomy_vlm.training import run
from anatomy_vlm.training.export_hub import export
from anatomy_vlm.training.recipe import load_recipe, recipe_names
from anatomy_vlm.training.text_encoder import word_tokenizer


ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^( *)```(\w*)([^\n]*)\n(.*?)^ *```$", flags=re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: page and line, language, the file name in `title="..."`, and its text without the indent."""

    where: str
    language: str
    title: str
    text: str

    def commands(self) -> list[str]:
        """Its shell commands: continued lines joined, comments and empty lines gone."""
        joined = re.sub(r"\\\n\s*", " ", self.text)
        lines = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in joined.splitlines())
        return [line for line in lines if line]


def blocks_of(path: Path) -> list[Block]:
    """All fenced blocks of a page."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        indent, language, info, body = match.groups()
        title = re.search(r'title="([^"]+)"', info)
        where = f"{path.relative_to(ROOT)}:{text[: match.start()].count(chr(10)) + 1}"
        body = re.sub(rf"^{indent}", "", body, flags=re.MULTILINE)
        found.append(Block(where, language, title[1] if title else "", body))
    return found


def understood(command: str, extras: set[str]) -> None:
    """
    Check a command without running it: its parser takes it, its files are there, its targets and extras exist.

    Raises:
        AssertionError: that says what is not understood.
    """
    # What the shell fills in may be anything.
    words = shlex.split(re.sub(r"\$\([^)]*\)", "FILLED", command).replace("$(", ""))
    match words:
        case ["make", target, *_]:
            assert re.search(rf"^\.PHONY:.*\b{target}\b", (ROOT / "Makefile").read_text(), flags=re.MULTILINE), command
        case ["pip", "install", "-e", source, *_]:
            (named,) = re.findall(r"^\.(?:\[(.*)\])?$", source)
            assert set(filter(None, named.split(","))) <= extras, command
        case ["pip", "install", *requirements]:
            for requirement in requirements:
                ours = re.fullmatch(r"anatomy-vlm\[(.*)\]", requirement)
                assert not ours or set(ours[1].split(",")) <= extras, command
        case ["anatomy-vlm", *arguments]:
            parsed = parsed_by(build_parser(), arguments, command)
            check_overrides(parsed)
        case ["accelerate" | "torchrun" | "srun", *rest]:
            after = next(i for i, word in enumerate(rest) if word.endswith(("training/run.py", "training.run")))
            check_overrides(parsed_by(run.parser(), rest[after + 1 :], command))
        case ["python", "-m", "pytest", folder, *_]:
            assert (ROOT / folder).exists(), command
        case ["python", "-m", module, *options] if module.startswith("anatomy_vlm."):
            path = ROOT / Path(*module.split(".")[1:]).with_suffix(".py")
            source = path.read_text(encoding="utf-8")
            missing = [word for word in options if word.startswith("--") and f'"{word}"' not in source]
            assert not missing, f"{command}: {module} has no {missing}"
        case ["python", "-m", module, *options]:
            found = importlib.util.find_spec(module)
            assert found is not None and found.origin, f"{command}: no such module"
            source = Path(found.origin).read_text(encoding="utf-8")
            missing = [word for word in options if word.startswith("--") and f'"{word}"' not in source]
            # Options may be declared in the modules beside it.
            beside = "".join(path.read_text(encoding="utf-8") for path in Path(found.origin).parent.glob("*.py"))
            assert all(f'"{word}"' in beside for word in missing), f"{command}: {module} has no {missing}"
        case ["python", script, *options] if script.endswith(".py"):
            source = (ROOT / script).read_text(encoding="utf-8")
            missing = [word for word in options if word.startswith("--") and f'"{word}"' not in source]
            # Options that several scripts share are declared beside them.
            shared = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "training").glob("step_profile.py"))
            assert all(f'"{word}"' in shared for word in missing), f"{command}: {script} has no {missing}"
        case ["cd" | "export" | "git" | "hf" | "scontrol", *_]:
            pass
        case _:
            raise AssertionError(f"{command}: a kind of command that nothing checks")


def parsed_by(parser: argparse.ArgumentParser, arguments: list[str], command: str) -> argparse.Namespace:
    """What a parser makes of arguments; an AssertionError where it refuses them."""
    try:
        return parser.parse_args(arguments)
    except SystemExit as stop:
        raise AssertionError(f"{command}: not understood") from stop


def check_overrides(parsed: argparse.Namespace) -> None:
    """Settings of a recipe that is shipped have to fit it."""
    if getattr(parsed, "overrides", None) and getattr(parsed, "recipe", None) in recipe_names():
        run.with_overrides(load_recipe(parsed.recipe), parsed.overrides)


@pytest.fixture(scope="session")
def documents() -> dict[str, list[Block]]:
    """Blocks of every page by its path in the checkout."""
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if (ROOT / "SECURITY.md").is_file():
        paths.append(ROOT / "SECURITY.md")
    return {str(path.relative_to(ROOT)): blocks_of(path) for path in paths}


@pytest.fixture(scope="session")
def check_command(pyproject_extras):
    """`understood` with the extras of this checkout."""
    return lambda command: understood(command, pyproject_extras)


@pytest.fixture(scope="session")
def pyproject_extras() -> set[str]:
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return set(settings["project"]["optional-dependencies"])


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with what the examples read: films and a model, tiny and untrained."""
    pytest.importorskip("numba", reason="the film of the examples is drawn, which needs the extra `synthesis`")
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
    card = model_card(load_recipe("phantom-tiny").to_dict())
    export(AnatomyVLMModel(config), folder / "outputs" / "demo" / "model", processor, card)
    (folder / "hub_cards").symlink_to(ROOT / "hub_cards")
    # Of a drawn chest: from a picture of noise findings are withheld.
    film = generate_patient(3, image_size=256)[0]["image"]
    for name in ("film.png", "earlier.png", "later.png"):
        film.save(folder / name)
    return folder
