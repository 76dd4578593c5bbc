"""Tables as data: numbers with intervals by row and column, rendered as Markdown and LaTeX."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from anatomy_vlm.training.evaluation.result import Score
from anatomy_vlm.training.receipts.receipt import Number, number


@dataclass(frozen=True)
class Cell:
    """
    A number of a table.

    Args:
        value: NaN is shown as a dash.
        low, high: Ends of its interval; NaN where there is none.
        digits: After the point.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    digits: int = 3

    @classmethod
    def of(cls, score: Score) -> "Cell":
        """The value of a score with its interval."""
        return cls(score.value, score.low, score.high)

    @classmethod
    def baseline(cls, score: Score) -> "Cell":
        """What the score would be without the image."""
        return cls(score.baseline)

    @property
    def parts(self) -> tuple[str, str]:
        """Value and interval as text; "" for no interval."""
        if math.isnan(self.value):
            return "-", ""
        value = _shown(self.value, self.digits)
        if math.isnan(self.low):
            return value, ""
        return value, f"{_shown(self.low, self.digits)} to {_shown(self.high, self.digits)}"


@dataclass(frozen=True)
class Row:
    """
    Args:
        label: Name of the row, unique in its table.
        cells: One per column; text for what is no measurement.
    """

    label: str
    cells: Sequence[Cell | str]


@dataclass
class Table:
    """
    Args:
        title: What it shows.
        head: Title of the labels, then of each column.
        rows: The rows.
        notes: Sentences below the table: what data, what intervals, what is missing.
        measured: Also numbers that the receipt holds and the table does not show.
    """

    title: str
    head: Sequence[str]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    measured: list[Number] = field(default_factory=list)

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.cells) != len(self.head) - 1:
                wanted = len(self.head) - 1
                raise ValueError(f"{self.title}: row '{row.label}' has {len(row.cells)} cells, not {wanted}")

    @property
    def numbers(self) -> tuple[Number, ...]:
        """Every number of the table for a receipt, named "row | column"."""
        shown = [
            number(f"{row.label} | {column}", cell.value, cell.low, cell.high)
            for row in self.rows
            for column, cell in zip(self.head[1:], row.cells, strict=True)
            if isinstance(cell, Cell)
        ]
        return (*shown, *self.measured)

    def to_markdown(self) -> str:
        """GitHub's Markdown.

        >>> print(Table("t", ["region", "IoU"], [Row("left lung", [Cell(0.5, 0.4, 0.6)])]).to_markdown())
        **t**
        <BLANKLINE>
        | region | IoU |
        |---|---|
        | left lung | 0.500 (0.400 to 0.600) |
        <BLANKLINE>
        """
        lines = [f"**{self.title}**", ""]
        lines += [_markdown_row(self.head), f"|{'---|' * len(self.head)}"]
        lines += [_markdown_row([row.label, *(_cell_text(cell) for cell in row.cells)]) for row in self.rows]
        lines += [line for note in self.notes for line in ("", note)]
        return "\n".join(lines) + "\n"

    def to_latex(self) -> str:
        """A `table` with a `tabular` for the package booktabs.

        >>> print(Table("a & b", ["region", "IoU"], [Row("left_lung", [Cell(0.5)])]).to_latex().splitlines()[1])
        \\caption{a \\& b}
        """
        head = " & ".join(latex_escape(title) for title in self.head)
        lines = ["\\begin{table}", f"\\caption{{{latex_escape(self.title)}}}", "\\centering"]
        lines += [f"\\begin{{tabular}}{{l{'r' * (len(self.head) - 1)}}}", "\\toprule", f"{head} \\\\", "\\midrule"]
        for row in self.rows:
            cells = [latex_escape(row.label), *(_latex_cell(cell) for cell in row.cells)]
            lines.append(f"{' & '.join(cells)} \\\\")
        lines += ["\\bottomrule", "\\end{tabular}"]
        lines += [f"\\par\\footnotesize {latex_escape(note)}" for note in self.notes]
        return "\n".join([*lines, "\\end{table}"]) + "\n"


_LATEX = {
    "\\": "\\textbackslash{}",
    "&": "\\&",
    "%": "\\%",
    "$": "\\$",
    "#": "\\#",
    "_": "\\_",
    "{": "\\{",
    "}": "\\}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
}


def latex_escape(text: str) -> str:
    """Text that LaTeX prints as it is.

    >>> print(latex_escape("95 % of {a_b} & \\\\c"))
    95 \\% of \\{a\\_b\\} \\& \\textbackslash{}c
    """
    return "".join(_LATEX.get(character, character) for character in text)


def _shown(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    # A small negative number rounds to "-0.000".
    return text.removeprefix("-") if float(text) == 0 else text


def _cell_text(cell: Cell | str) -> str:
    if isinstance(cell, str):
        return cell
    value, interval = cell.parts
    return f"{value} ({interval})" if interval else value


def _latex_cell(cell: Cell | str) -> str:
    if isinstance(cell, str):
        return latex_escape(cell)
    value, interval = cell.parts
    text = value if value == "-" else f"${value}$"
    return f"{text} \\scriptsize({interval})" if interval else text


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
