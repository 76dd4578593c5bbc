"""DICOM radiographs made here: grayscale pipeline, orientation, views, damage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomy_vlm.processing.image_io import ImageReadError, read_image


pydicom = pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")

from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing  # noqa: E402
from pydicom.uid import (  # noqa: E402
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)


SHAPE = (40, 50)
RAMP = np.linspace(0, 4095, SHAPE[0] * SHAPE[1]).astype(np.uint16).reshape(SHAPE)
# Distinct corners, so that every turn shows: [top left, top right, bottom left, bottom right].
CORNERS = np.zeros(SHAPE, dtype=np.uint16)
CORNERS[:20, :25], CORNERS[:20, 25:], CORNERS[20:, :25], CORNERS[20:, 25:] = 0, 1000, 2000, 4000


def data_set(pixels: np.ndarray = RAMP, bits: int = 12, **attributes) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "2.25.1234"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Doe^Jane", "SECRET-77", "19500101"
    ds.Modality, ds.BodyPartExamined = "DX", "CHEST"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape[-2:]
    ds.BitsAllocated = pixels.dtype.itemsize * 8
    ds.BitsStored, ds.HighBit = bits, bits - 1
    ds.PixelRepresentation = int(np.issubdtype(pixels.dtype, np.signedinteger))
    ds.PixelData = pixels.tobytes()
    for name, value in attributes.items():
        setattr(ds, name, value)
    return ds


def read(tmp_path, ds: Dataset, **options):
    path = tmp_path / "film.dcm"
    ds.save_as(path, enforce_file_format=True)
    return read_image(path, **options)


def lut(first: int, bits: int, outputs: list[int]) -> Dataset:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [len(outputs), first, bits], outputs
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    return item


def corners(image) -> list[int]:
    pixels = image.pixels
    return [int(pixels[y, x]) for y in (2, -3) for x in (2, -3)]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(2048, 4096), (1000, 800), (3000.5, 1)])
def test_windows_agree_with_pydicom(tmp_path, function, center, width):
    ds = data_set(WindowCenter=[center, 7], WindowWidth=[width, 9], VOILUTFunction=function)
    image = read(tmp_path, ds)
    reference = apply_windowing(RAMP, ds) / 4095 * 255
    assert np.abs(image.pixels - reference).max() <= 0.51
    assert image.metadata["window"] == "header"


def test_rescale_comes_before_the_window(tmp_path):
    ds = data_set(RescaleSlope=0.5, RescaleIntercept=-100, WindowCenter=500, WindowWidth=1000)
    rescaled = apply_modality_lut(RAMP, ds)
    expected = np.clip((rescaled - 499.5) / 999 + 0.5, 0, 1) * 255
    assert np.abs(read(tmp_path, ds).pixels - expected).max() <= 0.51


def test_modality_and_voi_luts_agree_with_pydicom(tmp_path):
    curve = (np.linspace(0, 1, 4096) ** 2 * 65535).astype(int).tolist()
    ds = data_set(ModalityLUTSequence=[lut(0, 16, curve)], WindowCenter=32768, WindowWidth=65536)
    expected = apply_modality_lut(RAMP, ds) / 65535 * 255
    assert np.abs(read(tmp_path, ds).pixels - expected).max() <= 0.6
    short = (np.linspace(0, 1, 1000) ** 0.5 * 1023).astype(int).tolist()
    ds = data_set(VOILUTSequence=[lut(500, 10, short)])
    assert np.abs(read(tmp_path, ds).pixels - apply_voi(RAMP, ds) / 1023 * 255).max() <= 0.51


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME2", None, False),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "INVERSE", True),  # states the same inversion, so not twice
        ("MONOCHROME1", "IDENTITY", True),
    ],
)
@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2048, "WindowWidth": 4096}])
def test_bone_is_bright_whatever_the_header_combines(tmp_path, photometric, shape, inverted, window):
    ds = data_set(PhotometricInterpretation=photometric, **window)
    if shape:
        ds.PresentationLUTShape = shape
    pixels = read(tmp_path, ds).pixels
    assert (pixels[0, 0] > 250) == inverted and (pixels[-1, -1] > 250) != inverted


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 15, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_every_depth_and_sign(tmp_path, bits, signed):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    dtype = np.dtype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")
    pixels = np.linspace(low, high, RAMP.size).astype(dtype).reshape(SHAPE)
    levels = read(tmp_path, data_set(pixels, bits)).pixels.astype(int).ravel()
    assert np.abs(levels - np.linspace(0, 255, RAMP.size)).max() <= 3


def test_bits_above_those_stored_do_not_count(tmp_path):
    overlay = np.where(np.arange(SHAPE[1]) % 7 == 0, 1 << 14, 0).astype(np.uint16)
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    dirty = read(tmp_path, data_set(RAMP | overlay, **window)).pixels
    assert np.array_equal(dirty, read(tmp_path, data_set(**window)).pixels)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_count(tmp_path, photometric):
    pixels = np.clip(RAMP, 1000, 2000)
    pixels[:, :10] = 4095
    ds = data_set(pixels, PhotometricInterpretation=photometric)
    ds.add_new("PixelPaddingValue", "US", 4095)
    image = read(tmp_path, ds)
    assert image.pixels[:, :10].max() == 0
    assert image.pixels[:, 10:].min() == 0 and image.pixels[:, 10:].max() == 255
    ds.PixelData = np.where(pixels == 4095, 4000 + np.arange(SHAPE[1]), pixels).astype(np.uint16).tobytes()
    ds.add_new("PixelPaddingRangeLimit", "US", 4000)
    assert np.array_equal(read(tmp_path, ds).pixels, image.pixels)


def test_a_useless_window_is_replaced(tmp_path):
    useful = read(tmp_path, data_set()).pixels
    outside = read(tmp_path, data_set(WindowCenter=60000, WindowWidth=10))
    assert np.array_equal(outside.pixels, useful) and outside.metadata["window"] == "percentiles"
    assert any("constant" in note for note in outside.metadata["notes"])
    invalid = read(tmp_path, data_set(WindowCenter=100, WindowWidth=0))
    assert np.array_equal(invalid.pixels, useful) and any("width" in note for note in invalid.metadata["notes"])


@pytest.mark.parametrize(
    ("stored", "orientation"),
    [
        (CORNERS, "L\\F"),
        (CORNERS[:, ::-1], "R\\F"),
        (CORNERS[::-1], "L\\H"),
        (CORNERS[::-1, ::-1], "R\\H"),
        (CORNERS.T, "F\\L"),
        (CORNERS.T[:, ::-1], "H\\L"),
        (CORNERS.T[::-1], "F\\R"),
        (CORNERS.T[::-1, ::-1], "HL\\RF"),
        (CORNERS, ""),
        (CORNERS, "X\\Y"),
        (CORNERS, "L"),
    ],
)
def test_the_patients_right_is_on_the_images_left(tmp_path, stored, orientation):
    ds = data_set(np.ascontiguousarray(stored), PatientOrientation=orientation)
    image = read(tmp_path, ds)
    upright = read(tmp_path, data_set(CORNERS))
    assert image.pixels.shape == SHAPE and np.array_equal(image.pixels, upright.pixels)
    assert corners(image) == [0, 64, 128, 255]
    assert bool(image.metadata["notes"]) == (stored is not CORNERS)


def test_a_lateral_film_is_not_mirrored(tmp_path):
    image = read(tmp_path, data_set(CORNERS, PatientOrientation="P\\F"))
    assert corners(image) == [0, 64, 128, 255] and image.view == "LATERAL"


def test_spacing_turns_with_the_film(tmp_path):
    assert read(tmp_path, data_set(ImagerPixelSpacing=[0.1, 0.2])).pixel_spacing == (0.1, 0.2)
    turned = data_set(CORNERS.T.copy(), PatientOrientation="F\\L", ImagerPixelSpacing=[0.1, 0.2])
    assert read(tmp_path, turned).pixel_spacing == (0.2, 0.1)
    both = data_set(PixelSpacing=[0.14, 0.14], ImagerPixelSpacing=[0.2, 0.2])
    assert read(tmp_path, both).pixel_spacing == (0.14, 0.14)
    assert read(tmp_path, data_set(PixelSpacing=[0, 0])).pixel_spacing is None


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("PA", "PA"),
        ("pa", "PA"),
        ("AP", "AP"),
        ("AP ERECT", "AP"),
        ("LL", "LATERAL"),
        ("RL", "LATERAL"),
        ("LATERAL", "LATERAL"),
        ("LLD", ""),
        ("LLO", ""),
        ("AP OBLIQUE", ""),
        ("PARIETO", ""),
        ("", ""),
    ],
)
def test_view_position(tmp_path, text, view):
    assert read(tmp_path, data_set(ViewPosition=text)).view == view


@pytest.mark.parametrize(
    ("code", "meaning", "view"),
    [
        ("399348003", "", "AP"),
        ("272479007", "", "PA"),
        ("R-10214", "", "PA"),
        ("399173006", "", "LATERAL"),
        ("X1", "postero-anterior", "PA"),
        ("X1", "left lateral", "LATERAL"),
        ("X1", "left lateral decubitus", ""),
    ],
)
def test_view_code(tmp_path, code, meaning, view):
    item = Dataset()
    item.CodeValue, item.CodeMeaning = code, meaning
    assert read(tmp_path, data_set(ViewCodeSequence=[item])).view == view


def test_nothing_of_the_patient_is_returned(tmp_path):
    image = read(tmp_path, data_set(StudyDate="20200101", BodyPartExamined="Jane Doe's chest, room 7"))
    text = repr((image.metadata, image.view))
    for secret in ("Doe", "Jane", "SECRET", "1950", "2020", "2.25.1234", "room"):
        assert secret not in text


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEG2000Lossless, JPEGLSLossless]
)
def test_every_syntax_gives_the_same_pixels(tmp_path, syntax):
    expected = read(tmp_path, data_set()).pixels
    ds = data_set()
    if syntax.is_encapsulated:
        ds.compress(syntax, generate_instance_uid=False)
    else:
        ds.file_meta.TransferSyntaxUID = syntax
    image = read(tmp_path, ds)
    assert np.array_equal(image.pixels, expected) and image.metadata["transfer_syntax"] == syntax.name


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("name", ["film.dcm", "film", "film.raw"])
def test_no_preamble_and_no_meta_header(tmp_path, implicit, name):
    ds = data_set()
    del ds.file_meta
    path = tmp_path / name
    pydicom.dcmwrite(path, ds, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    assert path.read_bytes()[128:132] != b"DICM"
    assert np.array_equal(read_image(path).pixels, read(tmp_path, data_set()).pixels)


def test_colour_captures_become_gray(tmp_path):
    rgb = np.dstack([np.linspace(0, 255, 2000).reshape(SHAPE).astype(np.uint8)] * 3)
    ds = data_set(rgb[..., 0], 8, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    ds.PixelData = rgb.tobytes()
    assert np.abs(read(tmp_path, ds).pixels.astype(int) - rgb[..., 0]).max() <= 1


def expect_error(tmp_path, ds: Dataset, *words: str, **options):
    with pytest.raises(ImageReadError) as caught:
        read(tmp_path, ds, **options)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "film.dcm")) and "\n" not in message
    for word in words:
        assert word in message


def test_bad_objects_each_get_one_line(tmp_path):
    without = data_set()
    del without.PixelData
    expect_error(tmp_path, without, "without pixels", "image object")
    frames = data_set(np.stack([RAMP, RAMP]), NumberOfFrames=2)
    expect_error(tmp_path, frames, "multi-frame", "2 frames")
    expect_error(tmp_path, data_set(np.full(SHAPE, 7, np.uint16)), "constant image")
    expect_error(tmp_path, data_set(np.zeros((1, 1), np.uint16)), "1x1")
    expect_error(tmp_path, data_set(), "too large", "max_pixels", max_pixels=100)
    huge = data_set()
    huge.Columns = 40_000
    expect_error(tmp_path, huge, "40000x40", "downscale")
    short = data_set()
    short.PixelData = short.PixelData[:100]
    expect_error(tmp_path, short, "damaged", "copy it again")
    broken = data_set()
    broken.compress(JPEG2000Lossless, generate_instance_uid=False)
    broken.PixelData = broken.PixelData[:30] + bytes(len(broken.PixelData) - 30)
    expect_error(tmp_path, broken, "damaged")


def test_nan_in_float_pixels(tmp_path):
    ds = data_set()
    del ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
    ds.BitsAllocated = 32
    ds.FloatPixelData = np.where(RAMP > 9, np.nan, 1).astype(np.float32).tobytes()
    expect_error(tmp_path, ds, "NaN")


def test_a_missing_codec_names_the_extra(tmp_path, monkeypatch):
    from pydicom.pixels.decoders.base import Decoder

    ds = data_set()
    ds.compress(JPEGLSLossless, generate_instance_uid=False)
    monkeypatch.setattr(Decoder, "is_available", property(lambda self: False))
    expect_error(tmp_path, ds, "JPEG-LS", 'pip install "anatomy-vlm[dicom]"')


def test_a_panicking_decoder_is_an_error_and_an_interrupt_is_not(tmp_path, monkeypatch):
    class PanicException(BaseException):
        pass

    def fail(self):
        raise error

    monkeypatch.setattr(Dataset, "pixel_array", property(fail))
    error: BaseException = PanicException("index out of bounds")
    # What a decoder says may quote the header, so only the kind of the error is told.
    expect_error(tmp_path, data_set(), "damaged", "PanicException")
    error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        read(tmp_path, data_set())


def test_missing_pydicom_names_the_extra(tmp_path, monkeypatch):
    import sys

    path = tmp_path / "film.dcm"
    data_set().save_as(path, enforce_file_format=True)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImageReadError, match=r"anatomy-vlm\[dicom\]"):
        read_image(path)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "film.dcm"
    data_set(WindowCenter=2048, WindowWidth=4096, PatientOrientation="L\\F").save_as(path, enforce_file_format=True)
    return path, path.read_bytes()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_headers_are_read_or_refused_and_nothing_else(sample, data):
    path, content = sample
    content = bytearray(content)
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(128, 900))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(600, len(content)))])
    try:
        image = read_image(path, max_pixels=1_000_000)
    except ImageReadError as error:
        assert "\n" not in str(error)
    else:
        assert image.pixels.dtype == np.uint8 and image.pixels.ndim == 2
