"""The grayscale pipeline of a DICOM image (PS3.4 N.2): stored values to display levels with bone bright."""

from __future__ import annotations

from typing import Any

import numpy as np

from anatomy_vlm.processing.intensity_anatomy_vlm import window_to_uint8


_TABLE_LIMIT = 1 << 17


def render(stored: np.ndarray, data_set: Any, metadata: dict[str, Any]) -> np.ndarray:
    """
    Stored values to uint8 display levels: Modality LUT or rescale, VOI LUT or window, polarity, padding to black.

    Without a usable window the film is windowed between percentiles of its pixels. `metadata["window"]` says which.
    """
    if stored.ndim == 3:
        metadata["window"] = "none (colour)"
        return _luma(stored)
    stored = _drop_unused_bits(stored, data_set)
    valid = _not_padding(stored, data_set)
    values, places = _distinct_values(stored)
    modality = _apply_modality(values, data_set)
    grays = _apply_voi(modality, data_set, metadata)
    if grays is None:
        levels = window_to_uint8(_at(modality, places), valid=valid)
        metadata["window"] = "percentiles"
    else:
        levels = _at(np.rint(grays * 255).astype(np.uint8), places)
        metadata["window"] = "header"
        if _is_flat(levels, valid):
            levels = window_to_uint8(_at(modality, places), valid=valid)
            metadata["window"] = "percentiles"
            metadata["notes"].append("its window leaves a constant image, so it was windowed by percentiles")
    if _is_inverted(data_set, metadata):
        levels = 255 - levels
    if not valid.all():
        levels = np.where(valid, levels, np.uint8(0))
        metadata["notes"].append("pixel padding set to black")
    return levels


def _is_inverted(data_set: Any, metadata: dict[str, Any]) -> bool:
    """
    Whether low values are bright. Photometric Interpretation MONOCHROME1 and Presentation LUT Shape INVERSE state one
    and the same inversion (PS3.3 C.7.6.1.1, C.8.11.3.1.2): a film with both is inverted once, not twice. Where they
    contradict each other, either one counts.
    """
    monochrome1 = data_set.get("PhotometricInterpretation") == "MONOCHROME1"
    shape = data_set.get("PresentationLUTShape")
    if shape and (shape == "INVERSE") != monochrome1:
        metadata["notes"].append("inverted: its photometric interpretation and presentation LUT shape disagree")
    return monochrome1 or shape == "INVERSE"


def _drop_unused_bits(stored: np.ndarray, data_set: Any) -> np.ndarray:
    """Bits above Bits Stored may hold an old overlay; shifting out and back also extends the sign (PS3.5 8.1.1)."""
    bits = int(data_set.get("BitsStored") or 0)
    unused = stored.dtype.itemsize * 8 - bits
    if not np.issubdtype(stored.dtype, np.integer) or not bits or unused <= 0:
        return stored
    if int(data_set.get("HighBit") or bits - 1) != bits - 1:
        return stored
    return (stored << unused) >> unused


def _not_padding(stored: np.ndarray, data_set: Any) -> np.ndarray:
    """False at Pixel Padding Value (0028,0120), or between it and Pixel Padding Range Limit (0028,0121)."""
    padding = data_set.get("PixelPaddingValue")
    if not isinstance(padding, (int, np.integer)):
        return np.ones(stored.shape, dtype=bool)
    limit = data_set.get("PixelPaddingRangeLimit")
    low, high = sorted((padding, limit if isinstance(limit, (int, np.integer)) else padding))
    return (stored < low) | (stored > high)


