# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""PyTorch self-attention of the vision tower: joint, or with tokens that read without being read; RoPE."""

import math
from collections.abc import Callable

import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs

from .configuration_anatomy_vlm import AnatomyVLMVisionConfig


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Unpack[TransformersKwargs],
) -> tuple[torch.Tensor, torch.Tensor]:
    # The queries are the smaller tensor to scale, and the softmax adds up in float32 whatever its type: of the tokens
    # squared, nothing is read or written that need not be, and the deviation from float64 stays what it was.
    attn_weights = torch.matmul(query * scaling, key.transpose(-1, -2))
    if attention_mask is not None:
        attn_weights = attn_weights + attention_mask
    attn_weights = nn.functional.softmax(attn_weights, dim=-1)
    attn_weights = nn.functional.dropout(attn_weights, p=dropout, training=module.training)
    attn_output = torch.matmul(attn_weights, value).transpose(1, 2).contiguous()
    return attn_output, attn_weights


def rotary_positions(
    rows: int, columns: int, head_dim: int, theta: float, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Cosines and sines `(rows * columns, head_dim)` of DINOv3's rotation: angles are 2 pi times the centre of the patch
    in [-1, 1] over periods `theta ** (4 i / head_dim)`, vertical before horizontal, twice.
    """
    frequencies = theta ** -torch.arange(0, 1, 4 / head_dim, dtype=torch.float32, device=device)
    vertical = 2 * (torch.arange(rows, dtype=torch.float32, device=device) + 0.5) / rows - 1
    horizontal = 2 * (torch.arange(columns, dtype=torch.float32, device=device) + 0.5) / columns - 1
    centers = torch.stack(torch.meshgrid(vertical, horizontal, indexing="ij"), dim=-1).flatten(0, 1)
    angles = (2 * math.pi * centers[:, :, None] * frequencies).flatten(1).tile(2)
    return angles.cos(), angles.sin()


def rotate_patches(states: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """The `(batch_size, num_heads, sequence_length, head_dim)` queries or keys with those of the patches rotated."""
    num_prefix = states.shape[-2] - cosines.shape[-2]
    prefix, patches = states[..., :num_prefix, :], states[..., num_prefix:, :]
    first, second = patches.chunk(2, dim=-1)
    patches = patches * cosines.to(states.dtype) + torch.cat((-second, first), dim=-1) * sines.to(states.dtype)
    return torch.cat((prefix, patches), dim=-2)


class AnatomyVLMAttention(nn.Module):
    """Self-attention of all tokens with all tokens; what is `"read_only"` is left out of the others' keys."""

    def __init__(self, config: AnatomyVLMVisionConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_dropout
        # The attention functions of Transformers take a module without this attribute to be causal.
        self.is_causal = False
        self.spans = attention_spans(config)

        key_bias = config.qkv_bias if config.key_bias is None else config.key_bias
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=key_bias)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        input_shape = hidden_states.shape[:-1]
        hidden_shape = (*input_shape, -1, self.head_dim)
        # (batch_size, num_heads, sequence_length, head_dim)
        query_states = self.q_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        key_states = self.k_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        value_states = self.v_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        if position_embeddings is not None:
            query_states = rotate_patches(query_states, *position_embeddings)
            key_states = rotate_patches(key_states, *position_embeddings)

        if self.spans is None:
            attn_output, attn_weights = self.attend(query_states, key_states, value_states, **kwargs)
        else:
            attn_output, attn_weights = self.attend_apart(self.spans, query_states, key_states, value_states, **kwargs)
        attn_output = attn_output.reshape(*input_shape, -1).contiguous()
        return self.o_proj(attn_output), attn_weights

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The configured attention: `(batch_size, query_length, num_heads, head_dim)`, and its weights if it tells."""
        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        return attention_interface(
            self,
            query,
            key,
            value,
            None,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            is_causal=self.is_causal,
            **kwargs,
        )

    def attend_apart(
        self,
        spans: tuple[list[slice], list[slice]],
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Two attentions instead of one with a mask, which flash attention would not take: the tokens that are read among
        themselves, and those that only read over all.
        """
        read, readers = spans
        among, own_weights = self.attend(*(take(states, read) for states in (query, key, value)), **kwargs)
        over_all, all_weights = self.attend(take(query, readers), key, value, **kwargs)
        output = put_together(spans, among, over_all, dim=1)
        if own_weights is None or all_weights is None:
            return output, None
        unread = own_weights.new_zeros(*own_weights.shape[:-1], all_weights.shape[-2])
        own_weights = put_together(spans, own_weights, unread, dim=-1)
        return output, put_together(spans, own_weights, all_weights, dim=-2)


def attention_spans(config: AnatomyVLMVisionConfig) -> tuple[list[slice], list[slice]] | None:
    """Where in the sequence are the tokens that are read by all, and those that only read; None if all are read."""
    first_patch = 1 + config.num_anatomy_queries
    parts = (
        (slice(0, 1), config.cls_attention),
        (slice(1, first_patch), config.query_attention),
        (slice(first_patch, None), "joint"),
    )
    readers = [part for part, kind in parts if kind == "read_only"]
    return ([part for part, kind in parts if kind == "joint"], readers) if readers else None


def take(states: torch.Tensor, spans: list[slice]) -> torch.Tensor:
    """These parts of the sequence `(..., sequence_length, head_dim)`, one after another."""
    return torch.cat([states[..., span, :] for span in spans], dim=-2)


def put_together(
    spans: tuple[list[slice], list[slice]], read: torch.Tensor, readers: torch.Tensor, dim: int
) -> torch.Tensor:
    """Both parts along `dim`, in the order of the sequence."""
    pieces = []
    for part, states in zip(spans, (read, readers)):
        start = 0
        for span in part:
            length = states.shape[dim] - start if span.stop is None else span.stop - span.start
            pieces.append((span.start, states.narrow(dim, start, length)))
            start += length
    return torch.cat([piece for _, piece in sorted(pieces, key=lambda piece: piece[0])], dim=dim)


__all__ = ["AnatomyVLMAttention", "attention_spans", "rotary_positions", "rotate_patches"]
