"""Structures and findings as codes of SNOMED CT and DICOM, with the patient's side; a table read from a file."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml


OWN_SCHEME = "99ANATOMYVLM"
# Where FHIR finds the schemes (HL7 Terminology; DICOM PS3.16 annex D).
SYSTEMS = {"SCT": "http://snomed.info/sct", "DCM": "http://dicom.nema.org/resources/ontology/DCM"}
Side = Literal["left", "right"]


@dataclass(frozen=True)
class Code:
    """
    A coded concept.

    Args:
        value: The code.
        scheme: Designator of DICOM: "SCT", "DCM", or `OWN_SCHEME` where these have none that we are sure of.
        meaning: What a human reads.
    """

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class CodedStructure:
    """
    A structure of the body.

    Args:
        code: What it is.
        side: The patient's side of one of a pair; None where the code says it or there is one only.
    """

    code: Code
    side: Side | None = None

    @property
    def laterality(self) -> Code | None:
        """The side as a code, a modifier of the structure's."""
        return None if self.side is None else SIDES[self.side]


SIDES = {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}


def coded_structure(name: str) -> CodedStructure:
    """
    The code of a structure by its name: of a region of Chest ImaGenome, or of TotalSegmentator.

    Example:
        >>> coded_structure("left lung")
        CodedStructure(code=Code(value='39607008', scheme='SCT', meaning='Lung'), side='left')
        >>> coded_structure("rib_right_4").laterality.meaning, coded_structure("vertebrae_T5").code.meaning
        ('Right', 'T5 vertebra')
        >>> coded_structure("left costophrenic angle").code.scheme
        '99ANATOMYVLM'
    """
    known = _structures()
    if name in known:
        return known[name]
    sides: list[Side] = [side for side in ("left", "right") if side in name.replace("_", " ").split()]  # type: ignore[misc]
    return CodedStructure(_own_code(name), sides[0] if len(sides) == 1 else None)


def coded_finding(name: str) -> Code:
    """
    The code of a finding of the vocabulary, or one of our own scheme.

    Example:
        >>> coded_finding("pneumothorax").value, coded_finding("rib fracture").value
        ('36118008', 'rib-fracture')
    """
    known = _table()["findings"]
    if name in known:
        scheme, value, meaning = known[name]
        return Code(value, scheme, meaning)
    return _own_code(name)


def _own_code(name: str) -> Code:
    # Code Meaning is a Long String of 64 characters (PS3.5 section 6.2).
    return Code("-".join(name.lower().replace("_", " ").replace("/", " ").split()), OWN_SCHEME, name[:64])


@cache
def _table() -> dict[str, Any]:
    return yaml.safe_load((Path(__file__).parent / "coded_names.yaml").read_text(encoding="utf-8"))


@cache
def _structures() -> dict[str, CodedStructure]:
    return dict(_read_structures())


def _read_structures() -> Iterator[tuple[str, CodedStructure]]:
    for value, meaning, *names in _table()["structures"]:
        code = Code(value, "SCT", meaning)
        for name in names:
            if "{side}" not in name:
                yield name, CodedStructure(code)
                continue
            for side in ("left", "right"):
                yield name.format(side=side), CodedStructure(code, side)
    for level, value in _table()["vertebrae"].items():
        code = Code(value, "SCT", f"{level} vertebra")
        yield f"vertebrae_{level}", CodedStructure(code)
        yield f"vertebral_body_{level}", CodedStructure(code)


__all__ = ["OWN_SCHEME", "SIDES", "SYSTEMS", "Code", "CodedStructure", "coded_finding", "coded_structure"]
