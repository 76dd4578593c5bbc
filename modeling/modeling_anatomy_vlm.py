# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""PyTorch Anatomy-VLM model (arXiv 2511.08402)."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, can_return_tuple

from .configuration_anatomy_vlm import AnatomyVLMConfig
from .heads_anatomy_vlm import AnatomyVLMBoxHead, AnatomyVLMGlimpse, AnatomyVLMRegionEnrichment, detection_logits
from .losses_anatomy_vlm import binary_loss, box_criterion, loss_weights
from .output_anatomy_vlm import LARGE_LOGITS, AnatomyVLMOutput
from .region_losses_anatomy_vlm import ContrastTotals, region_phrase_loss
from .text_source_anatomy_vlm import build_text_model, feature_size
from .vision_anatomy_vlm import AnatomyVLMVisionModel, AnatomyVLMVisionPreTrainedModel


class AnatomyVLMPreTrainedModel(AnatomyVLMVisionPreTrainedModel):
    """Initialisation and capabilities of Anatomy-VLM."""

    # The whole is initialised by the class of its tower, whose configuration is a part of the whole's.
    config: AnatomyVLMConfig  # type: ignore[assignment]
    base_model_prefix = "model"
    input_modalities = ["image", "text"]

    @torch.no_grad()
    def _init_weights(self, module):
        """Initialize the weights"""
        super()._init_weights(module)
        if isinstance(module, AnatomyVLMBoxHead):
            init.zeros_(module.reference)
        elif isinstance(module, AnatomyVLMGlimpse):
            init.trunc_normal_(module.region_embeddings, mean=0.0, std=self.config.initializer_range)
        elif isinstance(module, AnatomyVLMModel):
            init.constant_(module.logit_scale, self.config.logit_scale_init_value)
            init.constant_(module.logit_bias, self.config.logit_bias_init_value)
            init.constant_(module.region_logit_scale, self.config.region_logit_scale_init_value)
            init.constant_(module.region_logit_bias, self.config.region_logit_bias_init_value)


