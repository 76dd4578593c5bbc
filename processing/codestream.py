"""What a compressed image says of itself, read before a decoder makes room for it."""

import struct
from dataclasses import dataclass


# A progressive JPEG has ten scans or so; each costs a pass over all pixels, whatever it holds.
MAX_SCANS = 100
_SCAN = b"\xff\xda"
_CODESTREAM_2000 = b"\xff\x4f\xff\x51"
_BOXED_2000 = b"\x00\x00\x00\x0cjP  "
# Start-of-frame markers of JPEG (ITU-T T.81 table B.1) and of JPEG-LS (T.87).
_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})


@dataclass(frozen=True)
class StreamSize:
    """
    Args:
        height, width: Pixels.
        components: Channels.
    """

    height: int
    width: int
    components: int


def stream_size(data: bytes) -> StreamSize | None:
    """
    Size of a JPEG, JPEG-LS or JPEG 2000 (also high-throughput) stream by its header; None for what is none of these,
    or ends before it.
    """
    if data.startswith(_BOXED_2000):
        data = data[max(data[:4096].find(_CODESTREAM_2000), 0) :]
    if data.startswith(_CODESTREAM_2000) and len(data) >= 42:
        # SIZ marker segment (ITU-T T.800 A.5.1): the image is what lies between its offset and its end.
        right, bottom, left, top = struct.unpack(">4I", data[8:24])
        return StreamSize(bottom - top, right - left, *struct.unpack(">H", data[40:42]))
    if data.startswith(b"\xff\xd8"):
        return _jpeg_size(data)
    return None


def too_many_scans(data: bytes) -> bool:
    """Whether a JPEG has more scans than any camera writes; in coded data 0xFF is never followed by 0xDA."""
    return data.count(_SCAN) > MAX_SCANS


def _jpeg_size(data: bytes) -> StreamSize | None:
    at = 2
    while at + 10 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in _FRAMES:
            height, width, components = struct.unpack(">HHB", data[at + 5 : at + 10])
            return StreamSize(height, width, components)
        at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return None
