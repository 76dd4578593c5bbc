"""Statements about an image and the sentences that say them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from .vocabulary import ADVERBS, SEVERITIES, Finding, Noun, Region, VocabularyError, get_finding, get_region
from .vocabulary.tables import load_table


Polarity = Literal["present", "absent", "uncertain"]
POLARITIES: tuple[str, ...] = ("present", "absent", "uncertain")

_GENERIC: dict[str, dict[str, list[str]]] = load_table("sentences.yaml")


class StatementError(ValueError):
    """A statement that contradicts itself or uses an unknown word."""


@dataclass(frozen=True)
class Statement:
    """One claim about an image.

    Attributes:
        finding: name of a finding of the vocabulary.
        polarity: "present", "absent" or "uncertain".
        region: name of a region, or None for a claim about the whole image.
        severity: "mild", "moderate", "severe" or None; an absent finding has none.

    Raises:
        StatementError: unknown polarity or severity, or a severity of an absent finding.
        VocabularyError: unknown finding or region.
    """

    finding: str
    polarity: Polarity = "present"
    region: str | None = None
    severity: str | None = None

    def __post_init__(self) -> None:
        get_finding(self.finding)
        if self.region is not None and get_region(self.region).index < 0:
            raise VocabularyError(f"region {self.region!r} is not one of the 29 regions that statements are about")
        if self.polarity not in POLARITIES:
            raise StatementError(f"polarity {self.polarity!r} of {self.finding!r} is not one of {POLARITIES}")
        if self.severity is not None and self.severity not in SEVERITIES:
            raise StatementError(f"severity {self.severity!r} of {self.finding!r} is not one of {SEVERITIES} or None")
        if self.severity is not None and self.polarity == "absent":
            raise StatementError(f"an absent finding has no severity: {self.finding!r}, {self.severity!r}")

    @classmethod
    def from_entry(cls, entry: Mapping[str, str]) -> "Statement":
        """The claim of an entry of the schema's `region_findings`, where "" stands for no region or severity."""
        return cls(entry["finding"], entry["polarity"], entry["region"] or None, entry["severity"] or None)  # type: ignore[arg-type]


def mirror_statement(statement: Statement) -> Statement:
    """The same claim about the mirrored image: a region of one side becomes its counterpart.

    Examples:
        >>> mirror_statement(Statement("pneumothorax", "absent", "right lung")).region
        'left lung'
    """
    if statement.region is None:
        return statement
    return Statement(statement.finding, statement.polarity, get_region(statement.region).mirror, statement.severity)


def _with_article(noun: Noun, modifiers: str) -> str:
    phrase = f"{modifiers} {noun.text}".strip()
    if noun.number != "one":
        return phrase
    return f"{'an' if phrase[0].lower() in 'aeiou' else 'a'} {phrase}"


def _fill(template: str, noun: Noun, word: str, region: Region | None, preposition: str) -> str:
    adjective = region.adjective if region else ""
    both = f"{word} {adjective}".strip()
    text = template.format(
        a_np=_with_article(noun, word),
        np=f"{word} {noun.text}",
        a_adjective_np=_with_article(noun, both),
        adjective_np=f"{both} {noun.text}",
        verb="are" if noun.number == "plural" else "is",
        place=f"{preposition} the {region.term}" if region else "",
    )
    text = " ".join(text.split()).replace(" .", ".")
    return text[0].upper() + text[1:] if text.endswith(".") else text


def _own_sentences(statement: Statement, finding: Finding, region: Region | None) -> Iterator[str]:
    """The finding's own templates that say exactly what the statement says."""
    local = region is not None
    adverb = ADVERBS[statement.severity] if statement.severity else ""
    for template in finding.templates.get(statement.polarity, ()):
        says_severity = "{adverb}" in template
        if ("{region}" in template) == local and (says_severity or not statement.severity):
            text = template.replace("{region}", region.term if region else "").replace("{adverb}", adverb)
            yield " ".join(text.split())


def _sentences(statement: Statement) -> Iterator[str]:
    finding = get_finding(statement.finding)
    region = get_region(statement.region) if statement.region else None
    plausible = region is not None and region.name in finding.regions
    nouns = finding.local_nouns if plausible and finding.local_nouns else finding.nouns
    preposition = (finding.preposition if plausible else "") or (region.preposition if region else "")
    words = finding.severity_words[statement.severity] if statement.severity else ("",)
    generic = _GENERIC[statement.polarity]
    # The finding's usual noun in every construction first, then its other nouns and severity words as paraphrases.
    with_adjective = plausible and not finding.local_nouns and not finding.preposition
    for template in generic["noun"]:
        yield _fill(template, nouns[0], words[0], region, preposition)
    if nouns is not finding.local_nouns:
        for template in generic["free"]:
            yield _fill(template, nouns[0], words[0], region, preposition)
    if with_adjective and region is not None and region.adjective:
        for template in generic["adjective"]:
            yield _fill(template, nouns[0], words[0], region, preposition)
    if region is None or plausible:
        yield from _own_sentences(statement, finding, region)
    for noun in nouns:
        for word in words:
            if (noun, word) != (nouns[0], words[0]):
                for template in generic["paraphrase"]:
                    yield _fill(template, noun, word, region, preposition)


@lru_cache(maxsize=65536)
def statement_texts(statement: Statement) -> tuple[str, ...]:
    """Every text of a statement in the order of their styles, without repeats.

    Text 0 is a bare phrase ("moderate pleural effusion in the left lung"); the others are sentences.
    """
    return tuple(dict.fromkeys(_sentences(statement)))


def num_styles(statement: Statement) -> int:
    """In how many ways `render_statement` can say the statement; always at least 2."""
    return len(statement_texts(statement))


def render_statement(statement: Statement, style: int = 0) -> str:
    """The statement in words.

    Two statements of different meaning never have a text in common, and the text of the mirrored statement is the
    mirrored text.

    Args:
        statement: what to say.
        style: which of the `num_styles` ways; 0 is a bare phrase for prompts, the others are sentences as a
            radiologist dictates them. A larger number starts again from the first.

    Examples:
        >>> statement = Statement("pleural effusion", "present", "left lung", "moderate")
        >>> render_statement(statement)
        'moderate pleural effusion in the left lung'
        >>> render_statement(statement, 1)
        'There is a moderate pleural effusion in the left lung.'
        >>> render_statement(Statement("pneumothorax", "absent", "right lung"), 3)
        'No evidence of pneumothorax in the right lung.'
    """
    texts = statement_texts(statement)
    return texts[style % len(texts)]


def render_sentence(statement: Statement, style: int = 0) -> str:
    """As `render_statement`, but only full sentences, as a report needs them."""
    texts = statement_texts(statement)
    return texts[1 + style % (len(texts) - 1)]


def render_attributes(statement: Statement) -> str:
    """A present finding with what it looks like: shape, density and border.

    Raises:
        StatementError: the finding is not present.

    Examples:
        >>> render_attributes(Statement("scoliosis"))
        'scoliosis: sideways curve of the spine, normal bone, rotated vertebrae'
    """
    if statement.polarity != "present":
        raise StatementError(f"only a present finding has visual attributes: {statement}")
    attributes = get_finding(statement.finding).attributes
    return f"{render_statement(statement)}: {', '.join(attributes[kind] for kind in ('shape', 'density', 'border'))}"
