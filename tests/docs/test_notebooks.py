"""The notebooks run, hold output, and are what `docs/notebooks.py` writes."""

import importlib.util
import json
from pathlib import Path

import pytest


pytest.importorskip("numba", reason="the notebooks draw films, which needs the extra `synthesis`")

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == ["own-data", "prompts", "quickstart"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    names: dict = {"__name__": "__main__"}
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    for number, cell in enumerate(code):
        # In this process, which has the libraries already; a kernel of its own would import them for each notebook.
        exec(compile("".join(cell["source"]), f"{path.name}, code cell {number}", "exec"), names)
    assert len(code) >= 3 and all(cell["outputs"] for cell in code)
    assert not any(output["output_type"] == "error" for cell in code for output in cell["outputs"])
    assert path.stat().st_size < 200_000


def test_they_are_what_the_script_writes():
    pytest.importorskip("nbclient", reason="needs the extra `docs`")
    spec = importlib.util.spec_from_file_location("docs_notebooks", ROOT / "docs" / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.stale() == []
