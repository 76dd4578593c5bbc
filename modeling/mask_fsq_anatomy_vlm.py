# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""Our mask code: 4 place tokens and 20 shape tokens of a finite scalar quantiser (Mentzer et al., arXiv 2309.15505).

Sixteen shape tokens belong to a 4 x 4 grid of the box, four to the whole shape; attention among all of them on both
sides lets each say what the others have not said. There is no codebook to collapse: every number of levels is used.
"""

from collections.abc import Sequence

import torch
from torch import nn

from .mask_codec_anatomy_vlm import RasterCodec


class _ConvolutionBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.convolution1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.convolution2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        update = self.convolution1(nn.functional.silu(self.norm(hidden_states)))
        return hidden_states + self.convolution2(nn.functional.silu(update))


class _Mixer(nn.Module):
    """Pre-norm attention among the tokens of one mask."""

    def __init__(self, hidden_size: int, num_layers: int):
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            hidden_size, 4, 2 * hidden_size, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.layers(tokens)


class AnatomyMaskCodec(RasterCodec):
    """
    Args:
        levels: Levels of the numbers that make a token; their product is the number of its values.
        num_global_tokens: Tokens about the whole shape, beside the 16 of the grid.
        hidden_size: Width of the tokens.
        num_layers: Layers of attention on each side.
        encoder_sizes: Channels at 32, 16 and 8 cells a side.
        decoder_sizes: Channels at 8, 16 and 32 cells a side.
    """

    num_grid_tokens = 16
    # How often `encode` goes over all digits to find better ones; see `refined`.
    refine_sweeps = 0

    def __init__(
        self,
        levels: Sequence[int] = (8, 8, 8, 8),
        num_global_tokens: int = 4,
        hidden_size: int = 128,
        num_layers: int = 2,
        encoder_sizes: Sequence[int] = (24, 48, 96),
        decoder_sizes: Sequence[int] = (64, 32, 16),
    ):
        super().__init__()
        self.levels = tuple(levels)
        values = 1
        for level in self.levels:
            values *= level
        number = self.num_grid_tokens + num_global_tokens
        self.num_global_tokens = num_global_tokens
        self.code_sizes = (self.box_bins,) * 4 + (values,) * number
        self.prefixes = ("loc",) * 4 + ("seg",) * number
        a, b, c = encoder_sizes
        self.encoder = nn.Sequential(
            *(nn.Conv2d(1, a, 4, 2, 1), nn.SiLU(), nn.Conv2d(a, b, 4, 2, 1), _ConvolutionBlock(b)),
            *(nn.Conv2d(b, c, 4, 2, 1), _ConvolutionBlock(c)),
            *(nn.Conv2d(c, hidden_size, 4, 2, 1), _ConvolutionBlock(hidden_size)),
        )
        self.encoder_positions = nn.Parameter(torch.randn(1, number, hidden_size) * 0.5)
        self.encoder_mixer = _Mixer(hidden_size, num_layers)
        self.to_latents = nn.Linear(hidden_size, len(self.levels))
        self.from_latents = nn.Linear(len(self.levels), hidden_size)
        self.decoder_positions = nn.Parameter(torch.randn(1, number, hidden_size) * 0.5)
        self.decoder_mixer = _Mixer(hidden_size, num_layers)
        a, b, c = decoder_sizes
        self.decoder = nn.Sequential(
            *(nn.ConvTranspose2d(hidden_size, a, 4, 2, 1), _ConvolutionBlock(a)),
            *(nn.ConvTranspose2d(a, b, 4, 2, 1), _ConvolutionBlock(b)),
            *(nn.ConvTranspose2d(b, c, 4, 2, 1), nn.SiLU(), nn.Conv2d(c, c, 3, padding=1), nn.SiLU()),
            *(nn.Conv2d(c, 4, 3, padding=1), nn.PixelShuffle(2)),
        )

    def latents(self, rasters: torch.Tensor) -> torch.Tensor:
        """`(N, num_shape_codes, len(levels))`, each in (0, levels - 1), of coverages `(N, 64, 64)` in [0, 1]."""
        tokens = self.encoder(2 * rasters[:, None] - 1).flatten(2).transpose(1, 2)
        tokens = nn.functional.pad(tokens, (0, 0, 0, self.num_global_tokens)) + self.encoder_positions
        return torch.sigmoid(self.to_latents(self.encoder_mixer(tokens))) * (self._levels(tokens) - 1)

    def rasters(self, latents: torch.Tensor) -> torch.Tensor:
        """Logits `(N, 64, 64)` of latents, whole numbers but in training."""
        tokens = self.from_latents(2 * latents / (self._levels(latents) - 1) - 1) + self.decoder_positions
        grid = self.decoder_mixer(tokens)[:, : self.num_grid_tokens]
        return self.decoder(grid.transpose(1, 2).unflatten(2, (4, 4)))[:, 0]

    def forward(self, rasters: torch.Tensor) -> torch.Tensor:
        """Logits `(N, 64, 64)` after quantisation, whose gradient passes by it (straight through)."""
        latents = self.latents(rasters)
        return self.rasters(latents + (latents.round() - latents).detach())

    def encode_rasters(self, rasters: torch.Tensor) -> torch.Tensor:
        digits = self.latents(rasters).round().long()
        for _ in range(self.refine_sweeps):
            digits = self.refined(digits, rasters)
        codes = torch.zeros_like(digits[..., 0])
        for place, level in enumerate(self.levels):
            codes = codes * level + digits[..., place]
        return codes

    def refined(self, digits: torch.Tensor, rasters: torch.Tensor) -> torch.Tensor:
        """
        Digits `(N, num_shape_codes, len(levels))` of which each in turn has been put one level lower or higher where
        that brings what is decoded nearer to the coverages `(N, 64, 64)`.
        """
        best, (number, codes, places) = digits, digits.shape
        least = _distance(self.rasters(best.to(rasters.dtype)), rasters)
        for code in range(codes):
            for place in range(places):
                tried = best.repeat(2, 1, 1)
                tried[:number, code, place] -= 1
                tried[number:, code, place] += 1
                tried[:, code, place].clamp_(0, self.levels[place] - 1)
                found = _distance(self.rasters(tried.to(rasters.dtype)), rasters.repeat(2, 1, 1)).view(2, number)
                lower, which = found.min(0)
                better = lower < least
                chosen = tried.view(2, number, codes, places)[which, torch.arange(number, device=which.device)]
                best = torch.where(better[:, None, None], chosen, best)
                least = torch.where(better, lower, least)
        return best

    def decode_rasters(self, codes: torch.Tensor) -> torch.Tensor:
        return self.rasters(self.digits(codes).to(self.to_latents.weight.dtype))

    def digits(self, codes: torch.Tensor) -> torch.Tensor:
        """`(..., len(levels))`: the numbers that a code stands for."""
        digits = []
        for level in reversed(self.levels):
            digits.append(codes % level)
            codes = codes // level
        return torch.stack(digits[::-1], dim=-1)

    def _levels(self, like: torch.Tensor) -> torch.Tensor:
        return torch.tensor(self.levels, dtype=like.dtype, device=like.device)


def _distance(logits: torch.Tensor, rasters: torch.Tensor) -> torch.Tensor:
    """One minus the soft Dice of what is decoded `(N, 64, 64)` and coverages, `(N,)`."""
    inside = torch.sigmoid(logits.float())
    overlap = (inside * rasters).sum((1, 2))
    return 1 - 2 * overlap / (inside.square().sum((1, 2)) + rasters.square().sum((1, 2))).clamp(min=1e-6)


__all__ = ["AnatomyMaskCodec"]
