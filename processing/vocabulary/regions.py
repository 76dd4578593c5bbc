"""The anatomical regions: a table read from `anatomy.yaml`."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from .laterality import mirror_text
from .tables import VocabularyError, closest, load_table


Side = Literal["left", "right"]


@dataclass(frozen=True)
class Region:
    """One anatomical region.

    Attributes:
        name: lower-case name, Chest ImaGenome's `bbox_name`.
        index: position in the table; anatomy query `index` of the model. -1 for the additional regions.
        side: the patient's side, or None for a region in the midline.
        mirror: name of the region that takes its place in a mirrored image; its own name if unpaired.
        parents: the next larger regions that contain it completely.
        synonyms: other names in reports, lower case, without the article.
        description: one line.
        term: how a sentence names it, without the article.
        adjective: how it stands in front of a finding, "" where it does not.
        preposition: of a finding that lies in it.
        codes: concept codes by system, e.g. `{"umls": "C0225706"}`.
    """

    name: str
    index: int
    side: Side | None
    mirror: str
    parents: tuple[str, ...]
    synonyms: tuple[str, ...]
    description: str
    term: str
    adjective: str = ""
    preposition: str = "in"
    codes: dict[str, str] = field(default_factory=dict, hash=False)


def _region(entry: dict[str, Any], index: int, side: Side | None) -> Region:
    name = entry["name"]
    # "right atrium" is one structure, so the mirrored name counts only for the regions that come in pairs.
    return Region(
        name=name,
        index=index,
        side=side,
        mirror=mirror_text(name) if side else name,
        parents=tuple(entry.get("parents", ())),
        synonyms=tuple(entry["synonyms"]),
        description=entry["description"],
        term=entry.get("term", name),
        adjective=entry.get("adjective", ""),
        preposition=entry.get("preposition", "in"),
        codes=entry.get("codes", {}),
    )


def _on_side(value: Any, side: Side) -> Any:
    """The entry of a pair with `{side}` filled in; codes are picked by side."""
    if isinstance(value, str):
        return value.replace("{side}", side)
    if isinstance(value, list):
        return [_on_side(item, side) for item in value]
    if isinstance(value, dict):
        return value[side] if set(value) == {"left", "right"} else {k: _on_side(v, side) for k, v in value.items()}
    return value


def _read_regions(order: list[str], pairs: list[dict], unpaired: list[dict], indexed: bool) -> tuple[Region, ...]:
    entries: dict[str, tuple[dict, Side | None]] = {entry["name"]: (entry, None) for entry in unpaired}
    sides: tuple[Side, Side] = ("right", "left")
    for pair in pairs:
        for side in sides:
            entry = _on_side(pair, side)
            entries[entry["name"]] = (entry, side)
    if set(entries) != set(order):
        raise VocabularyError(f"anatomy.yaml: order and entries differ in {sorted(set(entries) ^ set(order))}")
    return tuple(_region(entries[name][0], i if indexed else -1, entries[name][1]) for i, name in enumerate(order))


_TABLE = load_table("anatomy.yaml")

REGIONS: tuple[Region, ...] = _read_regions(_TABLE["order"], _TABLE["pairs"], _TABLE["unpaired"], True)
ADDITIONAL_REGIONS: tuple[Region, ...] = _read_regions(
    _TABLE["additional_order"], _TABLE["additional_pairs"], _TABLE["additional_unpaired"], False
)
REGION_NAMES: tuple[str, ...] = tuple(region.name for region in REGIONS)
_BY_NAME = {region.name: region for region in REGIONS + ADDITIONAL_REGIONS}
_GROUPS: dict[str, list[str]] = _TABLE["groups"]


def get_region(name: str) -> Region:
    """The region of this name, the additional ones included.

    Raises:
        VocabularyError: there is none; the message names the closest ones.

    Examples:
        >>> get_region("right lung").mirror
        'left lung'
    """
    if name not in _BY_NAME:
        raise VocabularyError(f"unknown region {name!r}{closest(name, _BY_NAME)}")
    return _BY_NAME[name]


@cache
def containing_regions(name: str) -> tuple[str, ...]:
    """Names of all regions that contain this one, nearest first, itself left out.

    Examples:
        >>> containing_regions("left costophrenic angle")
        ('left lower lung zone', 'left lung')
    """
    found: dict[str, None] = {}
    queue = list(get_region(name).parents)
    while queue:
        parent = queue.pop(0)
        found.setdefault(parent)
        queue.extend(get_region(parent).parents)
    return tuple(found)


def expand_regions(names: list[str]) -> tuple[str, ...]:
    """Region names of a list of names and groups ("lungs", "left lower zones"), in table order without repeats."""
    found: set[str] = set()
    for name in names:
        side, _, rest = name.partition(" ")
        if name in _BY_NAME:
            found.add(name)
        elif name in _GROUPS:
            found.update(expand_regions(_GROUPS[name]))
        elif side in ("left", "right") and rest in _GROUPS:
            found.update(r for r in expand_regions(_GROUPS[rest]) if get_region(r).side == side)
        else:
            raise VocabularyError(f"unknown region or group {name!r}{closest(name, _BY_NAME)}")
    return tuple(name for name in _BY_NAME if name in found)
