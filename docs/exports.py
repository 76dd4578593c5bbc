"""Draw `docs/exports.png`: a DICOM SR and a DICOM SEG of a synthetic film, read again and drawn on its pixels.

python docs/exports.py

The boxes are the reference checkpoint's, by `predict --save-as sr`; the masks are the truth of the synthetic chest, by
`write_masks`. Both pictures are made of what pydicom and highdicom read from the files, and of nothing else.
"""

import tempfile
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from anatomy_vlm import predict
from anatomy_vlm.exports.mask_files import write_masks
from anatomy_vlm.exports.readings import ReadingFiles
from anatomy_vlm.processing.mask_pictures import draw_masks
from anatomy_vlm.processing.pictures import PANEL_WIDTH, draw_overlay
from anatomy_vlm.synthesis.phantom.masks import structure_masks
from anatomy_vlm.synthesis.phantom.patient import generate_study


SEED, SIZE, HEIGHT = 3, 512, 440
STRUCTURES = ("right lung", "left lung", "heart", "trachea", "clavicula_right", "clavicula_left", "aorta")


def write_film(path: Path, pixels: np.ndarray) -> None:
    """A DX image with the attributes that others refer to."""
    film = pydicom.Dataset()
    film.file_meta = pydicom.dataset.FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.SOPClassUID = film.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    film.StudyInstanceUID, film.SeriesInstanceUID = generate_uid(), generate_uid()
    film.PatientID, film.Modality, film.PatientOrientation = "phantom", "DX", ["L", "F"]
    film.Rows, film.Columns = pixels.shape
    film.SamplesPerPixel, film.PhotometricInterpretation, film.PixelRepresentation = 1, "MONOCHROME2", 0
    film.BitsAllocated, film.BitsStored, film.HighBit = 8, 8, 7
    film.PixelData = pixels.tobytes()
    film.save_as(path, enforce_file_format=True)


def boxes_of_report(path: Path) -> list[dict]:
    """Names and boxes of the groups of an SR."""
    regions = []
    for group in highdicom.sr.srread(path).content.get_planar_roi_measurement_groups():
        corners = np.asarray(group.roi.value)
        regions.append({"name": group.tracking_identifier, "box": [*corners.min(0), *corners.max(0)]})
    return regions


def masks_of_segmentation(path: Path, film: pydicom.Dataset) -> dict[str, np.ndarray]:
    """Masks of a SEG by the labels of its segments."""
    segmentation = highdicom.seg.segread(path)
    pixels = segmentation.get_pixels_by_source_instance([film.SOPInstanceUID], ignore_spatial_locations=True)[0]
    labels = [segment.SegmentLabel for segment in segmentation.SegmentSequence]
    return {label: pixels[..., index].astype(bool) for index, label in enumerate(labels)}


def main() -> None:
    """Write, read again and draw."""
    study = generate_study(SEED, image_size=SIZE)
    masks = structure_masks(study)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "film.dcm"
        write_film(source, np.asarray(study.film))
        film = pydicom.dcmread(source)
        (record,) = predict(source)
        (report,) = ReadingFiles(folder, ["sr"], model=record["model"]).add(record)
        (segmentation,) = write_masks(folder, {name: masks[name] for name in STRUCTURES}, source, "seg")
        regions, found = boxes_of_report(report), masks_of_segmentation(segmentation, film)
    pixels = film.pixel_array
    left = draw_overlay(pixels, regions, height=HEIGHT)
    left = left.crop((0, 0, left.width - PANEL_WIDTH, HEIGHT))
    right = draw_masks(pixels, found, height=HEIGHT)
    picture = Image.new("RGB", (left.width + right.width, HEIGHT))
    picture.paste(left, (0, 0))
    picture.paste(right, (left.width, 0))
    picture.quantize(128).save(Path(__file__).with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main()
