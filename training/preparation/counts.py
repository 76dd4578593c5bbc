"""How many images a dataset should have, and how many there are."""

from collections.abc import Mapping
from typing import Any

from anatomy_vlm.training.loaders.dataset_cards import dataset_card


def expected_and_found(dataset: str, found: Mapping[str, int]) -> list[dict[str, Any]]:
    """
    `name`, `expected` (None where the dataset's makers do not say) and `found` of each split or group of splits.

    Examples:
        >>> expected_and_found("vindr_cxr", {"train": 13500, "validation": 1499, "test": 3000})
        ... # doctest: +NORMALIZE_WHITESPACE
        [{'name': 'train+validation', 'expected': 15000, 'found': 14999},
         {'name': 'test', 'expected': 3000, 'found': 3000}]
    """
    expected = dataset_card(dataset).expected
    rows, named = [], set[str]()
    for name, number in expected.items():
        splits = list(found) if name == "total" else name.split("+")
        named.update(splits)
        count = sum(found.get(split, 0) for split in splits)
        # The gold films are asked for by an option.
        if count or name != "gold":
            rows.append({"name": name, "expected": number, "found": count})
    return rows + [{"name": s, "expected": None, "found": n} for s, n in found.items() if s not in named]
