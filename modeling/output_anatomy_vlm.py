# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""What Anatomy-VLM returns."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput


# Pairs of regions and texts from which on a training step does not keep their logits for the output: 64 MiB.
LARGE_LOGITS = 2**24


@dataclass
class AnatomyVLMOutput(ModelOutput):
    """
    Every logit is the logit of a sigmoid, scale and bias included.

    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*): Weighted sum of `loss_dict`, when targets were given.
        loss_dict (`dict[str, torch.FloatTensor]`, *optional*):
            The unweighted losses: `l1`, `giou`, `presence`, `global`, `fine`, those that the targets allow; and
            `l1_auxiliary` and `giou_auxiliary` with `config.auxiliary_loss`.
        logits_per_image (`torch.FloatTensor` of shape `(image_batch_size, text_batch_size)`):
            Does the text hold for the image?
        logits_per_text (`torch.FloatTensor` of shape `(text_batch_size, image_batch_size)`): Its transpose.
        logits_per_region (`torch.FloatTensor` of shape `(image_batch_size, num_regions, text_batch_size)`):
            Does the text hold for the region? At 0, it describes the region as well as no text does. `None` while
            training with `region_labels` on more than `LARGE_LOGITS` pairs: the loss does without them.
        image_embeds (`torch.FloatTensor` of shape `(image_batch_size, projection_dim)`): Normalised, from [CLS].
        region_embeds (`torch.FloatTensor` of shape `(image_batch_size, num_regions, projection_dim)`): Normalised.
        text_embeds (`torch.FloatTensor` of shape `(text_batch_size, projection_dim)`): Normalised.
        pred_boxes (`torch.FloatTensor` of shape `(image_batch_size, num_regions, 4)`):
            (centre x, centre y, width, height) of each region's box, as fractions of the model's input.
        presence_logits (`torch.FloatTensor` of shape `(image_batch_size, num_regions)`):
            Is the region in the picture?
        logits (`torch.FloatTensor` of shape `(image_batch_size, num_regions, num_regions + 1)`):
            The presence logits in DETR's form: query *i* can only be region *i* or, last, nothing.
        auxiliary_pred_boxes (`torch.FloatTensor` of shape `(num_layers - 1, image_batch_size, num_regions, 4)`):
            The boxes as each layer but the last has them, with `config.auxiliary_loss` and `boxes` to learn.
        text_model_output (`BaseModelOutputWithPooling`, *optional*): Output of the text encoder.
        vision_model_output (`BaseModelOutputWithPooling`): Output of the vision tower.
    """

    loss: torch.Tensor | None = None
    loss_dict: dict[str, torch.Tensor] | None = None
    logits_per_image: torch.Tensor | None = None
    logits_per_text: torch.Tensor | None = None
    logits_per_region: torch.Tensor | None = None
    image_embeds: torch.Tensor | None = None
    region_embeds: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None
    pred_boxes: torch.Tensor | None = None
    presence_logits: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    auxiliary_pred_boxes: torch.Tensor | None = None
    text_model_output: BaseModelOutputWithPooling | None = None
    vision_model_output: BaseModelOutputWithPooling | None = None

    def to_tuple(self) -> tuple[Any, ...]:
        return tuple(v.to_tuple() if isinstance(v, ModelOutput) else v for v in self.values())


__all__ = ["LARGE_LOGITS", "AnatomyVLMOutput"]
