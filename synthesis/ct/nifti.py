"""CT and label volumes from NIfTI files."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from anatomy_vlm.synthesis.ct.volume import CTReadError, CTVolume, patient_axes


# A scan of 512 x 512 pixels and 1,024 slices; in single precision it takes a gigabyte, twice while it is read.
MAX_VOXELS = 2**28


def _load(path: Path) -> Any:
    try:
        import nibabel
    except ImportError as error:
        raise ImportError('reading NIfTI needs nibabel: pip install "anatomy-vlm[ct]"') from error
    if not path.is_file():
        raise CTReadError(f"{path}: no such file")
    try:
        image = nibabel.load(path)
    except Exception as error:  # a damaged header raises nearly anything: zlib.error, HeaderDataError, KeyError, ...
        raise CTReadError(f"{path}: not a NIfTI file ({error})") from None
    if not isinstance(image, (nibabel.Nifti1Image, nibabel.Nifti1Pair)):
        raise CTReadError(f"{path}: {type(image).__name__} is not NIfTI; convert it to .nii.gz")
    return image


def _array(path: Path, image: Any) -> tuple[np.ndarray, np.ndarray]:
    """The stored numbers as (k, j, i) and the affine from (i, j, k) to LPS mm."""
    if len([n for n in image.shape if n > 1]) != 3 or any(n > 1 for n in image.shape[3:]):
        raise CTReadError(f"{path}: has shape {image.shape}, expected one 3-D volume")
    if int(image.header["sform_code"]) == 0 and int(image.header["qform_code"]) == 0:
        raise CTReadError(
            f"{path}: the header does not say which way the patient lies (sform_code and qform_code are 0); "
            "set the sform when you convert the scan"
        )
    if np.prod(image.shape, dtype=np.float64) > MAX_VOXELS:
        raise CTReadError(f"{path}: has shape {image.shape}, more than {MAX_VOXELS:,} voxels; crop or resample it")
    try:
        stored = np.asarray(image.dataobj.get_unscaled())
    except Exception as error:
        raise CTReadError(f"{path}: the file is damaged or cut short ({error}); fetch it again") from None
    if stored.size == 0 or stored.dtype.kind not in "iuf":
        raise CTReadError(f"{path}: holds {stored.dtype} of shape {stored.shape}, no numbers; convert it again")
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise CTReadError(f"{path}: the affine cannot be inverted; set the sform when you convert the scan")
    return stored.reshape(stored.shape[:3]).transpose(2, 1, 0), affine


def read_nifti_ct(path: str | Path) -> CTVolume:
    """Reads a CT from .nii or .nii.gz. int16 without scaling is used as it is stored.

    Raises:
        CTReadError: if the file is missing, damaged, not 3-D, says nothing about orientation, or does not hold
            Hounsfield units.
    """
    path = Path(path)
    image = _load(path)
    stored, affine = _array(path, image)
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    if stored.dtype != np.int16 or slope != 1 or intercept != 0:
        scaled = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
        if not np.isfinite(scaled).all():
            raise CTReadError(f"{path}: holds values that are not numbers")
        stored = np.clip(np.rint(scaled), -32768, 32767).astype(np.int16)
    check_hounsfield(stored, str(path))
    hu, affine = patient_axes(stored, affine)
    return CTVolume(hu=np.ascontiguousarray(hu), affine=affine, name=case_name(path))


def read_nifti_labels(path: str | Path) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Reads a label map: values (Z, Y, X) uint8 or uint16, affine to LPS mm, and the names its header carries.

    TotalSegmentator writes names into a header extension; the result is empty where there are none.

    Raises:
        CTReadError: as `read_nifti_ct`, and for values that are not whole numbers from 0 to 65535.
    """
    path = Path(path)
    image = _load(path)
    stored, affine = _array(path, image)
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    if slope != 1 or intercept != 0:
        stored = stored * slope + intercept
    if stored.dtype.kind == "f":
        whole = np.rint(stored)
        if not np.array_equal(whole, stored):
            raise CTReadError(f"{path}: holds fractions; give the label map, not probabilities")
        stored = whole
    low, high = stored.min(), stored.max()
    if low < 0 or high > 65535:
        raise CTReadError(f"{path}: label values run from {low} to {high}, expected 0 to 65535")
    values, affine = patient_axes(stored.astype(np.uint8 if high < 256 else np.uint16), affine)
    return np.ascontiguousarray(values), affine, _names_in_header(image)


def check_hounsfield(hu: np.ndarray, name: str) -> None:
    """Raises CTReadError unless the volume looks like Hounsfield units: some air, and tissue around zero."""
    sample = hu[:: max(1, hu.shape[0] // 32), ::4, ::4]
    if sample.min() > -500 or sample.max() < -200:
        raise CTReadError(
            f"{name}: values run from {sample.min()} to {sample.max()}, not like Hounsfield units (air -1000, "
            "water 0); apply the rescale slope and intercept when you convert the scan"
        )


def case_name(path: Path) -> str:
    """File name without .nii, .nii.gz."""
    return re.sub(r"\.nii(\.gz)?$", "", path.name)


def _names_in_header(image: Any) -> dict[int, str]:
    names: dict[int, str] = {}
    for extension in image.header.extensions:
        content = extension.get_content()
        text = content.decode("utf-8", "ignore") if isinstance(content, bytes) else str(content)
        for value, name in re.findall(r'<Label[^>]*\bKey="(\d+)"[^>]*>(?:<!\[CDATA\[)?([^<\]]+)', text):
            names[int(value)] = name.strip()
    return names
