"""The findings: tables read from the YAML files beside it."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from .regions import expand_regions
from .tables import VocabularyError, closest, load_table


SEVERITIES: tuple[str, ...] = ("mild", "moderate", "severe")
ATTRIBUTE_KINDS: tuple[str, ...] = ("shape", "density", "border", "location", "cause")


@dataclass(frozen=True)
class Noun:
    """A noun phrase that names a finding.

    Attributes:
        text: the noun phrase without its article.
        number: "one" (takes "a"), "mass" (no article) or "plural".
    """

    text: str
    number: str

    @classmethod
    def parse(cls, text: str) -> "Noun":
        """From the table's spelling: "a ...", "an ...", "some ..." (plural), else a mass noun."""
        article, _, rest = text.partition(" ")
        if article in ("a", "an"):
            return cls(rest, "one")
        return cls(rest, "plural") if article == "some" else cls(text, "mass")


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        name: Chest ImaGenome's label where it has one, lower case.
        index: position in the table and in every label vector.
        category: "anatomicalfinding", "disease", "tubesandlines", "device" or "technicalassessment".
        synonyms: names in reports, lower case, its nouns included; some name a special form of the finding.
        parents: the next more general findings; who has this finding has these.
        regions: names of the regions where it is plausible, in table order.
        attributes: visual attributes by kind (`ATTRIBUTE_KINDS`), short phrases.
        severities: the severities that make sense, () if none do.
        severity_words: adjectives by severity, the usual one first.
        templates: sentences of its own by polarity, see `findings.yaml`.
        description: one line.
        nouns: noun phrases of the same meaning, the usual one first; safe as paraphrases.
        local_nouns: noun phrases to use in front of a plausible region; () if `nouns` serve.
        preposition: in front of a plausible region, "" for the region's own.
        source: "chest_imagenome" or "extension".
    """

    name: str
    index: int
    category: str
    synonyms: tuple[str, ...]
    parents: tuple[str, ...]
    regions: tuple[str, ...]
    attributes: dict[str, str] = field(hash=False)
    severities: tuple[str, ...]
    severity_words: dict[str, tuple[str, ...]] = field(hash=False)
    templates: dict[str, tuple[str, ...]] = field(hash=False)
    description: str
    nouns: tuple[Noun, ...]
    local_nouns: tuple[Noun, ...]
    preposition: str
    source: str


_FILES = ("findings.yaml", "diseases.yaml", "devices.yaml", "technical_assessments.yaml")
_TABLE: dict[str, Any] = {section: entries for name in _FILES for section, entries in load_table(name).items()}
_DESCRIPTIONS: dict[str, dict[str, str]] = load_table("finding_descriptions.yaml")
_SCALES: dict[str, dict[str, list[str]]] = _TABLE["scales"]
ADVERBS: dict[str, str] = _TABLE["adverbs"]


def _finding(entry: dict[str, Any], index: int, section: str) -> Finding:
    name = entry["name"]
    scale = _SCALES[entry.get("scale", "degree")]
    knowledge = _DESCRIPTIONS.get(name, {})
    nouns = tuple(Noun.parse(text) for text in entry["nouns"])
    synonyms = dict.fromkeys([noun.text.lower() for noun in nouns] + entry["synonyms"])
    return Finding(
        name=name,
        index=index,
        category=entry.get("category", section),
        synonyms=tuple(synonyms),
        parents=tuple(entry.get("parents", ())),
        regions=expand_regions(entry["regions"]),
        attributes={kind: knowledge[kind] for kind in ATTRIBUTE_KINDS if kind in knowledge},
        severities=SEVERITIES if "scale" in entry else (),
        severity_words={severity: tuple(words) for severity, words in scale.items()},
        templates={polarity: tuple(texts) for polarity, texts in entry.get("templates", {}).items()},
        description=knowledge.get("description", ""),
        nouns=nouns,
        local_nouns=tuple(Noun.parse(text) for text in entry.get("local_nouns", ())),
        preposition=entry.get("preposition", ""),
        source="extension" if section == "extension" else "chest_imagenome",
    )


def _read_findings(sections: list[str]) -> tuple[Finding, ...]:
    entries = [(entry, section) for section in sections for entry in _TABLE[section]]
    return tuple(_finding(entry, index, section) for index, (entry, section) in enumerate(entries))


FINDINGS: tuple[Finding, ...] = _read_findings(
    ["anatomicalfinding", "disease", "tubesandlines", "device", "extension"]
)
TECHNICAL_ASSESSMENTS: tuple[Finding, ...] = _read_findings(["technicalassessment"])
FINDING_NAMES: tuple[str, ...] = tuple(finding.name for finding in FINDINGS)
_BY_NAME = {finding.name: finding for finding in FINDINGS}


def get_finding(name: str) -> Finding:
    """The finding of this name.

    Raises:
        VocabularyError: there is none; the message names the closest ones.

    Examples:
        >>> get_finding("consolidation").parents
        ('airspace opacity',)
    """
    if name not in _BY_NAME:
        raise VocabularyError(f"unknown finding {name!r}{closest(name, _BY_NAME)}")
    return _BY_NAME[name]


@cache
def more_general_findings(name: str) -> tuple[str, ...]:
    """Names of all findings that this one implies, nearest first, itself left out.

    Examples:
        >>> more_general_findings("consolidation")
        ('airspace opacity', 'lung opacity')
    """
    found: dict[str, None] = {}
    queue = list(get_finding(name).parents)
    while queue:
        parent = queue.pop(0)
        found.setdefault(parent)
        queue.extend(get_finding(parent).parents)
    return tuple(found)
