"""Run lengths of both conventions: the worked examples, the round trip, and what is refused."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from anatomy_vlm.training.loaders.run_length import (
    RunLengthError,
    decode_chexmask,
    decode_siim,
    encode_chexmask,
    encode_siim,
)


WORKED = np.zeros((4, 5), dtype=bool)
WORKED[[1, 1, 2, 2, 3], [1, 2, 1, 2, 4]] = True


@pytest.mark.parametrize(
    ("text", "decode", "encode"),
    [("7 2 12 2 20 1", decode_chexmask, encode_chexmask), ("5 2 2 2 8 1", decode_siim, encode_siim)],
)
def test_the_worked_example(text, decode, encode):
    np.testing.assert_array_equal(decode(text, 4, 5), WORKED)
    assert encode(WORKED) == text


masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


@given(masks)
def test_round_trip(mask):
    np.testing.assert_array_equal(decode_chexmask(encode_chexmask(mask), *mask.shape), mask)
    np.testing.assert_array_equal(decode_siim(encode_siim(mask), *mask.shape), mask)


@given(masks)
def test_against_a_pixel_by_pixel_reading(mask):
    """Both texts mean what their datasets' notes say, read one pixel at a time."""
    height, width = mask.shape
    rows = np.zeros(height * width, dtype=bool)
    numbers = [int(word) for word in encode_chexmask(mask).split()]
    for start, length in zip(numbers[::2], numbers[1::2]):
        for pixel in range(start - 1, start - 1 + length):
            rows[pixel] = True
    np.testing.assert_array_equal(rows.reshape(height, width), mask)
    columns, place = np.zeros(width * height, dtype=bool), 0
    numbers = [int(word) for word in encode_siim(mask).split()] if mask.any() else []
    for gap, length in zip(numbers[::2], numbers[1::2]):
        place += gap
        for _ in range(length):
            columns[place] = True
            place += 1
    np.testing.assert_array_equal(columns.reshape(width, height).T, mask)


@given(masks)
def test_the_conventions_differ_by_a_transposition(mask):
    assert decode_siim(encode_siim(mask.T), *mask.T.shape).T.tolist() == mask.tolist()
    absolute = [int(word) for word in encode_chexmask(mask.T).split()]
    assert sum(absolute[1::2]) == mask.sum()


def test_an_empty_mask():
    empty = np.zeros((3, 4), dtype=bool)
    assert (encode_chexmask(empty), encode_siim(empty)) == ("", "-1")
    assert not decode_chexmask("", 3, 4).any() and not decode_siim(" -1", 3, 4).any()


@pytest.mark.parametrize("text", ["1", "1 2 3", "a b", "0 2", "5 100", "3 2 4 1", "1 0", "1 -2", "9" * 30 + " 1"])
def test_what_is_no_mask_is_refused(text):
    with pytest.raises(RunLengthError):
        decode_chexmask(text, 3, 4)


@pytest.mark.parametrize("text", ["1", "x 1", "5 100", "-5 3", "1 0", "2 2 -3 1"])
def test_what_is_no_relative_mask_is_refused(text):
    with pytest.raises(RunLengthError):
        decode_siim(text, 3, 4)


@given(st.text(alphabet="0123456789 -.x", max_size=30))
def test_any_text_gives_a_mask_or_the_error(text):
    for decode in (decode_chexmask, decode_siim):
        with contextlib.suppress(RunLengthError):
            assert decode(text, 5, 6).shape == (5, 6)
