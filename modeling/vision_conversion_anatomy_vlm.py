# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""Weights of public vision transformers, in the layout of the vision tower."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import transformers
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from .configuration_anatomy_vlm import AnatomyVLMVisionConfig
from .vision_anatomy_vlm import AnatomyVLMVisionModel, resample_positions


# Model types of Transformers whose towers convert, and the class that holds the tower's weights.
CONVERTIBLE = {
    "vit": "ViTModel",
    "deit": "DeiTModel",
    "vit_mae": "ViTMAEModel",
    "dinov2": "Dinov2Model",
    "dinov2_with_registers": "Dinov2WithRegistersModel",
    "dinov3_vit": "DINOv3ViTModel",
    "clip": "CLIPVisionModel",
    "clip_vision_model": "CLIPVisionModel",
    "siglip": "SiglipVisionModel",
    "siglip_vision_model": "SiglipVisionModel",
    "siglip2": "Siglip2VisionModel",
    "siglip2_vision_model": "Siglip2VisionModel",
}
# Why the better known others do not.
REASONS = {
    "anatomy_vlm": "it is an Anatomy-VLM already, use `from_pretrained`",
    "anatomy_vlm_vision_model": "it is an Anatomy-VLM already, use `from_pretrained`",
    "beit": "its attention adds a bias by relative position, in which anatomy queries have no place",
    "data2vec-vision": "its attention adds a bias by relative position, in which anatomy queries have no place",
    "swin": "its patches attend within windows and are merged, so that queries cannot join them",
    "swinv2": "its patches attend within windows and are merged, so that queries cannot join them",
    "hiera": "its patches are pooled from layer to layer, so that queries cannot join them",
    "convnext": "it is a convolutional network",
    "convnextv2": "it is a convolutional network",
    "dinov3_convnext": "it is a convolutional network",
    "resnet": "it is a convolutional network",
    "timm_wrapper": "its weights have timm's names; convert them to one of Transformers' classes first",
}

# Names of the sources -> ours; one list, since the families name the same things alike.
_LAYER = re.compile(r"(?:\w+\.)*?layers?\.(\d+)\.(.+)")
_INSIDE = (
    (r"(?:layernorm_before|layer_norm1|norm1)\.(\w+)", r"layernorm_before.\1"),
    (r"(?:layernorm_after|layer_norm2|norm2)\.(\w+)", r"layernorm_after.\1"),
    (r"(?:attention|self_attn)\.([qkv])_proj\.(\w+)", r"attention.\1_proj.\2"),
    (r"(?:attention\.o_proj|self_attn\.out_proj)\.(\w+)", r"attention.o_proj.\1"),
    (r"layer_scale1\.lambda1", "attention_residual.layer_scale.weight"),
    (r"layer_scale2\.lambda1", "mlp_residual.layer_scale.weight"),
    (r"mlp\.(?:fc1|up_proj)\.(\w+)", r"mlp.fc1.\1"),
    (r"mlp\.(?:fc2|down_proj)\.(\w+)", r"mlp.fc2.\1"),
    (r"mlp\.gate_proj\.(\w+)", r"mlp.gate_proj.\1"),
)
_OUTSIDE = (
    (r"embeddings\.(?:cls_token|class_embedding)", "embeddings.cls_token"),
    (r"embeddings\.(?:register_tokens|distillation_token)", "embeddings.register_tokens"),
    (r"embeddings\.patch_embeddings?(?:\.projection)?\.(weight|bias)", r"embeddings.patch_embedding.\1"),
    (r"embeddings\.(?:position_embeddings|position_embedding\.weight)", "embeddings.position_embeddings"),
    (r"pre_layrnorm\.(\w+)", r"embeddings.pre_layernorm.\1"),
    (r"(?:layernorm|post_layernorm|norm)\.(\w+)", r"layernorm.\1"),
)
# What a tower leaves behind: heads, decoders, the other tower, and what only pretraining needs.
_LEFT = re.compile(
    r"(?:.*\.)?(?:pooler|head|decoder|classifier|cls_classifier|distillation_classifier|text_model|text_projection|"
    r"visual_projection|logit_scale|logit_bias|mask_token|position_ids)(?:\..*)?"
)


