"""Layouts of datasets with masks: CheXmask, SIIM-ACR."""

from pathlib import Path
from typing import Any

import numpy as np

from anatomy_vlm.training.loaders.layouts.films import SHARES, film, lung_boxes, save_film, write_table
from anatomy_vlm.training.loaders.run_length import encode_chexmask, encode_siim


def _ellipse(box: tuple[int, int, int, int], side: int) -> np.ndarray:
    y, x = np.mgrid[0:side, 0:side] + 0.5
    x0, y0, x1, y1 = box
    return ((x - (x0 + x1) / 2) / ((x1 - x0) / 2)) ** 2 + ((y - (y0 + y1) / 2) / ((y1 - y0) / 2)) ** 2 < 1


def write_chexmask(root: Path, num_patients: int, seed: int) -> dict[str, Any]:
    """CheXmask's table of NIH films: both forms of the landmarks, one row of low quality."""
    side, rows = 128, []
    boxes = lung_boxes(side, side)
    masks = {name: encode_chexmask(_ellipse(box, side)) for name, box in boxes.items()}
    for number in range(num_patients):
        name = f"{number + 90000:08d}_000.png"
        save_film(root / "images" / name, film([seed, number], side, side))
        points = np.random.default_rng([seed, number]).integers(0, side, (120, 2))
        landmarks = (
            ",".join(map(str, points.ravel().tolist())) if number % 2 else str(points.tolist()).replace(",", "")
        )
        if not number % 2:
            landmarks = landmarks.replace("] [", "]\n [")
        quality = 0.4 if number == 3 else 0.9
        row = (name, quality, 0.95, landmarks, masks["left lung"], masks["right lung"], masks["cardiac silhouette"])
        rows.append((*row, side, side))
    header = (
        "Image Index", "Dice RCA (Mean)", "Dice RCA (Max)", "Landmarks", "Left Lung", "Right Lung", "Heart", "Height",
        "Width",
    )  # fmt: skip
    write_table(root / "OriginalResolution" / "ChestX-Ray8.csv", header, rows)
    return {"root": str(root / "OriginalResolution"), "images": str(root / "images"), "splits": SHARES}


def write_siim_acr(root: Path, num_patients: int, seed: int) -> dict[str, Any]:
    """SIIM-ACR: DICOM in nested folders, the header's leading space, " -1", and images of several rows."""
    rows = []
    for number in range(num_patients):
        image = f"1.2.276.0.7230010.3.1.4.8323329.{seed}.{1517875000 + number}.000000"
        folder = root / "dicom-images-train" / f"1.2.276.{number}" / f"1.3.6.{number}"
        save_film(folder / f"{image}.dcm", film([seed, number]))
        right, left = _ellipse((150, 150, 350, 400), 1024), _ellipse((650, 180, 850, 380), 1024)
        parts = {0: [right], 1: [], 2: [right, left]}[number % 3]
        rows += [(image, f" {encode_siim(part)}") for part in parts] or [(image, " -1")]
    write_table(root / "train-rle.csv", (), rows, raw_header="ImageId, EncodedPixels")
    return {"root": str(root), "splits": SHARES}
