"""The data that the tables are made of where no other is named: synthetic chests that no training has seen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anatomy_vlm.training.receipts.data import PHANTOM, DataSource, source_of
from anatomy_vlm.training.receipts.tasks import SplitSource


# Looks of films (`anatomy_vlm.synthesis.phantom.DOMAINS`) other than the usual one.
OTHER_LOOKS = ("portable", "film", "equalised", "low_dose")
FIRST_SEED = 31


def phantom_source(
    num_patients: int, seed: int, splits: Mapping[str, float], domain: str = "mixed", image_size: int = 160
) -> DataSource:
    """Synthetic films as a source."""
    arguments: dict[str, Any] = {
        "num_patients": num_patients,
        "seed": seed,
        "image_size": image_size,
        "splits": dict(splits),
        "domain": domain,
    }
    return DataSource(PHANTOM, arguments)


def mixed_films(patients: int = 500) -> dict[str, SplitSource]:
    """Films of all looks: "validation" for thresholds and baselines, "test"."""
    source = phantom_source(patients, FIRST_SEED, {"validation": 0.4, "test": 0.6})
    return {"validation": SplitSource(source, "validation"), "test": SplitSource(source, "test")}


def films_by_look(patients: int = 100) -> dict[str, SplitSource]:
    """`patients` test films of every look by its name, and twice as many of the usual one as "train"."""
    usual = phantom_source(3 * patients, FIRST_SEED + 1, {"train": 2 / 3, "test": 1 / 3}, "default")
    found = {"train": SplitSource(usual, "train"), "default": SplitSource(usual, "test")}
    for offset, look in enumerate(OTHER_LOOKS, start=2):
        source = phantom_source(patients, FIRST_SEED + offset, {"test": 1.0}, look)
        found[look] = SplitSource(source, "test")
    return found


def folder_films(folder: Path) -> dict[str, SplitSource]:
    """The splits "validation" and "test" of a dataset folder of the user."""
    source = source_of(folder)
    return {"validation": SplitSource(source, "validation"), "test": SplitSource(source, "test")}
