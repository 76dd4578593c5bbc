"""What is exported: the vision tower with all heads, and the text encoder, as modules of plain tensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import nn

from anatomy_vlm.modeling import AnatomyVLMModel, vision_anatomy_vlm


VISION_OUTPUTS = (
    "logits_per_image",
    "logits_per_region",
    "pred_boxes",
    "presence_logits",
    "image_embeds",
    "region_embeds",
)


class VisionGraph(nn.Module):
    """From pixels and embedded texts to everything that `AnatomyVLMOutput` says of images."""

    def __init__(self, model: AnatomyVLMModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor, text_embeds: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """
        Args:
            pixel_values: `(batch_size, num_channels, height, width)`.
            text_embeds: `(num_texts, projection_dim)`, as `TextGraph` gives them.

        Returns:
            `VISION_OUTPUTS`, each as in `AnatomyVLMOutput`.
        """
        outputs = self.model(pixel_values=pixel_values)
        return (
            self.model.image_logits(outputs.image_embeds, text_embeds),
            self.model.region_logits(outputs.region_embeds, text_embeds),
            outputs.pred_boxes,
            outputs.presence_logits,
            outputs.image_embeds,
            outputs.region_embeds,
        )


class TextGraph(nn.Module):
    """From tokens to normalised embeddings `(num_texts, projection_dim)`."""

    def __init__(self, model: AnatomyVLMModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        features = self.model.get_text_features(input_ids, attention_mask, token_type_ids)
        return nn.functional.normalize(features.pooler_output, dim=-1)


@contextmanager
def positions_of_any_size() -> Iterator[None]:
    """
    Within the block the tower resamples its positions even to the size that they have: a branch on the size of the
    input cannot be exported, and resampling to the same size changes nothing.
    """

    def resample(table: torch.Tensor, rows: Any, columns: Any, interpolation: str) -> torch.Tensor:
        side = int(table.shape[1] ** 0.5)
        mode, _, antialias = interpolation.partition("_")
        grid = nn.functional.interpolate(
            table.float().reshape(1, side, side, -1).permute(0, 3, 1, 2),
            size=(rows, columns),
            mode=mode,
            align_corners=False,
            antialias=bool(antialias),
        )
        return grid.to(table.dtype).flatten(2).transpose(1, 2)

    with mock.patch.object(vision_anatomy_vlm, "resample_positions", resample):
        yield


__all__ = ["VISION_OUTPUTS", "TextGraph", "VisionGraph", "positions_of_any_size"]
