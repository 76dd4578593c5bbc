"""Mutations of bytes, texts and nested data; all of them functions of a `random.Random`."""

import copy
import json
import math
import zlib
from collections.abc import Sequence
from random import Random
from typing import Any


LENGTHS = (0, 1, 2, 3, 7, 8, 64, 255, 256, 1024, 4095, 65535)
NUMBERS = (
    0, 1, -1, 2, 7, 127, 128, 255, 256, 4095, 32767, 65535, 65536, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53, 2**63 - 1,
    2**63, -(2**63), 2**64, 10**30, 10**400, 0.0, -0.0, 0.5, 1e-300, 1e300, 5e-324, math.nan, math.inf, -math.inf,
)  # fmt: skip
TEXTS = (
    "", " ", "\n", "\0", "a\nb", "\x1b[31mred", "\ufeff", "\u202eabc", "é", "İ", "ß", "\U0001d538", "\ud800", "%s",
    "{}", "\\",
    "'", '"', "../../etc/passwd", "/etc/passwd", "C:\\x", "nan", "1e999", "-1", "0x10", "1_000", "\u0661\u0662",
    "true", "null",
    "left lung", "pneumothorax", "present", "train", "PA", "a" * 300, "x" * 70_000, "1" * 5000, "; " * 40,
)  # fmt: skip


def bytes_of(random: Random, data: bytes, edits: int = 8) -> bytes:
    """Bytes with some overwritten, removed, doubled or cut off."""
    content = bytearray(data)
    for _ in range(random.randint(1, edits)):
        if not content:
            break
        place = random.randrange(min(len(content), 200) if random.random() < 0.5 else len(content))
        kind = random.randrange(7)
        if kind == 0:
            content[place] = random.randrange(256)
        elif kind == 1:
            content[place] ^= 1 << random.randrange(8)
        elif kind == 2:
            size = random.choice((2, 4, 8))
            number = random.choice([n for n in NUMBERS if isinstance(n, int) and 0 <= n < 256**size])
            content[place : place + size] = number.to_bytes(size, random.choice(("little", "big")))
        elif kind == 3:
            del content[place : place + random.choice(LENGTHS[:9])]
        elif kind == 4:
            content[place:place] = content[place : place + random.choice(LENGTHS[:9])] * random.choice((1, 2, 50))
        elif kind == 5:
            content[place:place] = bytes(random.randrange(256) for _ in range(random.choice(LENGTHS[:7])))
        else:
            del content[random.randrange(len(content)) :]
    return bytes(content)


def text_of(random: Random, text: str, edits: int = 4) -> str:
    """A text with pieces replaced, repeated or removed."""
    for _ in range(random.randint(1, edits)):
        place = random.randint(0, len(text))
        end = min(len(text), place + random.choice(LENGTHS[:9]))
        kind = random.randrange(4)
        if kind == 0:
            text = text[:place] + random.choice(TEXTS) + text[end:]
        elif kind == 1:
            text = text[:place] + text[place:end] * random.choice((2, 30)) + text[end:]
        elif kind == 2:
            text = text[:place] + text[end:]
        else:
            text = text[:place] + str(random.choice(NUMBERS)) + text[end:]
    return text


def repeated_deflate(block: bytes, times: int, first: bytes = b"", raw: bool = False) -> bytes:
    """What deflate makes of `first` and `times` blocks, without compressing each: a bomb at the price of one block."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    start = squeeze.compress(first) + squeeze.flush(zlib.Z_FULL_FLUSH)
    once = squeeze.compress(block) + squeeze.flush(zlib.Z_FULL_FLUSH)
    stream = start + once * times + b"\x03\x00"
    if raw:
        return stream
    checksum = zlib.adler32(first)
    for _ in range(times):
        checksum = zlib.adler32(block, checksum)
    return b"\x78\xda" + stream + checksum.to_bytes(4, "big")


def nested(random: Random, depth: int | None = None) -> Any:
    """Lists or objects within each other, up to some thousands deep."""
    value: Any = random.choice((1, "x", None))
    for _ in range(depth or random.choice((3, 20, 70, 400, 990, 5000, 20_000))):
        value = [value] if random.random() < 0.5 else {"a": value}
    return value


def odd_value(random: Random) -> Any:
    """A value that is seldom what is expected."""
    kind = random.randrange(10)
    if kind < 3:
        return random.choice(NUMBERS)
    if kind < 6:
        return random.choice(TEXTS)
    simple: Sequence[Any] = (
        None,
        True,
        False,
        [],
        {},
        [[]],
        {"": None},
        [1, 2, 3, 4],
        [None] * 4,
        {"a": [1]},
        [{}],
        "x",
    )
    if kind < 9:
        return copy.deepcopy(random.choice(simple))
    return nested(random)


def data_of(random: Random, data: Any, edits: int = 3) -> Any:
    """Nested data with values replaced, removed, renamed, doubled or exchanged."""
    data = copy.deepcopy(data)
    for _ in range(random.randint(1, edits)):
        data = _edited(random, data)
    return data


def _edited(random: Random, data: Any) -> Any:
    holder, key, target = None, None, data
    # Walk to a random place, deeper ones as likely as shallow ones.
    while isinstance(target, (dict, list)) and target and (holder is None or random.random() < 0.8):
        if isinstance(target, dict):
            holder, key = target, random.choice(list(target))
        else:
            holder, key = target, random.randrange(len(target))
        target = holder[key]
    if holder is None or random.random() < 0.02:
        return odd_value(random)
    kind = random.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[str(random.choice(TEXTS))] = holder.pop(key)
    elif kind == 2 and isinstance(holder, list):
        holder.insert(key, target)
    elif kind == 3 and isinstance(target, str):
        holder[key] = text_of(random, target)
    else:
        holder[key] = odd_value(random)
    return data


def dump_json(value: Any) -> str:
    """
    JSON of any depth, with NaN and lone surrogates, which `json.dumps` cannot write below its recursion limit: written
    without recursion.
    """
    parts: list[str] = []
    stack: list[Any] = [value]
    marks = object()
    while stack:
        item = stack.pop()
        if isinstance(item, tuple) and item and item[0] is marks:
            parts.append(item[1])
        elif isinstance(item, dict):
            stack.append((marks, "}"))
            for number, (key, inner) in enumerate(reversed(list(item.items()))):
                stack.append(inner)
                stack.append((marks, f"{json.dumps(str(key))}: "))
                if number + 1 < len(item):
                    stack.append((marks, ", "))
            stack.append((marks, "{"))
        elif isinstance(item, (list, tuple)):
            stack.append((marks, "]"))
            for number, inner in enumerate(reversed(list(item))):
                stack.append(inner)
                if number + 1 < len(item):
                    stack.append((marks, ", "))
            stack.append((marks, "["))
        elif isinstance(item, int) and not isinstance(item, bool) and abs(item) > 10**300:
            # More digits than `int` takes from a text.
            parts.append("1" * 5000)
        else:
            parts.append(json.dumps(item))
    return "".join(parts)
