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


PROMPTS = {
    "pneumothorax": {"positive": ["a pneumothorax"], "negative": ["no pneumothorax"]},
    "pleural effusion": {"positive": ["a pleural effusion"], "negative": ["no pleural effusion"]},
}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """An untrained checkpoint with a stem, glimpses and pooled boxes: all that the reference checkpoint has."""
    return save_tiny_model(tmp_path_factory.mktemp("checkpoint") / "model", stem_channels=[4, 8], glimpse_size=4)


def save_tiny_model(folder, stem_channels=None, glimpse_size=0, region_pooling="image", **vision):
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, PreTrainedTokenizerFast

    from anatomy_vlm.modeling import AnatomyVLMConfig, AnatomyVLMModel, AnatomyVLMVisionConfig
    from anatomy_vlm.processing import AnatomyVLMImageProcessorPil, AnatomyVLMProcessor
    from anatomy_vlm.processing.vocabulary import REGION_NAMES

    torch.manual_seed(0)
    words = ["[UNK]", "[PAD]", "a", "no", "pneumothorax", "pleural", "effusion", "film"]
    text = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    settings = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    settings |= {"image_size": 32, "patch_size": 8, "stem_channels": stem_channels, **vision}
    config = AnatomyVLMConfig(
        vision_config=AnatomyVLMVisionConfig(**settings),
        text_config=text,
        projection_dim=8,
        glimpse_size=glimpse_size,
        region_pooling=region_pooling,
    )
    model = AnatomyVLMModel(config).eval()
    with torch.no_grad():
        # Off its initial values everywhere, so that nothing is exported as a constant by luck.
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        pad_token="[PAD]",
        model_input_names=["input_ids", "attention_mask"],
    )
    processor = AnatomyVLMProcessor(
        AnatomyVLMImageProcessorPil(size={"height": 32, "width": 32}),
        tokenizer,
        anatomy_labels=list(REGION_NAMES),
        finding_prompts=PROMPTS,
        finding_thresholds={"pneumothorax": 0.25},
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
