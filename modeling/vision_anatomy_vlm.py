# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""PyTorch vision tower of Anatomy-VLM: a ViT with anatomy queries between [CLS] and the patches."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, torch_int
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .attention_anatomy_vlm import AnatomyVLMAttention, rotary_positions
from .configuration_anatomy_vlm import AnatomyVLMVisionConfig


# Amplitude of the initial positions beside patch embeddings of about the same size.
POSITION_SCALE = 0.3


def sine_positions(grid_size: int, hidden_size: int) -> torch.Tensor:
    """
    Two-dimensional sines and cosines `(1, grid_size ** 2, hidden_size)` in [-1, 1], as in MAE (He et al., 2021).
    """
    frequencies = 10000 ** (-torch.arange(hidden_size // 4) / max(hidden_size // 4, 1))
    angles = torch.outer(torch.arange(grid_size) + 0.5, frequencies)
    waves = torch.cat((angles.sin(), angles.cos()), dim=1)
    vertical, horizontal = waves.repeat_interleave(grid_size, dim=0), waves.repeat(grid_size, 1)
    positions = torch.cat((vertical, horizontal), dim=1)
    return nn.functional.pad(positions, (0, hidden_size - positions.shape[1]))[None]


def resample_positions(table: torch.Tensor, rows: int, columns: int, interpolation: str) -> torch.Tensor:
    """
    A square position table `(1, side ** 2, hidden_size)` resampled to `(1, rows * columns, hidden_size)` in float32.
    `interpolation` is that of the configuration.
    """
    side = int(table.shape[1] ** 0.5)
    if rows == side and columns == side:
        return table
    mode, _, antialias = interpolation.partition("_")
    grid = nn.functional.interpolate(
        table.float().reshape(1, side, side, -1).permute(0, 3, 1, 2),
        size=(torch_int(rows), torch_int(columns)),
        mode=mode,
        align_corners=False,
        antialias=bool(antialias),
    )
    return grid.to(table.dtype).flatten(2).transpose(1, 2)


class AnatomyVLMStemBlock(nn.Module):
    """Two convolutions that the input passes by (He et al., 2016, "Identity mappings in deep residual networks")."""

    def __init__(self, channels: int, config: AnatomyVLMVisionConfig):
        super().__init__()
        # One group is a layer norm over channels and positions: no batch statistics, so ranks and batches agree.
        self.norm1 = nn.GroupNorm(1, channels, eps=config.layer_norm_eps)
        self.convolution1 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.norm2 = nn.GroupNorm(1, channels, eps=config.layer_norm_eps)
        self.convolution2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.activation_fn = ACT2FN[config.hidden_act]

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        residual = self.convolution1(self.activation_fn(self.norm1(hidden_states)))
        return hidden_states + self.convolution2(self.activation_fn(self.norm2(residual)))


class AnatomyVLMStem(nn.Module):
    """
    Convolutions with stride 2, each followed by a norm and residual blocks, then patches of what is left. Returns the
    patches and the last map before them, `(batch_size, stem_channels[-1], rows, columns)`.
    """

    def __init__(self, config: AnatomyVLMVisionConfig, stem_channels: list[int]):
        super().__init__()
        self.patch_size = config.patch_size
        channels = [config.num_channels, *stem_channels]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1) for before, after in pairwise(channels)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, after, eps=config.layer_norm_eps) for after in channels[1:])
        self.activation_fn = ACT2FN[config.hidden_act]
        rest = config.patch_size // 2 ** len(stem_channels)
        self.projection = nn.Conv2d(channels[-1], config.hidden_size, kernel_size=rest, stride=rest)
        widths = [*stem_channels, config.hidden_size]
        numbers = config.stem_blocks or [0] * len(widths)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(AnatomyVLMStemBlock(width, config) for _ in range(number)))
            for width, number in zip(widths, numbers)
        )

    @property
    def weight(self) -> torch.Tensor:
        return self.projection.weight

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # What does not fill a patch is not seen, as without a stem; the strides would round it up.
        rows, columns = (side // self.patch_size * self.patch_size for side in pixel_values.shape[-2:])
        feature_map = pixel_values[..., :rows, :columns]
        for convolution, norm, blocks in zip(self.convolutions, self.norms, self.blocks):
            feature_map = blocks(self.activation_fn(norm(convolution(feature_map))))
        return self.blocks[-1](self.projection(feature_map)), feature_map


@dataclass
class AnatomyVLMVisionOutput(BaseModelOutputWithPooling):
    r"""
    feature_map (`torch.FloatTensor` of shape `(batch_size, stem_channels[-1], rows, columns)`, *optional*):
        The last map of the stem, finer than the patches; there is one where `config.stem_channels` is set.
    """

    feature_map: torch.FloatTensor | None = None


class AnatomyVLMEmbeddings(nn.Module):
    """[CLS], the anatomy queries, the registers and the patches with their positions, in that order."""

    def __init__(self, config: AnatomyVLMVisionConfig):
        super().__init__()
        self.grid_size = config.image_size // config.patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.anatomy_queries = nn.Parameter(torch.zeros(1, config.num_anatomy_queries, config.hidden_size))
        self.register_tokens = None
        if config.num_register_tokens:
            self.register_tokens = nn.Parameter(torch.zeros(1, config.num_register_tokens, config.hidden_size))
        self.patch_embedding: AnatomyVLMStem | nn.Conv2d
        if config.stem_channels:
            self.patch_embedding = AnatomyVLMStem(config, config.stem_channels)
        else:
            self.patch_embedding = nn.Conv2d(
                config.num_channels,
                config.hidden_size,
                kernel_size=config.patch_size,
                stride=config.patch_size,
                bias=config.patch_bias,
            )
        self.position_embeddings = None
        if config.position_embedding_type == "learned":
            self.position_embeddings = nn.Parameter(torch.zeros(1, self.grid_size**2, config.hidden_size))
        self.interpolation = config.position_interpolation
        self.pre_layernorm: nn.Module = nn.Identity()
        if config.pre_layernorm:
            self.pre_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        batch_size, feature_map = pixel_values.shape[0], None
        patches = self.patch_embedding(pixel_values.to(self.patch_embedding.weight.dtype))
        if isinstance(patches, tuple):
            patches, feature_map = patches
        rows, columns = patches.shape[-2:]
        patches = patches.flatten(2).transpose(1, 2)
        if self.position_embeddings is not None:
            table = resample_positions(self.position_embeddings, rows, columns, self.interpolation)
            patches = patches + table
        prefix = torch.cat((self.cls_token, self.anatomy_queries), dim=1)
        if self.register_tokens is not None:
            prefix = torch.cat((prefix, self.register_tokens), dim=1)
        hidden_states = torch.cat((prefix.expand(batch_size, -1, -1), patches), dim=1)
        return self.pre_layernorm(hidden_states), feature_map


class AnatomyVLMMLP(nn.Module):
    def __init__(self, config: AnatomyVLMVisionConfig):
        super().__init__()
        self.activation_fn = ACT2FN[config.hidden_act]
        self.gate_proj = None
        if config.gated_mlp:
            self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.mlp_bias)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        if self.gate_proj is not None:
            return self.fc2(self.activation_fn(self.gate_proj(hidden_states)) * self.fc1(hidden_states))
        return self.fc2(self.activation_fn(self.fc1(hidden_states)))


