"""Tables of datasets: CSV, TSV and JSON files, plain or gzipped, read by column name."""

import csv
import gzip
import io
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from anatomy_vlm.processing.data_files import MAX_JSON_BYTES, DataFileError, parse_json
from anatomy_vlm.training.loaders.errors import DatasetError


# Masks as run lengths are longer than the csv module's limit for one field; those of large films have some 100 kB.
_LONGEST_LINE = 64 * 2**20
csv.field_size_limit(_LONGEST_LINE)
_UNREADABLE = (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error)
# Numbers and texts of tables shrink to a tenth; a thousandth is gzip's limit, which only repeats reach.
_GZIP_RATIO, _GZIP_FREE = 200, 8 * 2**20


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


class _Unzipped(gzip.GzipFile):
    """A gzipped file that refuses to grow without bound."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._check()
        return data

    def read1(self, size: int = -1) -> bytes:
        data = super().read1(size)
        self._check()
        return data

    def _check(self) -> None:
        if self.tell() > _GZIP_FREE and self.tell() > _GZIP_RATIO * os.path.getsize(self.name):
            raise OSError(f"it unpacks to more than {_GZIP_RATIO} times its size; unpack it yourself if it is sound")


def open_text(path: str | Path) -> IO[str]:
    """A text file, plain or gzipped, without a byte order mark."""
    if str(path).endswith(".gz"):
        return io.TextIOWrapper(_Unzipped(path, "rb"), encoding="utf-8-sig", newline="")
    return Path(path).open(encoding="utf-8-sig", newline="")


def bounded_lines(file: IO[str]) -> Iterator[str]:
    """The lines of a file. Raises `OSError` for one that is longer than any of a table."""
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise OSError(f"a line of more than {_LONGEST_LINE >> 20} MB")
        yield line


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Turn what a damaged table raises into `DatasetError`."""
    try:
        yield
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file") from None
    except _UNREADABLE as error:
        raise DatasetError(f"{path}: cannot be read as a table: {error}") from error


def column_names(path: str | Path, delimiter: str = ",") -> list[str]:
    """The header of a table, names stripped of spaces. Raises `DatasetError` for a file that is no table."""
    try:
        with open_text(path) as file:
            return [name.strip() for name in next(csv.reader(bounded_lines(file), delimiter=delimiter), [])]
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
            reader = csv.reader(bounded_lines(file), delimiter=delimiter)
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
            text = file.read(MAX_JSON_BYTES + 1)
        if len(text) > MAX_JSON_BYTES:
            raise DatasetError(f"{path}: larger than {MAX_JSON_BYTES >> 20} MB")
        return parse_json(text)
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file") from None
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, DataFileError) as error:
        raise DatasetError(f"{path}: not a JSON file: {error}") from None


def number(text: str, where: str) -> float:
    """A number of a cell. Raises `DatasetError` that names the cell by `where`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DatasetError(f"{where}: expected a number, found {text[:60]!r}")
    return value


def whole_number(text: str, where: str) -> int:
    """A whole number of a cell, also as "1024.0". Raises `DatasetError` that names the cell by `where`."""
    value = number(text, where)
    if value != int(value) or abs(value) > 2**53:
        raise DatasetError(f"{where}: expected a whole number, found {text[:60]!r}")
    return int(value)
