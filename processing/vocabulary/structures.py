"""The structures whose masks can be asked for, and all their names: a table read from `structures.yaml`."""

import difflib
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .regions import Side
from .tables import VocabularyError, load_table


SIDES: tuple[Side, Side] = ("right", "left")
_WORDS = (
    *("first", "second", "third", "fourth", "fifth", "sixth"),
    *("seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth"),
)
_ORDINALS = ("1st", "2nd", "3rd", *(f"{number}th" for number in range(4, 13)))
_SEPARATORS = re.compile(r"[,;]")


@dataclass(frozen=True)
class Structure:
    """One structure that can have a mask.

    Attributes:
        name: TotalSegmentator's name where it has the structure ("clavicula_left"); a name with a space is what a
            reader outlines on the film ("left lung", "cardiac silhouette").
        phrase: how a prompt says it ("left clavicle").
        synonyms: other ways to say it.
        side: the patient's side, or None for a structure in the midline and for heart chambers, whose "left" is no
            place on the film.
        mirror: name of the structure that takes its place in a mirrored film; its own if it has no side, None if the
            other side has no such structure.
        description: one line.
    """

    name: str
    phrase: str
    synonyms: tuple[str, ...]
    side: Side | None
    mirror: str | None
    description: str

    @property
    def phrases(self) -> tuple[str, ...]:
        """All ways to say it, the usual one first: what training draws from."""
        return (self.phrase, *self.synonyms)


def _filled(entry: dict[str, Any], side: Side | None, paired: bool, **values: Any) -> Structure:
    def fill(text: str, on: Side | None = side) -> str:
        return text.format(side=on, **values)

    other = {"left": "right", "right": "left"}.get(side or "")
    return Structure(
        name=fill(entry["name"]),
        phrase=fill(entry["phrase"]),
        synonyms=tuple(map(fill, entry["synonyms"])),
        side=side,
        mirror=(fill(entry["name"], other) if paired else None) if side else entry["name"].format(**values),  # type: ignore[arg-type]
        description=entry["description"],
    )


def _numbered(number: int) -> dict[str, Any]:
    return {"number": number, "ordinal": _ORDINALS[number - 1], "word": _WORDS[number - 1]}


def _read_structures(table: dict[str, Any]) -> Iterator[Structure]:
    for part in (table["readers"], table["structures"]):
        for entry in part["pairs"]:
            yield from (_filled(entry, side, True) for side in SIDES)
        for entry in part.get("one_sided", ()):
            yield _filled(entry, entry["side"], False)
        for entry in (*part.get("chambers", ()), *part["unpaired"]):
            yield _filled(entry, None, False)
    many = table["structures"]
    for side in SIDES:
        yield from (_filled(many["ribs"], side, True, **_numbered(number)) for number in range(1, 13))
    for entry in many["vertebrae"]:
        for letter, (part, count) in many["levels"].items():
            for number in range(1, count + 1):
                yield _filled(entry, None, False, level=f"{letter}{number}", part=part, **_numbered(number))


def _key(name: str) -> str:
    """What two spellings of a name have in common: case, underscores, hyphens, spaces and an article do not count."""
    key = " ".join(re.sub(r"[\s_-]+", " ", name).lower().split())
    return key.removeprefix("the ")


def _index(structures: Iterable[Structure]) -> dict[str, Structure]:
    found: dict[str, Structure] = {}
    for structure in structures:
        for name in (structure.name, *structure.phrases):
            other = found.setdefault(_key(name), structure)
            if other is not structure:
                raise VocabularyError(f"structures.yaml: {name!r} is {structure.name!r} and {other.name!r}")
    return found


_TABLE = load_table("structures.yaml")

STRUCTURES: tuple[Structure, ...] = tuple(_read_structures(_TABLE))
STRUCTURE_NAMES: tuple[str, ...] = tuple(structure.name for structure in STRUCTURES)
_BY_KEY = _index(STRUCTURES)
_GROUPS: dict[str, tuple[str, ...]] = {_key(name): tuple(names) for name, names in _TABLE["groups"].items()}
_GROUPS["ribs"] = tuple(structure.name for structure in STRUCTURES if structure.name.startswith("rib_"))
for _side in SIDES:
    _GROUPS[f"{_side} ribs"] = tuple(name for name in _GROUPS["ribs"] if f"_{_side}_" in name)


