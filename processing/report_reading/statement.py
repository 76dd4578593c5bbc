"""What a report says: statements with their sentences, sections, and the whole report."""

from dataclasses import asdict, dataclass
from typing import Any

from ..statements import POLARITIES
from ..vocabulary import get_finding


@dataclass(frozen=True)
class Section:
    """One section of a report.

    Attributes:
        name: "findings", "impression", "indication", "comparison", "technique", "examination", "recommendation",
            "addendum", "notification", or "" for text without a header.
        title: the header as it stands in the text, without its colon; "" if there is none.
        text: the section's text without header and surrounding space; `report[start:end]`.
        start: first character.
        end: one past the last character.
    """

    name: str
    title: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class ReportStatement:
    """One claim of a report.

    Attributes:
        text: the sentence that makes it; `report[start:end]`.
        start: first character of the sentence.
        end: one past its last character.
        section: name of the section, see `Section`.
        regions: names of regions in table order; () where the sentence names none.
        finding: name of a finding of the vocabulary.
        polarity: "present", "absent" or "uncertain".
        severity: "mild", "moderate", "severe" or None.
        temporal: "acute", "chronic" or None.
        comparison: "improved", "worsened", "no change" or None.
    """

    text: str
    start: int
    end: int
    section: str
    regions: tuple[str, ...]
    finding: str
    polarity: str
    severity: str | None = None
    temporal: str | None = None
    comparison: str | None = None

    def __post_init__(self) -> None:
        get_finding(self.finding)
        if self.polarity not in POLARITIES:
            raise ValueError(f"polarity {self.polarity!r} of {self.finding!r} is not one of {POLARITIES}")


@dataclass(frozen=True)
class Report:
    """A report that was read.

    Attributes:
        text: the report as it was given; every span counts its characters.
        sections: all sections, in order.
        statements: all claims, in order of their sentences.
    """

    text: str
    sections: tuple[Section, ...]
    statements: tuple[ReportStatement, ...]

    def to_region_findings(self) -> list[dict[str, str]]:
        """The statements as `region_findings` of the example schema, one entry per region, without repeats.

        A statement without a region has the region "". Of equal entries the first is kept; what contradicts itself
        stays, for `processing.facts` settles it.
        """
        entries: dict[tuple[str, str, str, str], dict[str, str]] = {}
        for statement in self.statements:
            for region in statement.regions or ("",):
                key = (region, statement.finding, statement.polarity, statement.severity or "")
                keys = ("region", "finding", "polarity", "severity")
                entries.setdefault(key, {**dict(zip(keys, key)), "phrase": statement.text})
        return list(entries.values())

    def to_record(self) -> dict[str, Any]:
        """Plain data: `sections` and `statements` as in `report_schema.json`."""
        return {
            "sections": [asdict(section) for section in self.sections],
            "statements": [asdict(statement) | {"regions": list(statement.regions)} for statement in self.statements],
        }
