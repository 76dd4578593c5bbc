"""Every text that training may contrast, known in advance together with what it claims."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .facts import ABSENT, PRESENT, UNKNOWN
from .statements import Statement, mirror_statement, render_attributes, statement_texts
from .vocabulary import FINDINGS, REGIONS, SEVERITIES, get_finding, get_region, mirror_text


_POLARITY_CODES = {"present": PRESENT, "absent": ABSENT, "uncertain": UNKNOWN}
_POLARITIES: dict[int, Any] = {code: polarity for polarity, code in _POLARITY_CODES.items()}


class PhraseBookError(ValueError):
    """A text that claims two things, or one that the book does not have."""


def encode_statement(statement: Statement) -> tuple[int, int, int, int]:
    """(finding, polarity, region, severity) as integers.

    Polarity is 1 present, 0 absent, -1 uncertain; region and severity are -1 where there is none.
    """
    region = -1 if statement.region is None else get_region(statement.region).index
    severity = -1 if statement.severity is None else SEVERITIES.index(statement.severity)
    return get_finding(statement.finding).index, _POLARITY_CODES[statement.polarity], region, severity


def decode_statement(meaning: Sequence[int]) -> Statement:
    """The inverse of `encode_statement`."""
    finding, polarity, region, severity = (int(code) for code in meaning)
    return Statement(
        FINDINGS[finding].name,
        _POLARITIES[polarity],
        None if region < 0 else REGIONS[region].name,
        None if severity < 0 else SEVERITIES[severity],
    )


class PhraseBook:
    """An ordered list of distinct texts, each with exactly one meaning.

    Args:
        entries: (text, claim, whether it describes visual attributes); equal texts become one entry.

    Attributes:
        texts: P texts.
        meanings: int16 (P, 4), `encode_statement` of each text.
        is_attribute: bool (P,), texts of `render_attributes`.

    Raises:
        PhraseBookError: one text with two meanings.
    """

    def __init__(self, entries: Iterable[tuple[str, Statement, bool]]):
        found: dict[str, tuple[Statement, bool]] = {}
        for text, statement, is_attribute in entries:
            known = found.setdefault(text, (statement, is_attribute))[0]
            if known != statement:
                raise PhraseBookError(
                    f"the phrase {text!r} claims two things: {known} and {statement}; a text has one meaning (build "
                    "the book with ambiguous='render' to say each in its own words)"
                )
        self.texts: tuple[str, ...] = tuple(found)
        meanings = [encode_statement(statement) for statement, _ in found.values()]
        self.meanings: NDArray[np.int16] = np.array(meanings, dtype=np.int16).reshape(-1, 4)
        self.is_attribute: NDArray[np.bool_] = np.array([flag for _, flag in found.values()], dtype=bool)

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {text: index for index, text in enumerate(self.texts)}

    @cached_property
    def _statements(self) -> list[Statement]:
        """Decoded once: a sampler asks for hundreds of them per image."""
        return [decode_statement(meaning) for meaning in self.meanings]

    @cached_property
    def _ids_of_statement(self) -> dict[tuple[Statement, bool], NDArray[np.int64]]:
        groups: dict[tuple[Statement, bool], list[int]] = {}
        for index, (statement, is_attribute) in enumerate(zip(self._statements, self.is_attribute, strict=True)):
            groups.setdefault((statement, bool(is_attribute)), []).append(index)
        return {key: np.array(ids) for key, ids in groups.items()}

    def statement(self, index: int) -> Statement:
        """What text `index` claims."""
        return self._statements[index]

    def ids_of(self, statement: Statement, *, attributes: bool = False) -> NDArray[np.int64]:
        """Indices of the texts of a claim, ascending; of those that describe attributes, or of all others."""
        return self._ids_of_statement.get((statement, attributes), np.empty(0, dtype=np.int64))

    def phrase_id(self, entry: Mapping[str, str]) -> int:
        """Index of the text for an entry of `region_findings`: its own phrase, or the first text of its claim.

        Raises:
            PhraseBookError: the book was not built from data with this claim.
        """
        statement = Statement.from_entry(entry)
        index = self._ids.get(entry["phrase"])
        if index is not None and self.statement(index) == statement:
            return index
        ids = self.ids_of(statement)
        if not len(ids):
            raise PhraseBookError(
                f"the phrase book has no text for {entry['phrase']!r} ({statement}); build it from the same data"
            )
        return int(ids[0])

    @classmethod
    def from_examples(
        cls,
        region_findings: Iterable[Iterable[Mapping[str, str]]],
        *,
        num_styles: int = 4,
        attributes: bool = True,
        mirrored: bool = False,
        ambiguous: Literal["error", "render"] = "error",
    ) -> "PhraseBook":
        """The book of a data set: its phrases and every text that a perturbation of one may need.

        For each finding of the data, in each region where it is plausible or was seen: present in every severity,
        absent, each in `num_styles` ways.

        Args:
            region_findings: that column of the data set.
            num_styles: texts per claim, so that neither truth nor falsehood has a style of its own.
            attributes: one text per finding and plausible region that describes what the finding looks like.
            mirrored: also the phrases of the mirrored examples.
            ambiguous: what to do with a phrase of the data that claims several things, as a sentence on both lungs
                does: "error", or "render" to leave it out, so that `phrase_id` gives each claim its own text.

        Raises:
            PhraseBookError: a phrase with two meanings and `ambiguous="error"`.
        """
        phrases = dict.fromkeys(
            (entry["phrase"], Statement.from_entry(entry)) for entries in region_findings for entry in entries
        )
        if mirrored:
            phrases |= dict.fromkeys((mirror_text(text), mirror_statement(claim)) for text, claim in tuple(phrases))
        rendered = [
            (text, statement, False)
            for statement in _universe({statement for _, statement in phrases})
            for text in statement_texts(statement)[:num_styles]
        ]
        if ambiguous == "render":
            meanings: dict[str, set[Statement]] = {}
            for text, statement in [*phrases, *((text, statement) for text, statement, _ in rendered)]:
                meanings.setdefault(text, set()).add(statement)
            phrases = {key: None for key in phrases if len(meanings[key[0]]) == 1}
        described = [
            (render_attributes(statement), statement, True)
            for statement in dict.fromkeys(statement for _, statement, _ in rendered)
            if attributes
            and statement.polarity == "present"
            and not statement.severity
            and statement.region in get_finding(statement.finding).regions
        ]
        return cls([*((text, statement, False) for text, statement in phrases), *rendered, *described])


def _universe(seen: set[Statement]) -> list[Statement]:
    """The claims of the data and all that a perturbation can make of them, in a fixed order."""
    claims: dict[Statement, None] = {}
    for finding in FINDINGS:
        of_finding = [statement for statement in seen if statement.finding == finding.name]
        if not of_finding:
            continue
        grades = SEVERITIES if any(statement.severity for statement in of_finding) else finding.severities
        seen_regions = {statement.region for statement in of_finding}
        places: list[str | None] = [None] if None in seen_regions else []
        mirrored = {get_region(name).mirror for name in seen_regions if name}
        places += [r.name for r in REGIONS if r.name in finding.regions or r.name in seen_regions | mirrored]
        for place in places:
            claims[Statement(finding.name, "absent", place)] = None
            claims[Statement(finding.name, "present", place)] = None
            for grade in grades:
                claims[Statement(finding.name, "present", place, grade)] = None
    uncertain = [statement for statement in seen if statement.polarity == "uncertain"]
    uncertain += [mirror_statement(statement) for statement in uncertain]
    claims |= dict.fromkeys(sorted(uncertain, key=encode_statement))
    return list(claims)
