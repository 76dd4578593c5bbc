"""Any bit depth to display levels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from anatomy_vlm.processing.intensity_anatomy_vlm import channels_first, window_to_uint8


@pytest.mark.parametrize("bits", [10, 12, 15, 16])
def test_a_ramp_of_any_depth_becomes_the_ramp_of_8_bits(bits):
    ramp = np.linspace(0, 2**bits - 1, 4096).astype(np.uint16).reshape(64, 64)
    levels = window_to_uint8(ramp).astype(int).ravel()
    assert levels[0] == 0 and levels[-1] == 255
    assert np.abs(levels - np.linspace(0, 255, 4096)).max() < 3
    assert (np.diff(levels) >= 0).all()


def test_8_bit_levels_are_kept_whatever_holds_them():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for dtype in (np.uint8, np.uint16, np.int32, np.int64, np.float32, np.float64):
        assert np.array_equal(window_to_uint8(levels.astype(dtype)), levels)
    assert np.array_equal(window_to_uint8(levels / 255.0), levels)
    assert window_to_uint8(levels > 100).max() == 255


def test_a_bright_marker_does_not_darken_the_film():
    film = np.random.default_rng(0).integers(1000, 3000, (200, 200)).astype(np.uint16)
    film[:8, :8] = 65535
    assert np.median(window_to_uint8(film)) > 100


def test_padding_does_not_count():
    film = np.full((40, 40), -2000, dtype=np.int16)
    film[:, 20:] = np.linspace(100, 1100, 20).astype(np.int16)
    levels = window_to_uint8(film, valid=film > -2000)
    assert levels[:, :20].max() == 0 and levels[:, 20].max() < 10 and levels[:, -1].min() == 255


@given(hnp.arrays(st.sampled_from([np.int16, np.int32, np.float32]), (6, 7), elements=st.integers(-300, 9999)))
def test_order_of_levels_is_kept(pixels):
    flat, levels = pixels.ravel(), window_to_uint8(pixels).ravel().astype(int)
    order = np.argsort(flat, kind="stable")
    assert (np.diff(levels[order]) >= 0).all()


@given(hnp.arrays(np.int16, (9, 11), elements=st.integers(-300, 9999)), st.integers(0, 40), st.integers(60, 100))
def test_integers_and_floats_are_windowed_alike(pixels, low, high):
    pixels[0, 0] = 9999  # floats from 0 to 1 have a meaning of their own
    assert np.array_equal(
        window_to_uint8(pixels, (low, high)), window_to_uint8(pixels.astype(np.float64), (low, high))
    )


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        window_to_uint8(np.array([[0.1, np.nan]]))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I", "F", "I;16"])
def test_every_mode_gives_one_or_three_channels(mode):
    gray = Image.fromarray((np.arange(600) % 256).astype(np.uint8).reshape(20, 30))
    image = gray.convert("I").convert("I;16") if mode == "I;16" else gray.convert(mode)
    pixels = channels_first(image)
    assert pixels.dtype == np.uint8 and pixels.shape[0] in (1, 3) and pixels.shape[1:] == (20, 30)


def test_transparency_is_composed_over_black():
    rgba = np.full((8, 8, 4), 200, dtype=np.uint8)
    rgba[:4, :, 3] = 0
    for image in (Image.fromarray(rgba), rgba, torch.from_numpy(rgba.transpose(2, 0, 1).copy())):
        pixels = channels_first(image)
        assert pixels[:, :4].max() == 0
        assert abs(int(pixels[0, 6, 0]) - 157) <= 1


def test_gray_in_three_channels_is_one_channel_and_colour_is_three():
    gray = np.repeat(np.arange(64, dtype=np.uint8).reshape(8, 8, 1), 3, axis=2)
    assert channels_first(gray).shape == (1, 8, 8)
    assert channels_first(gray + np.array([0, 1, 2], dtype=np.uint8)).shape == (3, 8, 8)


def test_films_of_eight_bits_are_windowed_on_request():
    dark = np.linspace(10, 90, 400).astype(np.uint8).reshape(20, 20)
    bright = dark + 100
    assert window_to_uint8(dark) is dark
    stretched = window_to_uint8(dark, always=True)
    assert stretched.min() == 0 and stretched.max() == 255
    assert np.abs(stretched.astype(int) - window_to_uint8(bright, always=True)).max() <= 1
    assert (window_to_uint8(np.full((4, 4), 7, dtype=np.uint8), always=True) == 0).all()
