# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""Decoders from maps of the vision tower to one logit per structure and place."""

import math

import torch
from torch import nn

from .configuration_segmentation_anatomy_vlm import AnatomyVLMSegmentationConfig


def _norm(channels: int) -> nn.GroupNorm:
    # No batch statistics: ranks, batches and a batch of one agree.
    return nn.GroupNorm(math.gcd(8, channels), channels)


class AnatomyVLMLinearDecoder(nn.Module):
    """One linear layer on the patches of the last layer."""

    def __init__(self, config: AnatomyVLMSegmentationConfig):
        super().__init__()
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.classifier = nn.Linear(config.hidden_size, config.num_structures)

    def forward(
        self, maps: list[torch.Tensor], pixel_values: torch.Tensor, feature_map: torch.Tensor | None = None
    ) -> torch.Tensor:
        r"""See [`AnatomyVLMUNetDecoder`]; the logits are of the size of the patches' grid."""
        return self.classifier(self.layernorm(maps[-1])).movedim(-1, 1)


class AnatomyVLMUNetLevel(nn.Module):
    """Twice the size, joined by what the tower and the film say there, and two convolutions (Ronneberger, 2015)."""

    def __init__(self, config: AnatomyVLMSegmentationConfig, before: int, after: int, others: int):
        super().__init__()
        self.upsample = nn.ConvTranspose2d(before, after, kernel_size=2, stride=2)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.lateral = nn.Linear(config.hidden_size, after)
        self.other = nn.Conv2d(others, after, kernel_size=3, padding=1) if others else None
        width = after * (3 if others else 2)
        self.block = nn.Sequential(
            nn.Conv2d(width, after, kernel_size=3, padding=1),
            _norm(after),
            nn.GELU(),
            nn.Conv2d(after, after, kernel_size=3, padding=1),
            _norm(after),
            nn.GELU(),
        )

    def forward(self, below: torch.Tensor, tokens: torch.Tensor, other: torch.Tensor | None) -> torch.Tensor:
        hidden_states = self.upsample(below)
        size = hidden_states.shape[-2:]
        lateral = self.lateral(self.layernorm(tokens)).movedim(-1, 1)
        parts = [hidden_states, nn.functional.interpolate(lateral, size=size, mode="bilinear", align_corners=False)]
        if self.other is not None and other is not None:
            parts.append(self.other(nn.functional.adaptive_avg_pool2d(other, size)))
        return self.block(torch.cat(parts, dim=1))


class AnatomyVLMUNetDecoder(nn.Module):
    """A U-Net's expanding path over the layers of a ViT, as in UNETR (Hatamizadeh et al., 2022)."""

    def __init__(self, config: AnatomyVLMSegmentationConfig):
        super().__init__()
        channels = config.decoder_channels or []
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.root = nn.Linear(config.hidden_size, channels[0])
        # The stem's map is joined where it is at home, at the coarsest level; the film where edges are drawn.
        others = [0] * len(channels)
        others[0] = config.stem_channels[-1] if config.stem_channels else 0
        others[-1] = config.num_channels
        self.reads_stem = bool(config.stem_channels) and len(channels) > 1
        self.levels = nn.ModuleList(
            AnatomyVLMUNetLevel(config, before, after, other)
            for before, after, other in zip([channels[0], *channels], channels, others)
        )
        self.classifier = nn.Conv2d(channels[-1], config.num_structures, kernel_size=1)

    def forward(
        self, maps: list[torch.Tensor], pixel_values: torch.Tensor, feature_map: torch.Tensor | None = None
    ) -> torch.Tensor:
        r"""
        Args:
            maps (`list[torch.Tensor]`, each of shape `(batch_size, rows, columns, hidden_size)`):
                The patches of `config.decoder_layers`, the root's last.
            pixel_values (`torch.Tensor` of shape `(batch_size, num_channels, height, width)`): The film.
            feature_map (`torch.Tensor` of shape `(batch_size, stem_channels[-1], height, width)`, *optional*):
                The last map of the stem.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_labels - 1, rows * 2 ** levels, columns * 2 ** levels)`.
        """
        hidden_states = self.root(self.layernorm(maps[-1])).movedim(-1, 1)
        for index, level in enumerate(self.levels):
            other = None
            if index == len(self.levels) - 1:
                other = pixel_values.to(hidden_states.dtype)
            elif index == 0 and self.reads_stem:
                other = feature_map
            hidden_states = level(hidden_states, maps[len(self.levels) - 1 - index], other)
        return self.classifier(hidden_states)


__all__ = ["AnatomyVLMLinearDecoder", "AnatomyVLMUNetDecoder", "AnatomyVLMUNetLevel"]
