# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""Well-formed answers to a prompt as an automaton over tokens, for any tokenizer with `<loc>` and `<seg>` tokens."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .mask_text_anatomy_vlm import SEPARATOR, MaskGrammar, MaskPrompt


# Kinds of states: what may follow. After "start" comes the first half of a box, whose end must leave room for the
# second; "stop" must lie behind the place that was written two tokens earlier.
TOKENS, LOC_START, LOC_STOP, SEG = range(4)
FINISHED = 0


@dataclass
class TokenMap:
    """
    Ids of the tokens that answers are made of.

    Args:
        loc, seg: Ids of places and of shape tokens, in order.
        eos: What ends an answer.
        between: Gives the tokens of a text between a shape token and a place.
        before_end: Those of a text between a shape token and the end.
        alone: Those of a text on its own.
    """

    loc: list[int]
    seg: list[int]
    eos: int
    between: Callable[[str], list[int]]
    before_end: Callable[[str], list[int]]
    alone: Callable[[str], list[int]]

    @classmethod
    def of(cls, tokenizer: Any, grammar: MaskGrammar, eos_token_id: int | None = None) -> "TokenMap":
        """
        The map of a tokenizer.

        Raises:
            ValueError: if it lacks a place, shape or end token.
        """
        eos = tokenizer.eos_token_id if eos_token_id is None else eos_token_id
        if eos is None:
            raise ValueError("the tokenizer has no end token; pass `eos_token_id`")
        box, shape = [0] * 4, [0] * grammar.num_shape_codes
        first = grammar.write(box + shape)
        loc_name, seg_name = first[: first.index(">") + 1], first[first.rindex("<") :]
        tokens = []
        for name, size in ((loc_name, grammar.loc_size), (seg_name, grammar.seg_size)):
            digits = len(name) - 5
            names = [f"{name[:4]}{value:0{digits}d}>" for value in range(size)]
            ids = tokenizer.convert_tokens_to_ids(names)
            lacking = [name for name, one in zip(names, ids) if one is None or one == tokenizer.unk_token_id]
            if lacking:
                raise ValueError(
                    f"the tokenizer has no token '{lacking[0]}'; add the codec's with `add_tokens(codec.vocabulary())`"
                )
            tokens.append(ids)
        loc, seg = tokens

        def encode(text: str) -> list[int]:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
                raise ValueError(f"the tokenizer cannot write '{text.strip()}'")
            return ids

        def before_end(text: str) -> list[int]:
            ids = encode(seg_name + text)
            return ids[ids.index(seg[0]) + 1 :]

        def between(text: str) -> list[int]:
            ids = encode(seg_name + text + loc_name)
            return ids[ids.index(seg[0]) + 1 : ids.index(loc[0])]

        return cls(loc, seg, eos, between, before_end, encode)


@dataclass
class Automaton:
    """
    States, each with what may follow; state 0 stays where it is once an answer has ended.

    Args:
        kinds: One of `TOKENS`, `LOC_START`, `LOC_STOP`, `SEG` for each state.
        after: The next state by token, where the kind is `TOKENS`, else by None.
        start: Where an answer begins.
    """

    kinds: list[int] = field(default_factory=list)
    after: list[dict[int | None, int]] = field(default_factory=list)
    start: int = 0

    def add(self, kind: int = TOKENS) -> int:
        """A new state."""
        self.kinds.append(kind)
        self.after.append({})
        return len(self.kinds) - 1

    def distances(self) -> tuple[list[int], int]:
        """How many tokens each state is away from the end at least, and the longest way from the start."""
        order, seen = [], set()
        stack = [(self.start, False)]
        while stack:
            state, done = stack.pop()
            if done:
                order.append(state)
            elif state not in seen:
                seen.add(state)
                stack.append((state, True))
                stack += [(other, False) for other in self.after[state].values() if other != FINISHED]
        least, most = [0] * len(self.kinds), [0] * len(self.kinds)
        for state in order:
            least[state] = 1 + min(least[other] for other in self.after[state].values())
            most[state] = 1 + max(most[other] for other in self.after[state].values())
        return least, most[self.start]


