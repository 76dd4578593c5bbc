"""DICOM: elements of every VR with odd values and lengths, nested sequences, frames, bits, compressed garbage."""

import io
import struct
import zlib
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from anatomy_vlm.processing.image_io import read_image
from anatomy_vlm.processing.radiograph import ImageReadError
from fuzzing.expect import CANARY, Finding, attempt, keep_secret, listening, outcome
from fuzzing.mutate import bytes_of, repeated_deflate


_VRS = [
    "AE",
    "AS",
    "AT",
    "CS",
    "DA",
    "DS",
    "DT",
    "FD",
    "FL",
    "IS",
    "LO",
    "LT",
    "OB",
    "OD",
    "OF",
    "OL",
    "OV",
    "OW",
    "PN",
    "SH",
    "SL",
    "SQ",
    "SS",
    "ST",
    "SV",
    "TM",
    "UC",
    "UI",
    "UL",
    "UN",
    "UR",
    "US",
    "UT",
    "UV",
    "ZZ",
]
_LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
_EXPLICIT, _IMPLICIT, _BIG, _DEFLATED = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)
_JPEG, _JPEG_LOSSLESS, _JPEG_LS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80"
_J2K, _HTJ2K, _RLE, _JXL = (
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.110",
)
_COMPRESSED = (
    _JPEG,
    "1.2.840.10008.1.2.4.51",
    _JPEG_LOSSLESS,
    _JPEG_LS,
    _J2K,
    "1.2.840.10008.1.2.4.91",
    _HTJ2K,
    _RLE,
    _JXL,
)
_ROWS, _COLUMNS = 40, 50
_TEXT = [
    b"", b"0", b"-1", b"1e999", b"nan", b"inf", b"1\\2\\3", b"\\", b"LINEAR", b"SIGMOID", b"LINEAR_EXACT", b"INVERSE",
    b"IDENTITY", b"MONOCHROME1", b"MONOCHROME2", b"RGB", b"YBR_FULL_422", b"PALETTE COLOR", b"L\\F", b"R\\H", b"P\\F",
    b"ISO_IR 192", b"ISO 2022 IR 87\\ISO 2022 IR 13", b"1.2.3.4", b"1.2.840.10008.1.2", b"2.25." + b"9" * 60,
    b"\xff\xfe\x00\x1b$B", CANARY.encode(), CANARY.encode() + b"\n2", b"x" * 70_000, b"19500101", b"1" * 400,
]  # fmt: skip
_RAW = [
    b"",
    b"\0",
    b"\0\0",
    b"\1\0",
    b"\xff\xff",
    b"\xff" * 4,
    b"\0" * 8,
    b"\xff" * 8,
    struct.pack("<d", float("nan")),
]
Element = tuple[int, str, bytes, int | None]  # tag, VR, value, the length that is written where it is not the value's


