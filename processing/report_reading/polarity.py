"""Whether what a sentence mentions is present, absent or uncertain.

The scopes follow NegEx and ConText (Chapman et al. 2001, Harkema et al. 2009): a cue reaches forward to the next
break, a verb that ends its list, or a new noun phrase; a cue behind reaches back over the list that it closes.
"""

from itertools import pairwise

from .mentions import Mention
from .places import Item


_LISTED = frozenset(
    {"and", "or", "comma", "severity", "side", "place", "part", "temporal", "comparison", "a", "the", "in", "ignore"}
)
_NEW_PHRASE = frozenset({"a", "the", "severity", "comparison"})


def set_polarity(items: list[Item], mentions: list[Mention]) -> None:
    """Set the polarity of every mention; "" where the sentence says nothing of the image."""
    states = _states(items, mentions)
    for mention in mentions:
        state, cue = states[mention.index]
        # What stands before the subject of "is normal" is about something else.
        if state != "hypothetical" and cue < mention.since:
            state = "present"
        mention.polarity = "" if state == "hypothetical" else state
        if state == "resolved":
            mention.polarity, mention.comparison = "absent", "improved"
    _reach_back(items, mentions)
    _alternatives(items, mentions)
    _one_of_several(items, mentions)
    for mention in mentions:
        _settle_normal(items, mention)


def _states(items: list[Item], mentions: list[Mention]) -> dict[int, tuple[str, int]]:
    """State and the index of its cue at every item with a mention."""
    mentioned = {mention.index for mention in mentions}
    states: dict[int, tuple[str, int]] = {}
    state, cue, consumed = "present", -1, False
    for index, item in enumerate(items):
        kind = item.kind
        if index in mentioned:
            states[index] = (state, cue)
            consumed = True
        elif kind == "hypothetical":
            state, cue, consumed = "hypothetical", index, False
        elif state == "hypothetical":
            if kind in ("break", "given"):
                state, cue = "present", index
        elif kind == "absent":
            state = "resolved" if item.value == "resolved" else "absent"
            cue, consumed = index, False
        elif kind in ("hedge", "versus"):
            if not (state == "absent" and not consumed):
                state, cue, consumed = "uncertain", index, False
        elif kind in ("break", "there", "except") or (consumed and _ends(items, index, kind, state)):
            state, cue, consumed = "present", index, False
    return states


def _ends(items: list[Item], index: int, kind: str, state: str) -> bool:
    """Whether an item ends the scope of a cue that has already reached a mention."""
    if kind in ("verb", "with", "explains", "absent_behind", "hedge_behind"):
        return True
    if kind == "comparison" and items[index - 1].kind not in ("and", "comma"):
        return False
    if kind in _NEW_PHRASE and items[index - 1].kind in ("and", "comma"):
        return items[index - 1].kind == "and" or not _list_goes_on(items, index)
    return False


def _list_goes_on(items: list[Item], index: int) -> bool:
    for item in items[index:]:
        if item.kind == "or":
            return True
        if item.kind in ("verb", "break", "with", "there"):
            return False
    return False


def coordinated(items: list[Item], first: Mention, second: Mention) -> str:
    """How two neighbouring mentions are joined: "and", "or", "comma", "versus", or "" if they are not."""
    if first.index == second.index:
        return "and"
    joint = ""
    for item in items[first.index + 1 : second.index]:
        if item.kind in ("and", "or"):
            joint = item.kind
        elif item.kind == "comma":
            joint = joint or "comma"
        elif item.kind == "versus":
            joint = "versus"
        elif item.kind not in _LISTED:
            return ""
    return joint


def _reach_back(items: list[Item], mentions: list[Mention]) -> None:
    """Apply the cues that stand behind what they are about."""
    for index, item in enumerate(items):
        value = str(item.value)
        if item.kind == "none":
            cue, value = "absent", "plain"
        elif item.kind in ("absent_behind", "hedge_behind"):
            cue = "absent" if item.kind == "absent_behind" else "uncertain"
        elif item.kind == "absent" and value in ("resolved", "removed") and not any(m.index > index for m in mentions):
            cue = "absent"
        else:
            continue
        for mention in _closed_list(items, mentions, index):
            if mention.kind in ("find", "frame") and mention.polarity:
                mention.polarity = cue
                if value == "resolved":
                    mention.comparison = "improved"


def _closed_list(items: list[Item], mentions: list[Mention], index: int) -> list[Mention]:
    """The mentions of the list that ends in front of an item, the last one first."""
    before = [mention for mention in mentions if mention.index < index]
    if not before or any(item.kind in ("break", "there") for item in items[before[-1].index : index]):
        return []
    reached = [before[-1]]
    joined = False
    for first, second in zip(before[-2::-1], before[:0:-1]):
        link = coordinated(items, first, second)
        joined |= link in ("and", "or", "versus")
        if not link or (link == "comma" and not joined) or first.polarity != second.polarity:
            break
        reached.append(first)
    return reached


def _alternatives(items: list[Item], mentions: list[Mention]) -> None:
    """What is said to be one or the other is uncertain."""
    for first, second in pairwise(mentions):
        if coordinated(items, first, second) not in ("or", "versus") or first.finding == second.finding:
            continue
        if first.polarity == "present" and second.polarity in ("present", "uncertain"):
            first.polarity = second.polarity = "uncertain"


def _one_of_several(items: list[Item], mentions: list[Mention]) -> None:
    """ "Consistent with ... or pneumonia" is uncertain, whatever the other explanation is."""
    for mention in mentions:
        before = mention.index - 1
        while before >= 0 and items[before].kind in ("or", *_LISTED):
            before -= 1
        kinds = [item.kind for item in items[before + 1 : mention.index]]
        if mention.polarity == "present" and "or" in kinds and before >= 0 and items[before].kind == "explains":
            mention.polarity = "uncertain"


def _settle_normal(items: list[Item], mention: Mention) -> None:
    """What "normal" and summaries say: the opposite of the scope they stand in, or nothing."""
    if mention.kind == "summary":
        mention.polarity = "absent" if mention.polarity == "absent" else ""
    elif mention.kind == "normal":
        behind = items[mention.index + 1 :]
        limited = any(item.kind == "except" for item in behind) or any(
            item.kind == "otherwise" for item in items[max(mention.index - 3, 0) : mention.index]
        )
        if limited:
            mention.polarity = ""
        elif mention.polarity == "present":
            mention.polarity = "absent"
        else:
            mention.polarity = "present" if mention.polarity == "absent" and mention.finding == "lung opacity" else ""
