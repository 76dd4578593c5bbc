"""Groups of places in a sentence: "the right upper and lower lobes", "both bases", "the apex of the left lung"."""

from dataclasses import dataclass, field
from functools import cache

from ..vocabulary import REGION_NAMES, get_finding
from .lexicon import Entry, Place, frames_table


_BOTH = ("right", "left")
_ORDER = {name: index for index, name in enumerate(REGION_NAMES)}
# Structures that lie somewhere in the lung of a side.
_IN_LUNG = {"pleura", "rib", "chest"}
_STRUCTURES_AT = {"cardiomediastinum": "mediastinum"}


@dataclass(slots=True)
class Item:
    """A phrase of the lexicon in a sentence: its meaning, and its first and one past its last word."""

    kind: str
    value: object
    plural: bool
    inner: tuple[Entry, ...]
    start: int
    end: int
    group: "PlaceGroup | None" = None


@dataclass(slots=True)
class Atom:
    """One place of a group; `side` is "left", "right", "both" or "" for none."""

    base: str
    paired: bool
    side: str
    plural: bool

    def sides(self, *, spreads: bool) -> tuple[str, ...]:
        """The sides that are meant; `spreads` says that no side means both."""
        if self.side in _BOTH:
            return (self.side,)
        return _BOTH if self.side == "both" or self.plural or spreads else ()


@dataclass(slots=True)
class PlaceGroup:
    """Coordinated places.

    Attributes:
        atoms: the places; a side alone has the base "".
        first: index of the first of its items.
        last: index of the last one.
        used: whether a word such as "normal" or "enlarged" is about it.
        used_at: index of the last such word.
        inner: whether it is nothing but a part of a finding's name, as in "mediastinal air".
    """

    atoms: list[Atom] = field(default_factory=list)
    first: int = 0
    last: int = 0
    used: bool = False
    inner: bool = False
    used_at: int = -1

    @property
    def only_side(self) -> str:
        """The side, where the group is nothing but a side; "" otherwise."""
        return self.atoms[0].side if len(self.atoms) == 1 and not self.atoms[0].base else ""

    @property
    def common_side(self) -> str:
        """The side that all places share, "" if they do not."""
        sides = {atom.side for atom in self.atoms}
        return sides.pop() if len(sides) == 1 else ""

    def needs_side(self) -> bool:
        """Whether a place of a pair has neither side nor plural."""
        return any(atom.paired and atom.base and not atom.side and not atom.plural for atom in self.atoms)

    def with_side(self, side: str) -> "PlaceGroup":
        """The group with the side filled in wherever it is open."""
        atoms = [
            Atom(a.base, a.paired, side if a.paired and not a.side and not a.plural else a.side, a.plural)
            for a in self.atoms
        ]
        return PlaceGroup(atoms, self.first, self.last, self.used, self.inner)


def build_groups(items: list[Item]) -> list[PlaceGroup]:
    """Places that belong together, in order; each of their items gets its group."""
    groups: list[PlaceGroup] = []
    index, count = 0, len(items)
    while index < count:
        if items[index].kind not in ("side", "place", "part"):
            index += 1
            continue
        members = [index]
        while True:
            following = _next_member(items, members[-1])
            if following is None or _belongs_to_next_finding(items, members, following):
                break
            members.append(following)
        group = _resolve(items, members)
        if group.atoms:
            for member in members:
                items[member].group = group
            groups.append(group)
        index = members[-1] + 1
    return groups


_LINKS = {
    ("and",),
    ("or",),
    ("comma",),
    ("comma", "and"),
    ("comma", "or"),
    ("in",),
    ("in", "the"),
    ("the",),
    ("and", "the"),
    ("and", "in"),
    ("and", "in", "the"),
}


def _next_member(items: list[Item], index: int) -> int | None:
    """Index of the next item of the same group."""
    kinds: tuple[str, ...] = ()
    for following in range(index + 1, min(index + 5, len(items))):
        item = items[following]
        if item.start - items[following - 1].end > 1:
            return None
        if item.kind in ("side", "place", "part"):
            if kinds and kinds not in _LINKS:
                return None
            # "In the right lung, left ..." starts something new; a list of parts goes on.
            if kinds == ("comma",) and items[index].kind != "part" and item.kind != "part":
                return None
            return following
        kinds += (item.kind,)
    return None


