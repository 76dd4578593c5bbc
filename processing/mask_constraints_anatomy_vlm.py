# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""Logits processors that let only well-formed masks out, whatever the model would rather write."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from transformers import LogitsProcessor

from .mask_automaton_anatomy_vlm import (
    FINISHED,
    LOC_START,
    LOC_STOP,
    SEG,
    TOKENS,
    Automaton,
    TokenMap,
    build_automaton,
)
from .mask_text_anatomy_vlm import MaskGrammar, MaskPrompt, read_prompt


# Reached by tokens that no answer has, as a dead beam may hold them: it ends.
DEAD = 1
# Classes of tokens; the others have one each.
OTHER, ANY_LOC, ANY_SEG = range(3)


class MaskGrammarLogitsProcessor(LogitsProcessor):
    """
    Only well-formed answers to `detect`, `segment` and `caption` prompts, for any tokenizer that has the tokens: the
    structures of the row's prompt in order or left out, each with a box that is not empty, all of its shape tokens and
    one of its names, and then the end.

    What a row may write follows from what it has written, so rows may be reordered, as beam search does, and be in
    different places of different prompts. With `n` times as many rows as prompts, each prompt has `n` rows in turn.

        processor = MaskGrammarLogitsProcessor(tokenizer, ["segment heart"], inputs["input_ids"].shape[1])
        model.generate(**inputs, logits_processor=[processor], max_new_tokens=processor.longest_answer)

    Args:
        tokenizer: Of the model.
        prompts: The prompt of each row, or what `read_prompt` makes of it.
        prompt_length: Tokens of a row before its answer: all of the padded prompt; for an encoder-decoder 1, for
            `inputs_embeds` 0.
        grammar: Of places and shapes; PaliGemma's by default.
        names: The names that a structure may have in an answer, by its name in the prompt; that name by default.
        allow_absent: Structures may be left out.
        max_new_tokens: Where generation stops; structures for which there is no room are left out.
        lead: Tokens that come before every answer, such as the first one of some encoder-decoders.
        eos_token_id: What ends an answer; the tokenizer's by default.

    Raises:
        ValueError: for a prompt that cannot be understood, a tokenizer without the tokens, names that cannot be told
            apart, or too little room for any answer.
    """

    def __init__(
        self,
        tokenizer: Any,
        prompts: Sequence[str | MaskPrompt],
        prompt_length: int,
        grammar: MaskGrammar | None = None,
        names: Mapping[str, Iterable[str]] | None = None,
        allow_absent: bool = True,
        max_new_tokens: int | None = None,
        lead: Sequence[int] = (),
        eos_token_id: int | None = None,
    ):
        if not prompts:
            raise ValueError("there is no prompt to answer")
        grammar = grammar or MaskGrammar()
        names = {name: list(some) for name, some in (names or {}).items()}
        tokens = TokenMap.of(tokenizer, grammar, eos_token_id)
        read = [read_prompt(prompt, grammar) if isinstance(prompt, str) else prompt for prompt in prompts]
        # Captions differ in what they ask about, not in what they may say.
        keys = [(prompt.task, prompt.structures) for prompt in read]
        automata = {
            key: build_automaton(prompt, tokens, grammar, names, allow_absent, lead)
            for key, prompt in dict(zip(keys, read)).items()
        }
        self.prompt_length = prompt_length
        self.max_new_tokens = max_new_tokens
        tables, starts, self.longest_answer = _tables(list(automata.values()), tokens)
        self._tables = tables
        by_key = dict(zip(automata, starts))
        self._starts = torch.tensor([by_key[key] for key in keys])
        least = int(tables["least"][self._starts].max())
        if max_new_tokens is not None and max_new_tokens < least:
            raise ValueError(f"an answer takes at least {least} tokens, but max_new_tokens is {max_new_tokens}")
        self._last: tuple[torch.Tensor, torch.Tensor] | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores `(rows, vocab_size)`, minus infinity for what may not follow `input_ids` `(rows, length)`."""
        tables = self._at(scores)
        written = input_ids[:, self.prompt_length :]
        states = self._states(written, tables)
        allowed = tables["allowed"][tables["row"][states]]
        if written.shape[1] >= 2:
            # A place that ends a box lies behind the one written two tokens before, that on the same axis.
            bound = torch.where(tables["bounded"][states], tables["bin"][written[:, -2]], -1)
            allowed = allowed & (tables["column_bin"] > bound[:, None])
        if self.max_new_tokens is not None and self.max_new_tokens - written.shape[1] < self.longest_answer:
            room = self.max_new_tokens - written.shape[1] - 1
            fits = tables["least"][tables["after"][states]] <= room
            allowed = allowed & fits.index_select(1, tables["column_class"])
        columns = tables["columns"]
        # Where another processor has forbidden all that is allowed here, it is allowed all the same.
        chosen = scores.index_select(1, columns).clamp_(min=torch.finfo(scores.dtype).min)
        chosen.masked_fill_(~allowed, float("-inf"))
        return torch.full_like(scores, float("-inf")).index_copy_(1, columns, chosen)

    def _states(self, written: torch.Tensor, tables: dict[str, torch.Tensor]) -> torch.Tensor:
        rows, length = written.shape
        each, rest = divmod(rows, len(self._starts))
        if rest or not each:
            raise ValueError(f"{rows} rows cannot be shared out among {len(self._starts)} prompts evenly")
        states = None
        if length and self._last is not None and self._last[0].shape == (rows, length - 1):
            earlier, known = self._last
            if torch.equal(earlier, written[:, :-1]):
                states = known
            elif each > 1:
                states = _reordered(earlier, known, written[:, :-1], each)
        if states is None:
            states = self._starts.to(written.device).repeat_interleave(each)
            steps = range(length)
        else:
            steps = range(length - 1, length)
        for step in steps:
            states = tables["after"][states, tables["class"][written[:, step]]]
        self._last = written.clone(), states
        return states

    def _at(self, scores: torch.Tensor) -> dict[str, torch.Tensor]:
        """The tables on the device of the scores, as wide as their vocabulary."""
        tables = self._tables
        if tables["columns"].device != scores.device:
            tables = {name: table.to(scores.device) for name, table in tables.items()}
        lacking = scores.shape[1] - len(tables["class"])
        if lacking > 0:
            tables = tables | {
                "class": _padded(tables["class"], lacking, OTHER),
                "bin": _padded(tables["bin"], lacking, -1),
            }
        self._tables = tables
        return tables


class MaskCodesLogitsProcessor(LogitsProcessor):
    """
    Only whole masks, for a model whose vocabulary has the values of each kind of token one after another: after the
    prompt stands the end (the structure is absent), or one token of each place, and then the end. What may stand where
    follows from the length of the rows alone, but for the order of the edges of a box.

    Args:
        code_sizes: How many values the token at each place has, as those of a `MaskCodec`.
        offsets: Id of the first value at each place.
        eos_token_id: What ends an answer.
        prompt_length: Tokens of a row before its answer.
        has_box: The first four are y0, x0, y1, x1, and a box is not empty.
        allow_absent: The end may stand right after the prompt.
    """

    def __init__(
        self,
        code_sizes: Sequence[int],
        offsets: Sequence[int],
        eos_token_id: int,
        prompt_length: int,
        has_box: bool = True,
        allow_absent: bool = True,
    ):
        if len(code_sizes) != len(offsets) or len(code_sizes) < 4 * has_box or min(code_sizes, default=0) < 1:
            raise ValueError(f"{len(code_sizes)} sizes and {len(offsets)} offsets do not make a code")
        self.spans = [(offset, offset + size) for offset, size in zip(offsets, code_sizes)]
        self.eos_token_id, self.prompt_length = eos_token_id, prompt_length
        self.has_box, self.allow_absent = has_box, allow_absent

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores `(rows, vocab_size)`, minus infinity for what may not follow `input_ids` `(rows, length)`."""
        place = input_ids.shape[1] - self.prompt_length
        if place < 0:
            raise ValueError(f"the prompt has {self.prompt_length} tokens, but a row only {input_ids.shape[1]}")
        allowed = torch.full_like(scores, float("-inf"))
        eos, least = self.eos_token_id, torch.finfo(scores.dtype).min
        if place >= len(self.spans) or (place == 0 and self.allow_absent):
            allowed[:, eos] = scores[:, eos].clamp(min=least)
        if place < len(self.spans):
            first, stop = self.spans[place]
            if self.has_box and place < 2:
                stop -= 1  # the other edge needs a bin behind it
            allowed[:, first:stop] = scores[:, first:stop].clamp(min=least)
            if self.has_box and 2 <= place < 4:
                bins = torch.arange(first, stop, device=scores.device)
                allowed[:, first:stop].masked_fill_(bins <= input_ids[:, -2, None], float("-inf"))
        return allowed


