"""Examples in docstrings, of every module that has some."""

import doctest
import importlib
import tomllib
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]


def modules_with_examples() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = []
    for package, folder in settings["tool"]["setuptools"]["package-dir"].items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            if ">>> " in path.read_text(encoding="utf-8"):
                parts = path.relative_to(ROOT / folder).with_suffix("").parts
                names.append(".".join([package, *[part for part in parts if part != "__init__"]]))
    return names


MODULES = modules_with_examples()


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    module = importlib.import_module(name)
    # Not the copy of another checkout or an old wheel.
    assert Path(str(module.__file__)).read_text(encoding="utf-8").count(">>> ") > 0
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0


def test_examples_were_found():
    assert len(MODULES) >= 15
