"""How MIMIC-CXR lays out its files, for the datasets that are built on it."""

from collections.abc import Sequence
from pathlib import Path

from anatomy_vlm.processing.report_reading.files import MAX_BYTES
from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.paths import plain_name


IMAGE_SUFFIXES = (".jpg", ".dcm", ".png", ".jpeg")
# View positions of the metadata; what is not named has no place in the schema.
_VIEWS = {"PA": "PA", "AP": "AP", "LATERAL": "LATERAL", "LL": "LATERAL", "XTABLE LATERAL": "LATERAL"}


def mimic_view(position: str) -> str:
    """The schema's view of a ViewPosition; "" for oblique and unusual ones."""
    return _VIEWS.get(position.strip().upper(), "")


class MimicFiles:
    """
    The films and reports below a folder: `files/p10/p10000032/s50414267/<dicom_id>.jpg`, or `.dcm` or `.png`.

    Args:
        root: Folder that holds `files`, or `files` itself.

    Raises:
        DatasetError: no such folder.
    """

    def __init__(self, root: str | Path):
        folder = Path(root)
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder; give the one that holds MIMIC-CXR's 'files'")
        self.files = folder / "files" if (folder / "files").is_dir() else folder
        self._suffixes: Sequence[str] = IMAGE_SUFFIXES

    def image(self, subject: str, study: str, dicom: str) -> str:
        """The film's file; where there is none, the first that would do."""
        folder, dicom = self._study(subject, study), plain_name(dicom, str(self.files))
        for suffix in self._suffixes:
            path = folder / f"{dicom}{suffix}"
            if path.is_file():
                # One export has one kind of file: asking for it first saves a look at the disk per film.
                self._suffixes = (suffix, *(other for other in IMAGE_SUFFIXES if other != suffix))
                return str(path)
        return str(folder / f"{dicom}{self._suffixes[0]}")

    def report(self, subject: str, study: str) -> Path:
        """The report's file, whether it is there or not."""
        folder = self._study(subject, study)
        return folder.with_name(f"{folder.name}.txt")

    def report_text(self, subject: str, study: str) -> str:
        """The report, at most the length that is read of one; "" where there is none."""
        path = self.report(subject, study)
        if not path.is_file():
            return ""
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES).decode("utf-8", errors="replace")

    def __repr__(self) -> str:
        return f"MimicFiles({str(self.files)!r})"

    def _study(self, subject: str, study: str) -> Path:
        subject, study = plain_name(subject, str(self.files)), plain_name(study, str(self.files))
        return self.files / f"p{subject[:2]}" / f"p{subject}" / f"s{study}"


def subject_and_study(path: str, where: str) -> tuple[str, str]:
    """
    Patient and study of a path of MIMIC-CXR.

    Examples:
        >>> subject_and_study("files/p10/p10000032/s50414267/02aa804e.jpg", "a table")
        ('10000032', '50414267')
    """
    parts = path.replace("\\", "/").split("/")
    if len(parts) < 3 or not (parts[-3].startswith("p") and parts[-2].startswith("s")):
        raise DatasetError(f"{where}: the path {path!r} is not of the form files/pXX/pSUBJECT/sSTUDY/DICOM.jpg")
    return parts[-3][1:], parts[-2][1:]
