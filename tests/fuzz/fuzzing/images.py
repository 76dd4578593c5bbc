"""PNG, JPEG, TIFF and BMP: damaged, truncated, with foreign headers, with bombs in them."""

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from anatomy_vlm.processing.image_io import read_image
from anatomy_vlm.processing.radiograph import ImageReadError
from anatomy_vlm.training.loaders.scaled_image import read_scaled
from fuzzing.expect import Finding, attempt, outcome
from fuzzing.mutate import bytes_of, repeated_deflate


_RAMP = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
_PNG = b"\x89PNG\r\n\x1a\n"
_SIDES = (0, 1, 15, 16, 64, 20_000, 20_001, 65_535, 2**31 - 1, 2**32 - 1)


class Images:
    """Reads what it made by `read_image` and by `read_scaled`."""

    name = "image"

    def __init__(self, folder: Path, heavy: bool = False) -> None:
        self.folder = folder
        self.seeds = _seeds()
        self.bombs = BOMBS if heavy else ()

    def case(self, random: Random) -> str:
        if self.bombs and random.random() < 0.003:
            data = random.choice(self.bombs)()
        else:
            data = _mutated(random, random.choice(self.seeds))
        path = self.folder / random.choice(("x.png", "x.jpg", "x.tif", "x.dcm", "x"))
        path.write_bytes(data)
        try:
            film = attempt(ImageReadError, read_image, path)
            if not isinstance(film, Exception):
                if film.pixels.dtype != np.uint8 or film.pixels.ndim != 2 or min(film.pixels.shape) < 16:
                    raise Finding(f"pixels of {film.pixels.dtype} {film.pixels.shape}")
            elif not str(film).startswith(str(path)):
                raise Finding(f"an error that does not begin with the file: {film}")
            attempt(ImageReadError, read_scaled, path, 32)
        finally:
            path.unlink()
        return outcome(film)


def _seeds() -> list[bytes]:
    gray, deep = Image.fromarray(_RAMP), Image.fromarray(_RAMP.astype(np.uint16) * 257)
    colour = Image.merge("RGB", (gray, gray.transpose(Image.Transpose.FLIP_LEFT_RIGHT), gray))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a film"
    kinds = [
        ("PNG", gray, {}), ("PNG", deep, {}), ("PNG", colour, {}), ("PNG", gray.convert("P"), {"transparency": 3}),
        ("PNG", gray.convert("1"), {}), ("PNG", gray.convert("LA"), {}), ("PNG", colour.convert("RGBA"), {}),
        ("PNG", gray, {"save_all": True, "append_images": [gray, gray]}), ("PNG", gray, {"exif": exif}),
        ("JPEG", gray, {}), ("JPEG", colour, {"exif": exif}), ("JPEG", colour.convert("CMYK"), {}),
        ("JPEG", gray, {"progressive": True}), ("JPEG", colour, {"quality": 5, "restart_marker_blocks": 1}),
        ("TIFF", gray, {}), ("TIFF", deep, {"compression": "tiff_adobe_deflate"}),
        ("TIFF", Image.fromarray(_RAMP / 255.0).convert("F"), {}), ("TIFF", gray.convert("1"),
        {"compression": "group4"}),
        ("TIFF", deep, {"tiffinfo": {262: 0}}), ("TIFF", colour.convert("CMYK"), {"compression": "tiff_lzw"}),
        ("TIFF", gray, {"save_all": True, "append_images": [deep, gray], "compression": "packbits"}),
        ("TIFF", colour, {"compression": "jpeg"}), ("TIFF", Image.fromarray(_RAMP.astype(np.int32)), {}),
        ("TIFF", colour.convert("LAB"), {}), ("TIFF", colour.convert("YCbCr"), {}),
        ("BMP", gray, {}), ("BMP", colour, {}), ("BMP", gray.convert("1"), {}),
        ("GIF", gray, {}), ("WEBP", colour, {}), ("PPM", gray, {}),
    ]  # fmt: skip
    seeds = []
    for kind, image, options in kinds:
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        seeds.append(stream.getvalue())
    return seeds


