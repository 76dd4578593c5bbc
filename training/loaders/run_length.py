"""Masks as run lengths, in the two conventions of chest radiograph datasets.

- CheXmask: pairs `start length`, row by row, starts absolute and counted from 1.
- SIIM-ACR: pairs `gap length`, column by column, each gap counted from the end of the run before; "-1" is no mask.
"""

import numpy as np
from numpy.typing import NDArray


Mask = NDArray[np.bool_]
_EMPTY_SIIM = "-1"
# No image has so many pixels; sums of numbers up to the second cannot leave 64 bits.
_MOST_PIXELS, _LARGEST = 200_000_000, 2**31


class RunLengthError(ValueError):
    """Run lengths that do not describe a mask of the given size."""


def _numbers(text: str) -> NDArray[np.int64]:
    try:
        numbers = np.array([int(word) for word in text.split()], dtype=np.int64)
    except (ValueError, OverflowError):
        raise RunLengthError(f"run lengths must be whole numbers, found {text[:40]!r}") from None
    if len(numbers) % 2:
        raise RunLengthError(f"run lengths come in pairs, found {len(numbers)} numbers")
    if ((numbers > _LARGEST) | (numbers < -_LARGEST)).any():
        raise RunLengthError(f"run lengths beyond {_LARGEST}, more than the pixels of any image")
    return numbers.reshape(-1, 2)


def _size(height: int, width: int) -> int:
    """Pixels of a mask. Raises `RunLengthError` for a size that no image has."""
    if min(height, width) < 0 or max(height, width, height * width) > _MOST_PIXELS:
        raise RunLengthError(f"a mask of {width}x{height} pixels; at most {_MOST_PIXELS:,} are read")
    return height * width


def _paint(starts: NDArray[np.int64], lengths: NDArray[np.int64], size: int) -> Mask:
    """The flat mask of runs, which have to be in order, apart and inside."""
    ends = starts + lengths
    if len(starts):
        if (lengths <= 0).any() or starts[0] < 0:
            raise RunLengthError("a run starts before the first pixel or has no length")
        if (starts[1:] < ends[:-1]).any():
            raise RunLengthError("runs overlap or are out of order")
        if ends[-1] > size:
            raise RunLengthError(f"a run ends at pixel {ends[-1]} of an image with {size}; the mask has another size")
    steps = np.zeros(size + 1, dtype=np.int8)
    np.add.at(steps, starts, 1)
    np.add.at(steps, ends, -1)
    return np.cumsum(steps[:-1], dtype=np.int8).astype(bool)


def _runs(flat: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts, counted from 0, and lengths of the runs of a flat mask."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flat, [False])).astype(np.int8)))
    return edges[::2].astype(np.int64), (edges[1::2] - edges[::2]).astype(np.int64)


def _text(first: NDArray[np.int64], second: NDArray[np.int64]) -> str:
    return " ".join(str(number) for number in np.stack([first, second], axis=1).ravel())


def decode_chexmask(text: str, height: int, width: int) -> Mask:
    """The mask `(height, width)` of CheXmask's run lengths; empty text is an empty mask.

    Raises:
        RunLengthError: odd count, overlapping runs, a run outside the image, or a size that no image has.

    Examples:
        >>> decode_chexmask("7 2 12 2 20 1", 4, 5).astype(int).tolist()
        [[0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 1]]
    """
    size, runs = _size(height, width), _numbers(text)
    return _paint(runs[:, 0] - 1, runs[:, 1], size).reshape(height, width)


def encode_chexmask(mask: Mask) -> str:
    """CheXmask's run lengths of a mask `(height, width)`."""
    starts, lengths = _runs(np.asarray(mask, dtype=bool).ravel())
    return _text(starts + 1, lengths)


def decode_siim(text: str, height: int, width: int) -> Mask:
    """The mask `(height, width)` of SIIM-ACR's run lengths; "-1" is an empty mask.

    Raises:
        RunLengthError: odd count, a run outside the image, or a size that no image has.

    Examples:
        >>> decode_siim("5 2 2 2 8 1", 4, 5).astype(int).tolist()
        [[0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 1]]
    """
    size = _size(height, width)
    if text.strip() == _EMPTY_SIIM:
        return np.zeros((height, width), dtype=bool)
    runs = _numbers(text)
    starts = np.cumsum(runs.ravel())[::2]
    return _paint(starts, runs[:, 1], size).reshape(width, height).T


def encode_siim(mask: Mask) -> str:
    """SIIM-ACR's run lengths of a mask `(height, width)`."""
    starts, lengths = _runs(np.asarray(mask, dtype=bool).T.ravel())
    if not len(starts):
        return _EMPTY_SIIM
    gaps = np.diff(starts, prepend=0)
    gaps[1:] -= lengths[:-1]
    return _text(gaps, lengths)
