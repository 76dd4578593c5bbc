"""Which places, severity and comparison belong to which finding of a sentence."""

from itertools import pairwise

from .mentions import Mention
from .places import Item, PlaceGroup, frames_set, regions_of, spreads
from .polarity import coordinated


_WITHIN_PHRASE = frozenset({"severity", "temporal", "comparison", "ignore"})
# An explanation or a neighbour is where the thing is that it explains or lies beside.
# How many places before a finding are asked; a list of hundreds is no sentence.
_TOPICS = 16
_CARRIES = frozenset({"hedge", "hedge_behind", "versus", "explains", "near"})


def link_places(items: list[Item], mentions: list[Mention], groups: list[PlaceGroup]) -> None:
    """Give every mention its groups of places."""
    named = [mention for mention in mentions if mention.kind == "find"]
    topics: list[PlaceGroup] = []
    for group in groups:
        if group.used:
            # "The lungs are hyperinflated but clear."
            for mention in named:
                if group.last < mention.index < group.used_at and not group.inner:
                    mention.groups.append(group)
            continue
        target = _modified(items, named, group)
        if target is not None:
            target.groups.append(group)
            continue
        listed = _located(items, mentions, group)
        if listed:
            for mention in listed:
                mention.groups.append(group)
        else:
            topics.append(group)
    _apply_topics(items, named, topics)
    _inherit_sides(items, mentions)
    _carry_over(items, mentions)
    for mention in mentions:
        _fill_sides(mention)


def _modified(items: list[Item], mentions: list[Mention], group: PlaceGroup) -> Mention | None:
    """The finding that a group stands in front of: "left basilar atelectasis"."""
    index = group.last + 1
    if group.only_side and [item.kind for item in items[index : index + 3]] == ["and", "severity", "side"]:
        # "Moderate right and small left effusions."
        index += 3
    while index < len(items) and items[index].kind in _WITHIN_PHRASE:
        index += 1
    target = next((mention for mention in mentions if mention.index == index), None)
    if target is None or items[index].start - items[group.last].end > 4:
        return None
    return target


def _located(items: list[Item], mentions: list[Mention], group: PlaceGroup) -> list[Mention]:
    """The findings that a group stands behind: "atelectasis and a small effusion at the left base"."""
    before = [mention for mention in mentions if mention.index < group.first and _takes_places(mention)]
    if not before:
        return []
    last = before[-1]
    between = items[last.index + 1 : group.first]
    if any(item.kind in ("break", "there", "colon") for item in between):
        return []
    leading = [item.kind for item in between if item.kind not in ("the", "a", "ignore") and item.value != "course"]
    adverb = items[group.first].value == "both"
    if leading and leading[-1] in ("comma", "and", "or") and not adverb:
        # "..., on the left" still belongs to the finding if a preposition follows the comma.
        return []
    if leading and leading[-1] in ("verb", "with") and not adverb:
        return []
    listed = [last]
    for first, second in zip(before[-2::-1], before[:0:-1]):
        if not coordinated(items, first, second) or first.groups or first.polarity != second.polarity:
            break
        if coordinated(items, first, second) == "comma" and len(listed) == 1 and first.polarity == "present":
            break
        listed.append(first)
    return listed


def _takes_places(mention: Mention) -> bool:
    return mention.kind == "find" or (mention.kind == "frame" and not mention_regions(mention))


def _apply_topics(items: list[Item], mentions: list[Mention], topics: list[PlaceGroup]) -> None:
    """ "On the left, there is ...", "The right lung shows ...": the last such place before a finding without one."""
    for mention in mentions:
        near = [topic for topic in topics if topic.last < mention.index][-_TOPICS:]
        for topic in reversed(near):
            if topic.last < mention.index:
                if any(item.kind == "break" for item in items[topic.last : mention.index]):
                    break
                if not mention.groups:
                    if regions_of(topic, mention.finding):
                        mention.groups.append(topic)
                        break
                elif topic.common_side and mention.groups[0].needs_side():
                    mention.groups = [group.with_side(topic.common_side) for group in mention.groups]
                    break


def _carry_over(items: list[Item], mentions: list[Mention]) -> None:
    """Places that one finding takes over from another: its explanation, its neighbour, the next in a list."""
    for first, second in pairwise(mentions):
        if second.groups or not first.groups or second.kind != "find" or not second.polarity:
            continue
        between = items[first.index + 1 : second.index]
        kinds = {item.kind for item in between}
        link = coordinated(items, first, second)
        if link and first.polarity == second.polarity:
            own_words = second.finding in frames_set("diffuse") or kinds & {"severity", "a", "comparison"}
            carries = not own_words or link == "versus"
        else:
            named_again = bool(between) and between[-1].kind == "the"
            apposed = link == "comma" and second.polarity == "uncertain"
            carries = "absent" not in kinds and (
                _explained(kinds) or named_again or apposed or _bare_with(between, second)
            )
        if carries:
            second.groups = list(first.groups)
    for first, second in pairwise(mentions):
        if first.kind == "find" and second.groups and not first.groups and first.polarity:
            kinds = {item.kind for item in items[first.index + 1 : second.index]}
            given = "given" in kinds and first.polarity == "uncertain"
            if given or (_explained(kinds) and not kinds & {"near", "absent", "break", "and", "with"}):
                first.groups = list(second.groups)


