"""Reading the YAML tables that lie beside the code."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml


class VocabularyError(ValueError):
    """A name that the vocabulary does not have, or a table that contradicts itself."""


def load_table(file_name: str) -> Any:
    """Content of a YAML file of this package."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = Path(__file__).with_name(file_name).read_text(encoding="utf-8")
    return yaml.load(text, Loader=loader)


def closest(name: str, known: Iterable[str]) -> str:
    """End of an error message: the known names closest to a wrong one."""
    matches = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, matches))}?" if matches else ""
