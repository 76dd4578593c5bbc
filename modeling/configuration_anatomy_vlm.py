# Copyright 2026 The Anatomy-VLM authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Anatomy-VLM model configuration."""

from typing import TYPE_CHECKING, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec


# The 29 Chest ImaGenome regions, in the dataset's order; "left" and "right" are the patient's.
CHEST_REGIONS = (
    "right lung",
    "right upper lung zone",
    "right mid lung zone",
    "right lower lung zone",
    "right hilar structures",
    "right apical zone",
    "right costophrenic angle",
    "right hemidiaphragm",
    "left lung",
    "left upper lung zone",
    "left mid lung zone",
    "left lower lung zone",
    "left hilar structures",
    "left apical zone",
    "left costophrenic angle",
    "left hemidiaphragm",
    "trachea",
    "spine",
    "right clavicle",
    "left clavicle",
    "aortic arch",
    "mediastinum",
    "upper mediastinum",
    "svc",
    "cardiac silhouette",
    "cavoatrial junction",
    "right atrium",
    "carina",
    "abdomen",
)


def check_choices(config: PreTrainedConfig, choices: dict[str, tuple[str, ...]]) -> None:
    """Raises `ValueError` for a field of `config` that is none of its choices."""
    for name, allowed in choices.items():
        if getattr(config, name) not in allowed:
            raise ValueError(f"`{name}` must be one of {allowed}, not {getattr(config, name)!r}.")


