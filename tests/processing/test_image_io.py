"""Reading picture files, and one clear line for each that cannot be read."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from anatomy_vlm.processing.image_io import ImageReadError, RadiographImage, read_image


GRADIENT = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))  # dark on the image's left


def save(tmp_path, image: Image.Image, name: str, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_8_bit_files_keep_their_levels(tmp_path, name, mode):
    image = read_image(save(tmp_path, Image.fromarray(GRADIENT).convert(mode), name))
    assert isinstance(image, RadiographImage) and image.pixels.dtype == np.uint8 and image.size == (48, 64)
    assert np.abs(image.pixels.astype(int) - GRADIENT).max() <= (3 if name.endswith("jpg") else 0)
    assert image.to_pil().mode == "L" and image.view == "" and image.pixel_spacing is None


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("top", [4095, 65535])
def test_deep_files_are_windowed(tmp_path, name, top):
    deep = (GRADIENT.astype(np.float64) / 255 * top).astype(np.uint16)
    image = read_image(save(tmp_path, Image.fromarray(deep), name))
    assert np.abs(image.pixels.astype(int) - GRADIENT).max() <= 6
    assert "windowed from uint16" in image.metadata["notes"]


def test_float_and_32_bit_tiffs(tmp_path):
    for levels in (GRADIENT / 255.0, GRADIENT * 1000.0 - 500):
        image = read_image(save(tmp_path, Image.fromarray(levels.astype(np.float32)), "f.tif"))
        assert np.abs(image.pixels.astype(int) - GRADIENT).max() <= 6
    image = read_image(save(tmp_path, Image.fromarray(GRADIENT.astype(np.int32) * 70000), "i.tif"))
    assert np.abs(image.pixels.astype(int) - GRADIENT).max() <= 6


def test_white_is_zero_tiffs_are_inverted(tmp_path):
    deep = (65535 - GRADIENT.astype(np.uint32) * 257).astype(np.uint16)
    image = read_image(save(tmp_path, Image.fromarray(deep), "w.tif", tiffinfo={262: 0}))
    assert image.pixels[0, 0] < 10 and image.pixels[0, -1] > 245


def test_palette_transparency_and_one_bit(tmp_path):
    palette = read_image(save(tmp_path, Image.fromarray(GRADIENT).convert("P"), "p.png"))
    assert np.abs(palette.pixels.astype(int) - GRADIENT).max() <= 1
    rgba = np.dstack([np.full((48, 64), 200, np.uint8)] * 3 + [np.where(GRADIENT > 127, 255, 0).astype(np.uint8)])
    composed = read_image(save(tmp_path, Image.fromarray(rgba), "t.png"))
    assert set(np.unique(composed.pixels)) == {0, 200}
    one_bit = read_image(save(tmp_path, Image.fromarray(GRADIENT > 127), "b.png"))
    assert set(np.unique(one_bit.pixels)) == {0, 255}


def test_colour_is_noticed(tmp_path):
    colour = np.dstack([GRADIENT, 255 - GRADIENT, GRADIENT])
    assert read_image(save(tmp_path, Image.fromarray(colour), "c.png")).metadata["colour"] is True
    assert read_image(save(tmp_path, Image.fromarray(np.dstack([GRADIENT] * 3)), "g.png")).metadata["colour"] is False


def test_first_page_of_several(tmp_path):
    first, second = Image.fromarray(GRADIENT), Image.fromarray(255 - GRADIENT)
    image = read_image(save(tmp_path, first, "pages.tif", save_all=True, append_images=[second]))
    assert np.array_equal(image.pixels, GRADIENT) and "first of 2 pages" in image.metadata["notes"]


@pytest.mark.parametrize(("orientation", "undo"), [(2, np.fliplr), (3, lambda p: np.rot90(p, 2)), (6, np.rot90)])
def test_exif_orientation_is_applied(tmp_path, orientation, undo):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, Image.fromarray(np.ascontiguousarray(undo(GRADIENT))), "o.png", exif=exif)
    image = read_image(path)
    assert np.array_equal(image.pixels, GRADIENT), "dark stays on the image's left"
    assert image.metadata["notes"] == ["turned by its EXIF orientation"]


def test_content_decides_and_not_the_name(tmp_path):
    path = save(tmp_path, Image.fromarray(GRADIENT), "a.png")
    renamed = path.rename(tmp_path / "film.dcm")
    assert np.array_equal(read_image(renamed).pixels, GRADIENT)
    assert np.array_equal(read_image(str(renamed)).pixels, GRADIENT)


def expect_error(path, *words, **options):
    with pytest.raises(ImageReadError) as caught:
        read_image(path, **options)
    message = str(caught.value)
    assert message.startswith(os.fspath(path).replace("\0", "?")) and message.isprintable()
    for word in words:
        assert word in message
    assert isinstance(caught.value, ValueError)


def test_bad_files_each_get_one_line(tmp_path):
    good = save(tmp_path, Image.fromarray(GRADIENT), "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(good[: len(good) // 2])
    expect_error(tmp_path / "cut.png", "damaged", "copy it again")
    (tmp_path / "text.dcm").write_text("The lungs are clear.\n" * 40)
    expect_error(tmp_path / "text.dcm", "DICOM", "check")
    (tmp_path / "text.txt").write_text("The lungs are clear.\n" * 40)
    expect_error(tmp_path / "text.txt", "convert")
    (tmp_path / "empty.png").write_bytes(b"")
    expect_error(tmp_path / "empty.png", "empty")
    expect_error(tmp_path / "absent.png", "no such file")
    expect_error(tmp_path, "folder")
    expect_error(f"{tmp_path}/\0.png", "path")


def test_bad_pixels_each_get_one_line(tmp_path):
    expect_error(save(tmp_path, Image.new("L", (1, 1)), "tiny.png"), "1x1")
    expect_error(save(tmp_path, Image.new("L", (50, 50), 80), "constant.png"), "constant image")
    nan = np.where(GRADIENT > 100, np.nan, 1.0).astype(np.float32)
    expect_error(save(tmp_path, Image.fromarray(nan), "nan.tif"), "NaN", "nan_to_num")


def test_too_large_is_refused_before_decoding(tmp_path):
    wide = save(tmp_path, Image.new("1", (40_000, 20)), "wide.png")
    expect_error(wide, "40000x20", "downscale", "max_side")
    large = save(tmp_path, Image.fromarray(GRADIENT), "large.png")
    expect_error(large, "limit", max_pixels=1000)
    assert read_image(large, max_pixels=64 * 48).size == (48, 64)
    bomb = save(tmp_path, Image.new("1", (16_000, 16_000)), "bomb.png")
    expect_error(bomb, "too large")


def test_special_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    expect_error(tmp_path / "pipe.png", "regular file")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    contents = []
    for name, image in (
        ("a.png", Image.fromarray(GRADIENT)),
        ("b.jpg", Image.fromarray(GRADIENT)),
        ("c.tif", Image.fromarray(GRADIENT.astype(np.uint16) * 257)),
        ("d.bmp", Image.fromarray(GRADIENT).convert("P")),
    ):
        image.save(folder / name)
        contents.append((folder / name).read_bytes())
    return folder, contents


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_damaged_bytes_are_read_or_refused_and_nothing_else(seeds, data):
    folder, contents = seeds
    content = bytearray(data.draw(st.sampled_from(contents)))
    for _ in range(data.draw(st.integers(1, 12))):
        place = data.draw(st.integers(0, min(len(content) - 1, 200)) | st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path = folder / data.draw(st.sampled_from(["x.png", "x.dcm", "x"]))
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    try:
        image = read_image(path, max_pixels=1_000_000)
    except ImageReadError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
    else:
        assert image.pixels.dtype == np.uint8 and image.pixels.ndim == 2


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["x.dcm", "x.png", "x", "x.tif"]))
def test_random_bytes_are_refused(seeds, content, name):
    path = seeds[0] / name
    path.write_bytes(content)
    with pytest.raises(ImageReadError):
        read_image(path)
