"""Small films with a stripe of levels, as PNG and as DICOM laid out in several ways."""

import numpy as np
import pytest
from PIL import Image


SIZE = (40, 56)
PATIENT = {"PatientName": "Doe^Jane", "PatientID": "SECRET-77", "PatientBirthDate": "19500101"}
# Attributes that belong to the source alone.
PRIVATE = {
    "PatientComments": "lives at 5 Elm Street",
    "OperatorsName": "Roe^Richard",
    "InstitutionName": "St Elsewhere",
}


def film_masks(size=SIZE):
    """Left lung, right lung, heart that overlaps both, and a rib that is off the film: left is the patient's left."""
    width = size[1]
    masks = {name: np.zeros(size, dtype=bool) for name in ("right lung", "left lung", "heart", "rib_left_4")}
    masks["right lung"][5:30, 4 : width // 2 - 2] = True
    masks["left lung"][6:31, width // 2 + 2 : width - 3] = True
    masks["heart"][18:33, width // 2 - 6 : width // 2 + 13] = True
    return masks


@pytest.fixture
def png_film(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "films" / "film.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(rng.integers(0, 255, SIZE, dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def dicom_film(tmp_path):
    """A function that writes a DICOM film whose displayed size is SIZE, for a Patient Orientation."""
    pydicom = pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    def write(orientation=("L", "F"), name="film.dcm", remove=(), **attributes):
        transposed = orientation is not None and orientation[0] in "HF"
        rows, columns = SIZE[::-1] if transposed else SIZE
        ds = pydicom.Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "2.25.1234"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.12", "2.25.123"
        ds.Modality, ds.SamplesPerPixel, ds.PhotometricInterpretation = "DX", 1, "MONOCHROME2"
        ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = rows, columns, 16, 12, 11
        ds.PixelRepresentation = 0
        ds.ImagerPixelSpacing = [0.2, 0.1]
        if orientation is not None:
            ds.PatientOrientation = list(orientation)
        for keyword, value in {**PATIENT, **PRIVATE, **attributes}.items():
            setattr(ds, keyword, value)
        for keyword in remove:
            delattr(ds, keyword)
        # Each pixel has a level of its own, and no place looks like another.
        pixels = np.random.default_rng(0).permutation(rows * columns).astype(np.uint16).reshape(rows, columns)
        ds.PixelData = pixels.tobytes()
        path = tmp_path / "films" / name
        path.parent.mkdir(exist_ok=True)
        ds.save_as(path, enforce_file_format=True)
        return path

    return write
