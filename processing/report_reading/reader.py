"""From the text of a report to its statements."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from ..vocabulary import REGION_NAMES, containing_regions, get_finding, more_general_findings
from .lexicon import frames_table, tokenize
from .linking import link_modifiers, link_places, mention_regions
from .mentions import Mention, find_items, find_mentions
from .places import Atom, Item, PlaceGroup, regions_of
from .polarity import set_polarity
from .sections import READ_SECTIONS, split_sections
from .sentences import split_sentences
from .spelling import corrected
from .statement import Report, ReportStatement


@dataclass(frozen=True, slots=True)
class _Claim:
    """A statement before it has a sentence."""

    finding: str
    polarity: str
    regions: tuple[str, ...]
    kind: str
    severity: str | None = None
    temporal: str | None = None
    comparison: str | None = None


def _claim(mention: Mention) -> _Claim:
    finding = get_finding(mention.finding)
    absent = mention.polarity == "absent"
    regions = _regions(mention)
    severity = mention.severity if finding.severities and not absent else None
    # A device that is gone has not improved.
    improves = mention.comparison == "improved" and finding.category not in ("tubesandlines", "device")
    comparison = mention.comparison if not absent or improves else None
    return _Claim(finding.name, mention.polarity, regions, mention.kind, severity, mention.temporal, comparison)


def _regions(mention: Mention) -> tuple[str, ...]:
    tables = frames_table()
    found = set(mention_regions(mention))
    found.update(tables["always_regions"].get(mention.finding, ()))
    if not found and mention.kind != "summary":
        found.update(tables["default_regions"].get(mention.finding, ()))
    return tuple(name for name in REGION_NAMES if name in found)


def _graded_sides(items: list[Item], mention: Mention) -> list[tuple[str, str]]:
    """Severity and side of both halves of "small left and moderate right effusions", before or behind the finding."""
    for steps in (range(mention.index - 1, -1, -1), range(mention.index + 1, len(items))):
        pairs: list[tuple[str, str]] = []
        severity = side = ""
        for index in steps:
            item = items[index]
            if item.kind == "severity" and not severity:
                severity = str(item.value)
            elif item.kind == "side" and item.value != "both" and not side:
                side = str(item.value)
            elif item.kind not in ("and", "comma", "in", "the", "verb"):
                break
            if severity and side:
                pairs.append((severity, side))
                severity = side = ""
        if len(pairs) == 2 and pairs[0][1] != pairs[1][1]:
            return pairs
    return []


def _claims_of(items: list[Item], mention: Mention) -> list[_Claim]:
    if not mention.polarity:
        return []
    claim = _claim(mention)
    pairs = _graded_sides(items, mention) if mention.kind == "find" and claim.polarity != "absent" else []
    if not pairs:
        return [claim]
    claims = []
    for severity, side in pairs:
        placed = [group.with_side(side) for group in mention.groups if not group.only_side] or [_side_group(side)]
        regions = tuple(name for group in placed for name in regions_of(group, claim.finding))
        own = tuple(name for name in regions if name.startswith(side))
        claims.append(
            replace(claim, regions=own, severity=severity if get_finding(claim.finding).severities else None)
        )
    return claims


def _side_group(side: str) -> PlaceGroup:
    return PlaceGroup([Atom("", True, side, False)])


def _elliptic(items: list[Item], groups: list[PlaceGroup], previous: list[_Claim]) -> list[_Claim]:
    """Sentences that lean on the one before: "None on the right.", "The left is not."."""
    kinds = [item.kind for item in items if item.kind not in ("the", "in", "comma")]
    if "none" in kinds and groups:
        named = [claim for claim in previous if claim.kind == "find"]
        return [
            _Claim(claim.finding, "absent", regions_of(groups[0], claim.finding), "find")
            for claim in named
            if regions_of(groups[0], claim.finding)
        ]
    if kinds in (["side", "verb", "absent"], ["place", "verb", "absent"], ["side", "place", "verb", "absent"]):
        normal = [claim for claim in previous if claim.kind == "normal" and claim.finding == "lung opacity"]
        regions = regions_of(groups[0], "lung opacity") if groups else ()
        if normal and regions:
            return [_Claim("lung opacity", "present", regions, "find")]
    return []


def _merged(claims: list[_Claim]) -> list[_Claim]:
    """Without repeats: what is said with a region, or as present, stands for what is said without or as uncertain."""
    kept: list[_Claim] = []
    for claim in claims:
        same = [other for other in claims if other is not claim and other.finding == claim.finding]
        weaker = any(
            (other.polarity == claim.polarity and other.regions and not claim.regions)
            or (
                other.polarity == "present"
                and claim.polarity == "uncertain"
                and set(claim.regions) <= set(other.regions)
            )
            for other in same
        )
        if not weaker and claim not in kept:
            kept.append(claim)
    return kept


# The longest reports of MIMIC-CXR have some 10,000 characters; time grows with the length.
MAX_CHARACTERS = 2**20
# Reports repeat themselves; a few thousand sentences make up most of a corpus.
_CACHED_SENTENCES, _CACHED_LENGTH = 16384, 400


def _own_claims(text: str) -> tuple[tuple[_Claim, ...] | None, list[Item], list[PlaceGroup]]:
    """Claims that a sentence makes by itself, None where it mentions no finding; its items and places."""
    items = find_items([corrected(word) for word in tokenize(text)])
    mentions, groups = find_mentions(items)
    if not mentions:
        return None, items, groups
    set_polarity(items, mentions)
    link_places(items, mentions, groups)
    link_modifiers(items, mentions)
    return tuple(_merged([claim for mention in mentions for claim in _claims_of(items, mention)])), [], []


_own_claims_cached = lru_cache(maxsize=_CACHED_SENTENCES)(_own_claims)


def read_sentence(text: str, previous: list[_Claim]) -> list[_Claim]:
    """Claims of a sentence; `previous` are those of the sentence before, which it may refer to."""
    claims, items, groups = (_own_claims_cached if len(text) <= _CACHED_LENGTH else _own_claims)(text)
    return _elliptic(items, groups, previous) if claims is None else list(claims)


def _overruled(finding: str, region: str, others: Iterable[_Claim]) -> bool:
    """Whether a sweeping "normal" is contradicted by a finding that the report names in that region."""
    for other in others:
        if other.polarity == "absent" or finding not in (other.finding, *more_general_findings(other.finding)):
            continue
        if not region or not other.regions:
            return True
        if any(region == name or region in containing_regions(name) for name in other.regions):
            return True
    return False


def _settled(claims: list[_Claim]) -> list[_Claim | None]:
    """The claims of a report, where sweeping ones give way to what is named; None where nothing is left of one."""
    # Of a report that repeats itself each statement once, and each region of a finding asked once.
    named = list({(c.finding, c.regions): c for c in claims if c.polarity != "absent"}.values())
    overruled = cache(lambda finding, region: _overruled(finding, region, named))
    settled: list[_Claim | None] = []
    for claim in claims:
        if claim.kind not in ("normal", "summary") or claim.polarity != "absent":
            settled.append(claim)
            continue
        kept = [region for region in claim.regions or ("",) if not overruled(claim.finding, region)]
        settled.append(replace(claim, regions=tuple(filter(None, kept))) if kept else None)
    return settled


def read_report(text: str) -> Report:
    """Read the report of a chest radiograph.

    Statements are taken from findings, impression, addendum and text without a header; what indication, comparison
    and technique name is not a finding of this film. A sentence that says nothing about the findings of the
    vocabulary gives no statement.

    Args:
        text: the whole report, with or without headers; what stands beyond `MAX_CHARACTERS` is not read.

    Examples:
        >>> report = read_report("FINDINGS: Small left effusion. No pneumothorax.")
        >>> [(s.finding, s.polarity, s.regions, s.severity) for s in report.statements]
        [('pleural effusion', 'present', ('left lung',), 'mild'), ('pneumothorax', 'absent', (), None)]
    """
    sections = split_sections(text[:MAX_CHARACTERS])
    claims: list[_Claim] = []
    places: list[tuple[str, int, int]] = []
    for section in sections:
        if section.name not in READ_SECTIONS:
            continue
        found: list[_Claim] = []
        for start, end in split_sentences(text, section.start, section.end):
            found = read_sentence(text[start:end], found)
            claims += found
            places += [(section.name, start, end)] * len(found)
    statements = [
        ReportStatement(
            text=text[start:end],
            start=start,
            end=end,
            section=name,
            regions=claim.regions,
            finding=claim.finding,
            polarity=claim.polarity,
            severity=claim.severity,
            temporal=claim.temporal,
            comparison=claim.comparison,
        )
        for claim, (name, start, end) in zip(_settled(claims), places)
        if claim is not None
    ]
    return Report(text, sections, tuple(statements))