def _bare_with(between: list[Item], second: Mention) -> bool:
    """Whether the second finding comes with the first and has no word of its own: "opacity ... with volume loss"."""
    behind = _behind_with(between)
    return (
        behind is not None
        and {item.kind for item in behind} <= {"the", "near", "temporal", "ignore"}
        and second.finding not in frames_set("diffuse")
    )


def _behind_with(between: list[Item]) -> list[Item] | None:
    """What stands behind the last "with"; None if there is none, or something else begins in between."""
    kinds = [item.kind for item in between]
    if "with" not in kinds or not {"break", "there", "absent", "hypothetical"}.isdisjoint(kinds):
        return None
    return between[len(kinds) - kinds[::-1].index("with") :]


def _inherit_sides(items: list[Item], mentions: list[Mention]) -> None:
    """ "Right chest tubes with an apical pneumothorax": the apex of the side that was named."""
    for first, second in pairwise(mentions):
        sides = {group.common_side for group in first.groups}
        if len(sides) != 1 or first.polarity != "present" or spreads(second.finding, second.plural):
            continue
        side = sides.pop()
        if side and _behind_with(items[first.index + 1 : second.index]) is not None:
            second.groups = [group.with_side(side) if not group.inner else group for group in second.groups]


def _explained(kinds: set[str]) -> bool:
    return bool(kinds & _CARRIES) and "there" not in kinds


def _fill_sides(mention: Mention) -> None:
    """Let "a right pneumothorax at the apex" be at the right apex; a side or a name's own place adds nothing to it."""
    told = [group for group in mention.groups if not group.inner]
    if any(not group.only_side and regions_of(group, mention.finding) for group in told):
        mention.groups = told
    sides = [group.only_side for group in mention.groups if group.only_side]
    placed = [group for group in mention.groups if not group.only_side]
    if not placed or not sides:
        return
    if len(set(sides)) == 1:
        placed = [group.with_side(sides[0]) for group in placed]
    if any(regions_of(group, mention.finding) for group in placed):
        mention.groups = placed


def mention_regions(mention: Mention) -> tuple[str, ...]:
    """Names of the regions of a mention, in table order."""
    # Without a side a denial is about both.
    wide = spreads(mention.finding, mention.plural) or mention.polarity == "absent"
    return tuple(name for group in mention.groups for name in regions_of(group, mention.finding, spreads=wide))


def link_modifiers(items: list[Item], mentions: list[Mention]) -> None:
    """Give every mention its severity, temporal and comparison cue."""
    for index, item in enumerate(items):
        if item.kind not in ("severity", "temporal", "comparison"):
            continue
        if _grades_change(items, index):
            continue
        for mention in _described(items, mentions, index):
            if getattr(mention, item.kind) is None:
                setattr(mention, item.kind, item.value)


def _grades_change(items: list[Item], index: int) -> bool:
    """Whether a severity tells how much something has changed: "has slightly increased", "a marked decrease"."""
    item, following = items[index], items[index + 1] if index + 1 < len(items) else None
    if following is None or item.kind != "severity" or following.kind != "comparison" or following.start != item.end:
        return False
    return item.plural and following.plural and following.value in ("improved", "worsened")


def _described(items: list[Item], mentions: list[Mention], index: int) -> list[Mention]:
    """The mentions that a modifier is about: the noun that follows, else the list that it stands behind."""
    kind = items[index].kind
    if kind == "comparison" and _is_predicate(items, mentions, index):
        return _behind(items, mentions, index)
    stops = {"verb", "comma", "break", "with", "there", "explains", "colon", "hedge"} | (
        {"and", "or"} if kind == "severity" else set()
    )
    for k in range(index + 1, len(items)):
        following = [mention for mention in mentions if mention.index == k]
        if following:
            return following
        if items[k].kind in stops or (items[k].kind == "in" and kind != "comparison" and items[k - 1].kind != kind):
            break
    reached = _behind(items, mentions, index)
    if kind == "comparison" and not any(mention.index < index for mention in mentions):
        # "The contours are stable, mildly enlarged."
        return [mention for mention in mentions[:1] if not _breaks(items[index : mention.index])]
    return reached


def _breaks(items: list[Item]) -> bool:
    return any(item.kind in ("break", "there", "colon", "explains", "with") for item in items)


def _is_predicate(items: list[Item], mentions: list[Mention], index: int) -> bool:
    """Whether a comparison says something of the finding before it: "the effusion has decreased"."""
    last = max((mention.index for mention in mentions if mention.index < index), default=-1)
    if last < 0:
        return False
    between = [item.kind for item in items[last + 1 : index]]
    return between[-1:] == ["verb"] or not set(between) - {"place", "side", "part", "in", "the", "ignore"}


def _behind(items: list[Item], mentions: list[Mention], index: int) -> list[Mention]:
    before = [mention for mention in mentions if mention.index < index]
    # "Enlarged but stable": the break right in front of it joins two things said of one finding.
    upto = index - 1 if items[index - 1].kind == "break" else index
    if not before or any(item.kind in ("break", "there") for item in items[before[-1].index : upto]):
        return []
    reached = [before[-1]]
    if items[index].kind == "severity" and not any(
        item.kind in ("verb", "comma", "comparison") for item in items[before[-1].index : index]
    ):
        return []
    if items[index].kind == "comparison":
        for first, second in zip(before[-2::-1], before[:0:-1]):
            if coordinated(items, first, second) not in ("and", "or"):
                break
            reached.append(first)
    return reached
