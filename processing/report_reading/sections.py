"""Sections of a report by their headers."""

import re
from collections.abc import Iterator

from .statement import Section


# Spellings of headers by the name of their section. The slips are common in dictated reports.
_HEADERS = {
    "findings": ["findings", "finding", "findings and impression", "findings/impression", "report", "observations",
                 "chest findings", "frontal and lateral chest", "pa and lateral chest", "ap chest", "chest"],
    "impression": ["impression", "impressions", "conclusion", "conclusions", "mpression", "imression", "impressoin",
                   "opinion", "interpretation", "summary", "diagnosis", "assessment"],
    "indication": ["indication", "indications", "ndication", "indcation", "clinical indication", "history",
                   "clinical history", "clinical information", "reason for exam", "reason for examination",
                   "reason for study", "reason", "reason for this examination", "clinical data", "patient history"],
    "comparison": ["comparison", "comparisons", "comparison study", "comparison studies", "compare", "omparison",
                   "comparison exam"],
    "technique": ["technique", "techniques", "procedure", "views", "echnique", "technical factors"],
    "examination": ["examination", "exam", "study", "type of examination", "type of exam", "xamination",
                    "exam type", "examinations", "procedure comments"],
    "recommendation": ["recommendation", "recommendations", "recommendation(s)"],
    "addendum": ["addendum", "addenda"],
    "notification": ["notification", "notifications", "communication", "dictated by", "attending", "signed by",
                     "electronically signed by"],
    "": ["final report", "wet read", "preliminary report", "radiology report"],
}  # fmt: skip
_NAME_OF = {title: name for name, titles in _HEADERS.items() for title in titles}
# Only with a colon: these also begin ordinary sentences.
_NEEDS_COLON = {"chest", "report", "reason", "study", "summary", "finding", "compare", "assessment", "attending",
                "views", "interpretation", "history", "frontal and lateral chest", "pa and lateral chest", "ap chest",
                "opinion", "diagnosis", "procedure", "exam"}  # fmt: skip


def _title_pattern(titles: list[str]) -> str:
    ordered = sorted(titles, key=len, reverse=True)
    return "|".join("[ \\t]+".join(re.escape(word) for word in title.split()) for title in ordered)


_ANY = _title_pattern(list(_NAME_OF))
_ALONE_TITLES = [title for title in _NAME_OF if title not in _NEEDS_COLON]
_ALONE = _title_pattern(_ALONE_TITLES)
_CAPITALS = _title_pattern([title.upper() for title in _ALONE_TITLES])
# A header with a colon may stand at the start of a line in any case, and within a line behind a full stop where it is
# capitalised. Without a colon it has to fill its line, or to be in capitals before text that is not.
# ASCII alone ignores its case: a dotted capital I would match, but its small letter is another one.
_HEADER = re.compile(
    rf"(?:(?<![^\n\r])[ \t\ufeff]*(?:[-*#]+[ \t]*)?(?P<line>(?ai:{_ANY}))[*]*[ \t]*:[*]*)"
    rf"|(?:(?<=[.:;?!\])\s])(?P<inline>(?=[A-Z])(?ai:{_ANY}))[ \t]*:)"
    rf"|(?:(?<![^\n\r])[ \t\ufeff]*(?P<alone>(?ai:{_ALONE}))[ \t]*(?=[\n\r]|\Z))"
    rf"|(?:(?<![^\n\r])[ \t\ufeff]*(?P<capitals>{_CAPITALS})(?=[ \t]+(?:[A-Z][a-z]|[A-Z] [a-z]|\d+[.)] )))"
)
# Sections whose sentences say what the film shows.
READ_SECTIONS = frozenset({"", "findings", "impression", "addendum"})
_PARAGRAPH = re.compile(r"\n[ \t\r]*\n")


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip()) if part.strip() else start


def _section(text: str, name: str, title: str, start: int, end: int) -> Section:
    first, last = _trimmed(text, start, end)
    last = max(first, last) if first < end else start
    first = min(first, last)
    return Section(name, title, text[first:last], first, last)


def _headed(text: str) -> Iterator[Section]:
    headers = []
    for match in _HEADER.finditer(text):
        kind = match.lastgroup or ""
        headers.append(
            (_NAME_OF[" ".join(match[kind].lower().split())], match.start(kind), match.end(kind), match.end())
        )
    if not headers or text[: headers[0][1]].strip(" \t\r\n*#-\ufeff"):
        yield _section(text, "", "", 0, headers[0][1] if headers else len(text))
    for number, (name, first, last, begin) in enumerate(headers):
        end = headers[number + 1][1] if number + 1 < len(headers) else len(text)
        yield _section(text, name, text[first:last], begin, end)


def split_sections(text: str) -> tuple[Section, ...]:
    """Split a report into its sections.

    Headers are found in any case, with and without a colon, alone in their line or in front of their text. A header
    counts whole, with its first letter, and takes nothing of the text behind it. Where no section has the findings,
    the paragraphs that follow the first one of another section are text without a header, as in MIMIC-CXR.

    Examples:
        >>> [(s.name, s.text) for s in split_sections("INDICATION: Cough.\\nFINDINGS: Clear lungs.")]
        [('indication', 'Cough.'), ('findings', 'Clear lungs.')]
    """
    sections = list(_headed(text))
    if any(section.name == "findings" for section in sections):
        return tuple(sections)
    split: list[Section] = []
    for section in sections:
        end = section.end
        if section.name not in READ_SECTIONS:
            break_ = _PARAGRAPH.search(text, section.start, section.end)
            if break_ and break_.start() > section.start:
                split.append(_section(text, section.name, section.title, section.start, break_.start()))
                split.append(_section(text, "", "", break_.end(), end))
                continue
        split.append(section)
    return tuple(split)
