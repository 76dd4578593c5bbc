"""Slips of spelling in long words of the vocabulary: "pnuemothorax", "cardiomegally", "consolidaton"."""

from collections.abc import Iterator
from functools import cache, lru_cache

from .lexicon import default_lexicon, frames_table


# In shorter words one wrong letter often makes another right one.
_SHORTEST = 7


def _without_one(word: str) -> Iterator[str]:
    yield from (word[:index] + word[index + 1 :] for index in range(len(word)))


def _one_slip(wrong: str, right: str) -> bool:
    """Whether one letter was left out, added or replaced, or two neighbours exchanged."""
    start = 0
    while start < min(len(wrong), len(right)) and wrong[start] == right[start]:
        start += 1
    behind_wrong, behind_right = wrong[start:], right[start:]
    if len(wrong) != len(right):
        return behind_wrong[1:] == behind_right or behind_wrong == behind_right[1:]
    swapped = behind_right[1:2] + behind_right[:1] + behind_right[2:]
    return behind_wrong[1:] == behind_right[1:] or behind_wrong == swapped


@cache
def _right_words() -> frozenset[str]:
    return default_lexicon().words() | frozenset(frames_table()["not_slips"])


@cache
def _spellings() -> dict[str, tuple[str, ...]]:
    """Long words of findings and places, by themselves with one letter left out, and as they are."""
    found: dict[str, dict[str, None]] = {}
    for word in default_lexicon().words("find", "place"):
        if len(word) >= _SHORTEST:
            for key in (word, *_without_one(word)):
                found.setdefault(key, {})[word] = None
    return {key: tuple(words) for key, words in found.items()}


@cache
def _longest() -> int:
    """Letters beyond which no word is one slip away from one of the vocabulary."""
    return 1 + max(map(len, _spellings()))


@lru_cache(maxsize=16384)
def corrected(word: str) -> str:
    """The word of the vocabulary that is one slip away and begins with the same letter, if it is the only one.

    Words that the reader knows, short ones, and those of `not_slips` in `frames.yaml` stay as they are.

    Examples:
        >>> corrected("pnuemothorax"), corrected("injection")
        ('pneumothorax', 'injection')
    """
    if not _SHORTEST <= len(word) <= _longest() or not word.isalpha() or word in _right_words():
        return word
    near = {
        right
        for key in (word, *_without_one(word))
        for right in _spellings().get(key, ())
        if right[0] == word[0] and len(word) + len(right) > 2 * _SHORTEST and _one_slip(word, right)
    }
    return near.pop() if len(near) == 1 else word