def _distinct_values(stored: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """
    All values from the least to the greatest, and each pixel's place among them: the pipeline then runs over a table
    of some 10,000 values and not over millions of pixels. Values as they are, and no places, for a wider range.
    """
    if not np.issubdtype(stored.dtype, np.integer) or stored.size == 0:
        return stored, None
    low, high = int(stored.min()), int(stored.max())
    if high - low >= _TABLE_LIMIT:
        return stored, None
    return np.arange(low, high + 1), np.subtract(stored, low, dtype=np.int64)


def _at(table: np.ndarray, places: np.ndarray | None) -> np.ndarray:
    return table if places is None else table[places]


def _apply_modality(values: np.ndarray, data_set: Any) -> np.ndarray:
    """Modality LUT Sequence (0028,3000), else Rescale Slope and Intercept (PS3.3 C.11.1)."""
    if data_set.get("ModalityLUTSequence"):
        return _look_up(values, data_set.ModalityLUTSequence[0], data_set)[0]
    slope, intercept = data_set.get("RescaleSlope"), data_set.get("RescaleIntercept")
    if slope is None and intercept is None:
        return values
    slope = 1.0 if slope is None else float(slope)
    intercept = 0.0 if intercept is None else float(intercept)
    return values if (slope, intercept) == (1.0, 0.0) else values * slope + intercept


def _apply_voi(values: np.ndarray, data_set: Any, metadata: dict[str, Any]) -> np.ndarray | None:
    """VOI LUT Sequence (0028,3010), else the first window (PS3.3 C.11.2), as grays 0 to 1; None without either."""
    if data_set.get("VOILUTSequence"):
        outputs, full_scale = _look_up(values, data_set.VOILUTSequence[0], data_set)
        return outputs / full_scale
    center, width = _first(data_set.get("WindowCenter")), _first(data_set.get("WindowWidth"))
    if center is None or width is None:
        return None
    function = str(data_set.get("VOILUTFunction") or "LINEAR").strip().upper()
    if width < 1 if function == "LINEAR" else width <= 0:
        metadata["notes"].append(f"its window width of {width:g} is not valid")
        return None
    return apply_window(values, center, width, function)


def apply_window(values: np.ndarray, center: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """
    Grays from 0 to 1 by a window, PS3.3 C.11.2.1.2 and C.11.2.1.3: `function` is `"LINEAR"`, `"LINEAR_EXACT"` or
    `"SIGMOID"`.

    >>> apply_window(np.array([0, 2048, 4096]), center=2048, width=4096).round(2).tolist()
    [0.0, 0.5, 1.0]
    """
    values = values.astype(np.float64)
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1)
    if width == 1:
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def _look_up(values: np.ndarray, item: Any, data_set: Any) -> tuple[np.ndarray, float]:
    """Outputs of a LUT (PS3.3 C.11.1.1), values outside it taking its ends, and the output that stands for white."""
    entries, first, bits = (int(value) for value in item.LUTDescriptor)
    table = _lut_data(item, data_set, entries or 1 << 16)
    places = np.clip(np.rint(values).astype(np.int64) - first, 0, len(table) - 1)
    return table[places].astype(np.float64), float(max((1 << bits) - 1, int(table.max())))


def _lut_data(item: Any, data_set: Any, entries: int) -> np.ndarray:
    data = item.LUTData
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data, dtype=np.int64)) & 0xFFFF
    if len(data) < 2 * entries:
        return np.frombuffer(data, dtype=np.uint8)[:entries]
    order = "<" if data_set.file_meta.TransferSyntaxUID.is_little_endian else ">"
    return np.frombuffer(data, dtype=f"{order}u2")[:entries]


def _first(value: Any) -> float | None:
    """The first of one or several values, if it is a finite number."""
    if value is not None and not isinstance(value, (str, float, int)):
        value = next(iter(value), None)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _is_flat(levels: np.ndarray, valid: np.ndarray) -> bool:
    counted = levels[valid]
    return counted.size > 0 and counted.min() == counted.max()


def _luma(rgb: np.ndarray) -> np.ndarray:
    """Gray of a colour picture (ITU-R BT.601), such as a screen capture."""
    weights = np.array([0.299, 0.587, 0.114])
    levels = np.empty(rgb.shape[:2])
    for row in range(len(rgb)):  # in double precision a large film of three channels takes gigabytes
        levels[row] = rgb[row, :, :3].astype(np.float64) @ weights
    return window_to_uint8(np.rint(levels * (255.0 / np.iinfo(rgb.dtype).max)))
