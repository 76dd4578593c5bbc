"""The Space says what the package says, and runs its app."""

import runpy
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from anatomy_vlm.app.server import AppSettings
from anatomy_vlm.hub_cards import REFERENCE_MODEL


ROOT = Path(__file__).parents[2]
SPACE = ROOT / "hub_cards" / "space"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def metadata():
    _, head, _ = (SPACE / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(head)


def test_its_requirements_are_this_package_with_its_extras():
    lines = (SPACE / "requirements.txt").read_text().splitlines()
    (wanted,) = [Requirement(line) for line in lines if not line.startswith("-")]
    assert wanted.name == PROJECT["name"] and wanted.specifier == SpecifierSet(f"=={PROJECT['version']}")
    assert wanted.extras == {"app", "synthesis"} and wanted.extras <= set(PROJECT["optional-dependencies"])


def test_its_metadata_agree_with_the_package():
    card = metadata()
    (gradio,) = [Requirement(line) for line in PROJECT["optional-dependencies"]["app"] if line.startswith("gradio")]
    assert card["sdk"] == "gradio" and gradio.specifier.contains(card["sdk_version"])
    assert SpecifierSet(PROJECT["requires-python"]).contains(card["python_version"])
    assert card["license"] == PROJECT["license"].lower()
    assert (SPACE / card["app_file"]).is_file()
    assert len(card["short_description"]) <= 60


def test_it_serves_the_app_of_the_package(monkeypatch):
    for name in ("GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT", "ANATOMY_VLM_MODEL"):
        monkeypatch.delenv(name, raising=False)
    settings = runpy.run_path(str(SPACE / "app.py"))["settings"]
    assert settings() == AppSettings(model=REFERENCE_MODEL, host="0.0.0.0", port=7860)
    monkeypatch.setenv("ANATOMY_VLM_MODEL", "somebody/model")
    monkeypatch.setenv("GRADIO_SERVER_PORT", "8000")
    assert (settings().model, settings().port) == ("somebody/model", 8000)