def get_structure(name: str, among: Collection[str] | None = None) -> Structure:
    """
    The structure of a name or synonym; case, spaces, underscores and hyphens do not count, sides do.

    "heart" is all of the heart along the rays, "cardiac silhouette" ("cardiac shadow", "heart shadow", ...) what a
    reader outlines; so are "lung_left" ("whole left lung") and "left lung".

    Args:
        name: As a user writes it.
        among: Names of the structures that can be meant, such as those that a model writes; None for all. Those that
            the vocabulary does not have can be asked for by their own name.

    Raises:
        VocabularyError: there is none; the message names the nearest ones of the same side.

    Examples:
        >>> get_structure("Left_Clavicle").name, get_structure("cardiac shadow").name, get_structure("HEART").name
        ('clavicula_left', 'cardiac silhouette', 'heart')
    """
    key = _key(name)
    own = {_key(other): other for other in among or () if _key(other) not in _BY_KEY}
    if key in own:
        return Structure(own[key], own[key].replace("_", " "), (), None, own[key], "")
    found = _BY_KEY.get(key)
    if found is not None and (among is None or found.name in among):
        return found
    known = {key: structure.name for key, structure in _BY_KEY.items() if among is None or structure.name in among}
    nearest = _nearest(key, known | own)
    if nearest:
        hint = f"; did you mean {' or '.join(map(repr, nearest))}?"
    else:
        names = sorted(among if among is not None else STRUCTURE_NAMES)
        hint = f"; there are {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"
    if found is not None:
        raise VocabularyError(f"{name!r} ({found.name}) is not among the structures that can be had here{hint}")
    raise VocabularyError(f"unknown structure {name!r}{hint}")


def find_structures(names: str | Iterable[str], among: Collection[str] | None = None) -> tuple[Structure, ...]:
    """
    The structures of a list such as "heart, left lung", in this order without repeats; groups such as "lungs", "ribs"
    and "left ribs" are those of them that are `among` the given names.

    Raises:
        VocabularyError: for an unknown name (`get_structure`), or an empty list.

    Examples:
        >>> [structure.name for structure in find_structures("heart, lungs")]
        ['heart', 'right lung', 'left lung']
    """
    parts = _SEPARATORS.split(names) if isinstance(names, str) else list(names)
    found: dict[str, Structure] = {}
    for part in filter(None, map(str.strip, parts)):
        group = [name for name in _GROUPS.get(_key(part), ()) if among is None or name in among]
        for name in group or [part]:
            structure = get_structure(name, among)
            found.setdefault(structure.name, structure)
    if not found:
        raise VocabularyError("no structures were named; name some, such as 'heart,left lung'")
    return tuple(found.values())


@lru_cache
def structure_keys(among: tuple[str, ...] | None = None) -> dict[str, str]:
    """
    Lower-case phrases and names -> names of structures: what reads the names in a model's answers back.

    Examples:
        >>> structure_keys()["left collarbone"]
        'clavicula_left'
    """
    chosen = [structure for structure in STRUCTURES if among is None or structure.name in among]
    keys = {text.lower(): structure.name for structure in chosen for text in (structure.name, *structure.phrases)}
    return keys | {name.lower(): name for name in among or ()}


def _nearest(key: str, known: dict[str, str]) -> list[str]:
    """Names closest to a wrong one, never of the other side: a suggestion is easily taken. Without a side, both."""
    words = set(key.split())
    wrong = {"left": "right", "right": "left"}
    avoided = {wrong[side] for side in SIDES if side in words}
    pool = {other: name for other, name in known.items() if not avoided & set(other.split()) or len(avoided) == 2}
    matches = [other for other in pool if words <= set(other.split())]
    matches += difflib.get_close_matches(key, pool, n=8, cutoff=0.5)
    found: dict[str, None] = {}
    for name in dict.fromkeys(pool[match] for match in matches):
        mirror = _BY_KEY[_key(name)].mirror if _key(name) in _BY_KEY else None
        found |= dict.fromkeys([name, mirror] if mirror is not None and mirror in pool.values() else [name])
    return list(found)[:4]


__all__ = [
    "SIDES",
    "STRUCTURES",
    "STRUCTURE_NAMES",
    "Structure",
    "find_structures",
    "get_structure",
    "structure_keys",
]
