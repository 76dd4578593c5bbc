"""Quality flags."""

import numpy as np
import pytest

from anatomy_vlm.processing.image_quality import quality_flags
from anatomy_vlm.processing.radiograph import RadiographImage


def chest() -> np.ndarray:
    """Black air, gray body, dark lungs beside a bright mediastinum."""
    pixels = np.zeros((320, 320), dtype=np.uint8)
    pixels[40:, 20:300] = 140
    pixels[70:230, 50:140] = pixels[70:230, 180:270] = 60
    pixels[90:250, 130:200] = 200
    return pixels


def flags(pixels: np.ndarray, view: str = "", **metadata) -> list[str]:
    return [flag["flag"] for flag in quality_flags(RadiographImage(pixels, view, metadata))]


def test_a_good_film_has_none():
    assert flags(chest(), "PA", body_part="CHEST", modality="DX", colour=False) == []


@pytest.mark.parametrize(
    ("expected", "pixels", "view", "metadata"),
    [
        ("aspect", np.tile(chest(), (1, 3)), "", {}),
        ("resolution", chest()[::2, ::2], "", {}),
        ("contrast", chest() // 10 + 90, "", {}),
        ("inverted", 255 - chest(), "", {}),
        ("lateral", chest(), "LATERAL", {}),
        ("body_part", chest(), "", {"body_part": "HIP"}),
        ("modality", chest(), "", {"modality": "MR"}),
        ("colour", chest(), "", {"colour": True}),
    ],
)
def test_each_doubt_has_its_flag_and_a_reason(expected, pixels, view, metadata):
    assert flags(pixels, view, **metadata) == [expected]
    (flag,) = quality_flags(RadiographImage(pixels, view, metadata))
    assert len(flag["reason"]) > 10