class Dicoms:
    """Reads what it made by `read_image`."""

    name = "dicom"

    def __init__(self, folder: Path, heavy: bool = False) -> None:
        self.folder = folder
        self.streams = _streams()
        self.bombs = [deflated_bomb(2**31 if heavy else 2**24)]

    def case(self, random: Random) -> str:
        data = random.choice(self.bombs) if random.random() < 0.002 else self._file(random)
        path = self.folder / random.choice(("x.dcm", "x.dcm", "x", "x.png"))
        path.write_bytes(data)
        try:
            with listening():
                film = attempt(ImageReadError, read_image, path)
                keep_secret(film)
        finally:
            path.unlink()
        if not isinstance(film, Exception):
            shown = f"{film.view} {film.metadata} {film.pixel_spacing}".lower()
            if CANARY.lower() in shown:
                raise Finding(f"the metadata tell the patient's name: {shown[:300]}")
            if film.pixels.dtype != np.uint8 or film.pixels.ndim != 2:
                raise Finding(f"pixels of {film.pixels.dtype} {film.pixels.shape}")
        return outcome(film)

    def _file(self, random: Random) -> bytes:
        elements = {element[0]: element for element in base_elements()}
        syntax = _EXPLICIT
        draw = random.random()
        if draw < 0.25:
            syntax = random.choice(_COMPRESSED)
            self._compress(random, elements)
        elif draw < 0.45:
            syntax = random.choice((_IMPLICIT, _BIG, _DEFLATED, "1.2.3", "", CANARY))
        for _ in range(random.choice((0, 1, 1, 2, 4))):
            _edit(random, elements)
        if random.random() < 0.1:
            depth = random.choice((1, 10, 100, 1000, 3000))
            tag = random.choice((0x00082112, 0x00283010, 0x00283000, 0x00540220, 0x00400275))
            elements[tag] = (tag, "SQ", nested_sequences(depth), 0xFFFFFFFF)
        body = encode([elements[tag] for tag in sorted(elements)], "<" if syntax != _BIG else ">", syntax == _IMPLICIT)
        if random.random() < 0.15:
            body = bytes_of(random, body)
        if syntax == _DEFLATED:
            squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
            body = squeeze.compress(body) + squeeze.flush()
        return file_of(body, syntax) if random.random() < 0.9 else body

    def _compress(self, random: Random, elements: dict[int, Element]) -> None:
        """Pixel data in fragments: of another compression, of another size, damaged or missing."""
        stream = random.choice(self.streams)
        if random.random() < 0.6:
            stream = bytes_of(random, stream)
        fragments = [stream] if random.random() < 0.8 else [stream[: len(stream) // 2], stream[len(stream) // 2 :]]
        if random.random() < 0.1:
            fragments = fragments * random.choice((0, 2, 500))
        table = random.choice((b"", b"", b"\0" * 4, b"\xff" * 8))
        elements[0x7FE00010] = (0x7FE00010, "OB", encapsulate([table, *fragments]), 0xFFFFFFFF)


def base_elements() -> list[Element]:
    """A small film of 12 bits, with a patient."""
    ramp = np.linspace(0, 4095, _ROWS * _COLUMNS).astype("<u2")
    us = {
        0x00280002: 1,
        0x00280010: _ROWS,
        0x00280011: _COLUMNS,
        0x00280100: 16,
        0x00280101: 12,
        0x00280102: 11,
        0x00280103: 0,
    }
    texts = [
        (0x00080005, "CS", b"ISO_IR 100"), (0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.1.1"), (0x00080060, "CS",
        b"DX"),
        (0x00100010, "PN", CANARY.encode()), (0x00100020, "LO", CANARY.encode()), (0x00104000, "LT", CANARY.encode()),
        (0x00180015, "CS", b"CHEST"), (0x00185101, "CS", b"PA"), (0x00200020, "CS", b"L\\F"),
        (0x00280004, "CS", b"MONOCHROME2"), (0x00280030, "DS", b"0.14\\0.14"), (0x00281050, "DS", b"2048"),
        (0x00281051, "DS", b"4096"), (0x00281052, "DS", b"0"), (0x00281053, "DS", b"1"), (0x20500020, "CS",
        b"IDENTITY"),
    ]  # fmt: skip
    numbers = [(tag, "US", struct.pack("<H", value), None) for tag, value in us.items()]
    return [*numbers, *((*text, None) for text in texts), (0x7FE00010, "OW", ramp.tobytes(), None)]


def _edit(random: Random, elements: dict[int, Element]) -> None:
    tag = random.choice(list(elements))
    _, vr, value, length = elements[tag]
    kind = random.randrange(8)
    if kind == 0:
        del elements[tag]
    elif kind == 1:
        elements[tag] = (tag, random.choice(_VRS), value, length)
    elif kind == 2:
        wrong = random.choice((0, 1, 3, len(value) + 2, 65_535, 2**31, 0xFFFFFFFE, 0xFFFFFFFF))
        elements[tag] = (tag, vr, value, wrong)
    elif kind in (3, 4):
        elements[tag] = (tag, vr, random.choice(_TEXT if vr not in ("US", "OW") else _RAW), None)
    elif kind == 5:
        number = random.choice((0, 1, 2, 3, 7, 8, 12, 15, 16, 17, 32, 64, 100, 1000, 20_000, 65_535))
        tag = random.choice(
            (
                0x00280002,
                0x00280006,
                0x00280010,
                0x00280011,
                0x00280100,
                0x00280101,
                0x00280102,
                0x00280103,
                0x00280120,
                0x00280121,
            )
        )
        elements[tag] = (tag, random.choice(("US", "US", "US", "SS", "IS", "DS")), struct.pack("<H", number), None)
    elif kind == 6:
        tag = random.choice(
            (
                0x00280008,
                0x00280006,
                0x00281056,
                0x00280301,
                0x00181164,
                0x00182010,
                0x7FE00008,
                0x7FE00009,
                0x00281101,
                0x00281201,
                0x00281221,
                0x00280004,
                0x00080008,
                random.getrandbits(32),
            )
        )
        vr = random.choice(_VRS)
        elements[tag] = (tag, vr, random.choice(_TEXT + _RAW), None)
    else:
        table = random.choice((0x00283000, 0x00283010, 0x00540220))
        items = [(0x00080100, "SH", random.choice(_TEXT), None), (0x00080104, "LO", random.choice(_TEXT), None)]
        items += [(0x00283002, "US", random.choice((b"", b"\0\1\0\0\x10\0", b"\0\0\0\0\x10\0", b"\xff" * 6)), None)]
        items += [
            (
                0x00283006,
                random.choice(("OW", "US", "LO")),
                random.choice((b"", b"\0\1" * 256, b"\1", CANARY.encode())),
                None,
            )
        ]
        body = encode(items, "<", False)
        elements[table] = (table, "SQ", b"\xfe\xff\x00\xe0" + struct.pack("<I", len(body)) + body, None)


def encode(elements: list[Element], order: str, implicit: bool) -> bytes:
    """Elements as PS3.5 section 7.1 has them. Numbers of two bytes are turned for big endian."""
    parts = []
    for tag, vr, value, length in elements:
        if order == ">" and vr in ("US", "OW", "SS"):
            value = np.frombuffer(value[: len(value) // 2 * 2], dtype="<u2").byteswap().tobytes()
        value = value + b" " * (len(value) % 2 if vr not in ("US", "OW", "UI") else 0)
        size = len(value) if length is None else length
        parts.append(struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF))
        if implicit:
            parts.append(struct.pack("<I", min(size, 0xFFFFFFFF)))
        elif vr in _LONG:
            parts.append(vr.encode() + b"\0\0" + struct.pack(f"{order}I", min(size, 0xFFFFFFFF)))
        else:
            parts.append(vr.encode() + struct.pack(f"{order}H", size & 0xFFFF))
        parts.append(value)
    return b"".join(parts)


def file_of(body: bytes, syntax: str) -> bytes:
    """With preamble and meta header (PS3.10 section 7.1)."""
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = encode(
        [(0x00020002, "UI", b"1.2.840.10008.5.1.4.1.1.1.1\0", None), (0x00020010, "UI", uid, None)], "<", False
    )
    return (
        b"\0" * 128
        + b"DICM"
        + encode([(0x00020000, "UL", struct.pack("<I", len(meta)), None)], "<", False)
        + meta
        + body
    )


def nested_sequences(depth: int) -> bytes:
    """Items of undefined length within each other."""
    start = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + struct.pack("<HH", 0x0040, 0x0275) + b"SQ\0\0\xff\xff\xff\xff"
    end = b"\xfe\xff\xdd\xe0\0\0\0\0\xfe\xff\x0d\xe0\0\0\0\0"
    return start * depth + end * depth + b"\xfe\xff\xdd\xe0\0\0\0\0"


def encapsulate(fragments: list[bytes]) -> bytes:
    """Fragments with their offset table first (PS3.5 section A.4)."""
    items = (
        b"\xfe\xff\x00\xe0" + struct.pack("<I", len(f) + len(f) % 2) + f + b"\0" * (len(f) % 2) for f in fragments
    )
    return b"".join(items) + b"\xfe\xff\xdd\xe0\0\0\0\0"


def deflated_bomb(size: int) -> bytes:
    """A deflated data set that inflates to `size` bytes of private data behind its header."""
    body = encode([*base_elements()[:-1], (0x00291010, "OB", b"", size)], "<", False)
    return file_of(repeated_deflate(bytes(2**20), size >> 20, body, raw=True), _DEFLATED)


def codestream(side: tuple[int, int], kind: str) -> bytes:
    """A JPEG or JPEG 2000 stream whose header states another size, (height, width), than it holds."""
    stream = io.BytesIO()
    Image.fromarray(np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))).save(stream, kind)
    data = bytearray(stream.getvalue())
    if kind == "JPEG":
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", *side)
    else:
        at = data.index(b"\xff\x4f\xff\x51")
        data = data[at:]
        data[8:16] = struct.pack(">II", side[1], side[0])
        data[24:32] = struct.pack(">II", side[1], side[0])
    return bytes(data)


def _streams() -> list[bytes]:
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, _COLUMNS).astype(np.uint8), (_ROWS, 1)))
    streams = []
    for kind, options in (("JPEG", {}), ("JPEG", {"progressive": True}), ("JPEG2000", {}), ("PNG", {})):
        stream = io.BytesIO()
        ramp.save(stream, kind, **options)
        streams.append(stream.getvalue())
    start = streams[2].index(b"\xff\x4f\xff\x51")
    rle = struct.pack("<16I", 2, 64, 64 + 20, *[0] * 13) + b"\x7f" + bytes(60)
    large = [codestream(side, kind) for side in ((60_000, 60_000), (65_535, 65_535)) for kind in ("JPEG", "JPEG2000")]
    return [
        *streams,
        streams[2][start:],
        rle,
        bytes(64),
        b"\xff\xd8\xff\xf7\x00\x0b\x10\x00\x28\x00\x32\x01\x01\x11\x00",
        *large,
    ]
