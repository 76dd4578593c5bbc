"""The wheel holds what git holds, and works from a folder that looks like a checkout."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy
import pytest


FROM_WHEEL = """
import pathlib, sys
site = pathlib.Path(sys.argv[1])
import anatomy_vlm
for name in anatomy_vlm.__all__:
    getattr(anatomy_vlm, name)
assert pathlib.Path(anatomy_vlm.__file__).is_relative_to(site), anatomy_vlm.__file__
from importlib.resources import files
from transformers import AutoConfig, AutoModel
from anatomy_vlm.hub_cards import model_card
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES
from anatomy_vlm.training.recipe import load_recipe, recipe_names
assert len(REGION_NAMES) == 29 and "pneumothorax" in FINDING_NAMES
assert model_card(load_recipe(recipe_names()[0]).to_dict()).startswith("---")
assert files("anatomy_vlm").joinpath("prediction_schema.json").is_file()
assert AutoModel._model_mapping[type(AutoConfig.for_model("anatomy_vlm"))] is anatomy_vlm.AnatomyVLMModel
from anatomy_vlm.cli import main
assert main(["--help"]) == 0 and main(["--version"]) == 0
print("works")
"""


@pytest.fixture(scope="module")
def checkout(root, tracked, tmp_path_factory):
    """A copy of what git tracks: building leaves files behind, and other tests look at the real one."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in tracked:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    if int(version("setuptools").partition(".")[0]) < 77:
        pytest.skip("needs setuptools>=77 to build without isolation; `make test` installs it")
    out = tmp_path_factory.mktemp("wheel")
    command = ["wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(out), "."]
    done = subprocess.run([sys.executable, "-m", "pip", *command], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (built,) = out.glob("anatomy_vlm-*.whl")
    return built


def test_the_wheel_holds_every_tracked_file_of_the_packages_and_no_other(wheel, tracked, package_dir):
    expected = {
        f"{package.replace('.', '/')}/{name.partition('/')[2]}"
        for name in tracked
        for package, folder in package_dir.items()
        # The Space is a folder for the Hub, no part of what is installed.
        if name.partition("/")[0] == folder and not name.startswith("hub_cards/space/")
    }
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert sorted(expected - found) == []
    assert sorted(found - expected) == []


@pytest.fixture(scope="module")
def sdist(wheel, checkout, tmp_path_factory):
    """After the wheel, which skips where neither can be built."""
    out = tmp_path_factory.mktemp("sdist")
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(out)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (built,) = out.glob("anatomy_vlm-*.tar.gz")
    return built


def test_the_source_distribution_holds_what_the_wheel_holds(wheel, sdist, package_dir):
    with tarfile.open(sdist) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    folders = {package.replace(".", "/"): folder for package, folder in package_dir.items()}
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    for name in names:
        # The longest package that holds it: anatomy_vlm/modeling/x.py lies in modeling/, not in package/modeling/.
        package = max((p for p in folders if name.startswith(f"{p}/")), key=len)
        assert f"{folders[package]}{name.removeprefix(package)}" in found, name
    assert {"pyproject.toml", "README.md", "LICENSE"} <= found


def test_the_wheel_installs_in_an_environment_of_its_own(wheel, tmp_path):
    """By pip, and its command runs; the libraries are those of this environment, ours is the wheel's."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    if not python.is_file():
        pytest.skip("no POSIX layout of environments")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index"]
    done = subprocess.run([*command, str(wheel)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "libraries.pth").write_text(str(Path(numpy.__file__).parents[1]) + "\n")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    script = tmp_path / "venv" / "bin" / "anatomy-vlm"
    done = subprocess.run([str(script), "doctor"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "reference" in done.stdout, done.stderr[-3000:]
    where = [str(python), "-c", "import importlib.util as u; print(u.find_spec('anatomy_vlm').origin)"]
    found = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True).stdout
    assert str(site) in found


def test_every_top_package_says_that_it_is_typed(wheel, package_dir):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert [package for package in package_dir if f"{package.replace('.', '/')}/py.typed" not in names] == []


def test_the_wheel_carries_licence_and_entry_point(wheel):
    with zipfile.ZipFile(wheel) as archive:
        texts = {
            name.rpartition("/")[2]: archive.read(name).decode() for name in archive.namelist() if "dist-" in name
        }
    assert "Apache License" in texts["LICENSE"]
    assert "anatomy-vlm = anatomy_vlm.cli:main" in texts["entry_points.txt"]
    assert "License-Expression: Apache-2.0" in texts["METADATA"]


def test_an_installed_wheel_works_from_a_checkout(wheel, checkout, tmp_path):
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # Run from the checkout: no folder of it may shadow the installed package.
    environment = {**os.environ, "PYTHONPATH": str(site), "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", FROM_WHEEL, str(site)]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith("works")
