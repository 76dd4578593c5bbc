"""Kinds of input that come from outside, each with what makes cases of it and reads them."""

from importlib import import_module
from pathlib import Path
from random import Random
from typing import Protocol


class Kind(Protocol):
    """Cases of one kind of input; made anew from a `Random`, so that a case is its seed."""

    name: str

    def __init__(self, folder: Path, heavy: bool = False) -> None:
        """`folder` is empty and the kind's own; `heavy` adds inputs at the limits, which take seconds."""

    def case(self, random: Random) -> str:
        """Make a case and read it: what became of it in words. Raises `Finding`."""


KINDS = {
    "image": ("images", "Images"),
    "dicom": ("dicoms", "Dicoms"),
    "json": ("json_files", "JsonFiles"),
    "checkpoint": ("checkpoints", "Checkpoints"),
    "yaml": ("yaml_files", "YamlFiles"),
    "scene-graph": ("scene_graphs", "SceneGraphs"),
    "rle": ("run_lengths", "RunLengths"),
    "table": ("tables", "Tables"),
    "loader": ("loaders", "Loaders"),
    "tokens": ("tokens", "Tokens"),
    "report": ("reports", "Reports"),
    "array": ("arrays", "Arrays"),
}


def make_kind(name: str, folder: Path, heavy: bool = False) -> Kind:
    """The kind of a name."""
    module, member = KINDS[name]
    folder.mkdir(parents=True, exist_ok=True)
    kind: Kind = getattr(import_module(f"fuzzing.{module}"), member)(folder, heavy)
    return kind
