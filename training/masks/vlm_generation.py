"""Asking a vision-language model for masks, and reading what it writes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from anatomy_vlm.processing.mask_constraints_anatomy_vlm import MaskGrammarLogitsProcessor
from anatomy_vlm.processing.mask_text_anatomy_vlm import MaskAnswer, match_structures, read_answer, write_prompt
from anatomy_vlm.processing.vocabulary import get_structure
from anatomy_vlm.training.masks.codec_files import grammar_of
from anatomy_vlm.training.masks.vlm_batches import VLMBatcher
from anatomy_vlm.training.masks.vlm_films import to_square
from anatomy_vlm.training.masks.vlm_model import MaskVLM
from anatomy_vlm.training.masks.vlm_tokens import token_ids


# Tokens of a name and what is between objects; byte-level tokenizers need the most.
_NAME_TOKENS = 48


class VLMWriter:
    """
    Writes masks by a vision-language model.

    Args:
        vlm: The model with processor and codec.
        well_formed: Let only well-formed answers out (`MaskGrammarLogitsProcessor`) where masks are asked for.

    `VLMWriter(load_vlm("outputs/paligemma")).masks(film, ["heart", "left lung"])` gives masks by name.
    """

    def __init__(self, vlm: MaskVLM, well_formed: bool = True):
        self.vlm, self.well_formed = vlm, well_formed
        self.batcher = VLMBatcher(vlm.processor, vlm.encoder_decoder, vlm.image_options)
        self.grammar = grammar_of(vlm.codec)
        tokenizer = vlm.processor.tokenizer
        kept = set(token_ids(tokenizer, vlm.codec.vocabulary()))
        # In some tokenizers places are special too, and would be lost with the token that ends the text.
        self._silent = set(tokenizer.all_special_ids) - kept

    @torch.inference_mode()
    def answer(
        self,
        images: Sequence[np.ndarray | Image.Image],
        prompts: Sequence[str],
        *,
        batch_size: int = 8,
        max_new_tokens: int | None = None,
    ) -> list[str]:
        """
        What the model writes, the likeliest token at every place.

        Args:
            images: One for every prompt; square films.
            prompts: Questions, such as "segment heart ; left lung".
            batch_size: Questions at once.
            max_new_tokens: Most tokens of an answer; None allows for what is asked.
        """
        answers = [""] * len(prompts)
        # A caption may say anything, and so may what is said about the film itself.
        ruled = [self.well_formed and prompt.startswith(("detect ", "segment ")) for prompt in prompts]
        for rule in (True, False):
            chosen = [index for index, kind in enumerate(ruled) if kind == rule]
            for start in range(0, len(chosen), batch_size):
                places = chosen[start : start + batch_size]
                some = [prompts[index] for index in places]
                batch = self.batcher.prompt_batch([images[index] for index in places], some)
                most = max_new_tokens or max(self._most_tokens(prompt) for prompt in some)
                for index, text in zip(places, self._write(batch, some, most, rule), strict=True):
                    answers[index] = text
        return answers

    def masks(
        self,
        image: np.ndarray | Image.Image,
        structures: Sequence[str],
        *,
        task: str = "segment",
        together: int = 1,
        batch_size: int = 8,
    ) -> dict[str, np.ndarray]:
        """
        Masks of structures.

        Args:
            image: uint8 `(height, width)` or a picture.
            structures: Names, synonyms too; those that the vocabulary does not have are asked for as they are.
            task: "segment", or "detect" for boxes alone.
            together: Structures in one question.
            batch_size: Questions at once.

        Returns:
            By canonical name in the order asked: bool `(height, width)`, empty where the model says that there is none
            or writes nothing that can be read.
        """
        grey = np.asarray(image.convert("L")) if isinstance(image, Image.Image) else image
        height, width = grey.shape
        square = to_square(grey)
        asked = dict(map(_named, structures))
        names = list(asked)
        groups = [names[start : start + together] for start in range(0, len(names), together)]
        prompts = [write_prompt(task, [asked[name] for name in group]) for group in groups]
        found: dict[str, MaskAnswer] = {}
        for group, text in zip(groups, self.answer([square] * len(prompts), prompts, batch_size=batch_size)):
            keys = {asked[name].lower(): name for name in group}
            answers = read_answer(text, self.grammar)
            if task == "segment":
                # A box whose shape is missing or malformed is no mask.
                answers = [answer for answer in answers if len(answer.codes) > 4]
            found |= match_structures(answers, keys)
        side = len(square)
        top, left = (side - height) // 2, (side - width) // 2
        masks = {}
        for name in names:
            whole = self._decode(found.get(name), side)
            masks[name] = whole[top : top + height, left : left + width]
        return masks

    def _decode(self, answer: MaskAnswer | None, side: int) -> np.ndarray:
        codec = self.vlm.codec
        if answer is None:
            return np.zeros((side, side), dtype=bool)
        if len(answer.codes) == 4:
            y0, x0, y1, x1 = (round(code / (codec.box_bins - 1) * side) for code in answer.codes)
            mask = np.zeros((side, side), dtype=bool)
            mask[y0:y1, x0:x1] = True
            return mask
        return codec.decode([answer.codes], (side, side))[0].numpy()

    def _most_tokens(self, prompt: str) -> int:
        return (prompt.count(";") + 1) * (self.vlm.codec.num_codes + _NAME_TOKENS) + 2

    def _write(self, batch: dict[str, torch.Tensor], prompts: Sequence[str], most: int, rule: bool) -> list[str]:
        model = self.vlm.model
        dtype = next(model.parameters()).dtype
        inputs: dict[str, Any] = {
            name: value.to(model.device, dtype if value.is_floating_point() else None) for name, value in batch.items()
        }
        written = model.generate(
            **inputs,
            max_new_tokens=most,
            # Plain reading: what a checkpoint has set for prose, such as no repeated words, ruins coordinates.
            do_sample=False,
            num_beams=1,
            no_repeat_ngram_size=0,
            repetition_penalty=1.0,
            eos_token_id=self.batcher.eos,
            pad_token_id=self.batcher.pad,
            logits_processor=self._grammar(prompts, batch["input_ids"].shape[1], most) if rule else None,
        )
        if not self.vlm.encoder_decoder:
            written = written[:, batch["input_ids"].shape[1] :]
        return [self._text(ids) for ids in written.tolist()]

    def _grammar(self, prompts: Sequence[str], length: int, most: int) -> list[MaskGrammarLogitsProcessor]:
        # A decoder of its own writes the token that begins texts first, as it was taught.
        lead = self.batcher.answer_ids("")[:-1]
        length = 1 if self.vlm.encoder_decoder else length
        tokenizer = self.vlm.processor.tokenizer
        return [
            MaskGrammarLogitsProcessor(
                tokenizer,
                prompts,
                length,
                self.grammar,
                max_new_tokens=most,
                lead=lead,
                eos_token_id=self.batcher.eos,
            )
        ]

    def _text(self, ids: list[int]) -> str:
        tokenizer = self.vlm.processor.tokenizer
        kept = [token for token in ids if token not in self._silent]
        return str(tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)).strip()


def _named(name: str) -> tuple[str, str]:
    """Canonical name and phrase."""
    try:
        structure = get_structure(name)
    except ValueError:
        return name, " ".join(name.split())
    return structure.name, structure.phrase