def _tables(automata: list[Automaton], tokens: TokenMap) -> tuple[dict[str, torch.Tensor], list[int], int]:
    """What the automata say as tensors over states and tokens; where each starts; the longest answer."""
    explicit = sorted({token for one in automata for after in one.after for token in after if token is not None})
    columns = [*tokens.loc, *tokens.seg, *explicit]
    number, num_locs, num_segs = len(columns), len(tokens.loc), len(tokens.seg)
    column_of = {token: num_locs + num_segs + place for place, token in enumerate(explicit)}
    class_of = {token: 3 + place for place, token in enumerate(explicit)}
    blocks = {LOC_START: (0, num_locs - 1), LOC_STOP: (0, num_locs), SEG: (num_locs, num_locs + num_segs)}
    classes = {LOC_START: ANY_LOC, LOC_STOP: ANY_LOC, SEG: ANY_SEG}
    # States that allow the same share a row.
    rows: dict[tuple[int, frozenset[int]], int] = {}
    kinds, least = [TOKENS, TOKENS], [0, 1]
    after = [[DEAD] * (3 + len(explicit)) for _ in range(2)]
    after[FINISHED] = [FINISHED] * (3 + len(explicit))
    after[DEAD][class_of[tokens.eos]] = FINISHED
    row_of = [rows.setdefault((TOKENS, frozenset([tokens.eos])), 0)] * 2
    starts, longest = [], 0
    for one in automata:
        # State 0 of all is the same.
        shift = len(kinds) - 1
        distances, most = one.distances()
        longest = max(longest, most)
        starts.append(one.start + shift)
        for state in range(1, len(one.kinds)):
            kind, ways = one.kinds[state], one.after[state]
            line = [DEAD] * (3 + len(explicit))
            for token, goal in ways.items():
                line[classes[kind] if token is None else class_of[token]] = goal + shift if goal else FINISHED
            after.append(line)
            kinds.append(kind)
            least.append(distances[state])
            row_of.append(rows.setdefault((kind, frozenset(t for t in ways if t is not None)), len(rows)))
    allowed = torch.zeros(len(rows), number, dtype=torch.bool)
    for (kind, some), row in rows.items():
        if kind in blocks:
            allowed[row, slice(*blocks[kind])] = True
        allowed[row, [column_of[token] for token in some]] = True
    size = max(columns) + 1
    bins = torch.full((size,), -1)
    bins[tokens.loc] = torch.arange(num_locs)
    token_class = torch.full((size,), OTHER)
    token_class[tokens.loc], token_class[tokens.seg] = ANY_LOC, ANY_SEG
    token_class[explicit] = torch.arange(3, 3 + len(explicit))
    column_bin = torch.full((number,), num_locs)
    column_bin[:num_locs] = torch.arange(num_locs)
    tables = {
        "columns": torch.tensor(columns),
        "column_class": token_class[columns],
        "column_bin": column_bin,
        "class": token_class,
        "bin": bins,
        "allowed": allowed,
        "row": torch.tensor(row_of),
        "bounded": torch.tensor(kinds) == LOC_STOP,
        "after": torch.tensor(after),
        "least": torch.tensor(least),
    }
    return tables, starts, longest


def _reordered(earlier: torch.Tensor, states: torch.Tensor, written: torch.Tensor, each: int) -> torch.Tensor | None:
    """States of rows that continue others of the same prompt; None unless all do."""
    rows = written.unflatten(0, (-1, each))
    same = (rows[:, :, None] == earlier.unflatten(0, (-1, each))[:, None]).all(-1)
    if not same.any(-1).all():
        return None
    return states.unflatten(0, (-1, each)).gather(1, same.int().argmax(-1)).flatten()


def _padded(table: torch.Tensor, lacking: int, value: int) -> torch.Tensor:
    return torch.nn.functional.pad(table, (0, lacking), value=value)


__all__ = ["MaskCodesLogitsProcessor", "MaskGrammarLogitsProcessor"]
