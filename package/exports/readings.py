"""Readings of `predict` as files of other systems: DICOM SR, COCO, FHIR."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from anatomy_vlm.exports.coco import CocoFile
from anatomy_vlm.exports.dicom_objects import Maker
from anatomy_vlm.exports.file_names import FilmStems
from anatomy_vlm.exports.film_source import FilmSource
from anatomy_vlm.processing.atomic_files import write_json
from anatomy_vlm.records import PRESENT


FORMATS = ("sr", "coco", "fhir")
COCO_FILE = "boxes.json"


class ReadingFileError(ValueError):
    """Readings that cannot be written; one line with the cure."""


def found_regions(record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The regions of a reading that were found, and have a box of some size."""
    for region in record["regions"]:
        x0, y0, x1, y1 = region["box"]
        if region["presence"] >= PRESENT and x1 > x0 and y1 > y0:
            yield region


def read_formats(text: str) -> tuple[str, ...]:
    """
    Names of formats, separated by commas.

    Raises:
        ReadingFileError: for an unknown one.

    Example:
        >>> read_formats("coco, sr")
        ('coco', 'sr')
    """
    formats = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ReadingFileError(f"unknown format {', '.join(unknown) or text!r}; choose of {', '.join(FORMATS)}")
    return formats


class ReadingFiles:
    """
    Writes readings of many films to one folder.

    | format | files of the film `a.dcm` | needs |
    |---|---|---|
    | `sr` | `a.sr.dcm`, a Structured Report (TID 1500) | DICOM films, the extra `dicom-export` |
    | `coco` | one `boxes.json` for all films, written by `finish` | |
    | `fhir` | `a.fhir.json`, a Bundle of a DiagnosticReport and Observations | |

    Args:
        folder: Where to write.
        formats: Of `FORMATS`.
        model: Name of the checkpoint.
    """

    def __init__(self, folder: str | Path, formats: Sequence[str], *, model: str = "unknown") -> None:
        self.folder = Path(folder)
        self.formats = read_formats(",".join(formats))
        self.maker = Maker(model)
        self._coco = CocoFile("Boxes of anatomical regions", self.maker.model_name)
        self._stems = FilmStems()

    def add(self, record: Mapping[str, Any]) -> list[Path]:
        """
        Write one reading; each file is whole or not there. The order is fixed: what needs no DICOM comes first.

        Args:
            record: A reading of `prediction_schema.json`, not an error.

        Returns:
            The files that are written by now.

        Raises:
            FilmSourceError: `sr` of a film that is no DICOM image.
        """
        stem = self._stems.of(record["file"])
        written: list[Path] = []
        if "coco" in self.formats:
            image = self._coco.add_image(record["file"], (record["size"][1], record["size"][0]))
            for region in found_regions(record):
                self._coco.add_box(image, region["name"], region["box"], region["presence"])
        if "fhir" in self.formats:
            from anatomy_vlm.exports.fhir import fhir_bundle

            path = self.folder / f"{stem}.fhir.json"
            write_json(path, fhir_bundle(record, self.maker))
            written.append(path)
        if "sr" in self.formats:
            from anatomy_vlm.exports.dicom_report import write_report

            source = FilmSource.open(record["file"])
            written.append(write_report(self.folder / f"{stem}.sr.dcm", record, source, self.maker))
        return written

    def finish(self) -> list[Path]:
        """Write what is one file for all films: `boxes.json` of `coco`."""
        if "coco" not in self.formats:
            return []
        path = self.folder / COCO_FILE
        write_json(path, self._coco.to_dict())
        return [path]


__all__ = ["COCO_FILE", "FORMATS", "ReadingFileError", "ReadingFiles", "found_regions", "read_formats"]
