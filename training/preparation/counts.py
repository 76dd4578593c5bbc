"""How many images a dataset should have, and how many there are."""

from collections.abc import Mapping
from typing import Any

from anatomy_vlm.training.loaders.dataset_cards import dataset_card
from anatomy_vlm.training.loaders.source import Source


# A split that is only there on request.
_GOLD = "gold"


def expected_and_found(source: Source, found: Mapping[str, int]) -> list[dict[str, Any]]:
    """
    What the complete dataset has, what was found, and what is missing, of each split or group of splits.

    Splits that were drawn have nothing to be compared with, so the totals are.

    Args:
        source: The dataset.
        found: Images that were read, by split.

    Returns:
        Rows of `name`, `expected` (None where the dataset's makers do not say), `approximate`, `found`, `left_out` (on
        purpose) and `missing` (0 where the number expected is none or approximate).
    """
    card = dataset_card(source.name)
    expected = dict(card.expected if source.expected is None else source.expected)
    if _GOLD not in found:
        expected.pop(_GOLD, None)
    if expected and not source.own_splits:
        expected = {"total": sum(expected.values())}
    groups = [(name, list(found) if name == "total" else name.split("+"), number) for name, number in expected.items()]
    named = {split for _, splits, _ in groups for split in splits}
    groups += [(split, [split], None) for split in found if split not in named]
    rows = []
    for name, splits, number in groups:
        count = sum(found.get(split, 0) for split in splits)
        left_out = source.left_out.total() if name == "total" else sum(source.left_out[split] for split in splits)
        known = number is not None and not card.approximate
        rows.append(
            {
                "name": name, "expected": number, "approximate": card.approximate, "found": count,
                "left_out": left_out, "missing": max(number - count - left_out, 0) if known else 0,
            }
        )  # fmt: skip
    return rows


def expected_text(row: Mapping[str, Any]) -> str:
    """The number expected, for a person: "12", "about 12", or "?"."""
    if row["expected"] is None:
        return "?"
    return f"about {row['expected']}" if row["approximate"] else str(row["expected"])