class AnatomyVLMModel(AnatomyVLMPreTrainedModel):
    """
    Anatomy-VLM: boxes for named regions, and zero-shot scores of texts for the image and for each region.

    The text encoder is frozen (`config.freeze_text_encoder`) and stays in eval mode.
    """

    # The losses are means over what is known, not sums over a number of items that a trainer could count.
    accepts_loss_kwargs = False
    # Set by a trainer whose processes each hold a part of the batch: the losses are then those of the whole batch.
    # Processes may bring differently many images, but must bring the same texts.
    losses_across_ranks = False

    def __init__(self, config: AnatomyVLMConfig):
        super().__init__(config)
        vision_size, text_size = (
            config.vision_config.hidden_size,
            feature_size(config.text_config, config.text_pooling),
        )
        self.vision_model = AnatomyVLMVisionModel._from_config(config.vision_config)
        self.text_model = build_text_model(config.text_config)

        self.box_head = AnatomyVLMBoxHead(config)
        self.presence_head = nn.Linear(vision_size, 1)
        self.glimpse = AnatomyVLMGlimpse(config) if config.glimpse_size else None
        self.region_enrichment = AnatomyVLMRegionEnrichment(config)
        self.visual_projection = nn.Linear(vision_size * (3 if config.glimpse_size else 1), config.projection_dim)
        self.text_projection = nn.Linear(text_size, config.projection_dim, bias=False)
        # One-dimensional: FSDP2 cannot shard scalars.
        self.logit_scale = nn.Parameter(torch.tensor([float(config.logit_scale_init_value)]))
        self.logit_bias = nn.Parameter(torch.tensor([float(config.logit_bias_init_value)]))
        self.region_logit_scale = nn.Parameter(torch.tensor([float(config.region_logit_scale_init_value)]))
        self.region_logit_bias = nn.Parameter(torch.tensor([float(config.region_logit_bias_init_value)]))
        if config.freeze_text_encoder:
            self.text_model.requires_grad_(False).eval()

        # Initialize weights and apply final processing
        self.post_init()

    @classmethod
    def from_vision_text_pretrained(
        cls,
        vision: str | PreTrainedModel,
        text: str | PreTrainedModel,
        vision_config: dict[str, Any] | None = None,
        **config: Any,
    ) -> "AnatomyVLMModel":
        r"""
        A model whose towers are public ones; queries, heads and projections are new, in eval mode and float32.

        Args:
            vision (`str` or `PreTrainedModel`):
                A vision transformer: Hub id, folder or loaded model of ViT, DeiT, ViTMAE, DINOv2 (also with
                registers, such as RAD-DINO), DINOv3, SigLIP, SigLIP 2 or CLIP.
            text (`str` or `PreTrainedModel`): A text encoder of Transformers; without code of its own.
            vision_config (`dict`, *optional*):
                Fields of [`AnatomyVLMVisionConfig`] over those of the source, such as `image_size`, or
                `{"query_attention": "read_only"}` for features that are exactly those of the source.
            config: Fields of [`AnatomyVLMConfig`]; without `text_pooling`, the encoder's own.

        Raises:
            ValueError: if a tower cannot be found or converted, or if weights are missing or left over.
        """
        from .pretrained_anatomy_vlm import join_towers

        return join_towers(cls, vision, text, vision_config, config)

    def get_input_embeddings(self) -> nn.Module:
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module):
        self.text_model.set_input_embeddings(value)

    def train(self, mode: bool = True):
        super().train(mode)
        if self.config.freeze_text_encoder:
            # A frozen encoder in training mode would still drop out.
            self.text_model.eval()
        return self

    def pool_text(self, outputs: BaseModelOutputWithPooling, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """Sentence features `(batch_size, text_hidden_size)` of the encoder's output, by `config.text_pooling`."""
        if self.config.text_pooling == "pooler":
            pooled = outputs.get("pooler_output")
            if pooled is None:
                raise ValueError(
                    f"`text_pooling` is 'pooler', but {type(self.text_model).__name__} has no pooler; "
                    "use 'cls' or 'mean'."
                )
            return pooled
        states = outputs["last_hidden_state"]
        if self.config.text_pooling == "cls":
            return states[:, 0]
        if attention_mask is None or self.config.text_length is not None:
            return states.mean(1)
        weights = attention_mask.to(states.dtype)[..., None]
        return (states * weights).sum(1) / weights.sum(1).clamp(min=1)

    @can_return_tuple
    def get_text_features(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | BaseModelOutputWithPooling:
        r"""Encode texts; `pooler_output` is the projected sentence `(text_batch_size, projection_dim)`."""
        outputs = self._encode_text(input_ids, attention_mask, token_type_ids, **kwargs)
        outputs.pooler_output = self.text_projection(self.pool_text(outputs, attention_mask))
        return outputs

    @can_return_tuple
    def get_image_features(
        self, pixel_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple | BaseModelOutputWithPooling:
        r"""
        Encode images; `pooler_output` is the projected [CLS] state, with the glimpses where there are any,
        `(image_batch_size, projection_dim)`.
        """
        outputs = self.vision_model(pixel_values, **kwargs)
        image_states, _, _ = self._look(pixel_values, outputs.last_hidden_state, outputs.feature_map)
        outputs.pooler_output = self.visual_projection(image_states)
        return outputs

    def _look(
        self,
        pixel_values: torch.Tensor,
        hidden_states: torch.Tensor,
        feature_map: torch.Tensor | None,
        region_boxes: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        From what the tower gives: the states that stand for the images `(batch_size, features)`, the regions in the
        space of the phrases `(batch_size, num_regions, projection_dim)`, and their boxes.
        """
        tokens, patches, grid = self._split(pixel_values, hidden_states)
        pred_boxes = self.box_head(tokens, patches, grid, feature_map)
        looked_at = pred_boxes
        if region_boxes is not None:
            first, last = region_boxes[..., :2], region_boxes[..., 2:]
            given = torch.cat(((first + last) / 2, last - first), dim=-1).to(pred_boxes)
            looked_at = torch.where(given.isnan().any(-1, keepdim=True), pred_boxes, given)
        image_states, glimpses = hidden_states[:, 0], None
        if self.glimpse is not None:
            # Where to look is for the box losses to learn.
            glimpses = self.glimpse(pixel_values, looked_at.detach(), self.box_head.reference.detach().sigmoid())
            parts = (glimpses.amax(1), glimpses.mean(1))
            image_states = torch.cat((image_states, *(part.to(image_states.dtype) for part in parts)), dim=-1)
        return image_states, self.region_enrichment(tokens, patches, looked_at, grid, glimpses), pred_boxes

    def _split(
        self, pixel_values: torch.Tensor, hidden_states: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[int, int]]:
        """The anatomy tokens, the patches, and the patches' rows and columns."""
        vision_config = self.config.vision_config
        num_regions, patch_size = vision_config.num_anatomy_queries, vision_config.patch_size
        first_patch = 1 + num_regions + vision_config.num_register_tokens
        grid = (pixel_values.shape[-2] // patch_size, pixel_values.shape[-1] // patch_size)
        return hidden_states[:, 1 : 1 + num_regions], hidden_states[:, first_patch:], grid

    def _auxiliary_boxes(
        self, pixel_values: torch.Tensor, hidden_states: tuple[torch.Tensor, ...], feature_map: torch.Tensor | None
    ) -> torch.Tensor:
        """The boxes from what each layer but the last gives."""
        states = (self.vision_model.layernorm(state) for state in hidden_states[1:-1])
        return torch.stack([self.box_head(*self._split(pixel_values, state), feature_map) for state in states])

    def sentence_features(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        """The `text_features` of `forward`, before the projection: `(text_batch_size, text_hidden_size)`."""
        return self.pool_text(self._encode_text(input_ids, attention_mask, token_type_ids, **kwargs), attention_mask)

    def _encode_text(self, input_ids, attention_mask, token_type_ids, **kwargs) -> BaseModelOutputWithPooling:
        length = self.config.text_length
        if length is not None:
            # The padding is a part of what such an encoder reads.
            padding = (0, max(length - input_ids.shape[-1], 0))
            input_ids = nn.functional.pad(input_ids, padding, value=self.config.text_config.pad_token_id or 0)
            attention_mask = None
        if token_type_ids is not None:  # not every encoder has them
            kwargs["token_type_ids"] = token_type_ids
        return self.text_model(input_ids=input_ids, attention_mask=attention_mask, **kwargs)

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        text_features: torch.Tensor | None = None,
        boxes: torch.Tensor | None = None,
        box_mask: torch.Tensor | None = None,
        image_labels: torch.Tensor | None = None,
        region_labels: torch.Tensor | None = None,
        text_weights: torch.Tensor | None = None,
        region_weights: torch.Tensor | None = None,
        region_boxes: torch.Tensor | None = None,
        contrast_totals: ContrastTotals | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> AnatomyVLMOutput:
        r"""
        pixel_values (`torch.FloatTensor` of shape `(batch_size, num_channels, height, width)`):
            Images as the image processor returns them.
        input_ids (`torch.LongTensor` of shape `(num_texts, sequence_length)`, *optional*):
            Prompts or phrases. Every text is compared with every image and region.
        text_features (`torch.FloatTensor` of shape `(num_texts, text_hidden_size)`, *optional*):
            Sentence features that the frozen encoder gave earlier (`sentence_features`), instead of `input_ids`.
        boxes (`torch.FloatTensor` of shape `(batch_size, num_regions, 4)`, *optional*):
            True boxes, (x0, y0, x1, y1) as fractions of the model's input.
        box_mask (`torch.BoolTensor` of shape `(batch_size, num_regions)`, *optional*):
            Which regions have a box; all by default.
        image_labels (`torch.FloatTensor` of shape `(batch_size, num_texts)`, *optional*):
            Is the text true of the image: 1, 0, or NaN for unknown.
        region_labels (`torch.FloatTensor` of shape `(batch_size, num_regions, num_texts)`, *optional*):
            Is the text true of the region: 1, 0, or NaN (in an integer type -1) for unknown.
        text_weights (`torch.FloatTensor` of shape `(num_texts,)`, *optional*):
            Weights of the texts in the losses of both kinds of labels, 1 by default.
        region_weights (`torch.FloatTensor` of shape `(num_regions,)`, *optional*):
            Weights of the regions in the loss of `region_labels`, 1 by default.
        region_boxes (`torch.FloatTensor` of shape `(batch_size, num_regions, 4)`, *optional*):
            Where to look for each region instead of its predicted box, (x0, y0, x1, y1) as fractions of the model's
            input; NaN for the predicted one. Counts with glimpses or `region_pooling="box"`; `pred_boxes` stay.
        contrast_totals (`ContrastTotals`, *optional*):
            Of a larger batch that this one is a part of: its contrastive loss of regions is then its share of theirs.
        """
        if region_boxes is not None and not (self.config.glimpse_size or self.config.region_pooling == "box"):
            raise ValueError("this model reads no boxes: its `region_pooling` is 'image' and its `glimpse_size` 0.")
        if pixel_values is None:
            raise ValueError("You have to specify `pixel_values`; for texts alone use `get_text_features`.")
        without_images = not torch.compiler.is_compiling() and len(pixel_values) == 0
        if without_images:
            # One of several processes may have no image of a batch; attention takes no empty one.
            pixel_values = pixel_values.new_zeros(1, *pixel_values.shape[1:])
        auxiliary = self.config.auxiliary_loss and boxes is not None
        vision_kwargs = {**kwargs, "output_hidden_states": True} if auxiliary else kwargs
        vision_outputs = self.vision_model(pixel_values, **vision_kwargs)
        hidden_states, feature_map = vision_outputs.last_hidden_state, vision_outputs.feature_map
        image_states, region_states, pred_boxes = self._look(pixel_values, hidden_states, feature_map, region_boxes)
        num_regions = self.config.vision_config.num_anatomy_queries
        presence_logits = self.presence_head(hidden_states[:, 1 : 1 + num_regions])[..., 0]
        image_embeds = nn.functional.normalize(self.visual_projection(image_states), dim=-1)
        region_embeds = nn.functional.normalize(region_states, dim=-1)
        auxiliary_boxes = None
        if auxiliary:
            auxiliary_boxes = self._auxiliary_boxes(pixel_values, vision_outputs.hidden_states, feature_map)
        if without_images:
            image_embeds, region_embeds = image_embeds[:0], region_embeds[:0]
            pred_boxes, presence_logits = pred_boxes[:0], presence_logits[:0]
            auxiliary_boxes = auxiliary_boxes[:, :0] if auxiliary_boxes is not None else None

        text_outputs = text_embeds = logits_per_image = logits_per_text = logits_per_region = None
        if text_features is None and input_ids is not None:
            text_outputs = self._encode_text(input_ids, attention_mask, token_type_ids, **kwargs)
            text_features = self.pool_text(text_outputs, attention_mask)
        if text_features is not None:
            text_embeds = self.text_projection(text_features.to(self.text_projection.weight.dtype))
            text_embeds = nn.functional.normalize(text_embeds, dim=-1)
            logits_per_image = self.image_logits(image_embeds, text_embeds)
            logits_per_text = logits_per_image.t()
            large = region_embeds.shape[:2].numel() * len(text_embeds) > LARGE_LOGITS
            if region_labels is None or not (self.training and large):
                logits_per_region = self.region_logits(region_embeds, text_embeds)

        outputs = AnatomyVLMOutput(
            logits_per_image=logits_per_image,
            logits_per_text=logits_per_text,
            logits_per_region=logits_per_region,
            image_embeds=image_embeds,
            region_embeds=region_embeds,
            text_embeds=text_embeds,
            pred_boxes=pred_boxes,
            presence_logits=presence_logits,
            logits=detection_logits(presence_logits),
            auxiliary_pred_boxes=auxiliary_boxes,
            text_model_output=text_outputs,
            vision_model_output=vision_outputs,
        )
        if any(target is not None for target in (boxes, box_mask, image_labels, region_labels)):
            losses = self.compute_losses(
                outputs, boxes, box_mask, image_labels, region_labels, text_weights, region_weights, contrast_totals
            )
            outputs.loss_dict = losses
            outputs.loss = self.weigh_losses(losses)
        return outputs

    def image_logits(self, image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> torch.Tensor:
        """Scaled and biased similarities `(batch_size, num_texts)` of normalised embeddings."""
        similarities = torch.matmul(image_embeds, text_embeds.t().to(image_embeds.dtype))
        return similarities * self.logit_scale.exp() + self.logit_bias

    def region_logits(self, region_embeds: torch.Tensor, text_embeds: torch.Tensor) -> torch.Tensor:
        """Scaled and biased similarities `(batch_size, num_regions, num_texts)` of normalised embeddings."""
        similarities = torch.matmul(region_embeds, text_embeds.t().to(region_embeds.dtype))
        return similarities * self.region_logit_scale.exp() + self.region_logit_bias

    def compute_losses(
        self,
        outputs: AnatomyVLMOutput,
        boxes: torch.Tensor | None = None,
        box_mask: torch.Tensor | None = None,
        image_labels: torch.Tensor | None = None,
        region_labels: torch.Tensor | None = None,
        text_weights: torch.Tensor | None = None,
        region_weights: torch.Tensor | None = None,
        contrast_totals: ContrastTotals | None = None,
    ) -> dict[str, torch.Tensor]:
        """The losses that the given targets allow, unweighted; targets as in `forward`, arithmetic in float32."""
        across_ranks = self.losses_across_ranks
        losses: dict[str, torch.Tensor] = {}
        if boxes is not None:
            found = _needed(outputs.pred_boxes), _needed(outputs.presence_logits)
            layers = outputs.auxiliary_pred_boxes
            losses |= box_criterion(self.config, *found, boxes.float(), box_mask, layers, across_ranks)
        if image_labels is not None:
            losses["global"] = binary_loss(
                _needed(outputs.logits_per_image), image_labels.float(), text_weights, across_ranks
            )
        if region_labels is not None:
            losses["fine"] = region_phrase_loss(
                _needed(outputs.region_embeds),
                _needed(outputs.text_embeds),
                self.region_logit_scale.exp(),
                self.region_logit_bias,
                region_labels,
                region_weights,
                text_weights,
                self.config.fine_loss_type,
                across_ranks,
                contrast_totals,
            )
        return losses

    def weigh_losses(self, losses: dict[str, torch.Tensor]) -> torch.Tensor:
        """Weighted sum of the losses of `compute_losses`: λ of the paper times the weights inside the box loss."""
        weights = loss_weights(self.config)
        return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()


# Not inside of `compute_losses`: the compiler of PyTorch 2.8 stumbles over the annotation of a nested function.
def _needed(tensor: torch.Tensor | None) -> torch.Tensor:
    if tensor is None:
        raise ValueError("The outputs lack what the targets are about; labels of texts need texts as well.")
    return tensor.float()


__all__ = ["AnatomyVLMModel", "AnatomyVLMPreTrainedModel"]
