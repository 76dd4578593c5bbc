"""Made-up films and tables for the layouts."""

import csv
import gzip
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


SPLITS = ("train", "train", "validation", "test")
# For loaders that draw their splits: large shares, so that a dozen patients fill all three.
SHARES = {"train": 0.5, "validation": 0.25, "test": 0.25}


def film(seed: Sequence[int], width: int = 128, height: int = 128) -> np.ndarray:
    """uint8 `(height, width)`: two dark lungs, a bright heart on the image's right, and noise; no two are alike."""
    rng = np.random.default_rng(list(seed))
    y, x = np.mgrid[0:height, 0:width]
    u, v = x / width, y / height
    shift = rng.uniform(-0.04, 0.04, 4)
    level = 150 + 40 * v
    for middle, radius in ((0.29, 0.17), (0.71, 0.16)):
        inside = ((u - middle - shift[0]) / radius) ** 2 + ((v - 0.45 - shift[1]) / 0.33) ** 2 < 1
        level = np.where(inside, 60 + 30 * rng.random(), level)
    heart = ((u - 0.56 - shift[2]) / 0.17) ** 2 + ((v - 0.62 - shift[3]) / 0.16) ** 2 < 1
    level = np.where(heart, 190, level) + rng.normal(0, 8, (height, width))
    coarse = rng.normal(0, 12, (6, 6))
    texture = Image.fromarray(coarse.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(level + np.asarray(texture), 0, 255).astype(np.uint8)


def save_film(path: Path, pixels: np.ndarray, **options: Any) -> None:
    """Write a film as PNG, JPEG or, by the suffixes .dcm and .dicom, DICOM."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".dcm", ".dicom"):
        path.write_bytes(dicom_bytes(pixels, **options))
    else:
        Image.fromarray(pixels).save(path, **options)


def dicom_bytes(pixels: np.ndarray, view: str = "PA", inverted: bool = False) -> bytes:
    """A digital radiograph of 12 bits, MONOCHROME1 if `inverted`."""
    try:
        import pydicom
        from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
    except ImportError as error:
        raise ImportError('writing DICOM needs pydicom: pip install "anatomy-vlm[dicom]"') from error
    levels = pixels.astype(np.uint16) * 16
    dataset = pydicom.Dataset()
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.{int(levels.astype(np.int64).sum())}"
    dataset.Modality, dataset.ViewPosition, dataset.BodyPartExamined = "DX", view, "CHEST"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    dataset.PixelSpacing = [0.4, 0.4]
    dataset.PixelData = (4095 - levels if inverted else levels).astype("<u2").tobytes()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def write_table(
    path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: str = ",", raw_header: str = ""
) -> None:
    """Write a CSV, gzipped if its name ends with .gz; `raw_header` stands for the header line as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    if raw_header:
        stream.write(raw_header + "\n")
    else:
        writer.writerow(header)
    writer.writerows(rows)
    data = stream.getvalue().encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def split_of(number: int) -> str:
    """Splits in turn: of four patients two train."""
    return SPLITS[number % len(SPLITS)]


def lung_boxes(width: int, height: int) -> dict[str, tuple[int, int, int, int]]:
    """Boxes of the lungs and the heart of `film`, in pixels; the patient's right lung is on the image's left."""
    fractions = {
        "right lung": (0.12, 0.12, 0.46, 0.78),
        "left lung": (0.55, 0.12, 0.87, 0.78),
        "cardiac silhouette": (0.39, 0.46, 0.73, 0.78),
    }
    return {
        name: (round(x0 * width), round(y0 * height), round(x1 * width), round(y1 * height))
        for name, (x0, y0, x1, y1) in fractions.items()
    }
