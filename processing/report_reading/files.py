"""Report files: plain text and OpenI's XML."""

import codecs
import html.entities
import re
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from ..data_files import one_line


MAX_BYTES = 2**20
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class ReportFileError(ValueError):
    """A file that holds no report that we can read; the message is one line without the file's name."""

    def __init__(self, message: object = ""):
        super().__init__(one_line(message))


@dataclass(frozen=True)
class OpenIReport:
    """
    What is read of one of OpenI's XML files (`eCitation`).

    Args:
        uid: Name of the examination, such as "CXR17"; "" where the file has none.
        parts: Label and text of each part of the abstract, in the order of the file; texts may be empty.
        terms: The curators' major MeSH terms.
        images: Names of the films.
    """

    uid: str
    parts: tuple[tuple[str, str], ...]
    terms: tuple[str, ...]
    images: tuple[str, ...]

    @property
    def text(self) -> str:
        """The abstract, one `LABEL: text` per part; "" without any."""
        return "\n".join(f"{label}: {text}" if label else text for label, text in self.parts)


def _read_bytes(path: str | Path) -> bytes:
    try:
        with Path(path).open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ReportFileError(error.strerror or str(error)) from None


def _check_size(data: bytes) -> None:
    if len(data) > MAX_BYTES:
        raise ReportFileError(f"larger than {MAX_BYTES >> 20} MB; expected one report per file")


def read_report_file(path: str | Path) -> str:
    """Text of a report file, see `decode_report`.

    Raises:
        ReportFileError: the file is missing, too large, not text, or XML of another kind.
    """
    return decode_report(_read_bytes(path))


def read_openi_file(path: str | Path) -> OpenIReport:
    """One of OpenI's XML files, see `decode_openi`.

    Raises:
        ReportFileError: the file is missing, too large, broken XML, or XML of another kind.
    """
    return decode_openi(_read_bytes(path))


def decode_report(data: bytes) -> str:
    """Text of a report from the bytes of a file: UTF-8 or UTF-16 text, or OpenI's XML.

    Raises:
        ReportFileError: more than `MAX_BYTES`, nothing in it, not text, or XML of another kind.
    """
    _check_size(data)
    if data.lstrip(codecs.BOM_UTF8 + b" \t\r\n").startswith((b"<?xml", b"<eCitation", b"<!DOCTYPE")):
        return decode_openi(data).text
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ReportFileError(f"not UTF-8 text (byte {error.start}); save the report as UTF-8") from None
    if "\0" in text:
        raise ReportFileError("a binary file; expected text or OpenI's XML")
    if not text.strip():
        raise ReportFileError("no text in it")
    return text


# HTML's names for characters, which XML does not know by itself; its own five stay.
_NAMED = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos);)([A-Za-z][A-Za-z0-9]{1,31});")


def _numbered(match: re.Match[bytes]) -> bytes:
    text = html.entities.html5.get(match[1].decode() + ";")
    return match[0] if text is None else "".join(f"&#{ord(character)};" for character in text).encode()


_TERM = ["MeSH", "major"]


class _OpenIParser:
    """Collects what a report says; refuses what a report has no use for and an attacker has."""

    def __init__(self) -> None:
        self.uid = ""
        self.parts: list[tuple[str, str]] = []
        self.terms: list[str] = []
        self.images: list[str] = []
        self.root = ""
        self._path: list[str] = []
        self._label: str | None = None
        self._text: list[str] = []
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.EntityDeclHandler = self._refuse
        self._parser.ExternalEntityRefHandler = self._refuse

    def parse(self, data: bytes) -> None:
        self._parser.Parse(_NAMED.sub(_numbered, data), True)

    def _doctype(self, _name: str, system: str | None, public: str | None, subset: bool) -> None:
        if system or public or subset:
            self._refuse()

    def _refuse(self, *_: object) -> int:
        raise ReportFileError("XML with a document type or entities, which is not read; expected a plain OpenI file")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.root = self.root or name
        self._path.append(name)
        if name == "AbstractText":
            self._label, self._text = attributes.get("Label", ""), []
        elif self._path[-2:] == _TERM:
            self._take_text()
        elif name == "uId":
            self.uid = self.uid or attributes.get("id", "")
        elif name == "parentImage" and attributes.get("id"):
            self.images.append(attributes["id"])

    def _end(self, name: str) -> None:
        if name == "AbstractText" and self._label is not None:
            self.parts.append((self._label.strip(), self._take_text()))
            self._label = None
        elif self._path[-2:] == _TERM and (term := self._take_text()):
            self.terms.append(term)
        self._path.pop()

    def _take_text(self) -> str:
        text, self._text = "".join(self._text).strip(), []
        return text

    def _characters(self, text: str) -> None:
        self._text.append(text)


def decode_openi(data: bytes) -> OpenIReport:
    """An OpenI report (`eCitation`) from the bytes of its XML file.

    HTML's names for characters (`&nbsp;`) are read. Document types that declare or load anything are refused, so that
    nothing outside the file is ever read and nothing expands.

    Raises:
        ReportFileError: more than `MAX_BYTES`, broken XML, or XML of another kind.
    """
    _check_size(data)
    parser = _OpenIParser()
    try:
        parser.parse(data)
    except expat.ExpatError as error:
        reason = expat.errors.messages[error.code]
        raise ReportFileError(f"broken XML: {reason}, line {error.lineno}, column {error.offset}") from None
    except (LookupError, ValueError) as error:
        raise error if isinstance(error, ReportFileError) else ReportFileError(f"broken XML: {error}") from None
    if not parser.parts and parser.root != "eCitation":
        raise ReportFileError("XML without an AbstractText; expected an OpenI report")
    return OpenIReport(parser.uid, tuple(parser.parts), tuple(parser.terms), tuple(parser.images))
