"""Tables of datasets: CSV, TSV and JSON files, plain or gzipped, read by column name."""

import csv
import gzip
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from anatomy_vlm.training.loaders.errors import DatasetError


# Masks as run lengths are longer than the csv module's limit for one field.
csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
_UNREADABLE = (OSError, EOFError, UnicodeDecodeError, csv.Error)


def find_file(root: str | Path, *patterns: str, needed_for: str = "") -> Path | None:
    """The first file below `root` that one of the patterns matches, earlier patterns first; `.gz` counts as well.

    Raises:
        DatasetError: there is none, and `needed_for` says what it is needed for.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder")
    for pattern in patterns:
        for candidate in (pattern, f"{pattern}.gz"):
            found = sorted(path for path in folder.glob(candidate) if path.is_file())
            if found:
                return found[0]
    if needed_for:
        present = sorted(path.name for path in folder.iterdir())[:8]
        raise DatasetError(
            f"{folder}: no {' or '.join(patterns)}, which holds {needed_for}; found {', '.join(present) or 'nothing'}"
        )
    return None


def need_file(root: str | Path, *patterns: str, holds: str) -> Path:
    """As `find_file`, for a file that has to be there."""
    path = find_file(root, *patterns, needed_for=holds)
    if path is None:
        raise DatasetError(f"{root}: no {' or '.join(patterns)}")
    return path


def open_text(path: str | Path) -> IO[str]:
    """A text file, plain or gzipped, without a byte order mark."""
    if str(path).endswith(".gz"):
        return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8-sig", newline="")
    return Path(path).open(encoding="utf-8-sig", newline="")


def column_names(path: str | Path, delimiter: str = ",") -> list[str]:
    """The header of a table, names stripped of spaces. Raises `DatasetError` for a file that is no table."""
    try:
        with open_text(path) as file:
            return [name.strip() for name in next(csv.reader(file, delimiter=delimiter), [])]
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file") from None
    except _UNREADABLE as error:
        raise DatasetError(f"{path}: cannot be read as a table: {error}") from error


def check_columns(path: str | Path, found: Sequence[str], columns: Sequence[str]) -> None:
    """Raises `DatasetError` for the first of `columns` that is not in `found`."""
    for column in columns:
        if column not in found:
            hint = "; its cells must be separated by commas" if len(found) == 1 and {*";\t"} & {*found[0]} else ""
            raise DatasetError(f"{path}: no column '{column}'; found {', '.join(found) or 'nothing'}{hint}")


def read_table(
    path: str | Path, columns: Sequence[str], optional: Sequence[str] = (), *, delimiter: str = ","
) -> Iterator[dict[str, str]]:
    """
    The rows of a table as dicts of the columns asked for; names and values are stripped of spaces.

    Args:
        path: CSV file with a header, plain or gzipped.
        columns: Columns that have to be there.
        optional: Columns whose value is "" where they are not.
        delimiter: Between the cells.

    Raises:
        DatasetError: no such file, no such column, or a row that is too short; the line is named.
    """
    try:
        with open_text(path) as file:
            reader = csv.reader(file, delimiter=delimiter)
            header = [name.strip() for name in next(reader, [])]
            check_columns(path, header, columns)
            places = {name: header.index(name) for name in (*columns, *optional) if name in header}
            last = max((places[name] for name in columns), default=0)
            absent = {name: "" for name in optional if name not in places}
            for row in reader:
                if not any(cell.strip() for cell in row):
                    continue
                if len(row) <= last:
                    raise DatasetError(f"{path}:{reader.line_num}: {len(row)} cells, expected at least {last + 1}")
                yield absent | {name: row[i].strip() if i < len(row) else "" for name, i in places.items()}
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file") from None
    except _UNREADABLE as error:
        raise DatasetError(f"{path}: cannot be read as a table: {error}") from error


def read_json(path: str | Path) -> Any:
    """The value of a JSON file. Raises `DatasetError` where it is none."""
    try:
        with open_text(path) as file:
            return json.load(file)
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file") from None
    except (OSError, EOFError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DatasetError(f"{path}: not a JSON file: {error}") from error


def number(text: str, where: str) -> float:
    """A number of a cell. Raises `DatasetError` that names the cell by `where`."""
    try:
        return float(text)
    except ValueError:
        raise DatasetError(f"{where}: expected a number, found {text!r}") from None
