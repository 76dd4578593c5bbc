"""A CT volume from a folder of DICOM slices."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from anatomy_vlm.synthesis.ct.nifti import check_hounsfield
from anatomy_vlm.synthesis.ct.volume import CTReadError, CTVolume, patient_axes


_GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")


def read_dicom_ct(folder: str | Path, *, series_uid: str | None = None) -> CTVolume:
    """Reads one CT series.

    Slices are ordered by their position along the slice normal (PS3.3 C.7.6.2.1.1), never by file name or instance
    number; a tilted gantry becomes a sheared affine; each slice's own rescale slope and intercept apply.

    Args:
        folder: searched for DICOM files of any name, without its sub-folders.
        series_uid: which series, where the folder holds several.

    Raises:
        CTReadError: for a folder without CT slices or with several series, and for slices that differ in size or
            orientation, repeat a position, or leave gaps.
    """
    folder = Path(folder)
    try:
        import pydicom
    except ImportError as error:
        raise ImportError('reading DICOM needs pydicom: pip install "anatomy-vlm[dicom]"') from error
    if not folder.is_dir():
        raise CTReadError(f"{folder}: no such folder")
    series: dict[str, list[tuple[Path, Any]]] = defaultdict(list)
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
        except (pydicom.errors.InvalidDicomError, OSError, EOFError):
            continue
        if header.get("Modality") == "CT" and "LOCALIZER" not in header.get("ImageType", []):
            series[str(header.get("SeriesInstanceUID", ""))].append((path, header))
    if series_uid is not None:
        series = {uid: slices for uid, slices in series.items() if uid == series_uid}
    if len(series) != 1:
        found = ", ".join(f"{uid} ({len(slices)} slices)" for uid, slices in series.items()) or "none"
        raise CTReadError(f"{folder}: expected one CT series, found {found}; name one with series_uid")
    slices = next(iter(series.values()))
    if len(slices) < 2:
        raise CTReadError(f"{slices[0][0]}: a volume needs at least 2 slices, found 1")
    ordered, affine = _place(folder, slices)
    stack = [_hounsfield(path, pydicom.dcmread(path)) for path, _ in ordered]
    hu = np.stack(stack)
    check_hounsfield(hu, str(folder))
    hu, affine = patient_axes(hu, affine)
    return CTVolume(hu=np.ascontiguousarray(hu), affine=affine, name=folder.name)


def _place(folder: Path, slices: list[tuple[Path, Any]]) -> tuple[list[tuple[Path, Any]], np.ndarray]:
    """Slices in order of position, and the affine of their stack to LPS mm."""
    for path, header in slices:
        missing = [key for key in _GEOMETRY if key not in header]
        if missing:
            raise CTReadError(f"{path}: lacks {', '.join(missing)}; the slice cannot be placed in the patient")
    first = slices[0][1]
    for path, header in slices:
        same = (header.Rows, header.Columns) == (first.Rows, first.Columns) and all(
            np.allclose(np.array(header[key].value, float), np.array(first[key].value, float), atol=1e-4)
            for key in ("ImageOrientationPatient", "PixelSpacing")
        )
        if not same:
            raise CTReadError(f"{path}: differs in size, spacing or orientation from the rest of its series")
    orientation = np.array(first.ImageOrientationPatient, float)
    across, down = orientation[:3], orientation[3:]
    normal = np.cross(across, down)
    height = [float(np.array(header.ImagePositionPatient, float) @ normal) for _, header in slices]
    order = np.argsort(height)
    ordered = [slices[i] for i in order]
    steps = np.diff(np.array(height)[order])
    step = float(np.median(steps))
    if steps.min() < 1e-3:
        raise CTReadError(f"{ordered[int(np.argmin(steps))][0]}: two slices of the series share a position")
    uneven = np.abs(steps - step) > max(0.02 * step, 0.02)
    if uneven.any():
        at = int(np.argmax(np.abs(steps - step)))
        raise CTReadError(
            f"{folder}: slices are not evenly spaced: {steps[at]:.2f} mm after {ordered[at][0].name}, "
            f"else {step:.2f} mm; slices are missing or two reconstructions are mixed"
        )
    begin = np.array(ordered[0][1].ImagePositionPatient, float)
    end = np.array(ordered[-1][1].ImagePositionPatient, float)
    affine = np.eye(4)
    row_mm, column_mm = (float(v) for v in first.PixelSpacing)
    affine[:3, 0] = across * column_mm
    affine[:3, 1] = down * row_mm
    affine[:3, 2] = (end - begin) / (len(ordered) - 1)
    affine[:3, 3] = begin
    return ordered, affine


def _hounsfield(path: Path, dataset: Any) -> np.ndarray:
    try:
        pixels = dataset.pixel_array
    except (RuntimeError, ValueError, AttributeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise CTReadError(f'{path}: cannot decode the pixels ({reason}); pip install "anatomy-vlm[dicom]"') from None
    slope = float(dataset.get("RescaleSlope", 1))
    intercept = float(dataset.get("RescaleIntercept", 0))
    return np.clip(np.rint(pixels * slope + intercept), -32768, 32767).astype(np.int16)
