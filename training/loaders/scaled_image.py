"""Read a radiograph at the size that it is needed in.

A JPEG is decoded at a half, a quarter or an eighth of its size where that suffices: its blocks are frequencies, and
leaving the high ones out costs a fraction of the time. Everything else is decoded whole, then resized.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from anatomy_vlm.processing.image_io import DEFAULT_MAX_PIXELS, DEFAULT_MAX_SIDE, MIN_SIDE, read_image
from anatomy_vlm.processing.picture_file import check_scans
from anatomy_vlm.processing.quiet_decoders import quiet_decoders
from anatomy_vlm.processing.radiograph import ImageReadError, RadiographImage


_JPEG = b"\xff\xd8\xff"
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class ScaledRadiograph:
    """
    Args:
        radiograph: The film, its longer side at most what was asked for; `pixel_spacing` is the original's.
        size: Width and height of the original in pixels.
    """

    radiograph: RadiographImage
    size: tuple[int, int]


def scaled_size(size: tuple[int, int], longer_side: int | None) -> tuple[int, int]:
    """
    Width and height with the longer side at most `longer_side`, the aspect kept.

    Examples:
        >>> scaled_size((2544, 3056), 512), scaled_size((400, 300), 512)
        ((426, 512), (400, 300))
    """
    if longer_side is None or max(size) <= longer_side:
        return size
    scale = longer_side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def read_scaled(path: str | Path, longer_side: int | None) -> ScaledRadiograph:
    """
    Read a radiograph and shrink it.

    Args:
        path: A file that `anatomy_vlm.processing.image_io.read_image` reads.
        longer_side: Pixels of the longer side; smaller films, and all with None, keep their size.

    Raises:
        ImageReadError: as `read_image`.
    """
    scaled = _read_jpeg(Path(path), longer_side) if longer_side is not None else None
    if scaled is not None:
        return scaled
    film = read_image(path)
    size = (film.size[1], film.size[0])
    if scaled_size(size, longer_side) == size:
        return ScaledRadiograph(film, size)
    pixels = _shrink(film.to_pil(), scaled_size(size, longer_side))
    return ScaledRadiograph(RadiographImage(pixels, film.view, film.metadata, film.pixel_spacing), size)


def _shrink(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def _read_jpeg(path: Path, longer_side: int) -> ScaledRadiograph | None:
    """The film, or None for what is no plain JPEG larger than needed; that is for `read_image`."""
    try:
        with path.open("rb") as stream, quiet_decoders():
            if stream.read(3) != _JPEG:
                return None
            stream.seek(0)
            with Image.open(stream, formats=("JPEG",)) as image:
                size = image.size
                target = scaled_size(size, longer_side)
                oversized = size[0] * size[1] > DEFAULT_MAX_PIXELS or max(size) > DEFAULT_MAX_SIDE
                turned = image.getexif().get(_EXIF_ORIENTATION, 1) != 1
                if target == size or oversized or turned or image.mode not in ("L", "RGB") or min(size) < MIN_SIDE:
                    return None
                check_scans(path)
                mode = image.mode
                image.draft("L", target)
                pixels = _shrink(image.convert("L"), target)
    except ImageReadError:
        raise
    except OSError as error:
        # Pillow says OSError for a damaged file; `read_image` has the words for one that is not there.
        if not path.is_file():
            return None
        raise ImageReadError(path, f"damaged image ({error}); copy it again from its source") from error
    except Exception as error:
        raise ImageReadError(path, f"damaged image ({error}); copy it again from its source") from error
    if pixels.min() == pixels.max():
        raise ImageReadError(path, "constant image: every pixel has the same level; export the film again")
    return ScaledRadiograph(RadiographImage(pixels, metadata={"format": "JPEG", "mode": mode, "notes": []}), size)
