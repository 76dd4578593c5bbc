"""Write `docs/datasets.md` from what the loaders know of their datasets.

python docs/datasets.py
"""

import inspect
import re
from pathlib import Path

from anatomy_vlm.training.loaders import SOURCES, get_source
from anatomy_vlm.training.loaders.dataset_cards import DatasetCard, dataset_cards


PAGE = Path(__file__).with_suffix(".md")
INTRODUCTION = """# Public datasets

*Written by `python docs/datasets.py` from the loaders themselves.*

Each dataset is read from the layout in which its makers distribute it. Nothing is downloaded, and nothing of it is
part of this package: each has its own licence and its own way to access, and the dataset's own page decides what both
are today. For every one the way is the same:

1. get it, and leave its folders as they come;
2. `anatomy-vlm prepare` says what is there, what is missing and where to get it, decodes and resizes the films once,
   and writes a passport (`passport.md`: counts, splits, near duplicates, licence, hashes);
3. `anatomy-vlm inspect prepared --root FOLDER --out sheet.html` shows films with their boxes, phrases and labels: look
   before you train;
4. a recipe names the result: `data: {loader: prepared, arguments: {path: FOLDER}}`.

Splits are those of the dataset where it has them, else drawn by patient; no patient is in two. What a dataset does not
say is unknown. To try a loader without its data, `anatomy_vlm.training.loaders.layouts.write_layout` writes a small
made-up copy of each layout; the tests read those.

| dataset | loader | films |
|---|---|---|
"""
# Which folder to name as the root, and as that of the films, where it is another one.
ROOTS = {
    "chest_imagenome": ("chest-imagenome-dataset-1.0.0", "mimic-cxr-jpg"),
    "mimic_cxr": ("mimic-cxr-jpg", None),
    "iu_xray": ("openi", None),
    "chexmask": ("chexmask/OriginalResolution/ChestX-Ray8.csv", "nih-chestxray14"),
    "siim_acr": ("siim-acr", None),
    "nih_chestxray14": ("nih-chestxray14", None),
    "vindr_cxr": ("vindr-cxr", None),
    "rsna_pneumonia": ("rsna-pneumonia", None),
    "ms_cxr": ("ms-cxr", "mimic-cxr-jpg"),
    "padchest": ("padchest", None),
    "ct_projection": ("ct-volumes", None),
    "folder": ("my-films", None),
}
# What prepare has to be told beyond the folders.
SETTINGS = {"ct_projection": "--set scheme=totalsegmentator_v2_total", "mimic_cxr": "--set reports=mimic-cxr"}


def page() -> str:
    """The whole page."""
    cards = dataset_cards()
    rows = [f"| [{card.title}](#{name}) | `{name}` | {films(card)} |\n" for name, card in cards.items()]
    return INTRODUCTION + "".join(rows) + "".join(section(name, card) for name, card in cards.items())


def films(card: DatasetCard) -> str:
    """Images of the complete dataset, in words."""
    about = "about " if card.approximate else ""
    numbers = [f"{number:,} {name}" if name != "total" else f"{number:,}" for name, number in card.expected.items()]
    return about + ", ".join(numbers) if numbers else "yours"


def section(name: str, card: DatasetCard) -> str:
    """What one dataset is, how to prepare it, and which arguments its loader takes."""
    root, images = ROOTS[name]
    out = f"{name.replace('_', '-')}-512"
    command = ["anatomy-vlm prepare", name, "--root", root, *(["--images", images] if images else [])]
    command += [*SETTINGS.get(name, "").split(), "--out", out]
    lines = [
        f"\n## {card.title} {{ #{name} }}\n",
        f"- **Where**: {card.origin}.",
        f"- **Licence**: {card.licence}.",
        f"- **Cite**: {card.citation}.",
        # Patterns have stars, which would be emphasis.
        "- **Layout**: " + card.layout.replace("*", "\\*") + ".",
        *(f"- {note[0].upper()}{note[1:]}." for note in card.notes),
        "",
        "```bash",
        " ".join(command),
        f"anatomy-vlm inspect prepared --root {out} --out sheet.html",
        "```\n",
    ]
    options = arguments(name)
    if options:
        lines += ["| argument | meaning |", "|---|---|", *(f"| `{key}` | {text} |" for key, text in options), ""]
    return "\n".join(lines)


def arguments(name: str) -> list[tuple[str, str]]:
    """Arguments of a loader beyond its folders, with the words of its docstring."""
    source = get_source(name)
    text = inspect.cleandoc(source.__doc__ or "")
    described = dict(re.findall(r"^ {4}(\w+): (.*(?:\n {8,}.*)*)", text.partition("Args:")[2], flags=re.MULTILINE))
    names = list(inspect.signature(source).parameters)[1:]
    return [(key, " ".join(described.get(key, "").split())) for key in names if key in described]


if __name__ == "__main__":
    assert set(ROOTS) == set(SOURCES)
    PAGE.write_text(page(), encoding="utf-8")
