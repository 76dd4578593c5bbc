"""What models that write masks are asked and answer."""

from pathlib import Path
from random import Random

from anatomy_vlm.processing.mask_text_anatomy_vlm import (
    MaskGrammar,
    MaskTextError,
    match_structures,
    read_answer,
    read_prompt,
    write_answer,
)
from fuzzing.expect import Finding, attempt, outcome
from fuzzing.mutate import text_of


_PIECES = (
    "<loc0400>", "<loc0312>", "<loc0703>", "<loc1023>", "<loc1024>", "<loc999999>", "<loc9999999>", "<loc-1>",
    "<seg000>",
    "<seg127>", "<seg128>", "<seg>", "<loc", "loc0001>", " heart", " left lung", " ; ", ";", "detect ", "segment ",
    "caption ", "SEGMENT ", "\n", "\0", "\u202e", "\u0661\u0662", "<loc\u0660\u0660\u0660\u0661>", "  ", "\U0001f600",
    "</s>", "<pad>",
)  # fmt: skip
_NAMES = {"heart": "heart", "left lung": "left lung"}


class Tokens:
    """Reads answers and prompts; what is usable is written and read again."""

    name = "tokens"

    def __init__(self, folder: Path, heavy: bool = False) -> None:
        self.grammars = (MaskGrammar(), MaskGrammar(64, 8, 2))
        self.longest = 1_000_000 if heavy else 10_000

    def case(self, random: Random) -> str:
        grammar = random.choice(self.grammars)
        text = "".join(random.choice(_PIECES) for _ in range(random.randint(0, 60)))
        if random.random() < 0.3:
            text = text_of(random, text)
        if random.random() < 0.02 and text:
            text = text * (self.longest // len(text))
        answers = attempt((), read_answer, text, grammar)
        for answer in answers:
            well = len(answer.codes) in (0, 4, 4 + grammar.num_shape_codes)
            sizes = [grammar.loc_size] * 4 + [grammar.seg_size] * grammar.num_shape_codes
            if not well or not all(0 <= code < size for code, size in zip(answer.codes, sizes, strict=False)):
                raise Finding(f"codes {answer.codes}")
            if not 0 <= answer.start <= answer.end <= len(text) or (not answer.codes and not answer.problems):
                raise Finding(f"an object {answer} of {text[:200]!r}")
        match_structures(answers, _NAMES)
        usable = [(answer.codes, answer.name) for answer in answers if answer.codes and answer.name]
        again = read_answer(write_answer(usable, grammar)[:90_000], grammar)
        if len(text) < 50_000 and [(a.codes, a.name) for a in again] != usable:
            raise Finding(f"{usable} is read again as {again}")
        return outcome(attempt(MaskTextError, read_prompt, text, grammar))
