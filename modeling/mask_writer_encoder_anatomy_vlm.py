# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""What the mask writer reads of a film."""

import torch
from torch import nn

from .configuration_mask_writer_anatomy_vlm import AnatomyVLMMaskConfig
from .mask_writer_layers_anatomy_vlm import cell_positions
from .mask_writer_output_anatomy_vlm import AnatomyVLMMaskMemory
from .vision_anatomy_vlm import AnatomyVLMVisionModel


class AnatomyVLMMaskEncoder(nn.Module):
    """The vision tower, and what the decoder reads of it: [CLS], the anatomy queries, patches and finer cells."""

    main_input_name = "pixel_values"

    def __init__(self, config: AnatomyVLMMaskConfig):
        super().__init__()
        width = config.decoder_hidden_size or config.hidden_size
        self.config = config
        self.vision_model = AnatomyVLMVisionModel(config)
        self.first_patch = 1 + config.num_anatomy_queries + config.num_register_tokens
        self.project = nn.Linear(config.hidden_size, width)
        self.map_channels = config.stem_channels[-1] if config.stem_channels else config.hidden_size
        self.project_cells = nn.Linear(self.map_channels, width)

    def forward(self, pixel_values: torch.Tensor, **kwargs) -> AnatomyVLMMaskMemory:
        kwargs.pop("return_dict", None)
        outputs = self.vision_model(pixel_values, return_dict=True, **kwargs)
        patch_size = self.config.patch_size
        rows, columns = (side // patch_size for side in pixel_values.shape[-2:])
        states = outputs.last_hidden_state
        patches = states[:, self.first_patch :].unflatten(1, (rows, columns)).movedim(-1, 1)
        fine = patches if outputs.feature_map is None else outputs.feature_map
        grid = fine.shape[-2:]
        # A cell is what the stem saw there and what the tower makes of its surroundings.
        context = nn.functional.interpolate(patches, size=grid, mode="bilinear", align_corners=False)
        cells = self.project_cells(fine.flatten(2).transpose(1, 2)) + self.project(context.flatten(2).transpose(1, 2))
        cells = cells + cell_positions(grid[0], grid[1], cells.shape[-1]).to(cells)
        film = pixel_values[..., : rows * patch_size, : columns * patch_size].mean(1, keepdim=True)
        return AnatomyVLMMaskMemory(
            last_hidden_state=torch.cat((self.project(states), cells), dim=1),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            cells=cells,
            grid=torch.tensor([list(grid)] * len(cells), device=cells.device),
            feature_map=fine,
            film=film,
        )


__all__ = ["AnatomyVLMMaskEncoder"]
