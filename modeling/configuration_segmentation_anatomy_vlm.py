# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""Configuration of the segmentation model: the vision tower's, and the decoder."""

from huggingface_hub.dataclasses import strict

from .configuration_anatomy_vlm import AnatomyVLMVisionConfig


SEGMENTATION_DECODERS = ("unet", "linear")


@strict
class AnatomyVLMSegmentationConfig(AnatomyVLMVisionConfig):
    r"""
    Configuration of [`AnatomyVLMForSemanticSegmentation`]: all fields of [`AnatomyVLMVisionConfig`], and the decoder.
    The paper names "a U-Net decoder" and no more; what is below is ours.

    `id2label` names the classes. Label 0 is the background, the others are structures that may overlap.

    Args:
        decoder_type (`str`, *optional*, defaults to `"unet"`):
            `"unet"`: from the last layer upwards, each level of twice the resolution, joined by an earlier layer, by
            the map of the convolutional stem where there is one, and at the last level by the film; `"linear"`: one
            linear layer on the patches of the last layer.
        decoder_channels (`list[int]`, *optional*, defaults to `[64, 32, 16]`):
            Channels of the levels of the U-Net decoder; with three and patches of 16 pixels it ends at half the
            resolution of the input.
        decoder_layers (`list[int]`, *optional*):
            The layers that the levels of the U-Net decoder and, last, its root read, counted from 1; 0 is the patch
            embedding. By default evenly spaced, the last layer at the root, the earliest at the finest level.
        dice_loss_weight, bce_loss_weight (`float`, *optional*, default to 1.0):
            Weights of the soft Dice loss and of the binary cross-entropy, each per structure.
    """

    model_type = "anatomy_vlm_segmentation"

    decoder_type: str = "unet"
    decoder_channels: list[int] | None = None
    decoder_layers: list[int] | None = None
    dice_loss_weight: float | int = 1.0
    bce_loss_weight: float | int = 1.0

    def __post_init__(self, **kwargs):
        if self.decoder_channels is None:
            self.decoder_channels = [64, 32, 16]
        if self.decoder_layers is None:
            count = len(self.decoder_channels) + 1
            steps = range(1, count + 1)
            self.decoder_layers = [max(1, round(self.num_hidden_layers * step / count)) for step in steps]
        super().__post_init__(**kwargs)

    @property
    def num_structures(self) -> int:
        """Number of labels but the background."""
        return (self.num_labels or 0) - 1

    def validate_architecture(self):
        """Part of `@strict`-powered validation: the invariants between fields."""
        super().validate_architecture()
        if self.decoder_type not in SEGMENTATION_DECODERS:
            raise ValueError(f"`decoder_type` must be one of {SEGMENTATION_DECODERS}, not {self.decoder_type!r}.")
        channels, layers = self.decoder_channels or [], self.decoder_layers or []
        if not channels or min(channels) < 1:
            raise ValueError(f"`decoder_channels` ({channels}) must name at least one level.")
        if len(layers) != len(channels) + 1 or not all(0 <= layer <= self.num_hidden_layers for layer in layers):
            raise ValueError(
                f"`decoder_layers` ({layers}) must hold one layer for each of `decoder_channels` ({channels}) and one "
                f"for the root, each from 0 to {self.num_hidden_layers}."
            )


__all__ = ["SEGMENTATION_DECODERS", "AnatomyVLMSegmentationConfig"]
