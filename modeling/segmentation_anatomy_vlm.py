# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""Segmentation on the vision tower of Anatomy-VLM, the paper's transfer task (arXiv 2511.08402)."""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import SemanticSegmenterOutput
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, can_return_tuple

from .configuration_segmentation_anatomy_vlm import AnatomyVLMSegmentationConfig
from .segmentation_decoders_anatomy_vlm import AnatomyVLMLinearDecoder, AnatomyVLMUNetDecoder
from .segmentation_losses_anatomy_vlm import mask_losses, structure_masks
from .vision_anatomy_vlm import AnatomyVLMVisionModel, AnatomyVLMVisionPreTrainedModel


class AnatomyVLMForSemanticSegmentation(AnatomyVLMVisionPreTrainedModel):
    """
    The vision tower with a decoder of masks. Structures may overlap, as heart and lungs do: each has a sigmoid of its
    own.

    `from_pretrained` takes a segmentation checkpoint, a vision tower, or a whole Anatomy-VLM, whose tower it keeps:

        AnatomyVLMForSemanticSegmentation.from_pretrained("model", id2label={0: "background", 1: "left lung"})
    """

    config: AnatomyVLMSegmentationConfig
    # The losses are means over what is known, not sums over a number of items that a trainer could count.
    accepts_loss_kwargs = False
    # Of a whole Anatomy-VLM, what is not the tower is left behind, and of that its last norm.
    _keys_to_ignore_on_load_unexpected = [
        r"^(vision_model\.)?layernorm\.",
        r"^(text_model|box_head|presence_head|glimpse|region_enrichment|visual_projection|text_projection)\.",
        r"^(region_)?logit_(scale|bias)$",
    ]

    def __init__(self, config: AnatomyVLMSegmentationConfig):
        super().__init__(config)
        if config.num_structures < 1:
            raise ValueError(f"`num_labels` ({config.num_labels}) must be at least 2: the background and a structure.")
        self.vision_model = AnatomyVLMVisionModel(config)
        # The decoder has a norm of its own for each layer that it reads: the tower's last would be a dead weight.
        self.vision_model.layernorm = nn.Identity()  # type: ignore[assignment]
        linear = config.decoder_type == "linear"
        self.decoder = AnatomyVLMLinearDecoder(config) if linear else AnatomyVLMUNetDecoder(config)
        self.encoder_is_frozen = False

        # Initialize weights and apply final processing
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module):
        """Initialize the weights"""
        super()._init_weights(module)
        if isinstance(module, AnatomyVLMLinearDecoder | AnatomyVLMUNetDecoder):
            # Adam moves a weight by about the learning rate: from the usual 0.02 the logits of a few channels would
            # need hundreds of steps to leave 0.
            weight = module.classifier.weight
            init.normal_(weight, mean=0.0, std=weight[0].numel() ** -0.5)

    def freeze_encoder(self) -> None:
        """Train the decoder only; the tower stays as it is, in eval mode."""
        self.encoder_is_frozen = True
        self.vision_model.requires_grad_(False).eval()

    def train(self, mode: bool = True):
        super().train(mode)
        if self.encoder_is_frozen:
            # A frozen encoder in training mode would still drop out.
            self.vision_model.eval()
        return self

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SemanticSegmenterOutput:
        r"""
        pixel_values (`torch.FloatTensor` of shape `(batch_size, num_channels, height, width)`):
            Images as the image processor returns them.
        labels (`torch.Tensor`, *optional*):
            Either masks `(batch_size, num_labels - 1, height, width)` of the structures 1, 2, ...: 1 inside, 0
            outside, NaN unknown; or a label map `(batch_size, height, width)` of integers: 0 background, 255 unknown.

        Returns:
            `loss`: soft Dice and binary cross-entropy of the structures, by the weights of the configuration.
            `logits` `(batch_size, num_labels, height, width)`: those of the structures from 1 on are of sigmoids;
            that of the background is minus the largest of them, so that it is the largest where no structure has a
            probability above 0.5.
        """
        if pixel_values is None:
            raise ValueError("You have to specify `pixel_values`: segmentation needs images.")
        wanted = kwargs.pop("output_hidden_states", self.config.output_hidden_states)
        # What does not fill a patch is not seen by the tower, and its edge is no place of a patch.
        patch_size, (height, width) = self.config.patch_size, pixel_values.shape[-2:]
        seen = pixel_values[..., : height // patch_size * patch_size, : width // patch_size * patch_size]
        outputs = self.vision_model(seen, output_hidden_states=True, **kwargs)
        logits = self.decode(seen, outputs.hidden_states, outputs.feature_map)
        rest = (0, width - seen.shape[-1], 0, height - seen.shape[-2])
        logits = nn.functional.pad(logits, rest, mode="replicate")
        loss = None
        if labels is not None:
            masks = structure_masks(labels, self.config.num_structures)
            loss = self.weigh_losses(mask_losses(logits, masks))
        background = -logits.amax(dim=1, keepdim=True)
        return SemanticSegmenterOutput(
            loss=loss,
            logits=torch.cat((background, logits), dim=1),
            hidden_states=_asked_for(outputs.hidden_states, wanted),  # type: ignore[arg-type]
            attentions=outputs.attentions,
        )

    def decode(
        self, pixel_values: torch.Tensor, hidden_states: tuple[torch.Tensor, ...], feature_map: torch.Tensor | None
    ) -> torch.Tensor:
        """
        Logits of the structures `(batch_size, num_labels - 1, height, width)` from what the tower gives for a film
        whose sides are multiples of the patch size.
        """
        config = self.config
        height, width = pixel_values.shape[-2:]
        grid = (height // config.patch_size, width // config.patch_size)
        first_patch = 1 + config.num_anatomy_queries + config.num_register_tokens
        maps = [hidden_states[layer][:, first_patch:].unflatten(1, grid) for layer in config.decoder_layers or ()]
        logits = self.decoder(maps, pixel_values, feature_map)
        return nn.functional.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)

    def weigh_losses(self, losses: dict[str, torch.Tensor]) -> torch.Tensor:
        """Weighted sum of the losses of `mask_losses`."""
        return self.config.dice_loss_weight * losses["dice"] + self.config.bce_loss_weight * losses["bce"]


def _asked_for(
    hidden_states: tuple[torch.Tensor, ...], wanted: bool | Sequence[int] | None
) -> tuple[torch.Tensor | None, ...] | None:
    """What `output_hidden_states` asks for: all, none, or those of some layers, with `None` for the others."""
    if isinstance(wanted, Sequence) and wanted:
        kept = {index % len(hidden_states) for index in wanted}
        return tuple(state if index in kept else None for index, state in enumerate(hidden_states))
    return hidden_states if wanted else None


__all__ = ["AnatomyVLMForSemanticSegmentation"]