def _belongs_to_next_finding(items: list[Item], members: list[int], following: int) -> bool:
    """Whether the next place already modifies the next finding: "in the right lung and left effusion"."""
    between = [item.kind for item in items[members[-1] + 1 : following]]
    if "and" not in between and "comma" not in between:
        return False
    first = members[0]
    if first == 0 or not any(item.kind == "in" for item in items[max(first - 2, 0) : first]):
        return False
    end = following
    while end + 1 < len(items) and items[end + 1].kind in ("side", "place", "part"):
        end += 1
    return end + 1 < len(items) and items[end + 1].kind in ("find", "frame")


def _resolve(items: list[Item], members: list[int]) -> PlaceGroup:
    atoms: list[Atom] = []
    sides: list[str] = []
    # Sides that a place has already taken; the next one starts anew.
    taken = False
    for position, member in enumerate(members):
        item = items[member]
        if item.kind == "side":
            if taken:
                sides, taken = [], False
            sides.append(str(item.value))
            continue
        place = item.value
        site = place if isinstance(place, Place) else Place("", False)
        if item.kind == "part" and not any(items[m].kind == "place" for m in members[position + 1 :]):
            continue
        side = site.side or _joined(sides)
        whole = site.base == "lung" and atoms and _is_of(items, members, position)
        if whole and atoms[-1].paired and not atoms[-1].side and (side or item.plural):
            # "The apex of the left lung" is the left apex.
            atoms[-1].side = side or "both"
            taken = True
            continue
        atoms.append(Atom(site.base, site.paired, side if site.paired else "", item.plural))
        taken = True
    if sides and not taken:
        open_atoms = [atom for atom in atoms if atom.paired and not atom.side and not atom.plural]
        for atom in open_atoms:
            atom.side = _joined(sides)
        if not open_atoms and not (len(sides) == 1 and sides[0] == "both" and atoms):
            atoms.append(Atom("", True, _joined(sides), False))
    inner = all(items[member].start == items[member].end for member in members)
    return PlaceGroup(atoms, members[0], members[-1], inner=inner)


def _joined(sides: list[str]) -> str:
    return sides[0] if len(set(sides)) == 1 else "both" if sides else ""


def _is_of(items: list[Item], members: list[int], position: int) -> bool:
    """Whether "of" or the like stands between a place and the one before it, sides left out."""
    before = next(member for member in reversed(members[:position]) if items[member].kind != "side")
    return any(item.kind == "in" for item in items[before + 1 : members[position]])


@cache
def frames_set(name: str) -> frozenset[str]:
    """Findings of a list of `frames.yaml`."""
    return frozenset(frames_table()[name])


@cache
def _lone_base(finding: str) -> str:
    """Base of the pair where a finding is if all its regions are of one pair, such as the hila."""
    bases = {name.partition(" ")[2] for name in get_finding(finding).regions}
    paired = all(name.startswith(("left ", "right ")) for name in get_finding(finding).regions)
    lone = bases.pop() if len(bases) == 1 and paired else ""
    return "" if lone == "clavicle" and finding != "clavicle fracture" else lone


def regions_of(group: PlaceGroup, finding: str, *, spreads: bool = False) -> tuple[str, ...]:
    """Regions of a group in which a finding can be, in table order.

    A place where the finding cannot be stands for the lung of its side: an effusion that obscures the left
    hemidiaphragm is in the left lung.

    Args:
        group: the places.
        finding: name of a finding.
        spreads: a place of a pair without a side means both.
    """
    plausible = get_finding(finding).regions
    found: set[str] = set()
    for atom in group.atoms:
        base = _STRUCTURES_AT.get(atom.base, atom.base)
        if not atom.paired:
            if base in plausible:
                found.add(base)
            continue
        # "The chest" is the whole film.
        for side in atom.sides(spreads=spreads and base not in ("", "chest")):
            names = [f"{side} {base or 'lung'}"]
            if base in _IN_LUNG or f"{side} lung" in plausible:
                names.append(f"{side} lung")
            if not base:
                names.append(f"{side} {_lone_base(finding)}")
            found.update([name for name in names if name in plausible][:1])
    return tuple(sorted(found, key=_ORDER.__getitem__))


def spreads(finding: str, plural: bool) -> bool:
    """Whether "basilar" without a side means both bases: of a plural, and of what is seldom on one side only."""
    return plural or finding in frames_set("spreading")
