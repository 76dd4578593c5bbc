# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""Losses of overlapping masks; what is unknown never enters them."""

import torch
from torch import nn


# The value of a label map that says nothing, as in Transformers' other segmentation models.
UNKNOWN_LABEL = 255


def structure_masks(labels: torch.Tensor, num_structures: int) -> torch.Tensor:
    """
    Masks `(batch_size, num_structures, height, width)` of 1, 0, and NaN for unknown.

    Args:
        labels: either such masks, bool or float, which may overlap; or one label map `(batch_size, height, width)` of
            integers: 0 background, 1 to `num_structures`, 255 unknown.

    Raises `ValueError` for another shape, or a label that is no structure.
    """
    if labels.ndim == 4 and labels.shape[1] == num_structures:
        return labels.float()
    if labels.ndim != 3 or labels.is_floating_point():
        raise ValueError(
            f"`labels` must be masks (batch_size, {num_structures}, height, width), or a label map (batch_size, "
            f"height, width) of integers; got {tuple(labels.shape)}, {labels.dtype}."
        )
    known = labels != UNKNOWN_LABEL
    if (known & ((labels < 0) | (labels > num_structures))).any():
        raise ValueError(f"`labels` must be 0 to {num_structures}, or {UNKNOWN_LABEL} for unknown.")
    structures = torch.arange(1, num_structures + 1, device=labels.device)[:, None, None]
    masks = (labels[:, None] == structures).float()
    return masks.masked_fill(~known[:, None], float("nan"))


def mask_losses(logits: torch.Tensor, masks: torch.Tensor) -> dict[str, torch.Tensor]:
    """
    Soft Dice loss (Milletari et al., 2016; numerator and denominator grown by 1, so that an empty mask has a
    gradient) and binary cross-entropy: per image and structure over its known pixels, then the mean over all images
    and structures of which anything is known. Without any, both are 0.

    Args:
        logits (`torch.Tensor` of shape `(batch_size, num_structures, height, width)`): Logits of sigmoids.
        masks (`torch.Tensor` of the same shape): 1, 0, or NaN for unknown.
    """
    logits, known = logits.float().flatten(2), ~masks.isnan().flatten(2)
    targets = torch.nan_to_num(masks, nan=0.0).flatten(2)
    pixels = known.sum(-1)
    entropy = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    entropy = (entropy * known).sum(-1) / pixels.clamp(min=1)
    probabilities = logits.sigmoid() * known
    overlap, total = (probabilities * targets).sum(-1), probabilities.sum(-1) + targets.sum(-1)
    dice = 1 - (2 * overlap + 1) / (total + 1)
    pairs = (pixels > 0).float()
    count = pairs.sum().clamp(min=1)
    return {"dice": (dice * pairs).sum() / count, "bce": (entropy * pairs).sum() / count}


__all__ = ["UNKNOWN_LABEL", "mask_losses", "structure_masks"]