@strict
class AnatomyVLMVisionConfig(PreTrainedConfig):
    r"""
    Configuration of [`AnatomyVLMVisionModel`], a pre-norm ViT whose sequence is [CLS] | anatomy queries | registers |
    patches. The defaults are ViT-B/16 with the 29 queries of the paper.

    Args:
        hidden_size (`int`, *optional*, defaults to 768): Width of the tokens.
        intermediate_size (`int`, *optional*, defaults to 3072): Width of the feed-forward layers.
        num_hidden_layers (`int`, *optional*, defaults to 12): Number of layers.
        num_attention_heads (`int`, *optional*, defaults to 12): Number of attention heads.
        num_channels (`int`, *optional*, defaults to 3): Channels of the input.
        image_size (`int`, *optional*, defaults to 224):
            Side in pixels of the square that the position table is laid out for. Other sizes are interpolated.
        patch_size (`int`, *optional*, defaults to 16): Side of a patch in pixels.
        num_anatomy_queries (`int`, *optional*, defaults to 29): Number of learnable anatomy queries.
        num_register_tokens (`int`, *optional*, defaults to 0): Number of register tokens (DINOv2 with registers).
        stem_channels (`list[int]`, *optional*):
            Channels of a convolutional stem of 3x3 convolutions with stride 2, in place of the linear patch
            embedding; `2 ** len(stem_channels)` must divide `patch_size`. Helps when training from scratch on little
            data (Xiao et al., 2021, "Early convolutions help transformers see better"). The box head then points at
            edges on the stem's last map, which is finer than the patches.
        stem_blocks (`list[int]`, *optional*):
            Residual blocks after each convolution of the stem and after the projection to patches, so one number more
            than `stem_channels`. With `[0, 0, 1, 2]` boxes are learned from scratch in about a third of the steps.
        hidden_act (`str`, *optional*, defaults to `"gelu"`): Activation of the feed-forward layers.
        gated_mlp (`bool`, *optional*, defaults to `False`):
            Whether the feed-forward layers are gated, `down(act(gate(x)) * up(x))` (SwiGLU with `"silu"`).
        layer_norm_eps (`float`, *optional*, defaults to 1e-6): Epsilon of the layer norms.
        pre_layernorm (`bool`, *optional*, defaults to `False`): A layer norm before the first layer, as in CLIP.
        patch_bias (`bool`, *optional*, defaults to `True`): Whether the linear patch embedding has a bias.
        qkv_bias (`bool`, *optional*, defaults to `True`): Whether queries, keys and values have biases.
        key_bias (`bool`, *optional*): Whether keys have a bias; as `qkv_bias` by default. DINOv3's have none.
        mlp_bias (`bool`, *optional*, defaults to `True`): Whether the feed-forward layers have biases.
        position_embedding_type (`str`, *optional*, defaults to `"learned"`):
            `"learned"`: a table that is added to the patches; `"rope"`: none, but queries and keys of patches are
            rotated in every layer by where the patch lies (DINOv3, arXiv 2508.10104).
        rope_theta (`float`, *optional*, defaults to 100.0): Base of the periods of `"rope"`.
        position_interpolation (`str`, *optional*, defaults to `"bicubic"`):
            How the table is resampled to another number of patches: `"bicubic"`, `"bicubic_antialias"` (DINOv2 with
            registers) or `"bilinear_antialias"` (SigLIP 2 NaFlex).
        query_attention (`str`, *optional*, defaults to `"joint"`):
            `"joint"`, the paper's: all tokens attend to all. `"read_only"`: the anatomy queries attend to all tokens,
            but only they to themselves, so that [CLS], registers and patches are what they are without queries: the
            features of a pretrained tower, at the cost of two smaller attentions per layer.
        cls_attention (`str`, *optional*, defaults to `"joint"`):
            The same for [CLS], for towers that were pretrained without it (SigLIP).
        layerscale_value (`float`, *optional*): Initial LayerScale value; no LayerScale without it.
        drop_path_rate (`float`, *optional*, defaults to 0.0): Stochastic depth of the last layer, linear from 0.
        hidden_dropout (`float`, *optional*, defaults to 0.0): Dropout after attention and feed-forward layers.
        attention_dropout (`float`, *optional*, defaults to 0.0): Dropout of the attention weights.
        initializer_range (`float`, *optional*, defaults to 0.02): Standard deviation of the initial weights.
    """

    model_type = "anatomy_vlm_vision_model"
    base_config_key = "vision_config"

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 16
    num_anatomy_queries: int = len(CHEST_REGIONS)
    num_register_tokens: int = 0
    stem_channels: list[int] | None = None
    stem_blocks: list[int] | None = None
    hidden_act: str = "gelu"
    gated_mlp: bool = False
    layer_norm_eps: float = 1e-6
    pre_layernorm: bool = False
    patch_bias: bool = True
    qkv_bias: bool = True
    key_bias: bool | None = None
    mlp_bias: bool = True
    position_embedding_type: str = "learned"
    rope_theta: float | int = 100.0
    position_interpolation: str = "bicubic"
    query_attention: str = "joint"
    cls_attention: str = "joint"
    layerscale_value: float | None = None
    drop_path_rate: float | int = 0.0
    hidden_dropout: float | int = 0.0
    attention_dropout: float | int = 0.0
    initializer_range: float = 0.02

    def validate_architecture(self):
        """Part of `@strict`-powered validation: the invariants between fields."""
        if self.hidden_size % self.num_attention_heads != 0:
            raise ValueError(
                f"`hidden_size` ({self.hidden_size}) must be a multiple of `num_attention_heads` "
                f"({self.num_attention_heads})."
            )
        if self.image_size % self.patch_size != 0:
            raise ValueError(
                f"`image_size` ({self.image_size}) must be a multiple of `patch_size` ({self.patch_size})."
            )
        if self.num_anatomy_queries < 1:
            raise ValueError(f"`num_anatomy_queries` ({self.num_anatomy_queries}) must be at least 1.")
        if self.stem_channels and self.patch_size % 2 ** len(self.stem_channels) != 0:
            raise ValueError(
                f"`patch_size` ({self.patch_size}) must be a multiple of 2 ** len(`stem_channels`) "
                f"({2 ** len(self.stem_channels)})."
            )
        if self.stem_blocks and len(self.stem_blocks) != len(self.stem_channels or ()) + 1:
            raise ValueError(
                f"`stem_blocks` ({self.stem_blocks}) must hold one number for each of `stem_channels` "
                f"({self.stem_channels}) and one for the projection to patches."
            )
        choices = {
            "position_embedding_type": ("learned", "rope"),
            "position_interpolation": ("bicubic", "bicubic_antialias", "bilinear_antialias"),
            "query_attention": ("joint", "read_only"),
            "cls_attention": ("joint", "read_only"),
        }
        check_choices(self, choices)
        if self.position_embedding_type == "rope" and self.hidden_size // self.num_attention_heads % 4 != 0:
            raise ValueError(
                f"`position_embedding_type` 'rope' needs heads whose width ({self.hidden_size} / "
                f"{self.num_attention_heads}) is a multiple of 4."
            )


