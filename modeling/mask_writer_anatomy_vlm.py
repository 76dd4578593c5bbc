# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""A writer of anatomy masks as tokens on the vision tower of Anatomy-VLM (after CheXanatomy, arXiv 2606.08420)."""

import torch
from torch import nn
from transformers import GenerationMixin
from transformers import initialization as init
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.utils import can_return_tuple

from .configuration_mask_writer_anatomy_vlm import AnatomyVLMMaskConfig
from .mask_fsq_anatomy_vlm import AnatomyMaskCodec
from .mask_writer_decoding_anatomy_vlm import PROMPT_LENGTH, AnatomyVLMMaskWriting
from .mask_writer_encoder_anatomy_vlm import AnatomyVLMMaskEncoder
from .mask_writer_layers_anatomy_vlm import (
    PLACE_WAVES,
    AnatomyVLMGlimpse,
    AnatomyVLMMaskDecoderLayer,
    AnatomyVLMPlacePointer,
    cell_centers,
    place_waves,
)
from .mask_writer_losses_anatomy_vlm import (
    IGNORED,
    digit_loss,
    expected_digits,
    place_loss,
    presence_loss,
    raster_loss,
)
from .mask_writer_output_anatomy_vlm import AnatomyVLMMaskMemory, AnatomyVLMMaskOutput
from .vision_anatomy_vlm import AnatomyVLMVisionPreTrainedModel


AXES = (0, 1, 0, 1)