class AnatomyVLMLayerScale(nn.Module):
    """A learnable factor per channel (Touvron et al., 2021)."""

    def __init__(self, hidden_size: int, initial_value: float):
        super().__init__()
        self.initial_value = initial_value
        self.weight = nn.Parameter(torch.full((hidden_size,), float(initial_value)))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return hidden_states * self.weight


class AnatomyVLMResidual(nn.Module):
    """What is added to the residual stream: dropout, LayerScale where configured, stochastic depth."""

    def __init__(self, config: AnatomyVLMVisionConfig, drop_path_rate: float):
        super().__init__()
        self.drop_path_rate = drop_path_rate
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layer_scale: nn.Module = nn.Identity()
        if config.layerscale_value is not None:
            self.layer_scale = AnatomyVLMLayerScale(config.hidden_size, config.layerscale_value)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        hidden_states = self.layer_scale(self.dropout(hidden_states))
        if self.training and self.drop_path_rate > 0:
            kept = torch.rand(len(hidden_states), 1, 1, device=hidden_states.device) >= self.drop_path_rate
            hidden_states = hidden_states * kept.to(hidden_states.dtype) / (1 - self.drop_path_rate)
        return hidden_states


class AnatomyVLMLayer(GradientCheckpointingLayer):
    def __init__(self, config: AnatomyVLMVisionConfig, drop_path_rate: float = 0.0):
        super().__init__()
        self.layernorm_before = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = AnatomyVLMAttention(config)
        self.attention_residual = AnatomyVLMResidual(config, drop_path_rate)
        self.layernorm_after = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = AnatomyVLMMLP(config)
        self.mlp_residual = AnatomyVLMResidual(config, drop_path_rate)

    def forward(self, hidden_states: torch.Tensor, **kwargs: Unpack[TransformersKwargs]) -> torch.Tensor:
        attn_output, _ = self.attention(self.layernorm_before(hidden_states), **kwargs)
        hidden_states = hidden_states + self.attention_residual(attn_output)
        mlp_output = self.mlp(self.layernorm_after(hidden_states))
        return hidden_states + self.mlp_residual(mlp_output)


