"""Masks as files, each read again by a library that did not write it."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays
from PIL import Image

from anatomy_vlm.exports.coco import encode_rle
from anatomy_vlm.exports.coded_names import coded_finding, coded_structure
from anatomy_vlm.exports.film_source import FilmSource, FilmSourceError
from anatomy_vlm.exports.mask_files import MaskFileError, MaskFiles, write_masks
from anatomy_vlm.processing.image_io import read_image
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, REGION_NAMES

from .conftest import PATIENT, PRIVATE, SIZE, film_masks


ORIENTATIONS = [None, ("L", "F"), ("R", "F"), ("L", "H"), ("R", "H"), ("F", "L"), ("F", "R"), ("H", "L"), ("H", "R")]
coco_mask = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
# Of pycocotools' own arrays under NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@settings(max_examples=150)
@given(arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_run_lengths_are_those_of_pycocotools(mask):
    ours = encode_rle(mask)
    theirs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert ours["size"] == theirs["size"] and ours["counts"].encode() == theirs["counts"]


def test_long_runs_are_those_of_pycocotools():
    mask = np.zeros((900, 1100), dtype=bool)
    mask[3:700, 200:900] = True
    mask[100:200, 300:400] = False
    decoded = coco_mask.decode(encode_rle(mask))
    assert np.array_equal(decoded.astype(bool), mask)


def test_png_files_hold_the_masks(tmp_path, png_film):
    masks = film_masks()
    files = write_masks(tmp_path / "out", masks, png_film, "png")
    assert [file.relative_to(tmp_path / "out").as_posix() for file in files] == [
        "film/right_lung.png", "film/left_lung.png", "film/heart.png", "film/rib_left_4.png"
    ]  # fmt: skip
    for file, mask in zip(files, masks.values(), strict=True):
        assert np.array_equal(np.asarray(Image.open(file)), np.where(mask, 255, 0))


def test_rle_json_is_read_by_pycocotools(tmp_path, png_film):
    masks = film_masks()
    (path,) = write_masks(tmp_path, masks, png_film, "rle", scores={"heart": 0.75})
    written = json.loads(path.read_text())
    assert written["file"] == "film.png" and written["size"] == list(SIZE) and written["scores"] == {"heart": 0.75}
    assert "research" in written["note"]
    for name, mask in masks.items():
        assert np.array_equal(coco_mask.decode(written["masks"][name]).astype(bool), mask)


def test_coco_json_of_two_films_is_read_by_pycocotools(tmp_path, png_film):
    from pycocotools.coco import COCO

    other = png_film.with_name("ward") / "film.png"
    other.parent.mkdir()
    other.write_bytes(png_film.read_bytes())
    masks = film_masks()
    files = MaskFiles(tmp_path / "out", "coco", model="/home/me/model")
    assert files.add(png_film, masks) == [] and files.add(other, {"left lung": masks["left lung"]}) == []
    (path,) = files.finish()
    coco = COCO(str(path))
    assert [image["file_name"] for image in coco.loadImgs([1, 2])] == ["film.png", "ward/film.png"]
    names = {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())}
    for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[1])):
        mask = masks[names[annotation["category_id"]]]
        assert np.array_equal(coco.annToMask(annotation).astype(bool), mask)
        assert annotation["area"] == mask.sum()
        assert annotation["bbox"] == coco_mask.toBbox(annotation["segmentation"]).tolist()
    # The patient's left lung lies on the image's right.
    boxes = {names[a["category_id"]]: a["bbox"] for a in coco.loadAnns(coco.getAnnIds(imgIds=[1]))}
    assert boxes["left lung"][0] > boxes["right lung"][0] + boxes["right lung"][2] - 1
    assert str(tmp_path) not in path.read_text() and "/home/me" not in path.read_text()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_seg_covers_the_stored_pixels_that_the_masks_cover_on_display(tmp_path, dicom_film, orientation):
    hd = pytest.importorskip("highdicom", reason="the extra `dicom-export` is not installed")
    pydicom = pytest.importorskip("pydicom")
    source = dicom_film(orientation)
    masks = film_masks()
    (path,) = write_masks(tmp_path / "out", masks, source, "seg", model="/home/me/my-model")
    segmentation = hd.seg.segread(path)
    stored = pydicom.dcmread(source)
    assert (segmentation.Rows, segmentation.Columns) == (stored.Rows, stored.Columns)
    pixels = segmentation.get_pixels_by_source_instance(["2.25.1234"], ignore_spatial_locations=True)[0]
    displayed = read_image(source).pixels
    for index, mask in enumerate(masks.values()):
        # The levels under the mask are the same, in the file and on display: each pixel has a level of its own.
        levels = stored.pixel_array[pixels[..., index].astype(bool)]
        shown = displayed[mask]
        assert len(levels) == mask.sum()
        full = np.sort(np.interp(levels, *_levels(stored.pixel_array, displayed)))
        assert np.allclose(full, np.sort(shown), atol=1)


def _levels(stored, displayed):
    """Stored values and their display levels, as a curve: the window is monotonic."""
    return np.sort(stored.ravel()), np.sort(displayed.ravel())


def test_seg_codes_structures_sides_and_maker_and_takes_no_more_of_the_patient_than_it_must(tmp_path, dicom_film):
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom", reason="the extra `dicom-export` is not installed")
    (path,) = write_masks(tmp_path / "out", film_masks(), dicom_film(), "seg", model="/home/me/my-model")
    assert path.name == "film.seg.dcm"
    ds = pydicom.dcmread(path)
    assert ds.SOPClassUID.name == "Segmentation Storage" and ds.Modality == "SEG"
    segments = {segment.SegmentLabel: segment for segment in ds.SegmentSequence}
    sides = {}
    for name, segment in segments.items():
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        modifier = kind.get("SegmentedPropertyTypeModifierCodeSequence")
        sides[name] = kind.CodeMeaning, modifier[0].CodeMeaning if modifier else None
    assert sides == {
        "right lung": ("Lung", "Right"),
        "left lung": ("Lung", "Left"),
        "heart": ("Heart", None),
        "rib_left_4": ("Fourth rib", "Left"),
    }
    heart = segments["heart"]
    assert heart.SegmentAlgorithmType == "AUTOMATIC" and heart.SegmentAlgorithmName == "Anatomy-VLM"
    assert "research" in ds.ContentDescription and ds.ManufacturerModelName == "my-model"
    assert ds.StudyInstanceUID == "2.25.12" and ds.SeriesInstanceUID != "2.25.123"
    references = ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert [item.ReferencedSOPInstanceUID for item in references] == ["2.25.1234"]
    assert ds.PatientID == PATIENT["PatientID"] and str(ds.PatientName) == PATIENT["PatientName"]
    content = path.read_bytes()
    assert not any(str(value).encode() in content for value in PRIVATE.values())
    assert b"/home/me" not in content


@pytest.mark.parametrize(
    "odd",
    [
        {"PixelSpacing": None},
        {"PixelSpacing": [0, 0]},
        {"PixelSpacing": [0.3, 0.25]},
        {"FrameOfReferenceUID": "2.25.9"},
        {"PatientSex": "FEMALE"},
        {"PatientSex": None, "StudyDate": "", "AccessionNumber": None},
        {"StudyID": "a study whose identifier is long", "ReferringPhysicianName": "Poe^Edgar"},
        {"PatientName": None, "PatientID": ""},
    ],
)
def test_seg_takes_headers_as_they_are_met(tmp_path, dicom_film, odd):
    hd = pytest.importorskip("highdicom", reason="the extra `dicom-export` is not installed")
    masks = film_masks()
    (path,) = write_masks(tmp_path / "out", masks, dicom_film(**odd), "seg")
    segmentation = hd.seg.segread(path)
    pixels = segmentation.get_pixels_by_source_instance(["2.25.1234"], ignore_spatial_locations=True)[0]
    for index, mask in enumerate(masks.values()):
        assert np.array_equal(pixels[..., index].astype(bool), mask)
    kept = {"PatientName": "Doe^Jane", "PatientID": "SECRET-77", **odd}
    assert str(segmentation.PatientName or "") == str(kept["PatientName"] or "")
    assert segmentation.PatientID == kept["PatientID"] and not segmentation.PatientSex and not segmentation.StudyID


def test_seg_takes_broken_values_as_unknown_and_does_not_repeat_them(tmp_path, dicom_film, recwarn):
    hd = pytest.importorskip("highdicom", reason="the extra `dicom-export` is not installed")
    pydicom = pytest.importorskip("pydicom")
    path = dicom_film(PatientBirthDate="19500101", StudyDate="20200102", StudyTime="101112")
    # What no writer would let through, as old archives hold it.
    broken = path.read_bytes()
    for before, after in ((b"19500101", b"Smith 50"), (b"20200102", b"2020.01."), (b"101112", b"10h11m")):
        assert broken.count(before) == 1
        broken = broken.replace(before, after)
    path.write_bytes(broken)
    assert pydicom.dcmread(path)["PatientBirthDate"].VR == "DA"
    (written,) = write_masks(tmp_path / "out", film_masks(), path, "seg")
    segmentation = hd.seg.segread(written)
    assert not segmentation.PatientBirthDate and not segmentation.StudyDate and not segmentation.StudyTime
    assert segmentation.PatientID == "SECRET-77"


def test_seg_of_a_picture_or_a_header_without_identifiers_is_refused_in_one_line(tmp_path, png_film, dicom_film):
    with pytest.raises(FilmSourceError, match=r"film\.png: a DICOM SEG refers to a DICOM image, and this is none"):
        write_masks(tmp_path / "out", film_masks(), png_film, "seg")
    bare = dicom_film(remove=["StudyInstanceUID"])
    with pytest.raises(FilmSourceError, match="needs StudyInstanceUID, which its header lacks"):
        write_masks(tmp_path / "out", film_masks(), bare, "seg")
    with pytest.raises(FilmSourceError, match="masks of 20x20 pixels for a film of 56x40"):
        write_masks(tmp_path / "out", {"heart": np.ones((20, 20), dtype=bool)}, dicom_film(), "seg")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("orientation", [("L", "F"), ("F", "L")])
def test_nifti_lies_left_inferior_with_the_films_spacing(tmp_path, dicom_film, png_film, orientation):
    nibabel = pytest.importorskip("nibabel", reason="the extra `ct` is not installed")
    masks = film_masks()
    files = write_masks(tmp_path / "out", masks, dicom_film(orientation), "nifti")
    images = {name: nibabel.load(file) for name, file in zip(masks, files, strict=True)}
    for name, image in images.items():
        assert nibabel.aff2axcodes(image.affine) == ("L", "I", "A")
        assert np.array_equal(np.asarray(image.dataobj)[:, :, 0].T.astype(bool), masks[name])
        # Rows of the file are 0.2 apart; a film that lies on its side in the file is turned for display.
        expected = (0.1, 0.2) if orientation[0] == "L" else (0.2, 0.1)
        assert image.header.get_zooms()[:2] == pytest.approx(expected)
        assert image.header.get_xyzt_units()[0] == "mm" and np.allclose(image.get_qform(), image.affine)

    def center(name):
        voxels = np.argwhere(np.asarray(images[name].dataobj))
        return nibabel.affines.apply_affine(images[name].affine, voxels).mean(0)

    # In nibabel's axes x grows to the patient's right, z to the head.
    assert center("left lung")[0] < center("heart")[0] < center("right lung")[0]
    assert center("heart")[2] < center("left lung")[2]
    (unknown,) = write_masks(tmp_path / "out2", {"heart": masks["heart"]}, png_film, "nifti")
    assert nibabel.load(unknown).header.get_xyzt_units()[0] == "unknown"


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_stored_boxes_hold_stored_masks(dicom_film, orientation):
    source = FilmSource.open(dicom_film(orientation))
    mask = np.zeros(SIZE, dtype=bool)
    mask[3:9, 20:50] = True
    rows, columns = np.nonzero(source.stored_mask(mask))
    x0, y0, x1, y1 = source.stored_box((20, 3, 50, 9))
    assert (x0, y0, x1, y1) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({}, "no masks to write"),
        ({"a": np.ones((4, 4), dtype=np.uint8)}, "the mask of 'a' is uint8"),
        ({"a": np.ones((4, 4), dtype=bool), "b": np.ones((4, 5), dtype=bool)}, "different sizes"),
        ({"left lung": np.ones(SIZE, dtype=bool), "left_lung": np.ones(SIZE, dtype=bool)}, "make one file name"),
        ({"../..": np.ones(SIZE, dtype=bool)}, "without a letter or digit"),
    ],
)
def test_masks_that_cannot_be_written_are_one_line(tmp_path, png_film, masks, message):
    with pytest.raises(MaskFileError, match=message) as error:
        write_masks(tmp_path / "out", masks, png_film, "png")
    assert "\n" not in str(error.value)
    with pytest.raises(MaskFileError, match="unknown format of masks 'gif'"):
        MaskFiles(tmp_path, "gif")


def test_films_of_one_name_and_odd_structures_stay_in_their_folder(tmp_path, png_film):
    files = MaskFiles(tmp_path / "out", "png")
    mask = {"../../heart": np.ones(SIZE, dtype=bool)}
    written = files.add(png_film, mask) + files.add(png_film, mask)
    assert [str(path.relative_to(tmp_path / "out")) for path in written] == ["film/heart.png", "film-2/heart.png"]


def test_codes_are_those_that_pydicom_knows():
    concepts = pytest.importorskip("pydicom.sr._concepts_dict").concepts
    meanings = {
        scheme: {
            (code, meaning.lower()) for entry in concepts[scheme].values() for code, (meaning, _) in entry.items()
        }
        for scheme in ("SCT", "DCM")
    }
    names = [f"rib_{side}_{number}" for side in ("left", "right") for number in range(1, 13)]
    names += ["lung_left", "heart", "clavicula_right", "vertebrae_T5", "vertebral_body_L1", "aorta", "scapula_left"]
    coded = [coded_structure(name).code for name in (*names, *REGION_NAMES)] + [
        coded_finding(n) for n in FINDING_NAMES
    ]
    checked = 0
    for code in coded:
        # Single ribs are in SNOMED CT, but not in the sets of DICOM.
        if code.scheme in meanings and "rib" not in code.meaning:
            assert (code.value, code.meaning.lower()) in meanings[code.scheme]
            checked += 1
    assert checked >= 30


def test_sides_of_all_regions_are_coded():
    from anatomy_vlm.processing.vocabulary import get_region

    for name in REGION_NAMES:
        assert coded_structure(name).side == get_region(name).side, name
    assert coded_structure("lung_middle_lobe_right").side is None
    assert coded_structure("brachiocephalic_vein_left").side == "left"