def build_automaton(
    prompt: MaskPrompt,
    tokens: TokenMap,
    grammar: MaskGrammar,
    names: Mapping[str, Iterable[str]] | None = None,
    allow_absent: bool = True,
    lead: Sequence[int] = (),
) -> Automaton:
    """
    The automaton of the answers to a prompt: its structures in order, each with its tokens and one of its names, or
    left out; to a caption one of all the names.

    Args:
        prompt: What is asked, see `read_prompt`.
        tokens: Of the tokenizer.
        grammar: Of places and shapes.
        names: The names that an answer may have for a structure, by its name in the prompt; that name by default.
        allow_absent: Structures may be left out.
        lead: Tokens that come before every answer, such as the first one of some encoder-decoders.

    Raises:
        ValueError: for structures whose names cannot be told apart, or a caption without names.
    """
    names = names or {}
    automaton = Automaton()
    finished = automaton.add()
    automaton.after[finished][tokens.eos] = finished
    if prompt.task == "caption":
        start = _add_caption(automaton, [name for some in names.values() for name in some], tokens)
    else:
        start = _add_objects(automaton, prompt, tokens, grammar, names, allow_absent)
    for token in reversed(lead):
        state = automaton.add()
        automaton.after[state][token] = start
        start = state
    automaton.start = start
    return automaton


def _add_caption(automaton: Automaton, names: Iterable[str], tokens: TokenMap) -> int:
    start = automaton.add()
    for name in names:
        _add_path(automaton, start, [*tokens.alone(name), tokens.eos], FINISHED, name)
    if not automaton.after[start]:
        raise ValueError("a caption needs `names`: by structure, what it may say")
    return start


def _add_objects(
    automaton: Automaton,
    prompt: MaskPrompt,
    tokens: TokenMap,
    grammar: MaskGrammar,
    names: Mapping[str, Iterable[str]],
    allow_absent: bool,
) -> int:
    num_shapes = grammar.num_shape_codes if prompt.task == "segment" else 0
    allowed = [list(dict.fromkeys(names.get(name, [name]))) for name in prompt.structures]
    owners: dict[str, str] = {}
    if len(set(prompt.structures)) < len(prompt.structures):
        raise ValueError(f"a structure is asked for twice: {', '.join(prompt.structures)}")
    for structure, some in zip(prompt.structures, allowed):
        if not some:
            raise ValueError(f"`names` has no name for '{structure}'")
        for name in some:
            if ";" in name or not name.strip():
                raise ValueError(f"'{structure}' cannot be called '{name}': a name has no ';' and is not empty")
            if owners.setdefault(name, structure) != structure:
                raise ValueError(f"'{structure}' and '{owners[name]}' are both called '{name}'")
    ids = [
        [(tokens.between(f" {name}{SEPARATOR}"), tokens.before_end(f" {name}")) for name in some] for some in allowed
    ]
    count = len(allowed)
    # From the last structure back, so that what follows an object is there: entries[j] begins the object that may be
    # structure j or a later one.
    entries: dict[int, int] = {}
    for index in reversed(range(count)):
        possible = range(index, count) if allow_absent else range(index, index + 1)
        after_codes = automaton.add()
        for place in possible:
            for name, (middle, end) in zip(allowed[place], ids[place]):
                if place + 1 < count:
                    _add_path(automaton, after_codes, middle, entries[place + 1], name)
                if allow_absent or place + 1 == count:
                    _add_path(automaton, after_codes, [*end, tokens.eos], FINISHED, name)
        state = after_codes
        for kind in (SEG,) * num_shapes + (LOC_STOP,) * 2 + (LOC_START,) * 2:
            earlier = automaton.add(kind)
            automaton.after[earlier][None] = state
            state = earlier
        entries[index] = state
    if not allow_absent:
        return entries[0]
    # The first token decides whether there is any object at all.
    start = automaton.add(LOC_START)
    automaton.after[start] = {None: automaton.after[entries[0]][None], tokens.eos: FINISHED}
    return start


def _add_path(automaton: Automaton, state: int, path: Sequence[int], goal: int, name: str) -> None:
    """A way from a state to another by these tokens; ways that begin alike share their beginning."""
    for token in path[:-1]:
        if token not in automaton.after[state]:
            automaton.after[state][token] = automaton.add()
        state = automaton.after[state][token]
        if state == FINISHED or automaton.kinds[state] != TOKENS:
            raise ValueError(f"the tokenizer writes '{name}' and another name alike")
    if automaton.after[state].setdefault(path[-1], goal) != goal:
        raise ValueError(f"the tokenizer writes '{name}' and another name alike")


__all__ = ["Automaton", "TokenMap", "build_automaton"]
