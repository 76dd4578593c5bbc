"""What a user imports and types first."""

import importlib
import pkgutil
import re
import subprocess
import sys
from importlib.metadata import entry_points, version

import pytest

import anatomy_vlm
from anatomy_vlm.cli import main


@pytest.mark.parametrize("name", anatomy_vlm.__all__)
def test_every_public_name_resolves(name):
    assert getattr(anatomy_vlm, name) is not None
    assert name in dir(anatomy_vlm)


@pytest.mark.parametrize("package", ["modeling", "processing", "synthesis", "hub_cards", "training.evaluation"])
def test_public_names_of_the_parts_resolve(package):
    module = importlib.import_module(f"anatomy_vlm.{package}")
    assert module.__all__
    assert [name for name in module.__all__ if getattr(module, name, None) is None] == []


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'AnatomyVLMModle'"):
        _ = anatomy_vlm.AnatomyVLMModle


def test_the_version_is_that_of_the_distribution():
    assert anatomy_vlm.__version__ == version("anatomy-vlm")


def test_every_module_can_be_imported():
    failed = {}
    for module in pkgutil.walk_packages(anatomy_vlm.__path__, "anatomy_vlm."):
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            failed[module.name] = str(error)
    # Without torchvision the backend that needs it stays out.
    from transformers.utils import is_torchvision_available

    if not is_torchvision_available():
        failed.pop("anatomy_vlm.processing.image_processing_anatomy_vlm", None)
    assert failed == {}


def test_help_and_version(capsys):
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    for command in (
        "demo",
        "predict",
        "read-report",
        "prepare",
        "inspect",
        "synthesize",
        "train",
        "evaluate",
        "export",
    ):
        assert re.search(rf"^ +{command}\b", overview, flags=re.MULTILINE)
        assert main([command, "--help"]) == 0
        assert "usage: anatomy-vlm" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert f"anatomy_vlm {anatomy_vlm.__version__}" in capsys.readouterr().out


def test_the_console_command_is_the_main_function():
    (command,) = [point for point in entry_points(group="console_scripts") if point.name == "anatomy-vlm"]
    assert command.load() is main


def test_importing_the_package_imports_nothing_heavy_that_it_does_not_need():
    heavy = "numba", "pydicom", "nibabel", "sklearn", "evaluate", "anatomy_vlm.training", "anatomy_vlm.synthesis"
    code = f"import sys, anatomy_vlm; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "[]"