class AnatomyVLMForMaskGeneration(AnatomyVLMVisionPreTrainedModel, AnatomyVLMMaskWriting, GenerationMixin):
    """
    Writes the mask of a structure as tokens: the box (y0, x0, y1, x1), then the shape; nothing for what is absent.

    A row is `[start, structure, y0, x0, y1, x1, shape codes ..., eos]`, or `[start, structure, eos]`. There may be
    several rows for each film, one after another. Only tokens that may stand at a place have a score, so whatever is
    generated is well formed.

        model = AnatomyVLMForMaskGeneration.from_pretrained("writer")
        tokens = model.generate(pixel_values, decoder_input_ids=model.prompt(["heart"]))
        masks = model.decode_masks(tokens, size=(512, 512))

    `write_masks` does it for several structures, and may take the mean of what a token could be instead of the
    likeliest, which is a little better.
    """

    config: AnatomyVLMMaskConfig
    accepts_loss_kwargs = False
    _no_split_modules = ["AnatomyVLMEmbeddings", "AnatomyVLMLayer", "AnatomyVLMMaskDecoderLayer"]
    _can_record_outputs = {}
    _can_compile_fullgraph = False
    _supports_flash_attn = False
    _supports_flex_attn = False

    def __init__(self, config: AnatomyVLMMaskConfig):
        super().__init__(config)
        width = config.decoder_hidden_size or config.hidden_size
        self.encoder = AnatomyVLMMaskEncoder(config)
        self.codec = AnatomyMaskCodec(
            config.codec_levels or (),
            config.codec_global_tokens,
            config.codec_hidden_size,
            config.codec_num_layers,
            config.codec_encoder_sizes or (),
            config.codec_decoder_sizes or (),
        ).requires_grad_(False)
        length = PROMPT_LENGTH + 4 + config.num_shape_codes
        self.positions = nn.Parameter(torch.zeros(1, length, width))
        self.structure_embeddings = nn.Embedding(len(config.structures or ()), width)
        self.place_embedding = nn.Linear(PLACE_WAVES * 2 + 1, width)
        self.digit_embedding = nn.Embedding(sum(config.codec_levels or ()), width)
        self.hidden_code = nn.Parameter(torch.zeros(width))
        self.glimpse = AnatomyVLMGlimpse(config, self.encoder.map_channels)
        self.decoder_layers = nn.ModuleList(
            AnatomyVLMMaskDecoderLayer(config, index) for index in range(config.decoder_num_layers)
        )
        self.layernorm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.presence_head = nn.Linear(width, 1)
        self.place_pointer = AnatomyVLMPlacePointer(config)
        self.digit_head = nn.Linear(width, sum(config.codec_levels or ()))

        # Initialize weights and apply final processing
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module):
        """Initialize the weights"""
        super()._init_weights(module)
        if isinstance(module, AnatomyVLMForMaskGeneration):
            init.normal_(module.positions, mean=0.0, std=0.2)
            init.zeros_(module.hidden_code)
        elif isinstance(module, AnatomyMaskCodec):
            init.normal_(module.encoder_positions, mean=0.0, std=0.5)
            init.normal_(module.decoder_positions, mean=0.0, std=0.5)
        elif isinstance(module, AnatomyVLMGlimpse):
            for layer in module.modules():
                if isinstance(layer, nn.Conv2d):
                    # From 0.02 three convolutions would pass on next to nothing.
                    init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, mean=0.0, std=0.2)

    def train(self, mode: bool = True):
        super().train(mode)
        # Loading makes parameters anew; the code must not change under what has been written in it.
        self.codec.eval().requires_grad_(False)
        return self

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        return self.encoder

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        rasters: torch.Tensor | None = None,
        encoder_outputs: AnatomyVLMMaskMemory | None = None,
        places: torch.Tensor | None = None,
        glimpse: torch.Tensor | None = None,
        glimpse_places: torch.Tensor | None = None,
        cache: EncoderDecoderCache | None = None,
        use_cache: bool | None = None,
        **kwargs,
    ) -> AnatomyVLMMaskOutput:
        r"""
        pixel_values (`torch.FloatTensor` of shape `(films, num_channels, height, width)`):
            Films as the image processor returns them.
        decoder_input_ids (`torch.LongTensor` of shape `(rows, length)`):
            What has been written; the same number of rows for every film, one film after another. Made of the
            labels where they are given alone.
        labels (`torch.LongTensor` of shape `(rows, num_codes + 2)`):
            Structure, places, shape codes, eos; for an absent structure eos follows the structure. -100 is ignored.
        rasters (`torch.FloatTensor` of shape `(rows, 64, 64)`):
            What the masks cover inside the boxes of `decoder_input_ids`, for the loss of the mask itself; rows of a
            negative value are ignored.
        encoder_outputs (`AnatomyVLMMaskMemory`):
            Instead of `pixel_values`.
        places (`torch.LongTensor` of shape `(rows, 4)`):
            The places written so far, -1 for the others; taken from `decoder_input_ids` unless a cache hides them.
        glimpse, glimpse_places:
            Those of an earlier call.
        """
        if encoder_outputs is None:
            if pixel_values is None:
                raise ValueError("You have to specify `pixel_values` or `encoder_outputs`: masks are those of a film.")
            encoder_outputs = self.encoder(pixel_values, **kwargs)
        if decoder_input_ids is None:
            if labels is None:
                raise ValueError(
                    "You have to specify `decoder_input_ids`, such as those of `model.prompt(['heart'])`."
                )
            decoder_input_ids = self.shift_right(labels)
        use_cache = self.config.use_cache if use_cache is None else use_cache
        use_cache = use_cache and labels is None
        if use_cache and cache is None:
            cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        start = cache.get_seq_length() if cache is not None else 0
        if places is None:
            places = self.written_places(decoder_input_ids)
        films = len(encoder_outputs.cells)  # type: ignore[arg-type]
        if len(decoder_input_ids) % films:
            raise ValueError(f"{len(decoder_input_ids)} rows cannot be shared out among {films} films evenly.")
        stop = start + decoder_input_ids.shape[1]
        if stop > self.positions.shape[1] + 1:
            raise ValueError(f"a row has at most {self.positions.shape[1]} tokens before its end, not {stop}.")
        embeddings = self._embed(decoder_input_ids, start)
        # From the last place on, every position writes a shape token and sees its part of the box.
        if stop > PROMPT_LENGTH + 3:
            if glimpse is None or glimpse_places is None or not torch.equal(glimpse_places, places):
                glimpse = self._look(encoder_outputs, places)
            glimpse_places = places
            embeddings = self._add_glimpse(embeddings, glimpse, start)
        mask = None
        if embeddings.shape[1] > 1:
            mask = torch.full((embeddings.shape[1], stop), float("-inf"), device=embeddings.device).triu(start + 1)
            mask = mask.to(embeddings.dtype)[None, None]
        hidden_states = embeddings
        for layer in self.decoder_layers:
            hidden_states = layer(hidden_states, encoder_outputs.last_hidden_state, mask, cache)
        hidden_states = self.layernorm(hidden_states)

        losses: dict[str, torch.Tensor] = {}
        raster_logits = None
        if labels is not None:
            losses, raster_logits = self._losses(hidden_states, encoder_outputs, labels, rasters)
        return AnatomyVLMMaskOutput(
            loss=sum(losses.values()) if losses else None,  # type: ignore[arg-type]
            logits=None
            if self.training and labels is not None
            else self._logits(hidden_states, encoder_outputs, places, start),
            cache=cache,
            places=glimpse_places,
            glimpse=glimpse,
            raster_logits=raster_logits,
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
            **losses,
        )

    def shift_right(self, labels: torch.Tensor) -> torch.Tensor:
        """`decoder_input_ids` of labels: the start before them, the last left out, what is ignored padded."""
        config = self.config
        start = torch.full_like(labels[:, :1], config.decoder_start_token_id)
        return torch.cat((start, labels[:, :-1].masked_fill(labels[:, :-1] == IGNORED, config.pad_token_id)), dim=1)

    def written_places(self, tokens: torch.Tensor) -> torch.Tensor:
        """Places `(rows, 4)` in tokens `(rows, length)`, -1 where there is none."""
        bins = tokens[:, PROMPT_LENGTH : PROMPT_LENGTH + 4] - self.config.first_place
        bins = torch.where((bins >= 0) & (bins < self.config.box_bins), bins, -1)
        return nn.functional.pad(bins, (0, 4 - bins.shape[1]), value=-1)

    def _embed(self, tokens: torch.Tensor, start: int) -> torch.Tensor:
        config, length = self.config, tokens.shape[1]
        parts = []
        for position in range(start, min(start + length, PROMPT_LENGTH)):
            column = tokens[:, position - start]
            index = (column - config.first_structure).clamp(0, len(config.structures or ()) - 1)
            states = self.structure_embeddings(index)
            parts.append((states if position == 1 else torch.zeros_like(states))[:, None])
        first, last = max(start, PROMPT_LENGTH), min(start + length, PROMPT_LENGTH + 4)
        if last > first:
            bins = (tokens[:, first - start : last - start] - config.first_place).clamp(0, config.box_bins - 1)
            waves = place_waves(bins / (config.box_bins - 1)).to(self.place_embedding.weight.dtype)
            parts.append(self.place_embedding(waves))
        first = max(start, PROMPT_LENGTH + 4)
        if start + length > first:
            codes = (tokens[:, first - start :] - config.first_code).clamp(0, config.num_code_values - 1)
            states = self.digit_embedding(self.codec.digits(codes) + self._digit_offsets(codes)).sum(-2)
            if self.training and config.prefix_dropout:
                # As much of each row as its own draw says, up to all of it at twice the mean.
                share = 2 * config.prefix_dropout * torch.rand(len(codes), 1, 1, device=codes.device)
                hidden = torch.rand(*codes.shape, 1, device=codes.device) < share
                states = torch.where(hidden, self.hidden_code.to(states.dtype), states)
            parts.append(states)
        positions = self.positions[:, start : start + length]
        # The end of a row is read by nobody; it may be there all the same.
        positions = nn.functional.pad(positions, (0, 0, 0, length - positions.shape[1]))
        return torch.cat(parts, dim=1) + positions

    def _digit_offsets(self, like: torch.Tensor) -> torch.Tensor:
        levels = torch.tensor([0, *(self.config.codec_levels or ())], device=like.device)
        return levels.cumsum(0)[:-1]

    def _look(self, memory: AnatomyVLMMaskMemory, places: torch.Tensor) -> torch.Tensor:
        boxes = places.clamp(min=0) / (self.config.box_bins - 1)
        low, high = torch.minimum(boxes[:, :2], boxes[:, 2:]), torch.maximum(boxes[:, :2], boxes[:, 2:])
        boxes = torch.cat((low, torch.maximum(high, low + 1 / self.config.box_bins)), dim=1)
        return self.glimpse(memory.film, memory.feature_map, boxes)

    def _add_glimpse(self, embeddings: torch.Tensor, glimpse: torch.Tensor, start: int) -> torch.Tensor:
        first = PROMPT_LENGTH + 3
        skip, length = max(first - start, 0), embeddings.shape[1]
        seen = glimpse[:, max(start - first, 0) : start + length - first].to(embeddings.dtype)
        return embeddings + nn.functional.pad(seen, (0, 0, skip, length - skip - seen.shape[1]))

    def _centers(self, memory: AnatomyVLMMaskMemory) -> torch.Tensor:
        return cell_centers(*memory.feature_map.shape[-2:]).to(memory.cells.device)  # type: ignore[union-attr]

    def _losses(
        self,
        hidden_states: torch.Tensor,
        memory: AnatomyVLMMaskMemory,
        labels: torch.Tensor,
        rasters: torch.Tensor | None,
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
        config = self.config
        end = PROMPT_LENGTH + 3 + config.num_shape_codes
        known = labels[:, 1] != IGNORED
        present = known & (labels[:, 1] != config.eos_token_id)
        places = self.place_pointer(hidden_states[:, 1:5], memory.cells, self._centers(memory))
        bins = torch.where(present[:, None], labels[:, 1:5] - config.first_place, -1)
        digits = self.digit_head(hidden_states[:, 5:end]).split(config.codec_levels, dim=-1)
        codes = (labels[:, 5:end] - config.first_code).clamp(0, config.num_code_values - 1)
        true = self.codec.digits(codes)
        told = present & (labels[:, 5] != IGNORED)
        each = [digit_loss(one, true[..., place], told) for place, one in enumerate(digits)]
        losses = {
            "presence_loss": presence_loss(self.presence_head(hidden_states[:, 1])[:, 0], present, known),
            "place_loss": place_loss(places, bins),
            "digit_loss": torch.stack(each).mean(),
        }
        logits = None
        if rasters is not None:
            drawn = present & (rasters.flatten(1).amin(1) >= 0)
            logits = self.codec.rasters(expected_digits(digits).to(self.codec.to_latents.weight.dtype))
            losses["raster_loss"] = raster_loss(logits, rasters.clamp(min=0), drawn)
        return losses, logits

    def _logits(
        self, hidden_states: torch.Tensor, memory: AnatomyVLMMaskMemory, places: torch.Tensor, start: int
    ) -> torch.Tensor:
        """Scores of the next token `(rows, length, vocab_size)`, minus infinity for what may not stand there."""
        config, (rows, length, _) = self.config, hidden_states.shape
        logits = hidden_states.new_full((rows, length, config.vocab_size), float("-inf"), dtype=torch.float32)
        for index in range(length):
            position, states = start + index, hidden_states[:, index]
            target = logits[:, index]
            if position == 0:
                target[:, config.first_structure :] = 0
            elif position < 5:
                bins = self.place_logits(states, memory, places, position - 1)
                if position == 1:
                    present = self.presence_head(states)[:, 0].float()
                    target[:, config.eos_token_id] = nn.functional.logsigmoid(-present)
                    bins = bins + nn.functional.logsigmoid(present)[:, None]
                target[:, config.first_place : config.first_code] = bins
            elif position < 5 + config.num_shape_codes:
                target[:, config.first_code : config.first_structure] = self._code_logits(states)
            else:
                target[:, config.eos_token_id] = 0
        return logits

    def place_logits(
        self, states: torch.Tensor, memory: AnatomyVLMMaskMemory, places: torch.Tensor, which: int
    ) -> torch.Tensor:
        """Logarithms of probabilities `(rows, box_bins)` of a place; a box ends behind where it begins."""
        cells: torch.Tensor = memory.cells  # type: ignore[assignment]
        bins = self.place_pointer.at(states[:, None], cells, self._centers(memory), [AXES[which]])[:, 0]
        number = torch.arange(self.config.box_bins, device=bins.device)
        if which < 2:
            bins = bins.masked_fill(number == self.config.box_bins - 1, float("-inf"))
        else:
            bins = bins.masked_fill(number <= places[:, which - 2, None], float("-inf"))
        return bins.log_softmax(-1)

    def _code_logits(self, states: torch.Tensor) -> torch.Tensor:
        """Logarithms of probabilities `(rows, num_code_values)`: those of the digits of a code, added."""
        total = states.new_zeros(len(states), 1, dtype=torch.float32)
        for digit in self.digit_head(states).float().split(self.config.codec_levels, dim=-1):
            total = (total[:, :, None] + digit.log_softmax(-1)[:, None]).flatten(1)
        return total

    def prepare_inputs_for_generation(self, input_ids, *args, **kwargs):
        inputs = super().prepare_inputs_for_generation(input_ids, *args, **kwargs)
        inputs["places"] = self.written_places(input_ids)
        return inputs

    def _update_model_kwargs_for_generation(self, outputs, model_kwargs, *args, **kwargs):
        model_kwargs = super()._update_model_kwargs_for_generation(outputs, model_kwargs, *args, **kwargs)
        model_kwargs["glimpse"], model_kwargs["glimpse_places"] = outputs.glimpse, outputs.places
        return model_kwargs

    def generate(self, inputs: torch.Tensor | None = None, **kwargs):
        """
        As everywhere in Transformers: greedy, sampled or by beams; `decoder_input_ids` `(films, 2)` ask for one
        structure of each film (`prompt`). A row ends by itself.
        """
        if "decoder_input_ids" not in kwargs:
            raise ValueError("generate needs `decoder_input_ids`, such as those of `model.prompt(['heart'])`.")
        if "max_new_tokens" not in kwargs and "max_length" not in kwargs:
            kwargs["max_new_tokens"] = 5 + self.config.num_shape_codes
        if kwargs.get("use_cache", True) and "cache" not in kwargs:
            # The one that Transformers would make has as many layers as the tower.
            kwargs["cache"] = EncoderDecoderCache(DynamicCache(), DynamicCache())
        return super().generate(inputs, **kwargs)

    def next_states(
        self,
        tokens: torch.Tensor,
        memory: AnatomyVLMMaskMemory,
        places: torch.Tensor,
        glimpse: torch.Tensor | None,
        cache: EncoderDecoderCache,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """State `(rows, width)` from which the next token is written, and the glimpse, once there is a box."""
        start = cache.get_seq_length()
        embeddings = self._embed(tokens, start)
        if start + tokens.shape[1] > PROMPT_LENGTH + 3:
            glimpse = self._look(memory, places) if glimpse is None else glimpse
            embeddings = self._add_glimpse(embeddings, glimpse, start)
        mask = None
        if tokens.shape[1] > 1:
            mask = torch.full((tokens.shape[1],) * 2, float("-inf"), device=tokens.device).triu(1)[None, None]
            mask = mask.to(embeddings.dtype)
        for layer in self.decoder_layers:
            embeddings = layer(embeddings, memory.last_hidden_state, mask, cache)
        return self.layernorm(embeddings[:, -1]), glimpse


__all__ = ["AnatomyVLMForMaskGeneration"]
