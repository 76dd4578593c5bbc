"""Films as raw bytes that every image library opens: a netpbm header, then one byte per pixel.

To `datasets` they are images like any other; whoever wants them fast takes the bytes behind the header.
"""

import numpy as np
from PIL import Image


_MAGIC = b"P5"
_LEVELS = b"255"


def to_bytes(image: Image.Image) -> bytes:
    """A film of mode "L" as a binary PGM file."""
    return _MAGIC + f"\n{image.width} {image.height}\n".encode() + _LEVELS + b"\n" + image.tobytes()


def to_pixels(data: bytes) -> np.ndarray:
    """
    uint8 `(height, width)` of bytes of `to_bytes`, without a copy.

    Raises:
        ValueError: other bytes.
    """
    magic, size, levels, pixels = data.split(b"\n", 3)
    width, height = (int(word) for word in size.split())
    if magic != _MAGIC or levels != _LEVELS or len(pixels) != width * height:
        raise ValueError("not a film of `anatomy-vlm prepare`: expected a binary PGM of 8 bits")
    return np.frombuffer(data, np.uint8, offset=len(data) - width * height).reshape(height, width)
