"""The checkout, its settings, and where its folders live as packages."""

import subprocess
import tomllib
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def pyproject(root) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def package_dir(pyproject) -> dict[str, str]:
    """Folder of each top package, for example `anatomy_vlm.modeling`: `modeling`."""
    return pyproject["tool"]["setuptools"]["package-dir"]


@pytest.fixture(scope="session")
def tracked(root) -> list[str]:
    """Files that git knows and that are there, relative to the checkout."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout, so nothing to compare the wheel with")
    return [name for name in listed.stdout.split("\0") if name and (root / name).is_file()]
