"""What may import what, and what pyproject.toml says about the folders."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from transformers.dynamic_module_utils import get_imports, get_relative_imports


ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGE_DIR = PYPROJECT["tool"]["setuptools"]["package-dir"]
# Which of our folders each folder may import besides itself.
ALLOWED = {
    "modeling": set(),
    "processing": set(),
    "hub_cards": set(),
    "synthesis": {"processing"},
    "training": {"synthesis", "processing", "modeling", "hub_cards"},
}
FAMILY = sorted([*ROOT.glob("modeling/*_anatomy_vlm.py"), *ROOT.glob("processing/*_anatomy_vlm.py")])


def module_name(path: Path) -> str:
    """Dotted name of a source file as it is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    package = next(package for package, folder in PACKAGE_DIR.items() if folder == parts[0])
    return ".".join([package, *[part for part in parts[1:] if part != "__init__"]])


def imported_modules(path: Path) -> set[str]:
    """Absolute names of all modules of ours that a file imports, anywhere in it."""
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*up, *([node.module] if node.module else [])])
            # `from anatomy_vlm import modeling` imports a module, `from anatomy_vlm.x import y` may.
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "anatomy_vlm"}


def sibling_names(tree: ast.Module) -> set[str]:
    """`module.Name` of everything that is imported from files beside."""
    return {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }


@pytest.mark.parametrize("folder", ALLOWED)
def test_folders_import_only_what_they_may(folder):
    wrong = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        if path.name == "__init__.py" and folder in ("modeling", "processing"):
            continue  # they register with the Auto classes and never travel
        if path.parent == ROOT / "hub_cards" / "space":
            continue  # a program that uses the package, as a Space does
        for name in imported_modules(path):
            home = name.split(".")[1]
            if home != folder and home not in ALLOWED[folder]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("path", FAMILY, ids=lambda path: path.name)
def test_files_that_travel_import_siblings_and_core_dependencies_only(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.module != "__future__", "annotations would be strings, and config_class with them"
            if node.level:
                assert node.level == 1 and node.module and "." not in node.module, ast.unparse(node)
                assert node.module.endswith("_anatomy_vlm"), ast.unparse(node)
    package = module_name(path).rpartition(".")[0]
    assert imported_modules(path) == {f"{package}.{name}" for name in sibling_names(tree)}
    # As Transformers reads the file, docstrings included: by regular expressions.
    for sibling in get_relative_imports(path):
        assert path.with_name(f"{sibling}.py").is_file(), f"{path.name}: from .{sibling}"
    core = {re.split(r"[<>=\[ ]", requirement)[0] for requirement in PYPROJECT["project"]["dependencies"]}
    names = {"pil": "pillow", "yaml": "pyyaml"}
    required = {names.get(name.lower(), name.lower()) for name in get_imports(path)}
    assert required <= core | sys.stdlib_module_names


def test_files_that_travel_have_names_of_their_own():
    names = [path.name for path in FAMILY]
    assert len(names) >= 10 and len(set(names)) == len(names)


def test_every_package_folder_is_listed_and_every_listed_one_exists():
    listed = set(PYPROJECT["tool"]["setuptools"]["packages"])
    found = {module_name(path) for folder in PACKAGE_DIR.values() for path in (ROOT / folder).rglob("__init__.py")}
    assert sorted(found - listed) == [] and sorted(listed - found) == []


def test_no_module_of_training_hides_a_library():
    # `accelerate launch training/run.py` puts the folder in front of sys.path.
    libraries = {"accelerate", "datasets", "evaluate", "huggingface_hub", "numpy", "torch", "transformers", "yaml"}
    names = {path.stem for path in (ROOT / "training").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert names & (libraries | sys.stdlib_module_names) == set()


def test_extras_that_errors_name_exist():
    extras = set(PYPROJECT["project"]["optional-dependencies"])
    named = set()
    for folder in PACKAGE_DIR.values():
        for path in (ROOT / folder).rglob("*.py"):
            named |= set(re.findall(r"anatomy-vlm\[([a-z]+)\]", path.read_text(encoding="utf-8")))
    assert named and named <= extras


def test_the_version_is_one():
    version = PYPROJECT["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == version and citation["license"] == PYPROJECT["project"]["license"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


def test_sources_stay_small():
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in PACKAGE_DIR.values()
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}
