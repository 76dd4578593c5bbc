"""Pixel levels of radiographs: any bit depth to the 8 bits of a display, any picture to channels first."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.image_utils import ChannelDimension, infer_channel_dimension_format


DEFAULT_PERCENTILES = (0.5, 99.5)

# Levels of a film of up to 16 bits fit a table, which is faster than arithmetic on every pixel.
_TABLE_LIMIT = 1 << 17
_BLOCK = 1 << 20
_MOST_ORDERED = 1 << 25


def window_to_uint8(
    pixels: np.ndarray,
    percentiles: tuple[float, float] = DEFAULT_PERCENTILES,
    valid: np.ndarray | None = None,
    always: bool = False,
) -> np.ndarray:
    """
    Bring pixels of any depth to display levels 0 to 255, keeping their order.

    Unless `always`, 8-bit levels are kept, and so are wider integers and floats that already lie in 0 to 255; floats
    in 0 to 1 are multiplied by 255; booleans become 0 and 255. Everything else (12 to 16 bit films, Hounsfield-like
    floats) is windowed: linear between two percentiles, clipped outside, because a film's few brightest pixels are
    markers.

    Args:
        pixels (`np.ndarray` of any shape):
            Levels, brighter is higher.
        percentiles (`tuple[float, float]`, *optional*, defaults to `(0.5, 99.5)`):
            Percentiles of the levels that become 0 and 255.
        valid (`np.ndarray` of the shape of `pixels`, *optional*):
            True where a pixel may count for the percentiles (not padding).
        always (`bool`, *optional*, defaults to `False`):
            Window what has display levels already, too: then films of dark and bright rooms look alike.

    Raises `ValueError` for NaN or infinite levels.

    >>> window_to_uint8(np.array([[0, 1000], [2000, 4000]], dtype=np.uint16), percentiles=(0, 100)).tolist()
    [[0, 64], [128, 255]]
    """
    if pixels.dtype == np.uint8 and not always:
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    is_float = np.issubdtype(pixels.dtype, np.floating)
    if is_float and not np.isfinite(pixels).all():
        raise ValueError(
            "the image holds NaN or infinite pixels; replace them (for example with numpy.nan_to_num) and try again"
        )
    counted = pixels if valid is None or not valid.any() else pixels[valid]
    if counted.size == 0:
        return pixels.astype(np.uint8)
    low, high = counted.min().item(), counted.max().item()
    if low >= 0 and high <= 255 and not always:
        gain = 255.0 if is_float and high <= 1 else 1.0
        return np.clip(np.rint(pixels * gain), 0, 255).astype(np.uint8)
    inner_low, inner_high = _percentile_levels(counted, low, high, percentiles)
    # A film that is almost all background has equal percentiles: then its whole range is the window.
    if inner_high > inner_low:
        low, high = inner_low, inner_high
    if high <= low:
        return np.zeros(pixels.shape, dtype=np.uint8)
    if is_float or int(pixels.max()) - int(pixels.min()) >= _TABLE_LIMIT:
        return _linear(pixels, low, high)
    first = int(pixels.min())
    table = _linear(np.arange(first, int(pixels.max()) + 1), low, high)
    return _in_blocks(lambda block: table[block.astype(np.intp) - first], pixels)


def _in_blocks(change: Callable[[np.ndarray], np.ndarray], levels: np.ndarray) -> np.ndarray:
    """
    `change`, from levels to uint8, of some at a time: its intermediate steps take eight bytes a pixel, which is
    gigabytes for the largest films, and more time to find than to fill.
    """
    flat = levels.reshape(-1)
    out = np.empty(flat.shape, dtype=np.uint8)
    for start in range(0, flat.size, _BLOCK):
        out[start : start + _BLOCK] = change(flat[start : start + _BLOCK])
    return out.reshape(levels.shape)


def _linear(levels: np.ndarray, low: float, high: float) -> np.ndarray:
    gain = 255.0 / (high - low)
    return _in_blocks(lambda block: np.clip(np.rint((block.astype(np.float64) - low) * gain), 0, 255), levels)


def _percentile_levels(
    levels: np.ndarray, low: float, high: float, percentiles: tuple[float, float]
) -> tuple[float, float]:
    """The least levels that the given percentages of all levels do not exceed."""
    if np.issubdtype(levels.dtype, np.floating) or high - low >= _TABLE_LIMIT:
        # Every n-th of very many: their order takes longer to find than the film to decode.
        step = 1 + levels.size // _MOST_ORDERED
        first, last = np.percentile(levels.reshape(-1)[::step], percentiles, method="inverted_cdf")
        return float(first), float(last)
    # Counting is some ten times as fast as sorting the millions of pixels of a film.
    first_level = int(low)
    flat, counts = levels.reshape(-1), np.zeros(int(high) - first_level + 1, dtype=np.int64)
    for start in range(0, flat.size, _BLOCK):
        counts += np.bincount(flat[start : start + _BLOCK].astype(np.intp) - first_level, minlength=len(counts))
    below = np.cumsum(counts)
    ranks = np.asarray(percentiles, dtype=np.float64) / 100 * levels.size
    first, last = np.searchsorted(below, np.maximum(ranks, 1)) + first_level
    return float(first), float(last)


def channels_first(
    image: Any,
    input_data_format: str | ChannelDimension | None = None,
    convert_rgb: bool = True,
    keep_floats: bool = False,
    percentiles: tuple[float, float] = DEFAULT_PERCENTILES,
    always_window: bool = False,
) -> np.ndarray:
    """
    Turn a PIL image, array or tensor into 8-bit levels `(channels, height, width)`.

    Args:
        image (`PIL.Image.Image`, `np.ndarray` or `torch.Tensor`):
            Grayscale or colour, `(height, width)`, `(height, width, channels)` or `(channels, height, width)`.
        input_data_format (`str`, *optional*):
            Where an array has its channels; inferred if not given.
        convert_rgb (`bool`, *optional*, defaults to `True`):
            Compose transparency over black (the film's own background) and decode palettes. A picture that is gray
            has then one channel, whatever it had before; the caller repeats it after resizing.
        keep_floats (`bool`, *optional*, defaults to `False`):
            Leave floats as they are: they are scaled already.
        percentiles (`tuple[float, float]`, *optional*, defaults to `(0.5, 99.5)`):
            See `window_to_uint8`.
        always_window (`bool`, *optional*, defaults to `False`):
            See `window_to_uint8`.
    """
    if isinstance(image, Image.Image):
        pixels = np.asarray(flatten_modes(image) if convert_rgb else image)
        input_data_format = ChannelDimension.LAST
    elif isinstance(image, torch.Tensor):
        image = image.detach().cpu()
        pixels = (image.float() if image.dtype == torch.bfloat16 else image).numpy()
    else:
        pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels, input_data_format = pixels[None], ChannelDimension.FIRST
    if input_data_format is None:
        input_data_format = infer_channel_dimension_format(pixels, num_channels=(1, 3, 4))
    if ChannelDimension(input_data_format) == ChannelDimension.LAST:
        pixels = np.moveaxis(pixels, -1, 0)
    if not (keep_floats and np.issubdtype(pixels.dtype, np.floating)):
        pixels = window_to_uint8(pixels, percentiles, always=always_window)
    return _gray_or_rgb(pixels) if convert_rgb else pixels


def flatten_modes(image: Image.Image) -> Image.Image:
    """
    Turn a picture of any PIL mode into a gray one (`L`, `I`, `I;16`, `F`) or `RGB`, transparency composed over black.

    Unlike `Image.convert("RGB")` it does not saturate 16-bit pictures.
    """
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), rgba).convert("RGB")
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("L", "RGB", "F") or image.mode.startswith("I"):
        return image
    return image.convert("RGB")


def _gray_or_rgb(pixels: np.ndarray) -> np.ndarray:
    """Compose a fourth channel over black; drop to one channel where all three are equal."""
    if pixels.shape[0] == 4:
        opaque = 255.0 if pixels.dtype == np.uint8 else 1.0
        colours = pixels[:3] * (pixels[3:] / opaque)
        pixels = np.rint(colours).astype(np.uint8) if pixels.dtype == np.uint8 else colours.astype(pixels.dtype)
    if pixels.shape[0] == 3 and (pixels[0] == pixels[1]).all() and (pixels[0] == pixels[2]).all():
        pixels = pixels[:1]
    return pixels


__all__ = ["DEFAULT_PERCENTILES", "channels_first", "flatten_modes", "window_to_uint8"]
