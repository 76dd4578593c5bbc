"""Sentences of a text with their exact places."""

import re


# Text in which no full stop ends anything: de-identification marks, abbreviations, initials, times.
_MARK = r"\[\*\*[^\[\]]{0,200}\*\*\]"
_ABBREVIATION = (
    r"(?:(?:[LlRr]t|Dr|Drs|Mr|Mrs|Ms|Prof|St|vs|approx|resp|incl|ca|cf|Fig|al)\.|[eE]\.\s?g\.|[iI]\.\s?e\."
    r"|[ap]\.\s?m\.(?=\s+[a-z,;(])|[A-Z]\.(?=\s+[A-Z_][a-z_])|[LR]\.(?=\s+[a-z]))"
)
_BOUNDARY = re.compile(
    rf"(?P<keep>{_MARK}|(?<![A-Za-z]){_ABBREVIATION}|\d\.\d)"
    # Bounded: at every stop of a long row of them the rest of the row would be read again.
    r"|(?P<stop>[.?!]{1,20}[\"')\]]{0,20}(?=\s|$)|(?<=[a-z]{3})[.?!](?=[A-Z][a-z])|(?<=[a-z]{3})\.(?=\d\.\s))"
    r"|(?P<blank>\n[ \t\r]*\n)"
    r"|(?P<line>\r?\n)",
    re.DOTALL,
)
_BULLET = re.compile(r"\s*(?:\(?\d{1,2}[.)](?=\s|[A-Za-z])|[-*•·]+(?=\s))\s*")
_OPEN_END = re.compile(
    r"(?:[,\-/(]|\b(?:no|not|without|of|the|a|an|and|or|in|at|to|with|is|are|for|from|on|by|right|left|small|mild|new))$",
    re.I,
)
_SHORT_LINE = 50
# A longer sentence is a table or no text at all, and is read in pieces.
_LONGEST = 2000


def _ends_line(text: str, start: int, line_end: int, next_start: int) -> bool:
    """Whether a line break ends a sentence without a full stop: a list item follows, or short lines are in use."""
    line = text[max(start, text.rfind("\n", start, line_end) + 1) : line_end].strip()
    following = text[next_start : next_start + 40].lstrip(" \t")
    if _BULLET.match(following):
        return True
    short = bool(line) and len(line) < _SHORT_LINE and not _OPEN_END.search(line)
    return short and following[:1].isupper()


def split_sentences(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """First and one past the last character of every sentence of `text[start:end]`.

    Numbers of a list and bullets belong to no sentence. A line break within a sentence is a space, as in wrapped text.

    Examples:
        >>> text = "1. Dr. XXXX saw a 1.5 cm nodule, e.g. a granuloma. 2. No effusion."
        >>> [text[a:b] for a, b in split_sentences(text)]
        ['Dr. XXXX saw a 1.5 cm nodule, e.g. a granuloma.', 'No effusion.']
    """
    end = len(text) if end is None else end
    spans: list[tuple[int, int]] = []
    begin = start
    for match in _BOUNDARY.finditer(text, start, end):
        kind = match.lastgroup
        if kind == "keep":
            continue
        if kind == "line" and not _ends_line(text, begin, match.start(), match.end()):
            continue
        stop = match.end() if kind == "stop" else match.start()
        if kind == "stop" and not text[begin : match.start()].strip(" \t\r\n(0123456789"):
            # The full stop of a list number.
            continue
        _append(spans, text, begin, stop)
        begin = match.end()
    _append(spans, text, begin, end)
    return spans


def _append(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    bullet = _BULLET.match(text, start, end)
    if bullet:
        start = bullet.end()
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    while end - start > _LONGEST:
        cut = text.rfind(" ", start + 1, start + _LONGEST)
        cut = cut if cut > start else start + _LONGEST
        spans.append((start, cut))
        start = cut
        while start < end and text[start].isspace():
            start += 1
    if any(character.isalnum() for character in text[start:end]):
        spans.append((start, end))
