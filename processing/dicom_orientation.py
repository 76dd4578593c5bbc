"""How a DICOM radiograph hangs: view, Patient Orientation, pixel spacing."""

from __future__ import annotations

import re
from typing import Any

import numpy as np


# CID 4010 "DX View": SNOMED CT, and the SNOMED RT codes that older files hold.
_VIEW_CODES = {
    "272479007": "PA",
    "R-40888": "PA",
    "R-10214": "PA",
    "399348003": "AP",
    "R-10206": "AP",
    "399173006": "LATERAL",
    "R-10236": "LATERAL",
    "399198007": "LATERAL",
    "R-10232": "LATERAL",
}
_VIEW_PATTERNS = (
    (r".*(OBLIQUE|DECUB).*|LLD|RLD|LLO|RLO", ""),  # none of the three; a decubitus film is not a lateral one
    (r"(PA|POSTERO[ -]?ANTERIOR)\b.*", "PA"),
    (r"(AP|ANTERO[ -]?POSTERIOR)\b.*", "AP"),
    (r"(LL|RL|LAT|LLAT|RLAT|((LEFT|RIGHT) )?LATERAL)\b.*", "LATERAL"),
)
_HORIZONTAL, _VERTICAL = "LRAP", "HF"


def view_position(data_set: Any) -> str:
    """
    `"PA"`, `"AP"`, `"LATERAL"` or `""`, from View Position (0018,5101), else View Code Sequence (0054,0220), else a
    Patient Orientation (0020,0020) whose rows run front to back.
    """
    view = _view_from_text(data_set.get("ViewPosition"))
    if view:
        return view
    for item in data_set.get("ViewCodeSequence") or ():
        view = _VIEW_CODES.get(str(item.get("CodeValue") or ""), "") or _view_from_text(item.get("CodeMeaning"))
        if view:
            return view
    axes = _axes(data_set)
    return "LATERAL" if axes is not None and set(axes) & {"A", "P"} and set(axes) & set(_VERTICAL) else ""


def hang(pixels: np.ndarray, data_set: Any, metadata: dict[str, Any]) -> tuple[np.ndarray, bool]:
    """
    Turn a film upright and, if frontal, the patient's right to the image's left, where Patient Orientation (0020,0020)
    says that it is not (PS3.3 C.7.6.1.1.1: the direction of a row, then of a column). Says what it did in
    `metadata["notes"]`. Without that attribute the film stays as it is.

    Returns the pixels and whether rows and columns were exchanged.
    """
    axes = _axes(data_set)
    if axes is None:
        return pixels, False
    row, column = axes
    transposed = row in _VERTICAL and column in _HORIZONTAL
    if transposed:
        pixels, (row, column) = pixels.T, (column, row)
    elif row not in _HORIZONTAL or column not in _VERTICAL:
        return pixels, False
    steps = ["rotated"] if transposed else []
    if column == "H":
        pixels = pixels[::-1]
        steps.append("turned upright")
    if row == "R":
        pixels = pixels[:, ::-1]
        steps.append("mirrored")
    if steps:
        orientation = "\\".join(axes)
        metadata["notes"].append(f"{' and '.join(steps)}: its Patient Orientation is {orientation}")
    return pixels, transposed


def pixel_spacing(data_set: Any) -> tuple[float, float] | None:
    """
    Millimetres between rows and between columns: Pixel Spacing (0028,0030), which a calibration may have corrected,
    else Imager Pixel Spacing (0018,1164) at the detector, else Nominal Scanned Pixel Spacing (0018,2010).
    """
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        try:
            rows, columns = (float(value) for value in data_set.get(keyword) or ())
        except (TypeError, ValueError):
            continue
        if 0 < rows < 10 and 0 < columns < 10:
            return rows, columns
    return None


def _view_from_text(value: Any) -> str:
    text = str(value or "").strip().upper()
    return next((view for pattern, view in _VIEW_PATTERNS if re.fullmatch(pattern, text)), "")


def _axes(data_set: Any) -> tuple[str, str] | None:
    """Principal direction of rows and of columns; an oblique "LF" counts as its first letter."""
    try:
        row, column = (str(value).strip().upper()[:1] for value in data_set.get("PatientOrientation") or ())
    except (TypeError, ValueError):
        return None
    return (row, column) if row and column else None
