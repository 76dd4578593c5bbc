"""The site is built without a warning, holds what it promises, and fetches nothing when it is read."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


pytest.importorskip("mkdocs", reason="needs the extra `docs`")
pytest.importorskip("mkdocstrings", reason="needs the extra `docs`")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return folder


def test_every_page_is_in_the_navigation_and_written(site):
    written = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    sources = {str(path.relative_to(ROOT / "docs").with_suffix(".html")) for path in (ROOT / "docs").rglob("*.md")}
    assert sources <= written
    assert {"reference-checkpoint.html", "changelog.html", "contributing.html", "notebooks/prompts.html"} <= written
    linked = set(re.findall(r'href="([^"#]+\.html)', (site / "index.html").read_text(encoding="utf-8")))
    assert sources - linked - {"index.html"} == set()


def test_the_reference_shows_signatures_and_shapes(site):
    models = (site / "api" / "modeling.html").read_text(encoding="utf-8")
    assert "AnatomyVLMModel" in models and "logits_per_region" in models and "pixel_values" in models
    public = (site / "api" / "index.html").read_text(encoding="utf-8")
    assert "read_image" in public and "generate_dataset" in public


def test_notebooks_are_pages_with_their_output(site):
    page = (site / "notebooks" / "quickstart.html").read_text(encoding="utf-8")
    assert "pleural effusion" in page and re.search(r'<img[^>]+src="quickstart-\d+\.png"', page)
    assert list((site / "notebooks").glob("quickstart-*.png"))


def test_nothing_is_fetched_from_elsewhere(site):
    tags = r"<script[^>]+src|<img[^>]+src|<link[^>]+rel=\"(?:stylesheet|preload)\"[^>]+href"
    fetched = re.compile(rf"(?:{tags})=\"(https?://[^\"]+)")
    found = {url for path in site.rglob("*.html") for url in fetched.findall(path.read_text(encoding="utf-8"))}
    assert found == set()


def test_the_page_of_datasets_is_that_of_the_loaders():
    import importlib.util

    spec = importlib.util.spec_from_file_location("docs_datasets", ROOT / "docs" / "datasets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run: python docs/datasets.py"
