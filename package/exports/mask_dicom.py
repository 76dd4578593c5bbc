"""Masks as a DICOM Segmentation (PS3.3 A.51) of the film that they were made of, by highdicom."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anatomy_vlm.exports.coded_names import Code, coded_structure
from anatomy_vlm.exports.dicom_objects import Maker, algorithm, concept, import_highdicom, new_instance, save
from anatomy_vlm.exports.film_source import RESEARCH_ONLY, FilmSource


_CATEGORY = Code("91723000", "SCT", "Anatomical Structure")
_SERIES = 9001


def write_segmentation(
    path: Path, masks: Mapping[str, NDArray[np.bool_]], source: FilmSource, maker: Maker | None = None
) -> Path:
    """
    Write one object with a binary segment per structure; segments may overlap, an empty one has no frame.

    The pixels are those of the stored image: a film that `read_image` turned or mirrored for display is turned back.
    The side of one of a pair is a modifier of the segment's type.

    Raises:
        FilmSourceError: the source is no DICOM image, or lacks the identifiers to refer to.
    """
    image = source.require_dicom("a DICOM SEG")
    maker = maker or Maker()
    hd = import_highdicom()
    descriptions = []
    for number, name in enumerate(masks, start=1):
        coded = coded_structure(name)
        description = hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=name[:64],
            segmented_property_category=concept(_CATEGORY),
            segmented_property_type=concept(coded.code),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm(maker),
        )
        if coded.laterality is not None:
            # PS3.3 C.8.20.4: the modifier belongs to the type.
            kind = description.SegmentedPropertyTypeCodeSequence[0]
            kind.SegmentedPropertyTypeModifierCodeSequence = [concept(coded.laterality)]
        descriptions.append(description)
    pixels = np.stack([source.stored_mask(mask) for mask in masks.values()], axis=-1)[None].astype(np.uint8)
    segmentation = hd.seg.Segmentation(
        source_images=[image],
        pixel_array=pixels,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        manufacturer_model_name=maker.model_name,
        software_versions=maker.software,
        device_serial_number="none",
        content_label="MASKS",
        content_description=RESEARCH_ONLY,
        series_description="Anatomy-VLM masks, for research only",
        **new_instance(maker, _SERIES),
    )
    return save(segmentation, path)


__all__ = ["write_segmentation"]
