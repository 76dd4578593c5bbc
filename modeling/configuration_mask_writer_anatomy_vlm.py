# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""Configuration of the mask writer: the vision tower's, the structures, the decoder and the mask code."""

import math

from huggingface_hub.dataclasses import strict

from .configuration_anatomy_vlm import AnatomyVLMVisionConfig


@strict
class AnatomyVLMMaskConfig(AnatomyVLMVisionConfig):
    r"""
    Configuration of [`AnatomyVLMForMaskGeneration`]: all fields of [`AnatomyVLMVisionConfig`], and the writer.

    The vocabulary is `[pad, eos, start | places 0 ... box_bins - 1 | shape codes | structures]`, in that order, so
    that structures can be added at its end.

    Args:
        structures (`list[str]`, *optional*):
            Names of the structures that can be asked for; sides are the patient's.
        box_bins (`int`, *optional*, defaults to 1024):
            Values of a place token.
        decoder_hidden_size (`int`, *optional*):
            Width of the decoder; that of the tower by default.
        decoder_num_layers, decoder_num_heads (`int`, *optional*, default to 3 and 4):
            Depth and heads of the decoder.
        glimpse_channels (`list[int]`, *optional*, defaults to `[32, 64]`):
            Channels of the convolutions over what lies in a box, before the last of `decoder_hidden_size`.
        prefix_dropout (`float`, *optional*, defaults to 0.3):
            How many of the shape tokens written so far are hidden in training, so that the film is looked at.
        codec_levels, codec_global_tokens, codec_hidden_size, codec_num_layers, codec_encoder_sizes,
        codec_decoder_sizes:
            Those of [`AnatomyMaskCodec`], which is part of the model and stays as it is.
    """

    model_type = "anatomy_vlm_mask_generation"

    structures: list[str] | None = None
    box_bins: int = 1024
    decoder_hidden_size: int | None = None
    decoder_num_layers: int = 3
    decoder_num_heads: int = 4
    glimpse_channels: list[int] | None = None
    prefix_dropout: float | int = 0.3
    codec_levels: list[int] | None = None
    codec_global_tokens: int = 4
    codec_hidden_size: int = 128
    codec_num_layers: int = 2
    codec_encoder_sizes: list[int] | None = None
    codec_decoder_sizes: list[int] | None = None
    is_encoder_decoder: bool = True
    use_cache: bool = True
    pad_token_id: int = 0
    eos_token_id: int = 1
    decoder_start_token_id: int = 2

    def __post_init__(self, **kwargs):
        self.structures = ["heart"] if self.structures is None else self.structures
        self.glimpse_channels = self.glimpse_channels or [32, 64]
        self.codec_levels = self.codec_levels or [8, 8, 8, 8]
        self.codec_encoder_sizes = self.codec_encoder_sizes or [24, 48, 96]
        self.codec_decoder_sizes = self.codec_decoder_sizes or [64, 32, 16]
        if self.decoder_hidden_size is None:
            self.decoder_hidden_size = self.hidden_size
        super().__post_init__(**kwargs)

    @property
    def num_shape_codes(self) -> int:
        """Shape tokens of a mask."""
        return 16 + self.codec_global_tokens

    @property
    def num_code_values(self) -> int:
        """Values of a shape token."""
        return math.prod(self.codec_levels or ())

    @property
    def first_place(self) -> int:
        """Id of place 0."""
        return 3

    @property
    def first_code(self) -> int:
        """Id of shape code 0."""
        return self.first_place + self.box_bins

    @property
    def first_structure(self) -> int:
        """Id of the first structure."""
        return self.first_code + self.num_code_values

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return self.first_structure + len(self.structures or ())

    def structure_id(self, name: str) -> int:
        """
        Token of a structure.

        Raises:
            ValueError: for a structure that the model does not know.
        """
        names = self.structures or []
        if name not in names:
            raise ValueError(f"the model does not know '{name}'; it knows {', '.join(names)}")
        return self.first_structure + names.index(name)

    def validate_architecture(self):
        """Part of `@strict`-powered validation: the invariants between fields."""
        super().validate_architecture()
        names = self.structures or []
        if not names or len(set(names)) != len(names):
            raise ValueError(f"`structures` must hold one or more different names, not {names}.")
        width = self.decoder_hidden_size or 0
        if width < 1 or width % self.decoder_num_heads:
            raise ValueError(
                f"`decoder_hidden_size` ({width}) must be a multiple of `decoder_num_heads` "
                f"({self.decoder_num_heads})."
            )
        if self.box_bins < 2:
            raise ValueError(f"`box_bins` ({self.box_bins}) must be at least 2.")


__all__ = ["AnatomyVLMMaskConfig"]
