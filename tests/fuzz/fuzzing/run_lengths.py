"""Run lengths of CheXmask, SIIM-ACR and COCO."""

from pathlib import Path
from random import Random

import numpy as np

from anatomy_vlm.training.loaders.run_length import (
    RunLengthError,
    decode_chexmask,
    decode_siim,
    encode_chexmask,
    encode_siim,
)
from fuzzing.expect import Finding, attempt, outcome
from fuzzing.mutate import NUMBERS, text_of


_SIZES = (0, 1, 2, 3, 40, 1024)
_BAD_SIZES = (-1, -(2**40), 10**6, 2**40, 2**63)


class RunLengths:
    """Decodes; what it gets is encoded and decoded again."""

    name = "rle"

    def __init__(self, folder: Path, heavy: bool = False) -> None:
        self.pairs = ((decode_chexmask, encode_chexmask), (decode_siim, encode_siim))

    def case(self, random: Random) -> str:
        decode, encode = random.choice(self.pairs)
        height, width = random.choice(_SIZES), random.choice(_SIZES)
        if random.random() < 0.5:
            mask = np.random.default_rng(random.getrandbits(32)).random((min(height, 40), min(width, 40))) < 0.5
            text = encode(mask)
            text = text if random.random() < 0.2 else text_of(random, text)
        else:
            numbers = [n for n in NUMBERS if isinstance(n, int)] + [1, 2, 3] * 10
            text = " ".join(str(random.choice(numbers)) for _ in range(random.choice((1, 2, 4, 5, 40))))
        if random.random() < 0.05:
            height = random.choice(_BAD_SIZES)
        mask = attempt(RunLengthError, decode, text, height, width)
        if not isinstance(mask, Exception):
            if mask.shape != (height, width) or mask.dtype != bool:
                raise Finding(f"a mask of {mask.dtype} {mask.shape} instead of {(height, width)}")
            if not np.array_equal(decode(encode(mask), height, width), mask):
                raise Finding(f"{text[:200]!r}: encoded again it is another mask")
        return f"{decode.__name__} {outcome(mask)}"
