"""The file that a film came from: its DICOM header, and where a displayed pixel lies among the stored ones."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomy_vlm.processing.dicom_orientation import hang, pixel_spacing


RESEARCH_ONLY = "For research only. Not for diagnosis or treatment."
_PREAMBLE = 128
_HEADER_LIMIT = 132
# What a derived object takes of its source: who, which study, which image, and what the pixels are. Nothing else.
_PATIENT_AND_STUDY = (
    "SpecificCharacterSet", "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyInstanceUID",
    "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
# No Frame of Reference and no spacing: a projection has neither place nor thickness, and pixels are matched to pixels.
# (Of a spacing highdicom would make Pixel Measures without Slice Thickness, which it does not read again.)
_IMAGE = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "Rows", "Columns")
_PERSON = re.compile(r"[^=]{0,64}(=[^=]{0,64}){0,2}")
# What is no value of its kind (PS3.5 section 6.2) is taken as unknown.
_DATE = re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")
_SHORT, _LONG = re.compile(r".{0,16}"), re.compile(r".{0,64}")
_FORMS = {
    "PatientBirthDate": _DATE,
    "StudyDate": _DATE,
    "StudyTime": _TIME,
    "PatientSex": re.compile("[MFO]"),
    "PatientID": _LONG,
    "PatientName": _PERSON,
    "ReferringPhysicianName": _PERSON,
    "StudyID": _SHORT,
    "AccessionNumber": _SHORT,
}
_REQUIRED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID", "Rows", "Columns")


class FilmSourceError(ValueError):
    """A source that cannot carry what is to be written; one line with the file and the cure."""


@dataclass(frozen=True)
class FilmSource:
    """
    Where a film came from.

    Args:
        path: Its file.
        header: The DICOM data set without its pixels; None for a picture.
    """

    path: Path
    header: Any | None = None

    @classmethod
    def open(cls, path: "str | Path | FilmSource") -> "FilmSource":
        """Read the header of a DICOM file; of a picture, nothing is read but its first bytes."""
        if isinstance(path, FilmSource):
            return path
        path = Path(path)
        try:
            with path.open("rb") as stream:
                head = stream.read(_HEADER_LIMIT)
        except OSError as error:
            raise FilmSourceError(f"{path}: cannot be opened ({error.strerror or error}); check the path") from None
        if head[_PREAMBLE:] != b"DICM" and head[:2] not in (b"\x02\x00", b"\x08\x00"):
            return cls(path)
        try:
            import pydicom
        except ImportError:
            raise ImportError('reading DICOM needs pydicom: pip install "anatomy-vlm[dicom]"') from None
        try:
            return cls(path, pydicom.dcmread(path, stop_before_pixels=True, force=True))
        except Exception as error:
            # pydicom raises nearly anything on damaged bytes, and quotes values that may be a patient's.
            kind = type(error).__name__
            raise FilmSourceError(f"{path}: not a readable DICOM file ({kind}); copy it again") from None

    @property
    def is_dicom(self) -> bool:
        return self.header is not None

    @property
    def spacing(self) -> tuple[float, float] | None:
        """Millimetres between rows and between columns of the film as it is displayed, where the file says so."""
        spacing = None if self.header is None else pixel_spacing(self.header)
        return spacing[::-1] if spacing is not None and self._transposed else spacing

    def require_dicom(self, what: str) -> Any:
        """
        A data set of patient, study and image for an object derived from the source, with nothing else in it.

        Raises:
            FilmSourceError: a picture, or a header without the identifiers that the object has to refer to.
        """
        if self.header is None:
            raise FilmSourceError(
                f"{self.path}: {what} refers to a DICOM image, and this is none; "
                "give the DICOM file, or choose another format"
            )
        missing = [keyword for keyword in _REQUIRED if not _value(self.header, keyword)]
        if missing:
            raise FilmSourceError(
                f"{self.path}: {what} needs {', '.join(missing)}, which its header lacks; export it again"
            )
        from pydicom.dataset import Dataset

        reduced = Dataset()
        for keyword in (*_PATIENT_AND_STUDY, *_IMAGE):
            value = _value(self.header, keyword)
            if value is not None and (keyword not in _FORMS or _FORMS[keyword].fullmatch(str(value))):
                reduced[keyword] = self.header[keyword]
        for keyword in (*_PATIENT_AND_STUDY[1:], "Modality"):
            if keyword not in reduced:
                # Empty where it may be (PS3.5 section 7.4.3): unknown, not invented.
                setattr(reduced, keyword, None if keyword in ("StudyDate", "StudyTime") else "")
        return reduced

    @cached_property
    def _places(self) -> NDArray[np.int64] | None:
        """For each displayed pixel the flat index of the stored one; None where film and file are laid out alike."""
        if self.header is None:
            return None
        rows, columns = int(self.header.Rows), int(self.header.Columns)
        flat = np.arange(rows * columns, dtype=np.int64).reshape(rows, columns)
        places, _ = hang(flat, self.header, {"notes": []})
        return None if places is flat else places

    @property
    def _transposed(self) -> bool:
        return self._places is not None and abs(int(self._places[0, 1] - self._places[0, 0])) != 1

    def check_size(self, size: tuple[int, int]) -> None:
        """Of a DICOM film: raise `FilmSourceError` if masks of (height, width) cannot be its."""
        if self.header is None or not self.header.get("Rows") or not self.header.get("Columns"):
            return
        stored = int(self.header.Rows), int(self.header.Columns)
        expected = stored if self._places is None else self._places.shape
        if tuple(size) != tuple(expected):
            raise FilmSourceError(
                f"{self.path}: masks of {size[1]}x{size[0]} pixels for a film of {expected[1]}x{expected[0]}; "
                "give them in the film's own size"
            )

    def stored_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask of the displayed film as one of the stored pixels: turned and mirrored back."""
        if self._places is None or self.header is None:
            return mask
        stored = np.zeros(int(self.header.Rows) * int(self.header.Columns), dtype=bool)
        stored[self._places[mask]] = True
        return stored.reshape(int(self.header.Rows), int(self.header.Columns))

    def stored_box(self, box: Sequence[float]) -> tuple[float, float, float, float]:
        """A box x0, y0, x1, y1 in pixel edges of the displayed film as one of the stored image."""
        x0, y0, x1, y1 = (float(value) for value in box)
        if self._places is None or self.header is None:
            return x0, y0, x1, y1
        columns = int(self.header.Columns)
        corner = np.array(divmod(int(self._places[0, 0]), columns), dtype=float)
        down = np.array(divmod(int(self._places[1, 0]), columns)) - corner
        right = np.array(divmod(int(self._places[0, 1]), columns)) - corner
        ends = [corner + 0.5 + (y - 0.5) * down + (x - 0.5) * right for x, y in ((x0, y0), (x1, y1))]
        (top, bottom), (left, end) = (sorted(float(point[axis]) for point in ends) for axis in (0, 1))
        return left, top, end, bottom


def _value(header: Any, keyword: str) -> Any:
    """The value of an attribute; None where there is none, or nothing that can be read."""
    try:
        return header[keyword].value if keyword in header else None
    except Exception:
        # pydicom parses a value when it is asked for, and raises nearly anything on damaged bytes.
        return None


__all__ = ["RESEARCH_ONLY", "FilmSource", "FilmSourceError"]