@strict
class AnatomyVLMConfig(PreTrainedConfig):
    r"""
    Configuration of [`AnatomyVLMModel`] (arXiv 2511.08402): the vision tower, any Transformers text encoder, and what
    joins them. Loss weights and the pooling follow the paper where it states them (λ = 1, 1, 1; average pooling of
    the patches beside the anatomy token); the box weights are DETR's, the temperatures CLIP's and SigLIP's.

    Args:
        vision_config (`dict` or [`AnatomyVLMVisionConfig`], *optional*): The vision tower.
        text_config (`dict` or `PreTrainedConfig`, *optional*): The text encoder, any model of `AutoModel`.
        projection_dim (`int`, *optional*, defaults to 512): Dimension of the space shared by images and texts.
        text_pooling (`str`, *optional*, defaults to `"cls"`):
            How token states become a sentence: `"cls"`, `"mean"` over the attended tokens, or `"pooler"`, which is the
            end-of-text token of CLIP and the head of SigLIP.
        text_length (`int`, *optional*):
            Pad every text to so many tokens and attend to all of them, as SigLIP's text towers were trained (64); by
            default texts are as long as they are and padding is not attended to.
        freeze_text_encoder (`bool`, *optional*, defaults to `True`): Keep the text encoder fixed and in eval mode.
        region_pooling (`str`, *optional*, defaults to `"image"`):
            Which patches enrich a region: `"image"` (all of them, the paper's) or `"box"` (those in its box).
        glimpse_size (`int`, *optional*, defaults to 0):
            Side of the glimpses: each region's box is cut out of the input, resampled to `glimpse_size` x
            `glimpse_size` pixels, and enriches the region and the image. 0, the paper's, has none. Aligned by their
            boxes, regions are comparable between films from the first step on, which makes training on little data
            an order of magnitude faster.
        box_assignment (`str`, *optional*, defaults to `"fixed"`):
            `"fixed"`: query *i* is region *i*; `"hungarian"`: the best assignment per image, for agnostic queries.
        anatomy_loss_weight, global_loss_weight, fine_loss_weight (`float`, *optional*, default to 1.0):
            λ of the paper's three losses: boxes, image against disease prompts, regions against phrases.
        presence_loss_weight (`float`, *optional*, defaults to 1.0): Weight of region presence, inside the first.
        l1_loss_weight, giou_loss_weight (`float`, *optional*, default to 5.0 and 2.0): Parts of the box loss.
        auxiliary_loss (`bool`, *optional*, defaults to `False`):
            Whether the boxes are also learnt from each layer but the last, with the weights above and a mean over
            the layers (DETR's auxiliary loss).
        fine_loss_type (`str`, *optional*, defaults to `"contrastive"`):
            Between regions and phrases: `"contrastive"`, multi-positive InfoNCE in both directions, or `"sigmoid"`,
            SigLIP's; the latter wants its initial scale and bias (log 10 and -10) below.
        logit_scale_init_value, logit_bias_init_value (`float`, *optional*, default to 2.3026 and -5.0):
            Initial log-scale and bias of the sigmoid between image and disease prompt.
        region_logit_scale_init_value, region_logit_bias_init_value (`float`, *optional*, default to 2.6593 and 0.0):
            Initial log-scale and bias between region and phrase; a phrase with a logit of 0 is as good as none.
        initializer_range (`float`, *optional*, defaults to 0.02): Standard deviation of the initial weights.
        id2label (`dict[int, str]`, *optional*):
            Name of the region of each anatomy query; the 29 Chest ImaGenome regions by default.
    """

    model_type = "anatomy_vlm"
    sub_configs_defaults: ClassVar = {
        "vision_config": SubConfigSpec(config_class=AnatomyVLMVisionConfig),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="bert"),
    }

    if TYPE_CHECKING:
        # Whatever they were given as, the base class has made configurations of them once the object exists.
        vision_config: AnatomyVLMVisionConfig
        text_config: PreTrainedConfig
    else:
        vision_config: dict | PreTrainedConfig | None = None
        text_config: dict | PreTrainedConfig | None = None
    projection_dim: int = 512
    text_pooling: str = "cls"
    text_length: int | None = None
    freeze_text_encoder: bool = True
    region_pooling: str = "image"
    glimpse_size: int = 0
    box_assignment: str = "fixed"
    anatomy_loss_weight: float | int = 1.0
    global_loss_weight: float | int = 1.0
    fine_loss_weight: float | int = 1.0
    presence_loss_weight: float | int = 1.0
    l1_loss_weight: float | int = 5.0
    giou_loss_weight: float | int = 2.0
    auxiliary_loss: bool = False
    fine_loss_type: str = "contrastive"
    logit_scale_init_value: float = 2.3026
    logit_bias_init_value: float | int = -5.0
    region_logit_scale_init_value: float = 2.6593
    region_logit_bias_init_value: float | int = 0.0
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        # Not a field default: a config built with `num_labels=5` must not be overruled by the 29 names.
        if self.id2label is None and kwargs.get("num_labels") is None:
            self.id2label = dict(enumerate(CHEST_REGIONS))
            self.label2id = {name: index for index, name in self.id2label.items()}
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        """Part of `@strict`-powered validation: the invariants between fields."""
        choices = {
            "text_pooling": ("cls", "mean", "pooler"),
            "region_pooling": ("image", "box"),
            "box_assignment": ("fixed", "hungarian"),
            "fine_loss_type": ("contrastive", "sigmoid"),
        }
        if self.glimpse_size < 0:
            raise ValueError(f"`glimpse_size` ({self.glimpse_size}) must be 0 (none) or a number of pixels.")
        check_choices(self, choices)
        if self.text_length is not None and self.text_length < 1:
            raise ValueError(f"`text_length` ({self.text_length}) must be a positive number of tokens.")


__all__ = ["CHEST_REGIONS", "AnatomyVLMConfig", "AnatomyVLMVisionConfig"]
