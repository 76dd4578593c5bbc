"""Read PNG, JPEG, TIFF and BMP files as radiographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from anatomy_vlm.processing.codestream import MAX_SCANS, too_many_scans
from anatomy_vlm.processing.intensity_anatomy_vlm import flatten_modes, window_to_uint8
from anatomy_vlm.processing.quiet_decoders import quiet_decoders
from anatomy_vlm.processing.radiograph import ImageReadError, RadiographImage


# Only these decoders are tried: a hostile file cannot reach the many others of Pillow.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
_TIFF_PHOTOMETRIC = 262
_WHITE_IS_ZERO = 0
# Each page has to be looked for; nobody needs to know how many thousand there are.
_MOST_PAGES = 100
_MOST_COMPARED = 1 << 25


def check_size(path: Path, height: int, width: int, max_pixels: int, max_side: int) -> None:
    """Raises [`ImageReadError`] for an image that is too large to decode."""
    if height * width > max_pixels or max(height, width) > max_side:
        raise ImageReadError(
            path,
            f"too large: {width}x{height} pixels, over the limit of {max_pixels:,} pixels or {max_side:,} on a side; "
            "downscale it, or raise `max_pixels` and `max_side`",
        )


def check_scans(path: Path) -> None:
    """Raises [`ImageReadError`] for a JPEG whose scans would take minutes to decode."""
    if too_many_scans(path.read_bytes()):
        raise ImageReadError(path, f"a JPEG of more than {MAX_SCANS} scans; save it again")


def read_picture(path: Path, max_pixels: int, max_side: int) -> RadiographImage:
    """
    Read a PNG, JPEG, TIFF or BMP file; of several pages the first.

    Raises [`ImageReadError`] for a damaged, too large or NaN-holding file.
    """
    # Pillow's decoders raise nearly anything on damaged bytes (OSError, SyntaxError, struct.error, IndexError, ...).
    with quiet_decoders():
        try:
            with Image.open(path, formats=_FORMATS) as image:
                check_size(path, image.height, image.width, max_pixels, max_side)
                if image.format == "JPEG":
                    check_scans(path)
                metadata = _describe(image)
                image.load()
                levels = _gray_levels(image, metadata)
        except ImageReadError:
            raise
        except Image.DecompressionBombError as error:
            raise ImageReadError(path, f"too large: {error}; downscale it") from None
        except Exception as error:
            raise ImageReadError(path, f"damaged image ({error}); copy it again from its source") from error
    try:
        pixels = window_to_uint8(levels)
    except ValueError as error:
        raise ImageReadError(path, str(error)) from None
    return RadiographImage(pixels=np.ascontiguousarray(pixels), metadata=metadata)


def _describe(image: Image.Image) -> dict[str, Any]:
    metadata: dict[str, Any] = {"format": image.format, "mode": image.mode, "notes": []}
    pages = _count_pages(image)
    if pages > 1:
        metadata["notes"].append(f"first of {pages if pages < _MOST_PAGES else f'{_MOST_PAGES} or more'} pages")
    return metadata


def _count_pages(image: Image.Image) -> int:
    """Pages, up to `_MOST_PAGES`; the picture is at its first one afterwards."""
    if image.format != "TIFF":
        return min(getattr(image, "n_frames", 1), _MOST_PAGES)
    pages = 1
    try:
        while pages < _MOST_PAGES:
            image.seek(pages)
            pages += 1
    except EOFError:
        pass
    image.seek(0)
    return pages


def _gray_levels(image: Image.Image, metadata: dict[str, Any]) -> np.ndarray:
    notes = metadata["notes"]
    # Pillow inverts "white is zero" TIFFs of 1 and 8 bits itself, those of 16 bits it leaves as they are.
    white_is_zero = image.mode.startswith("I;16") and _tiff_photometric(image) == _WHITE_IS_ZERO
    if image.getexif().get(0x0112, 1) != 1:
        notes.append("turned by its EXIF orientation")
        image = ImageOps.exif_transpose(image)
    if "A" in image.getbands() or "transparency" in image.info:
        notes.append("transparency composed over black")
    flat = flatten_modes(image)
    if flat.mode == "RGB":
        metadata["colour"] = _is_coloured(np.asarray(flat))
        flat = flat.convert("L")
    levels = np.asarray(flat)
    if white_is_zero:
        notes.append("inverted: its TIFF header says that white is zero")
        levels = levels.max() - levels
    if levels.dtype != np.uint8:
        notes.append(f"windowed from {levels.dtype.name}")
    return levels


def _tiff_photometric(image: Image.Image) -> int | None:
    tags = getattr(image, "tag_v2", None)
    return None if tags is None else tags.get(_TIFF_PHOTOMETRIC)


def _is_coloured(rgb: np.ndarray, tolerance: int = 24, share: float = 0.01) -> bool:
    """More than a hundredth of the pixels have channels that differ visibly, as in a photograph or an annotation."""
    rows = rgb[:: 1 + rgb.shape[0] * rgb.shape[1] // _MOST_COMPARED]  # of very large pictures some rows
    spread = rows.max(axis=-1).astype(np.int16) - rows.min(axis=-1)
    return bool((spread > tolerance).mean() > share)
