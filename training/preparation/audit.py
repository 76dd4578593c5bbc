"""What is measured on every film while it is in memory anyway."""

from typing import Any

import numpy as np
from PIL import Image
from scipy import fft, ndimage

from anatomy_vlm.processing.image_quality import quality_flags
from anatomy_vlm.training.loaders.source import Sample


HASH_BITS = 256
THUMBNAIL_SIDE = 32
_PERCENTILES = (1, 50, 99)
_MARK_LEVEL = 250
# Share of the film that a lead marker or a burned-in letter covers, and the margin of the width where it stands.
_MARK_AREA = (2e-4, 1e-2)
_MARK_MARGIN = 0.25


def audit_film(sample: Sample) -> dict[str, Any]:
    """
    One row of the audit: `hash` (256 bits, `perceptual_hash`), `thumbnail` (32 x 32 bytes), levels, size and spacing
    of the original, doubts of `quality_flags`, and marks at the image's left and right margin.
    """
    film, example = sample.radiograph, sample.example
    small = thumbnail(film.pixels)
    levels = np.percentile(film.pixels, _PERCENTILES)
    left, right = bright_marks(film.pixels)
    # Doubts about the resolution are about the original.
    flags = [item["flag"] for item in quality_flags(film) if item["flag"] != "resolution" or min(sample.size) < 224]
    return {
        "image_id": example["image_id"],
        "patient_id": example["patient_id"],
        "study_id": example["study_id"],
        "view": example["view"],
        "hash": perceptual_hash(small),
        "thumbnail": small.tobytes(),
        "level_low": float(levels[0]),
        "level_middle": float(levels[1]),
        "level_high": float(levels[2]),
        "width": sample.size[0],
        "height": sample.size[1],
        "row_spacing": film.pixel_spacing[0] if film.pixel_spacing else None,
        "column_spacing": film.pixel_spacing[1] if film.pixel_spacing else None,
        "flags": flags,
        "mark_left": left,
        "mark_right": right,
    }


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """uint8 `(32, 32)`: the film without its details."""
    image = Image.fromarray(pixels).resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.uint8)


def perceptual_hash(small: np.ndarray) -> bytes:
    """
    256 bits, the signs of the lowest frequencies of a thumbnail without the mean.

    Copies of a film that were resized, compressed or brightened differ in under 20 bits; of 155 different films no two
    differed in less than 58.
    """
    coefficients = fft.dctn(small.astype(np.float64), norm="ortho")[:17, :17].ravel()[1 : HASH_BITS + 1]
    return np.packbits(coefficients > 0).tobytes()


def bright_marks(pixels: np.ndarray) -> tuple[bool, bool]:
    """Whether a compact white mark, such as a side marker, stands at the image's left and at its right margin."""
    labels, count = ndimage.label(pixels >= _MARK_LEVEL)
    if count == 0:
        return False, False
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:] / pixels.size
    boxes = ndimage.find_objects(labels)
    height, width = pixels.shape
    left = right = False
    for area, box in zip(areas, boxes):
        touches = box[0].start == 0 or box[1].start == 0 or box[0].stop == height or box[1].stop == width
        if touches or not _MARK_AREA[0] <= area <= _MARK_AREA[1]:
            continue
        left |= box[1].stop <= width * _MARK_MARGIN
        right |= box[1].start >= width * (1 - _MARK_MARGIN)
    return bool(left), bool(right)
