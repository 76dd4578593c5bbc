"""The report of robustness: sections of rows, as data, JSON and Markdown."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


Cell = str | float | int | bool
Row = Mapping[str, Cell]


@dataclass(frozen=True)
class Section:
    """One question and its numbers.

    Attributes:
        key: in JSON.
        title: in Markdown.
        about: what the numbers mean, in a sentence or two.
        rows: all with the same keys, which are the columns.
    """

    key: str
    title: str
    about: str
    rows: tuple[Row, ...]

    def row(self, **cells: Cell) -> Row:
        """The first row with these cells.

        Raises:
            KeyError: there is none.
        """
        for row in self.rows:
            if all(row.get(name) == value for name, value in cells.items()):
                return row
        raise KeyError(f"section {self.key!r} has no row with {cells}")


@dataclass(frozen=True)
class RobustnessReport:
    """All sections of a model on a dataset.

    Attributes:
        num_images, num_patients: what was read.
        settings: how the numbers came about.
        sections: in the order of the report.
        left_out: sections that this dataset cannot have, with the reason.
    """

    num_images: int
    num_patients: int
    settings: Mapping[str, Any]
    sections: tuple[Section, ...]
    left_out: Mapping[str, str]

    def section(self, key: str) -> Section:
        """One section.

        Raises:
            KeyError: there is none; the message says why, where that is known.
        """
        for section in self.sections:
            if section.key == key:
                return section
        raise KeyError(f"no section {key!r}: {self.left_out.get(key, 'unknown key')}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; an undefined number is None."""
        return {
            "num_images": self.num_images,
            "num_patients": self.num_patients,
            "settings": dict(self.settings),
            "sections": {
                section.key: {
                    "title": section.title,
                    "about": section.about,
                    "rows": [{name: _plain(cell) for name, cell in row.items()} for row in section.rows],
                }
                for section in self.sections
            },
            "left_out": dict(self.left_out),
        }

    def to_markdown(self) -> str:
        """One table per section."""
        confidence = f"{100 * float(self.settings.get('confidence', 0.95)):g} %"
        lines = [
            "# Robustness",
            "",
            f"{self.num_images} images of {self.num_patients} patients. Intervals ({confidence}): percentile bootstrap"
            " over patients. A dash is a number that is not defined.",
        ]
        for section in self.sections:
            lines += ["", f"## {section.title}", "", section.about, ""]
            columns = list(section.rows[0]) if section.rows else []
            lines.append(f"| {' | '.join(column.replace('_', ' ') for column in columns)} |")
            lines.append(f"|{'---|' * len(columns)}")
            lines += [f"| {' | '.join(_shown(row[column]) for column in columns)} |" for row in section.rows]
        if self.left_out:
            lines += ["", "## Not measured", ""]
            lines += [f"- {key}: {reason}." for key, reason in self.left_out.items()]
        return "\n".join(lines) + "\n"


def _plain(cell: Cell) -> Cell | None:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _shown(cell: Cell) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return "-" if math.isnan(cell) else f"{cell:.3f}"
    return str(cell)