def _mutated(random: Random, data: bytes) -> bytes:
    draw = random.random()
    if draw < 0.05:
        return data
    if data.startswith(_PNG) and draw < 0.7:
        return _odd_png(random, data)
    if data[:2] == b"\xff\xd8" and draw < 0.5:
        return _odd_jpeg(random, data)
    if data[:2] in (b"II", b"MM") and draw < 0.6:
        return _odd_tiff(random)
    return bytes_of(random, data)


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _odd_png(random: Random, data: bytes) -> bytes:
    """Chunks with right checksums in a wrong order, number or content."""
    chunks, at = [], len(_PNG)
    while at + 12 <= len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += size + 12
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(chunks))
        kind = random.randrange(6)
        if kind == 0:
            header = bytearray(chunks[0][1])
            if len(header) >= 13:
                width, height = random.choice(_SIDES), random.choice(_SIDES)
                header[:8] = struct.pack(">II", width, height)
                header[8 + random.randrange(5)] = random.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
            chunks[0] = (chunks[0][0], bytes(header))
        elif kind == 1:
            chunks.insert(place, random.choice(chunks))
        elif kind == 2 and len(chunks) > 1:
            del chunks[place]
        elif kind == 3:
            chunks[place] = (chunks[place][0], bytes_of(random, chunks[place][1]))
        elif kind == 4:
            name = random.choice(
                (b"tRNS", b"PLTE", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"zTXt", b"iTXt", b"iCCP", b"pHYs")
            )
            content = bytes(random.randrange(256) for _ in range(random.choice((0, 1, 4, 8, 26, 768))))
            if name in (b"zTXt", b"iCCP"):
                content = b"k\0\0" + zlib.compress(b"\0" * random.choice((10, 3_000_000)))
            chunks.insert(place, (name, content))
        else:
            random.shuffle(chunks)
    return _PNG + b"".join(png_chunk(name, content) for name, content in chunks)


def _odd_jpeg(random: Random, data: bytes) -> bytes:
    """Other sizes, tables and scans."""
    content = bytearray(data)
    frame = next(
        (i for i in range(len(content) - 1) if content[i] == 0xFF and content[i + 1] in (0xC0, 0xC1, 0xC2)), 0
    )
    kind = random.randrange(4)
    if kind == 0 and frame:
        content[frame + 5 : frame + 9] = struct.pack(
            ">HH", *(random.choice((0, 1, 16, 64, 20_000, 65_535)) for _ in "hw")
        )
    elif kind == 1 and frame:
        content[frame + 1] = random.choice((0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA))
    elif kind == 2:
        scan = bytes(content).rfind(b"\xff\xda")
        content[-2:-2] = bytes(content[scan:-2]) * random.choice((1, 20, 2000))
    return bytes(content) if kind < 3 else bytes_of(random, bytes(content))


def tiff(entries: list[tuple[int, int, int, int]], rest: bytes = b"", pages: int = 1) -> bytes:
    """A little-endian TIFF of IFD entries (tag, type, count, value), one and the same page, and bytes behind."""
    size = 2 + 12 * len(entries) + 4
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    links = (8 + size * (page + 1) if page + 1 < pages else 0 for page in range(pages))
    return b"II*\0" + struct.pack("<I", 8) + b"".join(body + struct.pack("<I", link) for link in links) + rest


