# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""The text protocol of mask-writing models, as PaliGemma and CheXanatomy (arXiv 2606.08420) have it.

| prompt | answer |
|---|---|
| `detect heart` | `<loc0400><loc0312><loc0703><loc0625> heart` |
| `segment heart ; left lung` | `<loc..>x4<seg..>x16 heart ; <loc..>x4<seg..>x16 left lung` |
| `caption <loc..>x4` or `caption <loc..>x4<seg..>x16` | `heart` |

Places are y0, x0, y1, x1. Structures that are absent are left out of an answer; if all are, it is empty.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


TASKS = ("detect", "segment", "caption")
SEPARATOR = " ; "
_TOKEN = re.compile(r"<(loc|seg)([0-9]{1,6})>")
# Answers are short; what a model writes beyond this is not looked at.
MAX_CHARACTERS = 100_000


class MaskTextError(ValueError):
    """A prompt that cannot be understood; one line that says what is wrong with it."""


@dataclass(frozen=True)
class MaskPrompt:
    """
    A prompt, taken apart.

    Args:
        task: "detect", "segment" or "caption".
        structures: Names asked for, as they were written; empty for a caption.
        codes: Places and shapes of a caption's mask.
    """

    task: str
    structures: tuple[str, ...] = ()
    codes: tuple[int, ...] = ()


@dataclass(frozen=True)
class MaskAnswer:
    """
    One object of an answer.

    Args:
        name: The structure's name as it was written, without spaces around; "" where there is none.
        codes: Four places, or these and the shape; empty where they cannot be used.
        problems: What is wrong with it, one phrase each; empty for a well-formed object.
        start, end: Its characters in the answer.
    """

    name: str
    codes: tuple[int, ...] = ()
    problems: tuple[str, ...] = ()
    start: int = 0
    end: int = 0


@dataclass(frozen=True)
class MaskGrammar:
    """
    What a well-formed object looks like.

    Args:
        loc_size, seg_size: Values of a place and of a shape token.
        num_shape_codes: Shape tokens of a mask.
    """

    loc_size: int = 1024
    seg_size: int = 128
    num_shape_codes: int = 16
    _widths: tuple[int, int] = field(default=(4, 3), repr=False)

    def __post_init__(self) -> None:
        if min(self.loc_size, self.seg_size, self.num_shape_codes) < 1:
            raise ValueError("a grammar needs at least one value and one shape token")
        object.__setattr__(self, "_widths", (4, len(str(self.seg_size - 1))))

    def write(self, codes: Sequence[int]) -> str:
        """
        The tokens of four places, or of these and a shape.

        Example:
            >>> MaskGrammar().write([400, 312, 703, 625])
            '<loc0400><loc0312><loc0703><loc0625>'
        """
        if len(codes) not in (4, 4 + self.num_shape_codes):
            raise ValueError(f"expected 4 or {4 + self.num_shape_codes} codes, not {len(codes)}")
        loc, seg = self._widths
        return "".join(f"<loc{c:0{loc}d}>" if i < 4 else f"<seg{c:0{seg}d}>" for i, c in enumerate(codes))


def write_prompt(task: str, structures: Iterable[str]) -> str:
    """
    A prompt for one or more structures.

    Example:
        >>> write_prompt("segment", ["heart", "left lung"])
        'segment heart ; left lung'
    """
    if task not in ("detect", "segment"):
        raise MaskTextError(f"the task '{task}' takes no structures; choose detect or segment")
    names = [" ".join(name.split()) for name in structures]
    if not names or not all(names):
        raise MaskTextError(f"'{task}' needs at least one structure, such as 'heart'")
    return f"{task} {SEPARATOR.join(names)}"


