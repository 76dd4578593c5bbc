"""The page of versions says what pyproject.toml and the Makefile say."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version


ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (Python|PyTorch|Transformers|Accelerate) \| ([\d.]+) \| ([\d.]+) \|$", flags=re.MULTILINE)
DISTRIBUTIONS = {"PyTorch": "torch", "Transformers": "transformers", "Accelerate": "accelerate"}


def test_the_oldest_versions_are_the_lower_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = {name: (Version(low), Version(high)) for name, low, high in ROW.findall(versions_page())}
    assert set(rows) == {"Python", *DISTRIBUTIONS}
    bounds = {r.name: r.specifier for r in map(Requirement, project["dependencies"])}
    for name, distribution in DISTRIBUTIONS.items():
        (bound,) = [Version(s.version) for s in bounds[distribution] if s.operator == ">="]
        assert bound == rows[name][0] <= rows[name][1], name
    assert Version(project["requires-python"].removeprefix(">=")) == rows["Python"][0]
    (torch,) = re.findall(r"^TORCH \?= torch==([\d.]+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert Version(torch) == rows["PyTorch"][1]


def versions_page() -> str:
    return (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
