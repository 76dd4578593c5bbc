# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""Layers of the mask writer: attention to one film by many structures, the glimpse into a box, pointers at edges."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache, EncoderDecoderCache
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .attention_anatomy_vlm import eager_attention_forward
from .configuration_mask_writer_anatomy_vlm import AnatomyVLMMaskConfig
from .vision_anatomy_vlm import sine_positions


# A glimpse shows the box and a quarter of it around, in cells as large as those of the shape tokens: 4 + 2 a side.
GLIMPSE_CELLS, BOX_CELLS, SAMPLES_PER_CELL = 6, 4, 16
NUM_POINTERS = 2
# Frequencies at which a place is told, each twice the one before.
PLACE_WAVES = 8
# The narrowest and the widest spread of a place, as a fraction of the film.
SPREADS = (0.0015, 0.25)


class AnatomyVLMMaskAttention(nn.Module):
    """
    Attention of what is written to itself, or to the film. Rows that ask for several structures of one film read its
    memory together: it is neither copied nor projected once for each.
    """

    def __init__(self, config: AnatomyVLMMaskConfig, layer_idx: int, is_cross_attention: bool):
        super().__init__()
        width = config.decoder_hidden_size or config.hidden_size
        self.config = config
        self.layer_idx, self.is_cross_attention = layer_idx, is_cross_attention
        self.head_dim = width // config.decoder_num_heads
        self.scaling = self.head_dim**-0.5
        # The attention functions of Transformers take a module without this attribute to be causal.
        self.is_causal = False
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.o_proj = nn.Linear(width, width)

    def forward(
        self,
        hidden_states: torch.Tensor,
        memory: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        cache: EncoderDecoderCache | None = None,
        **kwargs,
    ) -> torch.Tensor:
        rows, length, width = hidden_states.shape
        if memory is not None:
            hidden_states = hidden_states.reshape(len(memory), -1, width)
        query = self._heads(self.q_proj(hidden_states))
        key, value = self._keys_and_values(hidden_states if memory is None else memory, cache)
        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        output, _ = attention_interface(
            self, query, key, value, attention_mask, dropout=0.0, scaling=self.scaling, is_causal=False, **kwargs
        )
        return self.o_proj(output.reshape(rows, length, width))

    def _keys_and_values(
        self, states: torch.Tensor, cache: EncoderDecoderCache | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if cache is None:
            return self._heads(self.k_proj(states)), self._heads(self.v_proj(states))
        kept: Cache = cache.cross_attention_cache if self.is_cross_attention else cache.self_attention_cache
        if self.is_cross_attention and cache.is_updated.get(self.layer_idx):
            layer: Any = kept.layers[self.layer_idx]
            return layer.keys, layer.values
        cache.is_updated[self.layer_idx] = cache.is_updated.get(self.layer_idx, False) or self.is_cross_attention
        return kept.update(self._heads(self.k_proj(states)), self._heads(self.v_proj(states)), self.layer_idx)

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


class AnatomyVLMMaskDecoderLayer(GradientCheckpointingLayer):
    def __init__(self, config: AnatomyVLMMaskConfig, layer_idx: int):
        super().__init__()
        width = config.decoder_hidden_size or config.hidden_size
        self.layernorm_self = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.self_attention = AnatomyVLMMaskAttention(config, layer_idx, False)
        self.layernorm_cross = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.cross_attention = AnatomyVLMMaskAttention(config, layer_idx, True)
        self.layernorm_mlp = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.fc1 = nn.Linear(width, 3 * width)
        self.fc2 = nn.Linear(3 * width, width)
        self.activation_fn = ACT2FN[config.hidden_act]

    def forward(
        self,
        hidden_states: torch.Tensor,
        memory: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        cache: EncoderDecoderCache | None = None,
        **kwargs,
    ) -> torch.Tensor:
        states = self.layernorm_self(hidden_states)
        hidden_states = hidden_states + self.self_attention(states, None, attention_mask, cache, **kwargs)
        states = self.layernorm_cross(hidden_states)
        hidden_states = hidden_states + self.cross_attention(states, memory, None, cache, **kwargs)
        return hidden_states + self.fc2(self.activation_fn(self.fc1(self.layernorm_mlp(hidden_states))))


class AnatomyVLMGlimpse(nn.Module):
    """
    What lies in a box and a quarter around it, resampled to the cells of the shape tokens: whatever the size of the
    structure, its shape is seen in the frame in which it is written.
    """

    def __init__(self, config: AnatomyVLMMaskConfig, map_channels: int):
        super().__init__()
        width = config.decoder_hidden_size or config.hidden_size
        first, second = config.glimpse_channels or [32, 64]
        self.num_global_tokens = config.codec_global_tokens
        # From 16 samples a cell to 4, 2 and 1.
        self.pixels = nn.Conv2d(1, first, kernel_size=4, stride=4)
        self.features = nn.Linear(map_channels, first)
        self.norm1 = nn.GroupNorm(1, first)
        self.convolution1 = nn.Conv2d(first, second, kernel_size=3, stride=2, padding=1)
        self.norm2 = nn.GroupNorm(1, second)
        self.convolution2 = nn.Conv2d(second, width, kernel_size=3, stride=2, padding=1)
        self.norm3 = nn.GroupNorm(1, width)
        self.convolution3 = nn.Conv2d(width, width, kernel_size=3, padding=1)
        self.to_global = nn.Linear(width, self.num_global_tokens * width)
        self.activation_fn = ACT2FN[config.hidden_act]

    def forward(self, film: torch.Tensor, feature_map: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """
        `(rows, num_shape_codes, width)`, one state for each shape token.

        Args:
            film: Grey values `(films, 1, height, width)`.
            feature_map: `(films, channels, rows, columns)`.
            boxes: `(rows, 4)`, y0, x0, y1, x1 as fractions; as many rows for each film, films one after another.
        """
        act, side = self.activation_fn, GLIMPSE_CELLS * SAMPLES_PER_CELL
        pixels = self.pixels(look_into(film, boxes, side))
        features = look_into(feature_map, boxes, side // 4).movedim(1, -1)
        states = act(self.norm1(pixels + self.features(features).movedim(-1, 1)))
        states = act(self.norm2(self.convolution1(states)))
        states = act(self.norm3(self.convolution2(states)))
        states = states + self.convolution3(states)
        margin = (GLIMPSE_CELLS - BOX_CELLS) // 2
        cells = states[..., margin:-margin, margin:-margin].flatten(2).transpose(1, 2)
        whole = self.to_global(states.mean((2, 3))).unflatten(1, (self.num_global_tokens, -1))
        return torch.cat((cells, whole), dim=1)


def look_into(maps: torch.Tensor, boxes: torch.Tensor, side: int) -> torch.Tensor:
    """
    Maps `(films, channels, height, width)` resampled to `(rows, channels, side, side)` inside boxes `(rows, 4)` (y0,
    x0, y1, x1 as fractions) grown by a quarter on every side.
    """
    films, channels = maps.shape[:2]
    steps = (torch.arange(side, device=maps.device, dtype=torch.float32) + 0.5) / side
    steps = (steps * GLIMPSE_CELLS - (GLIMPSE_CELLS - BOX_CELLS) / 2) / BOX_CELLS
    y0, x0, y1, x1 = (boxes.float()[:, edge, None] for edge in range(4))
    y, x = (2 * (start + (stop - start) * steps) - 1 for start, stop in ((y0, y1), (x0, x1)))
    grid = torch.stack((x[:, None].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)), dim=-1)
    # One film is sampled by all of its rows at once, instead of being copied for each.
    grid = grid.reshape(films, -1, side, 2).to(maps.dtype)
    seen = nn.functional.grid_sample(maps, grid, padding_mode="border", align_corners=False)
    return seen.unflatten(2, (-1, side)).transpose(1, 2).reshape(-1, channels, side, side)


class AnatomyVLMPlacePointer(nn.Module):
    """
    Where an edge lies: attention over the cells of the film points at it, an offset is added, and what comes out is a
    mixture of Laplace distributions over the bins. A table of bins would have to be learned bin by bin.
    """

    def __init__(self, config: AnatomyVLMMaskConfig):
        super().__init__()
        width = config.decoder_hidden_size or config.hidden_size
        self.bins = config.box_bins
        self.query = nn.Linear(width, NUM_POINTERS * width)
        self.key = nn.Linear(width, width)
        # Offset, spread and weight of each pointer.
        self.rest = nn.Linear(width, 3 * NUM_POINTERS)
        self.offset_scale = 0.1

    def forward(self, hidden_states: torch.Tensor, cells: torch.Tensor, centers: torch.Tensor) -> torch.Tensor:
        """
        Logits `(rows, 4, bins)` of y0, x0, y1, x1.

        Args:
            hidden_states: `(rows, 4, width)`.
            cells: `(films, num_cells, width)`.
            centers: `(num_cells, 2)`, y and x as fractions.
        """
        return self.at(hidden_states, cells, centers, [0, 1, 0, 1])

    def at(
        self, hidden_states: torch.Tensor, cells: torch.Tensor, centers: torch.Tensor, axes: list[int]
    ) -> torch.Tensor:
        """Logits `(rows, len(axes), bins)`; an axis is 0 for y, 1 for x."""
        rows, number, width = hidden_states.shape
        query = self.query(hidden_states).reshape(len(cells), -1, width)
        weights = (query @ self.key(cells).transpose(1, 2) * width**-0.5).float().softmax(-1)
        points = (weights @ centers.float()).reshape(rows, number, NUM_POINTERS, 2)
        points = torch.stack([points[:, place, :, axis] for place, axis in enumerate(axes)], dim=1)
        offset, spread, weight = self.rest(hidden_states).float().unflatten(-1, (3, NUM_POINTERS)).unbind(-2)
        points = points + self.offset_scale * offset
        low, high = (math.log(value) for value in SPREADS)
        spread = (low + (high - low) * torch.sigmoid(spread)).exp()
        bins = torch.arange(self.bins, device=points.device) / (self.bins - 1)
        distance = (bins - points[..., None]).abs() / spread[..., None]
        parts = weight.log_softmax(-1)[..., None] - spread.log()[..., None] - distance
        return parts.logsumexp(-2)


def place_waves(fractions: torch.Tensor) -> torch.Tensor:
    """Fractions `(...)` and their sines and cosines at doubling frequencies, `(..., 2 * PLACE_WAVES + 1)`."""
    angles = fractions[..., None] * torch.pi * 2.0 ** torch.arange(PLACE_WAVES, device=fractions.device)
    return torch.cat((fractions[..., None], angles.sin(), angles.cos()), dim=-1)


def cell_centers(rows: int, columns: int) -> torch.Tensor:
    """Centres `(rows * columns, 2)` of cells, y and x as fractions."""
    y, x = ((torch.arange(number) + 0.5) / number for number in (rows, columns))
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1)


def cell_positions(rows: int, columns: int, width: int) -> torch.Tensor:
    """Sines and cosines `(1, rows * columns, width)` of where cells lie."""
    side = max(rows, columns)
    table = sine_positions(side, width).unflatten(1, (side, side))
    if rows != columns:
        table = nn.functional.interpolate(table.movedim(-1, 1), size=(rows, columns), mode="bilinear").movedim(1, -1)
    return table.flatten(1, 2)


__all__ = [
    "PLACE_WAVES",
    "AnatomyVLMGlimpse",
    "AnatomyVLMMaskAttention",
    "AnatomyVLMMaskDecoderLayer",
    "AnatomyVLMPlacePointer",
    "cell_centers",
    "cell_positions",
    "look_into",
    "place_waves",
]
