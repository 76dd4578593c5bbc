# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""PyTorch heads of Anatomy-VLM: from the tokens of the vision tower to boxes and region embeddings."""

import torch
from torch import nn

from .configuration_anatomy_vlm import AnatomyVLMConfig


class AnatomyVLMBoxHead(nn.Module):
    """
    From an anatomy token to its normalised (centre x, centre y, width, height), in three parts whose sum goes through
    a sigmoid: a learnable reference box per query (where the region lies before the image is seen), what the token
    points at (for each of the four edges an attention over the patches or, with a convolutional stem, over its finer
    map, whose mean position is where the edge lies),
    and a three-layer perceptron of the token. From scratch, the pointing learns in a hundred steps what a perceptron
    alone needs many thousands for.
    """

    def __init__(self, config: AnatomyVLMConfig):
        super().__init__()
        hidden_size = config.vision_config.hidden_size
        self.edge_size = max(hidden_size // 4, 8)
        self.edge_queries = nn.Linear(hidden_size, 4 * self.edge_size)
        # A bias would add the same to the scores of all patches: the softmax leaves it without a gradient.
        self.edge_keys = nn.Linear(hidden_size, 4 * self.edge_size, bias=False)
        self.fine_edge_keys = None
        if config.vision_config.stem_channels:
            self.fine_edge_keys = nn.Linear(config.vision_config.stem_channels[-1], 4 * self.edge_size, bias=False)
        self.fc1 = nn.Linear(hidden_size, hidden_size)
        self.fc2 = nn.Linear(hidden_size, hidden_size)
        self.fc3 = nn.Linear(hidden_size, 4)
        # Logits of the reference boxes; zero is the middle half of the image.
        self.reference = nn.Parameter(torch.zeros(config.vision_config.num_anatomy_queries, 4))

    def forward(
        self,
        tokens: torch.Tensor,
        patches: torch.Tensor,
        grid: tuple[int, int],
        feature_map: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        Args:
            tokens (`torch.Tensor` of shape `(batch_size, num_regions, hidden_size)`): The anatomy tokens.
            patches (`torch.Tensor` of shape `(batch_size, rows * columns, hidden_size)`): The patch tokens.
            grid (`tuple[int, int]`): Rows and columns of the patches.
            feature_map (`torch.Tensor` of shape `(batch_size, channels, fine_rows, fine_columns)`, *optional*):
                The stem's last map, to point at edges more finely than patches allow.
        """
        hidden_states = nn.functional.relu(self.fc1(tokens))
        hidden_states = nn.functional.relu(self.fc2(hidden_states))
        edges = self.point_at_edges(tokens, patches, grid, feature_map)
        # The sigmoid's slope is 1/4 in the middle: four times the logit moves a box there as far as its edges moved.
        centers, sizes = (edges[..., :2] + edges[..., 2:]) / 2 - 0.5, edges[..., 2:] - edges[..., :2]
        pointed = 4 * torch.cat((centers, sizes), dim=-1)
        return (self.fc3(hidden_states) + pointed.to(hidden_states.dtype) + self.reference).sigmoid()

    def point_at_edges(
        self,
        tokens: torch.Tensor,
        patches: torch.Tensor,
        grid: tuple[int, int],
        feature_map: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Where each token sees the left, upper, right and lower edge: `(batch_size, num_regions, 4)` in [0, 1]."""
        # (batch_size, 4, num_regions or num_places, edge_size)
        queries = self.edge_queries(tokens).unflatten(-1, (4, self.edge_size)).transpose(1, 2)
        keys = self.edge_keys(patches)
        if feature_map is not None and self.fine_edge_keys is not None:
            # What the patches know, wherever on the finer map, and what can be seen there.
            coarse = keys.transpose(1, 2).unflatten(-1, grid)
            grid = (feature_map.shape[-2], feature_map.shape[-1])
            coarse = nn.functional.interpolate(coarse, size=grid, mode="bilinear", align_corners=False)
            keys = coarse.flatten(2).transpose(1, 2) + self.fine_edge_keys(feature_map.flatten(2).transpose(1, 2))
        keys = keys.unflatten(-1, (4, self.edge_size)).transpose(1, 2)
        scores = torch.matmul(queries, keys.transpose(-1, -2)) * self.edge_size**-0.5
        weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32)
        y, x = patch_centers(grid, tokens.device)
        along = torch.stack((x, y, x, y))
        return (weights * along[:, None]).sum(-1).transpose(1, 2)

    @torch.no_grad()
    def set_reference(self, boxes: torch.Tensor) -> None:
        """Start from these `(num_anatomy_queries, 4)` cxcywh boxes in [0, 1], such as the mean boxes of the data."""
        self.reference.copy_(torch.logit(boxes.to(self.reference), eps=1e-3))


class AnatomyVLMGlimpse(nn.Module):
    """
    A second look at each region: the input inside its box, grown by a fifth and resampled to one size, and where the
    box lies, as one vector per region.
    """

    def __init__(self, config: AnatomyVLMConfig):
        super().__init__()
        hidden_size = config.vision_config.hidden_size
        self.size = config.glimpse_size
        self.pixel_projection = nn.Linear(self.size**2, hidden_size)
        self.box_projection = nn.Linear(4, hidden_size)
        self.region_embeddings = nn.Parameter(torch.zeros(config.vision_config.num_anatomy_queries, hidden_size))
        self.layernorm_before = nn.LayerNorm(hidden_size, eps=config.vision_config.layer_norm_eps)
        self.fc1 = nn.Linear(hidden_size, 2 * hidden_size)
        self.fc2 = nn.Linear(2 * hidden_size, hidden_size)
        self.layernorm_after = nn.LayerNorm(hidden_size, eps=config.vision_config.layer_norm_eps)

    def forward(self, pixel_values: torch.Tensor, boxes: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """
        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, num_channels, height, width)`): The model's input.
            boxes (`torch.Tensor` of shape `(batch_size, num_regions, 4)`): The regions' boxes, cxcywh in [0, 1].
            reference (`torch.Tensor` of shape `(num_regions, 4)`): Their usual boxes, likewise.
        """
        crops = self.cut_out(pixel_values.float().mean(1, keepdim=True), boxes.float())
        crops = crops.to(self.pixel_projection.weight.dtype)
        offsets = (boxes - reference).to(self.box_projection.weight.dtype)
        hidden_states = self.pixel_projection(crops) + self.box_projection(offsets) + self.region_embeddings
        residual = self.fc2(nn.functional.gelu(self.fc1(self.layernorm_before(hidden_states))))
        return self.layernorm_after(hidden_states + residual)

    def cut_out(self, images: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """The boxes of `(batch_size, 1, height, width)` images as `(batch_size, num_regions, size * size)` levels."""
        batch_size, num_regions = boxes.shape[:2]
        steps = (torch.arange(self.size, device=boxes.device) + 0.5) / self.size - 0.5
        # grid_sample has the image from -1 to 1.
        x = (boxes[..., 0, None] + 1.2 * boxes[..., 2, None] * steps) * 2 - 1
        y = (boxes[..., 1, None] + 1.2 * boxes[..., 3, None] * steps) * 2 - 1
        shape = (batch_size, num_regions, self.size, self.size)
        grid = torch.stack((x[..., None, :].expand(shape), y[..., :, None].expand(shape)), dim=-1)
        crops = nn.functional.grid_sample(images, grid.flatten(1, 2), align_corners=False)
        return crops.reshape(batch_size, num_regions, self.size**2)


class AnatomyVLMRegionEnrichment(nn.Module):
    """Average-pooled patches beside the anatomy token, projected to the space of the phrases (paper section 1.3)."""

    def __init__(self, config: AnatomyVLMConfig):
        super().__init__()
        self.pooling = config.region_pooling
        parts = 3 if config.glimpse_size else 2
        self.projection = nn.Linear(parts * config.vision_config.hidden_size, config.projection_dim)

    def forward(
        self,
        tokens: torch.Tensor,
        patches: torch.Tensor,
        boxes: torch.Tensor,
        grid: tuple[int, int],
        glimpses: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        Args:
            tokens (`torch.Tensor` of shape `(batch_size, num_regions, hidden_size)`): The anatomy tokens.
            patches (`torch.Tensor` of shape `(batch_size, rows * columns, hidden_size)`): The patch tokens.
            boxes (`torch.Tensor` of shape `(batch_size, num_regions, 4)`): The regions' boxes, cxcywh in [0, 1].
            grid (`tuple[int, int]`): Rows and columns of the patches.
            glimpses (`torch.Tensor` of shape `(batch_size, num_regions, hidden_size)`, *optional*):
                What `AnatomyVLMGlimpse` saw.
        """
        if self.pooling == "image":
            pooled = patches.mean(1, keepdim=True).expand_as(tokens)
        else:
            pooled = torch.matmul(patch_weights(boxes.detach(), grid).to(patches.dtype), patches)
        parts = (pooled, tokens) if glimpses is None else (pooled, tokens, glimpses.to(tokens.dtype))
        return self.projection(torch.cat(parts, dim=-1))


def patch_centers(grid: tuple[int, int], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertical and horizontal positions in [0, 1] of the centres of `rows` x `columns` patches, row by row."""
    rows, columns = grid
    y = (torch.arange(rows, device=device) + 0.5) / rows
    x = (torch.arange(columns, device=device) + 0.5) / columns
    # Views of a grid: the exporter to ONNX gets `repeat_interleave` wrong.
    return y[:, None].expand(rows, columns).flatten(), x.expand(rows, columns).flatten()


def patch_weights(boxes: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """
    Weights that average the patches whose centres lie in each box: `(batch_size, num_regions, rows * columns)`,
    rows summing to 1. A box smaller than a patch is grown to one, so that it holds a centre.
    """
    rows, columns = grid
    y, x = patch_centers(grid, boxes.device)
    centers, sizes = boxes[..., :2].float(), boxes[..., 2:].float()
    # A little more than half a patch: a centre that lies exactly between two patches must find one of them.
    half_width = (sizes[..., :1] / 2).clamp(min=0.501 / columns)
    half_height = (sizes[..., 1:] / 2).clamp(min=0.501 / rows)
    inside_x = (x - centers[..., :1]).abs() <= half_width
    inside_y = (y - centers[..., 1:]).abs() <= half_height
    inside = (inside_x & inside_y).float()
    return inside / inside.sum(-1, keepdim=True).clamp(min=1)


def detection_logits(presence_logits: torch.Tensor) -> torch.Tensor:
    """
    DETR's form `(batch_size, num_regions, num_regions + 1)` of `(batch_size, num_regions)` presence logits: the
    softmax of row *i* is the presence of region *i*, and what is left goes to the last class.
    """
    num_regions = presence_logits.shape[1]
    # -1e4 is within float16 and as good as -inf under a softmax.
    impossible = presence_logits.new_full((num_regions, num_regions), -1e4).fill_diagonal_(0)
    logits = impossible + torch.diag_embed(presence_logits)
    return torch.cat((logits, torch.zeros_like(presence_logits)[..., None]), dim=-1)


__all__ = [
    "AnatomyVLMBoxHead",
    "AnatomyVLMGlimpse",
    "AnatomyVLMRegionEnrichment",
    "detection_logits",
    "patch_centers",
    "patch_weights",
]
