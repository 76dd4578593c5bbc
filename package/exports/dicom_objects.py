"""What DICOM objects of ours have in common: who made them, identifiers, codes; by highdicom."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from anatomy_vlm.exports.coded_names import Code
from anatomy_vlm.processing.atomic_files import replacing


MANUFACTURER = "Anatomy-VLM"
# Long String of 64 characters.
_LONG_STRING = 64


@dataclass(frozen=True)
class Maker:
    """
    What made an object.

    Args:
        model: Name of the checkpoint.
    """

    model: str = "unknown"

    @property
    def software(self) -> str:
        return f"anatomy-vlm {version('anatomy-vlm')}"

    @property
    def model_name(self) -> str:
        """The checkpoint's name without the folders that it lies in, as long as DICOM allows."""
        return Path(self.model).name[:_LONG_STRING] or "unknown"


def import_highdicom() -> ModuleType:
    """highdicom, or an error that names the extra."""
    try:
        import highdicom
    except ImportError:
        raise ImportError('writing DICOM objects needs highdicom: pip install "anatomy-vlm[dicom-export]"') from None
    return highdicom


def concept(code: Code) -> Any:
    """A code as highdicom has it."""
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def algorithm(maker: Maker) -> Any:
    """The algorithm's name, version and family (CID 7162) for a segment or an observer."""
    hd = import_highdicom()
    family = concept(Code("123110", "DCM", "Artificial Intelligence"))
    return hd.AlgorithmIdentificationSequence(
        name=MANUFACTURER, family=family, version=maker.software, parameters={"model": maker.model_name}
    )


def new_instance(maker: Maker, series_number: int) -> dict[str, Any]:
    """Fresh identifiers and equipment of an object that is a series of its own."""
    hd = import_highdicom()
    return {
        "series_instance_uid": str(hd.UID()),
        "series_number": series_number,
        "sop_instance_uid": str(hd.UID()),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
    }


def save(data_set: Any, path: Path) -> Path:
    """Write a DICOM file, whole or not at all."""
    with replacing(path) as beside:
        data_set.save_as(beside, enforce_file_format=True)
    return path


__all__ = ["MANUFACTURER", "Maker", "algorithm", "concept", "import_highdicom", "new_instance", "save"]
