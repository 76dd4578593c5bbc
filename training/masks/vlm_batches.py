"""Batches for any image-text-to-text model: prompts as its processor makes them, then the answers, labelled alone."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from anatomy_vlm.training.masks.vlm_examples import VLMExample


IGNORED = -100
# What the new positions of an answer have in the inputs that have one value a token. PaliGemma's token types tell the
# answer, which is read from left to right, from the prompt; other models' tell pictures from text.
_ANSWER_VALUES = {"attention_mask": 1, "token_type_ids": 1}


class VLMBatcher:
    """
    Makes batches, of one film each question.

    Args:
        processor: Of the model.
        encoder_decoder: Whether the answer is written by a decoder of its own, as in Florence-2.
        image_options: Further arguments of the image processor, such as `{"do_image_splitting": False}`.

    Raises:
        ValueError: for a tokenizer without a token that ends texts.
    """

    def __init__(self, processor: Any, encoder_decoder: bool, image_options: Mapping[str, Any] | None = None):
        self.processor, self.encoder_decoder = processor, encoder_decoder
        self.image_options = dict(image_options or {})
        self.tokenizer = processor.tokenizer
        if self.tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no token that ends texts (eos_token)")
        self.eos: int = self.tokenizer.eos_token_id
        self.pad: int = self.eos if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id

    def prompt_text(self, prompt: str) -> str:
        """A prompt as the processor wants it: in the model's chat template, or after the image's token."""
        if getattr(self.processor, "chat_template", None):
            content = [{"type": "image"}, {"type": "text", "text": prompt}]
            conversation = [{"role": "user", "content": content}]
            return str(self.processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False))
        # Florence-2's processor puts the image's tokens before the text itself.
        if self.encoder_decoder:
            return prompt
        return f"{getattr(self.processor, 'image_token', '<image>')}{prompt}"

    def encode(self, image: np.ndarray | Image.Image, prompt: str) -> dict[str, torch.Tensor]:
        """Inputs of one prompt, a batch of one."""
        picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
        with warnings.catch_warnings():
            # PaliGemma's processor asks NumPy for a copy of tensors in a way that is going out.
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            inputs = self.processor(
                text=[self.prompt_text(prompt)],
                images=[picture.convert("RGB")],
                return_tensors="pt",
                **self.image_options,
            )
        # PaliGemma's processor makes labels of what it takes for the answer; here answers are added below.
        return {name: value for name, value in inputs.items() if torch.is_tensor(value) and name != "labels"}

    def answer_ids(self, answer: str) -> list[int]:
        """An answer's tokens, with the one that ends it; of an encoder-decoder also the one that begins it."""
        ids = self.tokenizer(answer, add_special_tokens=False)["input_ids"] if answer else []
        begin = self.tokenizer.bos_token_id if self.encoder_decoder else None
        return [*([] if begin is None else [begin]), *ids, self.eos]

    def train_batch(self, examples: Sequence[VLMExample]) -> dict[str, torch.Tensor]:
        """Inputs and `labels` of some examples, padded on the right; of prompts and padding no label is learned."""
        rows = [self.encode(example.image, example.prompt) for example in examples]
        answers = [self.answer_ids(example.answer) for example in examples]
        if self.encoder_decoder:
            batch = self._pad(rows, left=False)
            longest = max(map(len, answers))
            labels = [ids + [IGNORED] * (longest - len(ids)) for ids in answers]
            return {**batch, "labels": torch.tensor(labels)}
        for row, ids in zip(rows, answers, strict=True):
            self._append(row, torch.tensor([ids]))
        return self._pad(rows, left=False)

    def prompt_batch(
        self, images: Sequence[np.ndarray | Image.Image], prompts: Sequence[str]
    ) -> dict[str, torch.Tensor]:
        """Inputs of some prompts for `generate`, padded on the left unless an encoder reads them."""
        rows = [self.encode(image, prompt) for image, prompt in zip(images, prompts, strict=True)]
        return self._pad(rows, left=not self.encoder_decoder)

    def _append(self, row: dict[str, torch.Tensor], answer: torch.Tensor) -> None:
        shape = row["input_ids"].shape
        for name in [name for name, value in row.items() if value.shape == shape]:
            fill = torch.full_like(answer, _ANSWER_VALUES.get(name, 0))
            new = answer if name == "input_ids" else fill.to(row[name].dtype)
            row[name] = torch.cat((row[name], new), dim=1)
        ignored = torch.full(shape, IGNORED)
        row["labels"] = torch.cat((ignored, answer), dim=1)

    def _pad(self, rows: Sequence[dict[str, torch.Tensor]], left: bool) -> dict[str, torch.Tensor]:
        longest = max(row["input_ids"].shape[1] for row in rows)
        values = {"input_ids": self.pad, "labels": IGNORED}
        batch = {}
        for name in rows[0]:
            # Before answers are added all inputs of one value a token have the shape of the tokens' ids.
            if all(row[name].shape == row["input_ids"].shape for row in rows):
                short = [longest - row[name].shape[1] for row in rows]
                batch[name] = torch.cat(
                    [
                        torch.nn.functional.pad(row[name], (n, 0) if left else (0, n), value=values.get(name, 0))
                        for row, n in zip(rows, short)
                    ]
                )
            else:
                batch[name] = _stack([row[name] for row in rows])
        return batch


def _stack(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Along the first dimension; others are padded with zeros, as Idefics 3 has different numbers of tiles."""
    sizes = [max(extents) for extents in zip(*(tensor.shape[1:] for tensor in tensors))]
    padded = []
    for tensor in tensors:
        margins = [margin for size, extent in zip(sizes, tensor.shape[1:]) for margin in (size - extent, 0)]
        padded.append(torch.nn.functional.pad(tensor, margins[::-1]))
    return torch.cat(padded)