class AnatomyVLMVisionPreTrainedModel(PreTrainedModel):
    """Initialisation and capabilities of the vision tower."""

    config: AnatomyVLMVisionConfig
    base_model_prefix = "vision_model"
    main_input_name = "pixel_values"
    input_modalities = ["image"]
    supports_gradient_checkpointing = True
    _no_split_modules = ["AnatomyVLMEmbeddings", "AnatomyVLMLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {"hidden_states": AnatomyVLMLayer, "attentions": AnatomyVLMAttention}
    _input_embed_layer = "patch_embedding"

    @torch.no_grad()
    def _init_weights(self, module):
        """Initialize the weights"""
        super()._init_weights(module)
        std = self.config.initializer_range
        if isinstance(module, AnatomyVLMEmbeddings):
            for parameter in module.parameters(recurse=False):
                init.trunc_normal_(parameter, mean=0.0, std=std)
            if module.position_embeddings is not None:
                # Trained from scratch, patches have to know from the first step where they are.
                positions = sine_positions(module.grid_size, self.config.hidden_size)
                init.copy_(module.position_embeddings, POSITION_SCALE * positions)
        elif isinstance(module, AnatomyVLMLayerScale):
            init.constant_(module.weight, module.initial_value)


class AnatomyVLMVisionModel(AnatomyVLMVisionPreTrainedModel):
    """
    The vision tower: [CLS], anatomy queries, registers and patches attend to each other in every layer, unless
    `config.query_attention` or `config.cls_attention` says that the former only read.

    `last_hidden_state` is `(batch_size, 1 + num_anatomy_queries + num_register_tokens + num_patches, hidden_size)`,
    `pooler_output` its [CLS] state. Any input size of at least one patch works; what does not fill a patch at the
    right and bottom edge is not seen.
    """

    def __init__(self, config: AnatomyVLMVisionConfig):
        super().__init__(config)
        self.embeddings = AnatomyVLMEmbeddings(config)
        steps = max(config.num_hidden_layers - 1, 1)
        self.layers = nn.ModuleList(
            AnatomyVLMLayer(config, config.drop_path_rate * index / steps) for index in range(config.num_hidden_layers)
        )
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

        # Initialize weights and apply final processing
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self, pixel_values: torch.Tensor | None = None, **kwargs: Unpack[TransformersKwargs]
    ) -> AnatomyVLMVisionOutput:
        r"""
        pixel_values (`torch.FloatTensor` of shape `(batch_size, num_channels, height, width)`):
            Images as the image processor returns them.
        """
        if pixel_values is None:
            raise ValueError("You have to specify `pixel_values`: the vision tower reads images.")
        hidden_states, feature_map = self.embeddings(pixel_values)
        config = self.config
        if config.position_embedding_type == "rope":
            kwargs["position_embeddings"] = rotary_positions(  # type: ignore[typeddict-unknown-key]
                pixel_values.shape[-2] // config.patch_size,
                pixel_values.shape[-1] // config.patch_size,
                config.hidden_size // config.num_attention_heads,
                config.rope_theta,
                hidden_states.device,
            )
        for layer in self.layers:
            hidden_states = layer(hidden_states, **kwargs)
        last_hidden_state = self.layernorm(hidden_states)
        return AnatomyVLMVisionOutput(
            last_hidden_state=last_hidden_state, pooler_output=last_hidden_state[:, 0], feature_map=feature_map
        )


__all__ = ["AnatomyVLMVisionModel", "AnatomyVLMVisionPreTrainedModel"]
