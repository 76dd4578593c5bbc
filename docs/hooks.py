"""What mkdocs has to be told about this checkout: pages from elsewhere in it, notebooks, and where the package is."""

import base64
import json
import posixpath
import re
import tempfile
import tomllib
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page


ROOT = Path(__file__).parents[1]
# Files of the checkout that are pages of the site, by the name of the page.
PAGES = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "reference-checkpoint.md": "hub_cards/phantom-reference/README.md",
    "security.md": "SECURITY.md",
}
# Groups of the navigation for pages that `mkdocs.yml` does not name; the others come last among the guides.
PLACES = {"vlm.md": "Training"}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
_source_tree = tempfile.TemporaryDirectory(prefix="anatomy-vlm-docs-")


@event_priority(100)  # before mkdocstrings reads its settings
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Show mkdocstrings the package as it is imported: folders of the checkout under one name."""
    mapping = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-dir"]
    package = Path(_source_tree.name) / "anatomy_vlm"
    if not package.exists():
        package.mkdir()
        for child in (ROOT / mapping["anatomy_vlm"]).iterdir():
            if child.name != "__pycache__":
                (package / child.name).symlink_to(child)
        for name, folder in mapping.items():
            if "." in name:
                (package / name.partition(".")[2]).symlink_to(ROOT / folder)
    there = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    groups = {title: pages for entry in config.nav for title, pages in entry.items()}
    for page in sorted(there - listed(config.nav)):
        # A page that nobody has put into the navigation is better shown last than not at all.
        groups[PLACES.get(page, "Guides")].append(page)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [_source_tree.name]
    return config


def listed(entries: list | dict | str) -> set[str]:
    """The pages that a part of the navigation names."""
    if isinstance(entries, str):
        return {entries}
    parts = entries.values() if isinstance(entries, dict) else entries
    return set().union(*map(listed, parts))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are written elsewhere, and the notebooks as pages."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        text, pictures = notebook_page(json.loads(path.read_text(encoding="utf-8")), path.stem)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, data in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=data))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the checkout that are pages into links to the pages, and others into their words."""
    source = PAGES.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    pages = {original: name for name, original in PAGES.items()}

    def link(match: re.Match[str]) -> str:
        picture, words, target, anchor = match.groups()
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path not in pages and not path.startswith("docs/"):
            # One that leads nowhere in the checkout either is left as it is, for mkdocs to complain about.
            return words if (ROOT / path).exists() else match[0]
        page_name = pages.get(path, path.removeprefix("docs/").replace(".ipynb", ".md"))
        here = posixpath.dirname(page.file.src_uri) or "."
        return f"{picture}[{words}]({posixpath.relpath(page_name, here)}{anchor or ''})"

    return LINK.sub(link, markdown)


def notebook_page(notebook: dict, stem: str) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures by file name."""
    parts, pictures = [f"*This page is `docs/notebooks/{stem}.ipynb`.*"], {}
    for number, cell in enumerate(notebook["cells"]):
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{stem}-{number}.png"
                pictures[name] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![Output of the cell above]({name})")
            elif shown := "".join(output.get("text", data.get("text/plain", []))).rstrip():
                parts.append(f"```text\n{shown}\n```")
    # The title comes first.
    first = next((i for i, part in enumerate(parts) if part.startswith("# ")), None)
    if first is not None:
        parts.insert(0, parts.pop(first))
    return "\n\n".join(parts) + "\n", pictures