def _odd_tiff(random: Random) -> bytes:
    width, height = random.choice((16, 64, 64, 64, 20_000, 65_535)), random.choice((16, 48, 48, 48, 20_000, 2**31))
    bits = random.choice((1, 2, 4, 8, 8, 12, 16, 16, 32, 64))
    entries = {
        256: (256, 4, 1, width), 257: (257, 4, 1, height), 258: (258, 3, 1, bits),
        259: (259, 3, 1, random.choice((1, 1, 1, 2, 5, 7, 8, 32773, 34925, 50000, 99))),
        262: (262, 3, 1, random.choice((0, 1, 1, 2, 3, 5, 6, 8, 32803))), 273: (273, 4, 1, 0),
        277: (277, 3, 1, random.choice((1, 1, 1, 2, 3, 4, 5, 65535))), 278: (278, 4, 1, height),
        279: (279, 4, 1, random.choice((0, 100, 48 * 64 * 2, 2**32 - 1))), 339: (339, 3, 1, random.choice((1, 2, 3, 4,
        9))),
    }  # fmt: skip
    for _ in range(random.randint(0, 3)):
        tag = random.choice([*entries, 274, 317, 320, 322, 324, 330, 34665, 34675, 37724, 65000])
        kind, count = random.choice((1, 2, 3, 4, 5, 7, 10, 12, 99)), random.choice((0, 1, 2, 1000, 2**28, 2**32 - 1))
        entries[tag] = (tag, kind, count, random.choice((0, 1, 8, 100, 2**31, 2**32 - 1)))
    if random.random() < 0.2:
        entries.pop(random.choice(list(entries)))
    pages = random.choice((1, 1, 1, 1, 2, 300))
    ordered = [entries[tag] for tag in sorted(entries)]
    start = 8 + pages * (2 + 12 * len(ordered) + 4)
    ordered = [(273, 4, 1, start) if entry[0] == 273 and random.random() < 0.9 else entry for entry in ordered]
    return tiff(ordered, bytes(random.randrange(256) for _ in range(256)) * 24, pages)


def large_png(width: int, height: int, depth: int, colour: int) -> bytes:
    """A PNG of a few hundred kilobytes at most whose rows are all alike; `height` is a multiple of 64."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    size = (width * channels * depth + 7) // 8
    row = b"\0" + (bytes(range(256)) * (size // 256 + 1))[:size]
    content = repeated_deflate(row * 64, height // 64)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    palette = png_chunk(b"PLTE", bytes(range(256)) * 3) if colour == 3 else b""
    return _PNG + png_chunk(b"IHDR", header) + palette + png_chunk(b"IDAT", content) + png_chunk(b"IEND", b"")


def large_tiff(width: int, height: int, bits: int, sample_format: int) -> bytes:
    """A deflated TIFF whose rows are all alike; `height` is a multiple of 64."""
    levels = np.linspace(0, 1000, width)
    row = (levels.astype(np.float32) if sample_format == 3 else levels.astype(f"<u{bits // 8}")).tobytes()
    content = repeated_deflate(row * 64, height // 64)
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, 8), (262, 3, 1, 1),
        (273, 4, 1, 8 + 2 + 12 * 10 + 4), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, len(content)),
        (339, 3, 1, sample_format),
    ]  # fmt: skip
    return tiff(entries, content)


def many_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG that repeats its last scan."""
    stream = io.BytesIO()
    ramp = np.tile(np.linspace(0, 255, side).astype(np.uint8), (side, 1))
    Image.fromarray(ramp).save(stream, "JPEG", progressive=True, quality=30)
    data = stream.getvalue()
    last = data.rfind(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + data[-2:]


def many_pages(pages: int) -> bytes:
    """A TIFF of small pages."""
    entries = [(256, 4, 1, 64), (257, 4, 1, 48), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 0)]
    entries += [(277, 3, 1, 1), (278, 4, 1, 48), (279, 4, 1, 64 * 48)]
    entries[5] = (273, 4, 1, 8 + pages * (2 + 12 * 9 + 4))
    return tiff(entries, _RAMP.tobytes(), pages)


# Just below the limits, and beyond: made when they are drawn.
BOMBS: tuple[Callable[[], bytes], ...] = (
    partial(large_png, 10_000, 11_968, 8, 0),
    partial(large_png, 10_000, 11_968, 16, 0),
    partial(large_png, 19_000, 6_272, 8, 2),
    partial(large_png, 10_000, 11_968, 8, 6),
    partial(large_png, 10_000, 11_968, 1, 0),
    partial(large_png, 10_000, 11_968, 8, 3),
    partial(large_png, 10_000, 11_968, 16, 6),
    partial(large_png, 20_000, 19_968, 1, 0),
    partial(large_tiff, 10_000, 11_968, 16, 1),
    partial(large_tiff, 10_000, 11_968, 32, 3),
    partial(large_tiff, 10_000, 11_968, 32, 1),
    partial(many_scans, 2000, 1000),
    partial(many_pages, 100_000),
)
