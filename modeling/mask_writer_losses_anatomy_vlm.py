# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""Losses of the mask writer: presence, places, shape tokens, and the mask that the tokens stand for."""

from collections.abc import Sequence

import torch
from torch import nn


# A level next to the true one is nearly right: the targets of shape digits are this wide, in levels.
DIGIT_SPREAD = 0.5
IGNORED = -100


def presence_loss(logits: torch.Tensor, present: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy `()` of logits `(rows,)` where `known`."""
    loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), present.float(), reduction="none")
    return _mean(loss, known)


def place_loss(logits: torch.Tensor, bins: torch.Tensor) -> torch.Tensor:
    """Cross-entropy `()` of logits `(rows, 4, num_bins)` and true bins `(rows, 4)`; negative ones are ignored."""
    log_p = logits.float().log_softmax(-1)
    loss = -log_p.gather(-1, bins.clamp(min=0)[..., None])[..., 0]
    return _mean(loss, bins >= 0)


def digit_loss(logits: torch.Tensor, digits: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """
    Cross-entropy `()` of logits `(rows, codes, num_levels_of_a_digit)` and true digits `(rows, codes)`, with targets
    that spread to the neighbours; rows that are not `known` `(rows,)` are ignored.
    """
    levels = torch.arange(logits.shape[-1], device=logits.device)
    target = (-0.5 * ((levels - digits[..., None]) / DIGIT_SPREAD).square()).softmax(-1)
    loss = -(target * logits.float().log_softmax(-1)).sum(-1).mean(-1)
    return _mean(loss, known)


def raster_loss(logits: torch.Tensor, rasters: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus soft Dice loss `()` of logits `(rows, 64, 64)` and coverages; unknown rows are ignored."""
    logits = logits.float()
    probability = logits.sigmoid()
    overlap = (probability * rasters).sum((1, 2))
    total = probability.square().sum((1, 2)) + rasters.square().sum((1, 2))
    entropy = nn.functional.binary_cross_entropy_with_logits(logits, rasters, reduction="none").mean((1, 2))
    return _mean(entropy + 1 - 2 * overlap / (total + 1), known)


def expected_digits(logits: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean `(..., digits)` of each digit, of logits `(..., levels)` for each."""
    means = [(one.float().softmax(-1) * torch.arange(one.shape[-1], device=one.device)).sum(-1) for one in logits]
    return torch.stack(means, dim=-1)


def _mean(loss: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Mean over what is known; 0 where nothing is."""
    return (loss * known).sum() / known.sum().clamp(min=1)


__all__ = ["IGNORED", "digit_loss", "expected_digits", "place_loss", "presence_loss", "raster_loss"]
