"""Findings that a sentence mentions: by name, by a place and a word about it, or by calling a place normal."""

from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

from .lexicon import default_lexicon, frames_table
from .places import Item, PlaceGroup, build_groups


# What may stand between an adjective and its noun.
_MODIFIERS = frozenset({"severity", "temporal", "comparison", "ignore", "the", "a"})
_OTHER_SIDE = {"left": "right", "right": "left"}
_STOPS = frozenset({"find", "break", "there", "summary"})


@dataclass(slots=True)
class Mention:
    """One finding that a sentence mentions.

    Attributes:
        finding: its name.
        index: index of its item.
        kind: "find", "frame", "normal" or "summary".
        plural: whether it is a plural.
        groups: places that it is linked to.
        since: index of the first item whose negation can reach it.
        polarity: "present", "absent", "uncertain", or "" where nothing is said of the image.
        severity, temporal, comparison: as in `ReportStatement`.
    """

    finding: str
    index: int
    kind: str
    plural: bool = False
    groups: list[PlaceGroup] = field(default_factory=list)
    since: int = 0
    polarity: str = "present"
    severity: str | None = None
    temporal: str | None = None
    comparison: str | None = None


@cache
def _frames() -> tuple[dict[str, Any], ...]:
    return tuple(frames_table()["frames"])


@cache
def _normals() -> tuple[dict[str, Any], ...]:
    return tuple(frames_table()["normal"])


def find_items(words: list[str]) -> list[Item]:
    """The phrases of a sentence; places within the name of a finding come before it as items of their own."""
    items: list[Item] = []
    for start, end, entry in default_lexicon().match(words):
        items.extend(Item(inner.kind, inner.value, inner.plural, (), start, start) for inner in entry.inner)
        items.append(Item(entry.kind, entry.value, entry.plural, entry.inner, start, end))
    return _settle_changes(items)


def _settle_changes(items: list[Item]) -> list[Item]:
    """Turn "no significant interval change in" into one comparison, and drop what only looks like a negation."""
    for index, item in enumerate(items):
        if item.kind != "comparison" or not item.plural:
            continue
        before = index - 1
        while before >= 0 and items[before].kind in ("severity", "temporal"):
            before -= 1
        negation = items[before] if before >= 0 else item
        if negation.kind == "absent" and negation.value == "plain" and item.start - negation.end <= 3:
            for k in range(before, index):
                items[k].kind = "ignore"
            item.value = "no change"
    return [item for item in items if item.kind != "comparison" or item.value]


def find_mentions(items: list[Item]) -> tuple[list[Mention], list[PlaceGroup]]:
    """Mentions in order of their items, and all groups of places; a group that a frame is about is marked as used."""
    groups = build_groups(items)
    _complete_sides(items, groups)
    mentions: list[Mention] = []
    for index, item in enumerate(items):
        if item.kind == "find":
            mentions.append(Mention(str(item.value), index, "find", item.plural))
        elif item.kind == "summary" and isinstance(item.value, tuple):
            mentions += [Mention(finding, index, "summary") for finding in item.value]
        elif item.kind in ("frame", "normal"):
            mentions += _framed(items, index)
    return mentions, groups


def _complete_sides(items: list[Item], groups: list[PlaceGroup]) -> None:
    """ "The right hemidiaphragm is elevated, the left is normal": the left one is meant."""
    for before, group in pairwise(groups):
        if group.only_side not in _OTHER_SIDE or len(before.atoms) != 1:
            continue
        named = before.atoms[0]
        says = items[group.last + 1].kind if group.last + 1 < len(items) else ""
        if says == "verb" and named.paired and named.base and named.side == _OTHER_SIDE[group.only_side]:
            group.atoms[0].base = named.base


def _framed(items: list[Item], index: int) -> list[Mention]:
    item = items[index]
    table = (_frames() if item.kind == "frame" else _normals())[int(str(item.value))]
    group = _subject(items, index, table["findings"])
    if group is None:
        if "otherwise" in table:
            item.kind = "find"
            return [Mention(table["otherwise"], index, "find")]
        comparison = table.get("otherwise_comparison")
        item.kind, item.value, item.plural = ("comparison" if comparison else "ignore"), comparison, bool(comparison)
        return []
    group.used, group.used_at = True, index
    found: dict[str, PlaceGroup] = {}
    for atom in group.atoms:
        names = table["findings"].get(atom.base or "lung", ())
        for name in (names,) if isinstance(names, str) else names:
            found.setdefault(name, PlaceGroup([], group.first, group.last, True)).atoms.append(atom)
    since = group.first if group.first < index else 0
    return [Mention(name, index, item.kind, False, [own], since) for name, own in found.items()]


def _fits(group: PlaceGroup | None, findings: dict[str, Any], *, bare_side: bool = False) -> bool:
    # "Tortuous and calcified" are both said of one aorta, but "clear lungs, normal heart" of two places.
    shared = all(isinstance(names, str) for names in findings.values())
    if group is None or (group.used and not shared):
        return False
    return any(atom.base in findings or (bare_side and not atom.base and "lung" in findings) for atom in group.atoms)


def _subject(items: list[Item], index: int, findings: dict[str, Any]) -> PlaceGroup | None:
    """The places that a word such as "enlarged" or "normal" is about: before it, behind it, or further before."""
    before = index - 1
    skipped = _MODIFIERS | {"verb", "absent", "hedge", "absent_behind"}
    while before >= 0 and items[before].kind in skipped:
        before -= 1
    if before >= 0 and _fits(items[before].group, findings, bare_side=before == 0 or items[before - 1].kind == "the"):
        return items[before].group
    for k in range(index + 1, len(items)):
        group = items[k].group
        if _fits(group, findings):
            return group
        if group is None and items[k].kind not in (*_MODIFIERS, "and", "frame", "in"):
            break
        if group is not None and not group.only_side:
            break
    # "Hyperinflated but clear": one subject, two things said of it.
    stops = {"there"} if before > 0 and items[before].kind in ("break", "and") else _STOPS
    for k in range(before, -1, -1):
        if items[k].kind in stops:
            return None
        if _fits(items[k].group, findings):
            return items[k].group
    return None
