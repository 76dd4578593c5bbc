"""Swapping the side words of a text."""

import re


_WORDS = {
    "left": "right",
    "leftward": "rightward",
    "leftwards": "rightwards",
    "leftmost": "rightmost",
    "lt": "rt",
}
_ABBREVIATIONS = {
    "LUL": "RUL",
    "LML": "RML",
    "LLL": "RLL",
    "LIJ": "RIJ",
    "LPO": "RPO",
    "LAO": "RAO",
    "L": "R",
}
_PREFIXES = {"levo": "dextro"}


def _both_ways(table: dict[str, str]) -> dict[str, str]:
    cased = {
        change_case(left): change_case(right)
        for left, right in table.items()
        for change_case in (str.lower, str.upper, str.capitalize)
    }
    return cased | {right: left for left, right in cased.items()}


_SWAP_WORD = _both_ways(_WORDS) | _ABBREVIATIONS | {right: left for left, right in _ABBREVIATIONS.items()}
_SWAP_PREFIX = _both_ways(_PREFIXES)
_SWAP = _SWAP_WORD | _SWAP_PREFIX

# Heart chambers are named by what they are, not by where they lie: the mirrored right atrium is still a right atrium.
# So is the right heart of a catheter; but the right heart border lies on a side.
_CHAMBER = r"\b(?i:(?:left|right)(?:\s*(?:and|or|/|,)\s*(?:left|right))?[\s-]+(?:atri|ventric|heart[\s-]+cath)[a-z]*)"
# A single L or R may also be a vertebra or the spine ("L1", "L-spine").
_SIDE = rf"\b(?:{'|'.join(sorted(_SWAP_WORD, key=len, reverse=True))})\b(?!(?<=\b[LR])[\s-]?(?:\d|spine))"
# Not "dextrose", not "levofloxacin".
_PREFIX = rf"\b(?:{'|'.join(_SWAP_PREFIX)})(?=-?(?i:scolio|rotoscolio|curv|convex|posit|cardi|rotat))"
_PATTERN = re.compile(rf"(?P<chamber>{_CHAMBER})|{_SIDE}|{_PREFIX}")


def mirror_text(text: str) -> str:
    """Swap left and right in a text, as a mirrored image needs it; twice is the identity.

    Lower, upper and capitalised spellings keep their case; "bilateral" and words that merely contain a side
    ("bright", "copyright") stay. The chambers of the heart keep their names, and so do right and left heart catheters:
    they are no sides.

    Examples:
        >>> mirror_text("Left-sided effusion, RUL opacity; right atrium unremarkable. Bilateral scarring.")
        'Right-sided effusion, LUL opacity; right atrium unremarkable. Bilateral scarring.'
    """
    return _PATTERN.sub(lambda match: match[0] if match["chamber"] else _SWAP[match[0]], text)
