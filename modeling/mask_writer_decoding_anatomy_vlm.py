# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""From generated tokens to masks, and the writing of many structures of a film at once."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from .configuration_mask_writer_anatomy_vlm import AnatomyVLMMaskConfig
from .mask_writer_losses_anatomy_vlm import IGNORED, expected_digits
from .mask_writer_output_anatomy_vlm import AnatomyVLMWrittenMasks


# The start and the structure are read before anything is written.
PROMPT_LENGTH = 2


class AnatomyVLMMaskWriting:
    """What `AnatomyVLMForMaskGeneration` makes of tokens."""

    config: AnatomyVLMMaskConfig
    codec: Any
    encoder: Any
    presence_head: Any
    digit_head: Any
    place_logits: Any
    next_states: Any

    def prompt(self, structures: Sequence[str], num_films: int = 1) -> torch.Tensor:
        """`decoder_input_ids` `(num_films * len(structures), 2)` that ask every film for these structures in turn."""
        rows = [[self.config.decoder_start_token_id, self.config.structure_id(name)] for name in structures]
        return torch.tensor(rows * num_films, device=self.presence_head.weight.device)

    def codes_of(self, tokens: torch.Tensor) -> list[list[int]]:
        """The codes of generated tokens `(rows, length)`, as a `MaskCodec` takes them; an empty list for absence."""
        config, all_codes = self.config, []
        for row in tokens[:, PROMPT_LENGTH:].tolist():
            places = [token - config.first_place for token in row[:4]]
            shape = [token - config.first_code for token in row[4 : 4 + config.num_shape_codes]]
            whole = len(shape) == config.num_shape_codes and row[0] != config.eos_token_id
            all_codes.append([*places, *shape] if whole else [])
        return all_codes

    def tokens_of(self, name: str, codes: Sequence[int]) -> list[int]:
        """Labels of a structure's mask: structure, places, shape codes, eos; without codes it is absent."""
        config = self.config
        places = [code + config.first_place for code in codes[:4]]
        shape = [code + config.first_code for code in codes[4:]]
        rest = [IGNORED] * (4 + config.num_shape_codes - len(codes))
        return [config.structure_id(name), *places, *shape, config.eos_token_id, *rest]

    def decode_masks(self, tokens: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Masks `(rows, height, width)` bool of generated tokens `(rows, length)`."""
        return self.codec.decode(self.codes_of(tokens), size)

    @torch.no_grad()
    def write_masks(
        self, pixel_values: torch.Tensor, structures: Sequence[str], expected: bool = True
    ) -> AnatomyVLMWrittenMasks:
        """
        Write these structures of all films at once; films are read once, whatever the number of structures.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(films, num_channels, height, width)`): Films.
            structures: Names that the model knows.
            expected: Decode the mean of what each digit of a shape could be, and the median of places, instead of
                the likeliest token alone.

        Returns:
            Boxes and rasters by film and structure; `mask` draws one at any size.
        """
        config, number = self.config, len(structures)
        memory = self.encoder(pixel_values)
        tokens = self.prompt(structures, len(pixel_values))
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        rows = len(tokens)
        places = torch.full((rows, 4), -1, device=tokens.device)
        edges = torch.zeros(rows, 4, device=tokens.device)
        present = torch.zeros(rows, device=tokens.device)
        written, digits, glimpse = [], [], None
        for step in range(5 + config.num_shape_codes - 1):
            states, glimpse = self.next_states(tokens if step == 0 else tokens[:, -1:], memory, places, glimpse, cache)
            if step == 0:
                present = self.presence_head(states)[:, 0].float().sigmoid()
            if step < 4:
                bins = self.place_logits(states, memory, places, step)
                likely = bins.argmax(-1)
                below = (bins.exp().cumsum(-1) < 0.5).sum(-1).clamp(max=config.box_bins - 1)
                chosen = torch.maximum(below, places[:, step - 2] + 1 if step > 1 else below) if expected else likely
                edges[:, step] = chosen / (config.box_bins - 1)
                places = places.index_copy(1, torch.tensor([step], device=places.device), chosen[:, None])
                token = chosen + config.first_place
            else:
                heads = self.digit_head(states).float().split(config.codec_levels, dim=-1)
                digits.append(expected_digits(heads))
                code = torch.zeros_like(places[:, 0])
                for head, levels in zip(heads, config.codec_levels or ()):
                    code = code * levels + head.argmax(-1)
                written.append(code)
                token = code + config.first_code
            tokens = torch.cat((tokens, token[:, None]), dim=1)
        latents = torch.stack(digits, dim=1) if expected else self.codec.digits(torch.stack(written, dim=1))
        rasters = self.codec.rasters(latents.to(self.codec.to_latents.weight.dtype)).float()
        return AnatomyVLMWrittenMasks(
            structures=tuple(structures),
            presence=present.reshape(-1, number),
            boxes=edges.reshape(-1, number, 4),
            rasters=rasters.unflatten(0, (-1, number)),
            tokens=tokens.reshape(-1, number, tokens.shape[1]),
        )


__all__ = ["PROMPT_LENGTH", "AnatomyVLMMaskWriting"]
