"""JSON and YAML that come from outside: parsed within limits of size and depth, or refused in one line."""

import json
from pathlib import Path
from typing import Any

import yaml


# A list of a million boxes has some 40 MB; the largest recipe of ours has 4 kB.
MAX_JSON_BYTES = 256 * 2**20
MAX_YAML_BYTES = 2**20
MAX_DEPTH = 64
# Aliases of YAML stand for what they name: a few lines may mean billions of items.
MAX_YAML_ITEMS = 100_000
LONGEST_LINE = 600


class DataFileError(ValueError):
    """What cannot be parsed, or lies beyond the limits; one line without the file's name."""


def one_line(text: object, longest: int = LONGEST_LINE) -> str:
    """
    A message as one line that a terminal shows as it is: no line breaks, no control characters, no end of the world in
    length. Names and values of files that others made stand in messages.

    Examples:
        >>> one_line("a key 'x\\n\\x1b[31my' of the file")
        "a key 'x ?[31my' of the file"
    """
    raw = str(text)
    # Far more is never shown, and not worth looking at.
    line = printable(" ".join(raw[: 20 * longest].split()))
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def printable(text: str) -> str:
    """A text with question marks for what no terminal can show, such as line breaks and control characters."""
    return text if text.isprintable() else "".join(mark if mark.isprintable() else "?" for mark in text)


def read_bounded(path: str | Path, max_bytes: int) -> bytes:
    """
    The bytes of a file.

    Raises:
        OSError: as `open`.
        DataFileError: it has more than `max_bytes`.
    """
    with Path(path).open("rb") as stream:
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise DataFileError(f"larger than {max_bytes / 2**20:g} MB")
    return data


def parse_json(text: str | bytes) -> Any:
    """
    The value of a JSON text.

    Raises:
        DataFileError: not JSON, nested more than `MAX_DEPTH` deep, a number of more digits than Python reads, or no
            UTF-8.

    Examples:
        >>> parse_json('{"a": [1, 2]}')
        {'a': [1, 2]}
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataFileError(f"not valid JSON (line {error.lineno}: {error.msg})") from None
    except UnicodeDecodeError as error:
        raise DataFileError(f"not valid JSON (byte {error.start} is not {error.encoding})") from None
    except RecursionError:
        raise DataFileError(f"nested more than {MAX_DEPTH} deep") from None
    except ValueError as error:
        raise DataFileError(f"not valid JSON ({one_line(error, 200)})") from None
    check_nesting(value)
    return value


def read_json_file(path: str | Path) -> Any:
    """
    The value of a JSON file of at most `MAX_JSON_BYTES`.

    Raises:
        OSError: as `open`.
        DataFileError: as `parse_json`, or too large.
    """
    return parse_json(read_bounded(path, MAX_JSON_BYTES))


def parse_yaml(text: str) -> Any:
    """
    The value of a YAML text of built-in types (`yaml.safe_load`).

    Raises:
        DataFileError: not YAML, more than `MAX_YAML_BYTES` characters, nested more than `MAX_DEPTH` deep or in itself,
            or aliases that stand for more than `MAX_YAML_ITEMS` items.

    Examples:
        >>> parse_yaml("a: [1, 2]")
        {'a': [1, 2]}
    """
    if len(text) > MAX_YAML_BYTES:
        raise DataFileError(f"larger than {MAX_YAML_BYTES >> 20} MB")
    try:
        # libyaml stops at a depth of its own; the parser in Python recurses.
        value = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except RecursionError:
        raise DataFileError(f"nested more than {MAX_DEPTH} deep") from None
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, OverflowError, LookupError) as error:
        # What PyYAML makes of a scalar such as "2001-99-99" raises the errors of the type that it is taken for.
        raise DataFileError(f"not valid YAML: {one_line(error, 300)}") from None
    check_nesting(value, MAX_YAML_ITEMS)
    return value


def read_yaml_file(path: str | Path) -> Any:
    """
    The value of a YAML file in UTF-8.

    Raises:
        OSError: as `open`.
        DataFileError: as `parse_yaml`, or no UTF-8.
    """
    data = read_bounded(path, MAX_YAML_BYTES)
    try:
        return parse_yaml(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataFileError(f"not valid YAML: byte {error.start} is not UTF-8") from None


def check_nesting(value: Any, max_items: int | None = None) -> None:
    """Raises [`DataFileError`] for data that is too deep, or holds itself, or stands for too many items."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise DataFileError(f"nested more than {MAX_DEPTH} deep")
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, (list, tuple, set)):
                inner.extend(item)
            if max_items is not None and len(inner) > max_items:
                raise DataFileError(f"its aliases stand for more than {max_items:,} items")
        level = inner
