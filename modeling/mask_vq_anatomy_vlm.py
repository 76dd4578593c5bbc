# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""PaliGemma's mask code: 4 place tokens (y0, x0, y1, x1), 16 of 128 shape tokens (Ning et al., arXiv 2301.02229)."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import nn

from .mask_codec_anatomy_vlm import RasterCodec


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1),
        )

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return hidden_states + self.net(hidden_states)


class PaliGemmaMaskCodec(RasterCodec):
    """
    The VQ-VAE of PaliGemma's segmentation tokens, with the layers and names of the published `vae-oid.npz`, so that
    its weights load (`load_published`) where a user has them.

    Args:
        encoder_sizes: Channels after each of the encoder's four strides.
        hidden_size: Width of the decoder's widest layers (128 in the published weights).
        embedding_size: Width of a code (512 there).
        num_shape_tokens: Values of a code (128).
    """

    outward = False
    code_sizes = (1024,) * 4 + (128,) * 16
    prefixes = ("loc",) * 4 + ("seg",) * 16

    def __init__(
        self,
        encoder_sizes: Sequence[int] = (32, 64, 128, 128),
        hidden_size: int = 128,
        embedding_size: int = 512,
        num_shape_tokens: int = 128,
    ):
        super().__init__()
        self.code_sizes = (1024,) * 4 + (num_shape_tokens,) * 16
        strides = [
            layer
            for before, after in pairwise((1, *encoder_sizes))
            for layer in (nn.Conv2d(before, after, 4, 2, 1), nn.ReLU())
        ]
        last, h = encoder_sizes[-1], hidden_size
        self.encoder = nn.Sequential(
            *strides, _ResidualBlock(last), _ResidualBlock(last), nn.Conv2d(last, embedding_size, 1)
        )
        self.codebook = nn.Parameter(torch.randn(num_shape_tokens, embedding_size))
        self.decoder = nn.Sequential(
            *(nn.Conv2d(embedding_size, h, 1), nn.ReLU(), _ResidualBlock(h), _ResidualBlock(h)),
            *(nn.ConvTranspose2d(h, h, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(h, h // 2, 4, 2, 1), nn.ReLU()),
            *(nn.ConvTranspose2d(h // 2, h // 4, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(h // 4, h // 8, 4, 2, 1)),
            *(nn.ReLU(), nn.Conv2d(h // 8, 1, 1)),
        )

    def latents(self, rasters: torch.Tensor) -> torch.Tensor:
        """`(N, 16, embedding_size)` before they are quantised, of coverages `(N, 64, 64)` in [0, 1]."""
        return self.encoder(2 * rasters[:, None] - 1).flatten(2).transpose(1, 2)

    def nearest(self, latents: torch.Tensor) -> torch.Tensor:
        """`(N, 16)`: the nearest code of each latent."""
        return torch.cdist(latents.float(), self.codebook.float()).argmin(-1)

    def rasters(self, latents: torch.Tensor) -> torch.Tensor:
        """`(N, 64, 64)` in [-1, 1], above 0 inside the mask, of latents `(N, 16, embedding_size)`."""
        grid = latents.transpose(1, 2).unflatten(2, (4, 4))
        return self.decoder(grid)[:, 0]

    def encode_rasters(self, rasters: torch.Tensor) -> torch.Tensor:
        return self.nearest(self.latents(rasters))

    def decode_rasters(self, codes: torch.Tensor) -> torch.Tensor:
        return self.rasters(self.codebook[codes])

    @classmethod
    def load_published(cls, arrays: Mapping[str, torch.Tensor]) -> "PaliGemmaMaskCodec":
        """
        The codec with the arrays of big_vision's `vae-oid.npz` (`_vq_vae._embedding`, `encoder.0.weight`, ...).

        Raises:
            ValueError: if an array is missing or has another shape.
        """
        state = {name: torch.as_tensor(array) for name, array in arrays.items()}
        codebook = state.pop("_vq_vae._embedding", None)
        needed = [f"encoder.{place}.weight" for place in (0, 2, 4, 6)] + ["decoder.0.weight"]
        if codebook is None or not set(needed) <= set(state):
            raise ValueError("these are not the arrays of vae-oid.npz: `_vq_vae._embedding` or a layer is missing")
        *encoder_sizes, hidden_size = (len(state[name]) for name in needed)
        codec = cls(encoder_sizes, hidden_size, codebook.shape[1], len(codebook))
        kept = {name: array for name, array in state.items() if name.startswith(("encoder.", "decoder."))}
        try:
            codec.load_state_dict({**kept, "codebook": codebook})
        except RuntimeError as error:
            raise ValueError(f"these are not the arrays of vae-oid.npz: {' '.join(str(error).split())}") from error
        return codec


__all__ = ["PaliGemmaMaskCodec"]
