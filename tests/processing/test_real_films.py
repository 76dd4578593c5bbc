"""Real films: every file reads, encodings agree, sides are right, quality flags stay quiet."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anatomy_vlm.processing.image_io import ImageReadError, read_image
from anatomy_vlm.processing.image_quality import quality_flags


DATA = Path(os.environ.get("ANATOMY_VLM_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
DICOM = DATA / "dicom_radiographs"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no real films here; set ANATOMY_VLM_TEST_DATA")


def films(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((DATA / folder).glob("*")) if path.suffix != ".json"]


def derived() -> list[str]:
    manifest = DICOM / "derived" / "manifest.json"
    names = json.loads(manifest.read_text()) if manifest.is_file() else {}
    return [name for name in names if (manifest.parent / name).is_file()]


@pytest.mark.parametrize("name", derived())
def test_encodings_of_one_film_look_the_same(name):
    pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
    image = read_image(DICOM / "derived" / name)
    original = read_image(DICOM / "chest" / "gdcm-CR-MONO1-10-chest.dcm")
    difference = np.abs(image.pixels.astype(int) - original.pixels)
    # A window is not symmetric around its centre (PS3.3 C.11.2.1.2): the MONOCHROME2 twin may differ by a level.
    assert difference.max() <= (1 if "mono2twin" in name else 0)
    assert image.view == "PA" and image.metadata["body_part"] == "CHEST"


@pytest.mark.parametrize("name", derived())
def test_stored_pixels_are_those_of_the_manifest(name):
    pydicom = pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
    from anatomy_vlm.processing.dicom import _decode

    path = DICOM / "derived" / name
    stored = _decode(path, pydicom.dcmread(path)).astype(np.uint16)
    expected = json.loads((path.parent / "manifest.json").read_text())[name]["sha256_pixels_uint16"]
    assert hashlib.sha256(stored.tobytes()).hexdigest() == expected


def test_no_preamble_twin():
    pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
    original = read_image(DICOM / "chest" / "gdcm-CR-MONO1-10-chest.dcm")
    assert np.array_equal(read_image(DICOM / "chest" / "CR-MONO1-10-chest_nopreamble").pixels, original.pixels)


def test_the_heart_lies_on_the_images_right():
    pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
    pixels = read_image(DICOM / "chest" / "gdcm-CR-MONO1-10-chest.dcm").pixels.astype(float)
    lower = pixels[240:310]
    assert lower[:, 220:352].mean() > lower[:, 88:220].mean()


def test_a_mirrored_leg_is_turned_back_and_flagged():
    pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
    path = DICOM / "other_body_parts" / "RG3_RLE.dcm"
    if not path.is_file():
        pytest.skip("RG3_RLE.dcm is not here")
    image = read_image(path)
    assert any(note.startswith("mirrored") for note in image.metadata["notes"])
    assert [flag["flag"] for flag in quality_flags(image)] == ["body_part"]


@pytest.mark.parametrize("folder", ["cxr_nih20/png", "cxr_hannover_v7/png"])
def test_films_read_without_doubts_and_inverted_ones_with(folder):
    noticed, paths = 0, films(folder)
    for path in paths:
        image = read_image(path)
        assert quality_flags(image) == []
        noticed += any(flag["flag"] == "inverted" for flag in quality_flags(replace(image, pixels=255 - image.pixels)))
    assert noticed > 0.5 * len(paths)


def test_a_damaged_real_film_is_refused(tmp_path):
    pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
    source = DICOM / "chest" / "RG1_J2KI.dcm"
    (tmp_path / "cut.dcm").write_bytes(source.read_bytes()[:20_000])
    with pytest.raises(ImageReadError, match=r"cut\.dcm"):
        read_image(tmp_path / "cut.dcm")
