"""Read a radiograph from a file: PNG, JPEG, TIFF, BMP or DICOM, of any bit depth."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from anatomy_vlm.processing.dicom import read_dicom
from anatomy_vlm.processing.picture_file import read_picture
from anatomy_vlm.processing.radiograph import ImageReadError, RadiographImage


DEFAULT_MAX_PIXELS = 120_000_000
DEFAULT_MAX_SIDE = 20_000
MIN_SIDE = 16
# A film of as many pixels as are read, of three channels of 16 bits.
MAX_FILE_BYTES = 2**30

_PICTURE_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+", b"BM")
_DICOM_PREAMBLE = 128
_DICOM_SUFFIXES = (".dcm", ".dicom", ".dic", ".ima", "")


def read_image(
    path: str | os.PathLike[str], *, max_pixels: int = DEFAULT_MAX_PIXELS, max_side: int = DEFAULT_MAX_SIDE
) -> RadiographImage:
    """
    Read a radiograph for display and for the image processor.

    The file's content decides how it is read, not its name. Pixels come back as 8 bits with bone bright: films of 10
    to 16 bits are windowed (DICOM by their own window or LUT), MONOCHROME1 is inverted, transparency is composed over
    black, EXIF orientation and DICOM Patient Orientation (0020,0020) are applied.

    Args:
        path (`str` or `os.PathLike`):
            A PNG, JPEG, TIFF, BMP or DICOM file.
        max_pixels (`int`, *optional*, defaults to 120,000,000):
            Pixels above which a file is refused before it is decoded.
        max_side (`int`, *optional*, defaults to 20,000):
            Pixels of the longer side above which a file is refused before it is decoded.

    Raises [`ImageReadError`], a `ValueError`, with one line that names the file and the cure: for what is not there,
    not an image, damaged, without pixels, of several frames, too large, under 16 pixels, with NaN, or constant.
    """
    file = Path(path)
    head = _read_head(file)
    if head.startswith(_PICTURE_SIGNATURES) and head[_DICOM_PREAMBLE:] != b"DICM":
        image = read_picture(file, max_pixels=max_pixels, max_side=max_side)
    elif head[_DICOM_PREAMBLE:] == b"DICM" or file.suffix.lower() in _DICOM_SUFFIXES or _looks_like_data_set(head):
        image = read_dicom(file, max_pixels=max_pixels, max_side=max_side)
    else:
        raise ImageReadError(file, "not a PNG, JPEG, TIFF, BMP or DICOM file; convert it to one of these")
    _check_content(file, image.pixels)
    return image


def _read_head(file: Path) -> bytes:
    try:
        if file.is_dir():
            raise ImageReadError(file, "is a folder; give the files in it")
        if file.exists() and not file.is_file():
            raise ImageReadError(file, "is not a regular file; give an image file")
        with file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            head = stream.read(_DICOM_PREAMBLE + 4)
    except FileNotFoundError:
        raise ImageReadError(file, "there is no such file; check the path") from None
    except OSError as error:
        raise ImageReadError(file, f"cannot be opened ({error.strerror or error}); check its permissions") from None
    except ValueError as error:
        if isinstance(error, ImageReadError):
            raise
        raise ImageReadError(file, f"is not a usable path ({error}); check the path") from None
    if not head:
        raise ImageReadError(file, "the file is empty; copy it again from its source")
    if size > MAX_FILE_BYTES:
        raise ImageReadError(file, f"too large: {size >> 20} MB, over the limit of {MAX_FILE_BYTES >> 20} MB")
    return head


def _looks_like_data_set(head: bytes) -> bool:
    """An ACR-NEMA style file starts with an element of group 0002 or 0008 and no preamble."""
    return len(head) > 8 and head[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08") and head[3] == 0


def _check_content(file: Path, pixels: np.ndarray) -> None:
    height, width = pixels.shape
    if min(height, width) < MIN_SIDE:
        raise ImageReadError(
            file, f"the image is only {width}x{height} pixels; a radiograph needs at least {MIN_SIDE} on each side"
        )
    if pixels.min() == pixels.max():
        raise ImageReadError(file, "constant image: every pixel has the same level; export the film again")


__all__ = ["DEFAULT_MAX_PIXELS", "DEFAULT_MAX_SIDE", "MIN_SIDE", "ImageReadError", "RadiographImage", "read_image"]