def convert_vision_tower(
    vision: str | PreTrainedModel, overrides: Mapping[str, Any] | None = None, revision: str = "main"
) -> AnatomyVLMVisionModel:
    """
    The vision tower of Anatomy-VLM with the weights of a public vision transformer, in float32 and eval mode.

    Without queries that are read (`query_attention="read_only"`), its [CLS] and patches are those of the source after
    the source's last layer norm, also at other input sizes. Only the anatomy queries are new, and [CLS] where the
    source has none; queries that only read start as copies of [CLS] with a little noise.

    Args:
        vision: A Hub id, a folder, or a loaded model of one of `CONVERTIBLE`.
        overrides: Fields of `AnatomyVLMVisionConfig` over those of the source. Another `image_size` resamples the
            position table as the source does.
        revision: Revision on the Hub.

    Raises:
        ValueError: if the model cannot be found or converted, or if weights are missing or left over.
    """
    source = load_vision_source(vision, revision) if isinstance(vision, str) else find_tower(vision)
    overrides = dict(overrides or {})
    fields = tower_fields(source.config)
    new = {"embeddings.anatomy_queries"}
    if not any("cls" in name or "class_embedding" in name for name, _ in source.named_parameters()):
        new.add("embeddings.cls_token")
        overrides.setdefault("cls_attention", overrides.get("query_attention", "joint"))
    tower = AnatomyVLMVisionModel(AnatomyVLMVisionConfig(**{**fields, **overrides}))
    state = tower_state(source.state_dict(), fields["patch_size"], describe(source))
    if "embeddings.position_embeddings" in state:
        place_positions(state, tower.config, fields["image_size"] // fields["patch_size"])
    check_state(state, tower.state_dict(), new, describe(source))
    tower.load_state_dict(state, strict=False)
    if tower.config.query_attention == "read_only" and "embeddings.cls_token" not in new:
        with torch.no_grad():
            tower.embeddings.anatomy_queries.add_(tower.embeddings.cls_token)
    return tower.eval()


def load_vision_source(name: str, revision: str = "main") -> PreTrainedModel:
    """The tower `name`, a Hub id or folder, in the class of `CONVERTIBLE`. Raises `ValueError` as above."""
    try:
        config = AutoConfig.from_pretrained(name, revision=revision)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{name}: cannot be read as a vision tower of Transformers: {first_line(error)}") from error
    check_type(config, name)
    loaded: PreTrainedModel
    try:
        loaded, info = getattr(transformers, CONVERTIBLE[config.model_type]).from_pretrained(
            name,
            revision=revision,
            config=getattr(config, "vision_config", config),
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name}: the weights of the vision tower cannot be loaded: {first_line(error)}") from error
    missing = sorted(key for key in info["missing_keys"] if not _LEFT.fullmatch(key))
    if missing:
        raise ValueError(f"{name}: the checkpoint lacks weights of its vision tower: {shortened(missing)}")
    unexpected = [key for key in info["unexpected_keys"] if not _LEFT.fullmatch(key) and our_name(key) is not None]
    if unexpected:
        raise ValueError(
            f"{name}: the checkpoint holds weights for which its configuration has no place: {shortened(unexpected)}"
        )
    return loaded


def find_tower(model: PreTrainedModel) -> PreTrainedModel:
    """The tower in a loaded model: the model itself, that below its head, or that beside its text tower."""
    check_type(model.config, type(model).__name__)
    expected = getattr(transformers, CONVERTIBLE[model.config.model_type])
    for candidate in (model, model.base_model, getattr(model, "vision_model", None)):
        if isinstance(candidate, expected):
            return candidate
    raise ValueError(f"{type(model).__name__} holds no {expected.__name__}; give that tower itself")


def check_type(config: PreTrainedConfig, name: str) -> None:
    """Raises `ValueError` for a model that cannot be converted, with the reason."""
    kind = config.model_type
    if kind not in CONVERTIBLE:
        reason = REASONS.get(kind, "its architecture is another one")
        known = ", ".join(sorted(key for key in CONVERTIBLE if not key.endswith("_vision_model")))
        raise ValueError(
            f"{name}: a vision tower of type '{kind}' cannot be converted: {reason}; convertible: {known}"
        )


def tower_fields(config: PreTrainedConfig) -> dict[str, Any]:
    """The fields of `AnatomyVLMVisionConfig` under which the tower computes what a source of this config does."""
    kind = config.model_type
    patch_size, image_size = (square(config, name) for name in ("patch_size", "image_size"))
    if kind == "siglip2_vision_model":  # NaFlex has a table for a square, but no size of its own
        image_size = int(config.num_patches**0.5) * patch_size
    mlp_size = getattr(config, "intermediate_size", None) or int(config.hidden_size * config.mlp_ratio)
    fields = {
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_channels": config.num_channels,
        "patch_size": patch_size,
        # What does not fill a patch was not seen before either (SigLIP so400m: 384 pixels, patches of 14).
        "image_size": image_size // patch_size * patch_size,
        "hidden_act": config.hidden_act,
        "layer_norm_eps": config.layer_norm_eps,
        "initializer_range": getattr(config, "initializer_range", 0.02),
        "hidden_dropout": getattr(config, "hidden_dropout_prob", 0.0),
        "attention_dropout": getattr(
            config, "attention_probs_dropout_prob", getattr(config, "attention_dropout", 0.0)
        ),
        "drop_path_rate": getattr(config, "drop_path_rate", 0.0),
        "qkv_bias": getattr(config, "qkv_bias", True),
        "layerscale_value": getattr(config, "layerscale_value", None),
        "num_register_tokens": 1 if kind == "deit" else getattr(config, "num_register_tokens", 0),
    }
    if getattr(config, "use_swiglu_ffn", False):  # DINOv2 giant: two thirds, up to a multiple of 8
        mlp_size = (int(mlp_size * 2 / 3) + 7) // 8 * 8
        fields |= {"gated_mlp": True, "hidden_act": "silu"}
    fields["intermediate_size"] = mlp_size
    if kind == "dinov2_with_registers":
        fields["position_interpolation"] = "bicubic_antialias"
    elif kind == "siglip2_vision_model":
        fields["position_interpolation"] = "bilinear_antialias"
    elif kind == "clip_vision_model":
        fields |= {"pre_layernorm": True, "patch_bias": False}
    elif kind == "dinov3_vit":
        if config.query_bias != config.value_bias or not config.proj_bias:
            raise ValueError("DINOv3: queries and values have to have biases alike, and the projection after them one")
        fields |= {
            "position_embedding_type": "rope",
            "rope_theta": config.rope_theta,
            "gated_mlp": config.use_gated_mlp,
            "qkv_bias": config.query_bias,
            "key_bias": config.key_bias,
            "mlp_bias": config.mlp_bias,
        }
    return fields


def square(config: PreTrainedConfig, name: str) -> int:
    """The side in pixels that a field gives as a number or a pair; 0 where there is none."""
    value = getattr(config, name, 0)
    sides = set(value) if isinstance(value, Iterable) else {value}
    if len(sides) != 1:
        raise ValueError(f"`{name}` ({value}): only square images and patches can be converted")
    return int(sides.pop())


def our_name(key: str) -> str | None:
    """Our name of a weight of any source, or None."""
    layer = _LAYER.fullmatch(key)
    for pattern, name in _INSIDE if layer else _OUTSIDE:
        match = re.fullmatch(pattern, layer[2] if layer else key)
        if match:
            return f"layers.{layer[1]}.{match.expand(name)}" if layer else match.expand(name)
    return None


def tower_state(weights: Mapping[str, torch.Tensor], patch_size: int, source: str) -> dict[str, torch.Tensor]:
    """The weights of a source under our names, shaped as ours but for the positions."""
    state, unexpected = {}, []
    for key, tensor in weights.items():
        if _LEFT.fullmatch(key) or tensor.numel() == 0:
            continue
        name = our_name(key)
        if name is None:
            unexpected.append(key)
        else:
            state[name] = tensor.detach().float().clone()
    if unexpected:
        raise ValueError(f"{source} has weights that the vision tower has no place for: {shortened(unexpected)}")
    patches = state.get("embeddings.patch_embedding.weight")
    if patches is not None and patches.ndim == 2:
        # A linear layer over the pixels of a patch, channels last (NaFlex), is the same convolution.
        patches = patches.unflatten(1, (patch_size, patch_size, -1)).permute(0, 3, 1, 2).contiguous()
        state["embeddings.patch_embedding.weight"] = patches
    if "embeddings.cls_token" in state:
        state["embeddings.cls_token"] = state["embeddings.cls_token"].reshape(1, 1, -1)
    return state


def place_positions(state: dict[str, torch.Tensor], config: AnatomyVLMVisionConfig, source_grid: int) -> None:
    """Split the positions of `state`: what belongs to tokens is added to them, the rest gets the tower's grid."""
    positions = state["embeddings.position_embeddings"]
    positions = positions.reshape(1, *positions.shape[-2:])
    num_special = positions.shape[1] - source_grid**2
    tokens = [name for name in ("embeddings.cls_token", "embeddings.register_tokens") if name in state]
    for index, name in enumerate(tokens[: max(num_special, 0)]):
        state[name] = state[name] + positions[:, index : index + 1]
    grid = config.image_size // config.patch_size
    table = positions[:, num_special:] if num_special > 0 else positions
    state["embeddings.position_embeddings"] = resample_positions(table, grid, grid, config.position_interpolation)


def check_state(
    state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], new: set[str], source: str
) -> None:
    """Raises `ValueError` if `state` is not what the tower expects but for the `new` parameters."""
    missing = sorted(set(expected) - set(state) - new)
    if missing:
        raise ValueError(f"{source} lacks weights of the vision tower: {shortened(missing)}")
    unexpected = sorted(set(state) - set(expected))
    if unexpected:
        raise ValueError(f"{source} has weights that the vision tower has no place for: {shortened(unexpected)}")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise ValueError(
                f"{source}: {name} has the shape {tuple(tensor.shape)}, but the tower's configuration asks for "
                f"{tuple(expected[name].shape)}"
            )


def describe(model: PreTrainedModel) -> str:
    """What to call a model in an error: where it came from, or else its class."""
    return model.config.name_or_path or type(model).__name__


def shortened(names: Iterable[str], most: int = 5) -> str:
    """The first names of a list, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its name."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


__all__ = ["CONVERTIBLE", "convert_vision_tower"]