def read_prompt(text: str, grammar: MaskGrammar | None = None) -> MaskPrompt:
    """
    Take a prompt apart.

    Raises:
        MaskTextError: for an unknown task, or one without what it needs.

    Example:
        >>> read_prompt("segment heart; left lung").structures
        ('heart', 'left lung')
    """
    task, _, rest = text.strip().partition(" ")
    task = task.lower()
    if task not in TASKS:
        raise MaskTextError(f"unknown task {task[:40]!r}; a prompt begins with {', '.join(TASKS)}")
    if task == "caption":
        answers = read_answer(rest + " x", grammar)
        if len(answers) != 1 or not answers[0].codes:
            raise MaskTextError("a caption needs the tokens of one box or mask, such as <loc0400><loc0312>...")
        return MaskPrompt(task, codes=answers[0].codes)
    names = tuple(" ".join(part.split()) for part in rest.split(";"))
    if not all(names):
        raise MaskTextError(f"'{task}' needs the names of structures, separated by ';'")
    return MaskPrompt(task, names)


def write_answer(objects: Iterable[tuple[Sequence[int], str]], grammar: MaskGrammar | None = None) -> str:
    """
    The answer for objects of codes and names; those without codes are absent and left out.

    Example:
        >>> write_answer([([1, 2, 3, 4], "heart"), ([], "liver")])
        '<loc0001><loc0002><loc0003><loc0004> heart'
    """
    grammar = grammar or MaskGrammar()
    return SEPARATOR.join(f"{grammar.write(codes)} {name}" for codes, name in objects if len(codes))


def read_answer(text: str, grammar: MaskGrammar | None = None) -> list[MaskAnswer]:
    """
    The objects of an answer, whatever a model has written; what is malformed says what is wrong with it.

    An object whose shape is incomplete or out of range keeps its box; one without four places has no codes.

    Example:
        >>> [answer.problems for answer in read_answer("<loc0001><loc0002> heart")]
        [('2 places instead of 4',)]
    """
    grammar = grammar or MaskGrammar()
    text = text[:MAX_CHARACTERS]
    answers, start = [], 0
    for part in text.split(";"):
        end = start + len(part)
        if part.strip():
            answers.append(_read_object(part, start, end, grammar))
        start = end + 1
    return answers


def _read_object(part: str, start: int, end: int, grammar: MaskGrammar) -> MaskAnswer:
    problems: list[str] = []
    tokens = [(kind, int(digits)) for kind, digits in _TOKEN.findall(part)]
    name = " ".join(_TOKEN.sub(" ", part).split())
    kinds = [kind for kind, _ in tokens]
    places = kinds.index("seg") if "seg" in kinds else len(kinds)
    if "loc" in kinds[places:]:
        problems.append("a place after the shape")
    box = [value for kind, value in tokens[:places]]
    shape = [value for kind, value in tokens if kind == "seg"]
    if not name:
        problems.append("no name")
    if len(box) != 4:
        problems.append(f"{len(box)} places instead of 4")
        return MaskAnswer(name, (), tuple(problems), start, end)
    if max(box) >= grammar.loc_size:
        problems.append(f"place {max(box)} is out of range")
        return MaskAnswer(name, (), tuple(problems), start, end)
    if box[2] <= box[0] or box[3] <= box[1]:
        problems.append("an empty box")
        return MaskAnswer(name, (), tuple(problems), start, end)
    if shape and len(shape) != grammar.num_shape_codes:
        problems.append(f"{len(shape)} shape tokens instead of {grammar.num_shape_codes}")
        shape = []
    if shape and max(shape) >= grammar.seg_size:
        problems.append(f"shape token {max(shape)} is out of range")
        shape = []
    return MaskAnswer(name, (*box, *shape), tuple(problems), start, end)


def match_structures(answers: Iterable[MaskAnswer], names: Mapping[str, str]) -> dict[str, MaskAnswer]:
    """
    Answers by structure: the first usable one of each, by any of its names (`names` maps them, lower-cased, to keys).
    """
    found: dict[str, MaskAnswer] = {}
    for answer in answers:
        key = names.get(answer.name.lower())
        if key is not None and answer.codes and key not in found:
            found[key] = answer
    return found


__all__ = [
    "MaskAnswer",
    "MaskGrammar",
    "MaskPrompt",
    "MaskTextError",
    "match_structures",
    "read_answer",
    "read_prompt",
    "write_answer",
    "write_prompt",
]
