"""What every dataset is, who made it, under which licence, and how many images it should have."""

import sys
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

import yaml

from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.recipe import suggestion


@dataclass(frozen=True, kw_only=True)
class DatasetCard:
    """
    Args:
        title: Name that the dataset's makers use.
        licence: Licence or terms of use, in a line.
        citation: What to cite.
        origin: Where to get it.
        layout: What the root folder holds.
        expected: Images per split or group of splits ("train+validation"), or "total", of the complete dataset.
        approximate: The numbers differ between versions of the dataset; nobody is told that some are missing by them.
        notes: What is known to be wrong with it, or to be minded.
    """

    title: str
    licence: str
    citation: str
    origin: str
    layout: str
    expected: dict[str, int] = field(default_factory=dict)
    approximate: bool = False
    notes: tuple[str, ...] = ()


@cache
def dataset_cards() -> dict[str, DatasetCard]:
    """All cards by name of the loader."""
    text = files("anatomy_vlm.training.loaders").joinpath("dataset_cards.yaml").read_text(encoding="utf-8")
    cards = yaml.safe_load(text)
    return {name: DatasetCard(**{**card, "notes": tuple(card.get("notes", ()))}) for name, card in cards.items()}


def dataset_card(name: str) -> DatasetCard:
    """The card of a loader. Raises `DatasetError` for one without."""
    cards = dataset_cards()
    if name not in cards:
        raise DatasetError(f"unknown dataset '{name}'; {suggestion(name, tuple(cards))}")
    return cards[name]


@cache
def announce(name: str) -> None:
    """Print licence and citation of a dataset to stderr, once in a process."""
    card = dataset_card(name)
    print(f"{card.title}. Licence: {card.licence}. Please cite: {card.citation}", file=sys.stderr)
