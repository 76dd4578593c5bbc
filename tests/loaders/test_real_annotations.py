"""Annotation files as their makers publish them, where they are at hand."""

import csv
from collections import Counter

import numpy as np
import pytest

from anatomy_vlm.training.loaders.chexmask import LANDMARKS, mask_box, read_landmarks
from anatomy_vlm.training.loaders.nih_chestxray14 import read_nih_boxes
from anatomy_vlm.training.loaders.run_length import decode_chexmask, encode_chexmask
from anatomy_vlm.training.loaders.scaled_image import read_scaled


@pytest.fixture(scope="module")
def annotations(real_data):
    folder = real_data / "cxr_annotations_only"
    if not folder.is_dir():
        pytest.skip("no annotation files in the real data")
    return folder


def test_nih_boxes(annotations):
    boxes = read_nih_boxes(annotations / "BBox_List_2017.csv.gz")
    counts = Counter(label for found in boxes.values() for label, _ in found)
    assert len(boxes) == 880 and counts.total() == 984
    assert counts == {
        "Atelectasis": 180, "Effusion": 153, "Cardiomegaly": 146, "Infiltrate": 123, "Pneumonia": 120,
        "Pneumothorax": 98, "Mass": 85, "Nodule": 79,
    }  # fmt: skip
    corners = np.array([box for found in boxes.values() for _, box in found])
    assert (corners[:, :2] < corners[:, 2:]).all() and corners.min() >= 0 and corners.max() <= 1024


def test_chexmask_rows(annotations):
    """Masks decode exactly, agree with the contours, and have the patient's right lung on the image's left."""
    with (annotations / "chexmask_nih50" / "ChestX-Ray8.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 50
    organs = {"Right Lung": "right lung", "Left Lung": "left lung", "Heart": "cardiac silhouette"}
    for row in rows:
        points = read_landmarks(row["Landmarks"])
        boxes = {}
        for column, name in organs.items():
            mask = decode_chexmask(row[column], int(row["Height"]), int(row["Width"]))
            assert encode_chexmask(mask) == " ".join(row[column].split())
            boxes[name] = mask_box(mask)
            outline = points[LANDMARKS[name]]
            expected = [*outline.min(0), *(outline.max(0) + 1)]
            np.testing.assert_allclose(boxes[name], expected, atol=2)
        assert boxes["right lung"][2] < boxes["left lung"][2] and boxes["right lung"][0] < boxes["left lung"][0]


def test_real_films_shrink_as_when_decoded_whole(real_data, tmp_path):
    from PIL import Image

    films = sorted((real_data / "cxr_nih20").rglob("*.png"))[:4]
    if not films:
        pytest.skip("no NIH films in the real data")
    for film in films:
        whole = Image.open(film).convert("L")
        large = whole.resize((3 * whole.width, 3 * whole.height), Image.Resampling.BICUBIC)
        large.save(tmp_path / "large.jpg", quality=95)
        expected = np.asarray(Image.open(tmp_path / "large.jpg").resize((512, 512), Image.Resampling.BICUBIC))
        found = read_scaled(tmp_path / "large.jpg", 512)
        assert found.size == large.size
        assert np.abs(found.radiograph.pixels.astype(float) - expected).mean() < 1
