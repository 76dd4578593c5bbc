# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""Losses of Anatomy-VLM as functions of tensors: boxes, image against prompts, regions against phrases.

Labels are floats with three values: 1 true, 0 false, NaN unknown. What is unknown never enters a loss: a region that
was not described is not a healthy region. All means are over known entries, so a batch may be gathered from several
processes and give the value and gradient of the one large batch.
"""

import torch
import torch.distributed as dist
import torch.distributed.nn.functional
from torch import nn
from transformers.utils import is_scipy_available


if is_scipy_available():
    from scipy.optimize import linear_sum_assignment


def cxcywh_to_xyxy(boxes: torch.Tensor) -> torch.Tensor:
    """`(..., 4)` boxes from (centre x, centre y, width, height) to (x0, y0, x1, y1)."""
    centers, sizes = boxes[..., :2], boxes[..., 2:]
    return torch.cat((centers - sizes / 2, centers + sizes / 2), dim=-1)


def xyxy_to_cxcywh(boxes: torch.Tensor) -> torch.Tensor:
    """`(..., 4)` boxes from (x0, y0, x1, y1) to (centre x, centre y, width, height)."""
    top_left, bottom_right = boxes[..., :2], boxes[..., 2:]
    return torch.cat(((top_left + bottom_right) / 2, bottom_right - top_left), dim=-1)


def _area(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def generalized_box_iou(boxes1: torch.Tensor, boxes2: torch.Tensor) -> torch.Tensor:
    """
    Element-wise generalised IoU of two `(..., 4)` xyxy tensors that broadcast (Rezatofighi et al., 2019), in [-1, 1].
    """
    intersection = _area(
        torch.cat(
            (torch.maximum(boxes1[..., :2], boxes2[..., :2]), torch.minimum(boxes1[..., 2:], boxes2[..., 2:])), -1
        )
    )
    hull = _area(
        torch.cat(
            (torch.minimum(boxes1[..., :2], boxes2[..., :2]), torch.maximum(boxes1[..., 2:], boxes2[..., 2:])), -1
        )
    )
    union = _area(boxes1) + _area(boxes2) - intersection
    tiny = torch.finfo(union.dtype).tiny
    return intersection / union.clamp(min=tiny) - (hull - union) / hull.clamp(min=tiny)


def gather_across_ranks(tensor: torch.Tensor) -> torch.Tensor:
    """
    The tensors of every process, one after another along the first dimension, with gradients to each; all of one
    shape. The same tensor where there is one process.

    Every process then computes the loss of the whole batch. The gradients that DDP and FSDP average are those of
    that one loss: each process's share arrives from all of them, which the average divides out again.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return tensor
    if not tensor.requires_grad:
        shares = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(shares, tensor.contiguous())
        return torch.cat(shares)
    return torch.cat(torch.distributed.nn.functional.all_gather(tensor.contiguous()))


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of `values` where `mask`; 0, with a gradient of 0, where nothing is."""
    mask = mask.to(values.dtype)
    return (values * mask).sum() / mask.sum().clamp(min=1)


@torch.no_grad()
def assign_boxes(
    pred_boxes: torch.Tensor, boxes: torch.Tensor, box_mask: torch.Tensor, l1_weight: float, giou_weight: float
) -> torch.Tensor:
    """
    Hungarian assignment of regions to queries, per image (DETR, without its class cost).

    Args:
        pred_boxes (`torch.Tensor` of shape `(batch_size, num_queries, 4)`): Predicted boxes, cxcywh in [0, 1].
        boxes (`torch.Tensor` of shape `(batch_size, num_regions, 4)`): True boxes, xyxy in [0, 1].
        box_mask (`torch.BoolTensor` of shape `(batch_size, num_regions)`): Which true boxes exist.

    Returns:
        `torch.LongTensor` of shape `(batch_size, num_regions)`: the query of each region; a region without a box
        gets one of the queries that are left.
    """
    num_regions = boxes.shape[1]
    if pred_boxes.shape[1] < num_regions:
        raise ValueError(
            f"Hungarian assignment needs a query for each region: {pred_boxes.shape[1]} queries, {num_regions} regions"
        )
    pairs = pred_boxes[:, :, None].float(), xyxy_to_cxcywh(boxes)[:, None].float()
    l1_cost = (pairs[0] - pairs[1]).abs().sum(-1)
    giou_cost = -generalized_box_iou(cxcywh_to_xyxy(pred_boxes)[:, :, None].float(), boxes[:, None].float())
    cost = (l1_weight * l1_cost + giou_weight * giou_cost) * box_mask[:, None]
    assigned = torch.empty(boxes.shape[:2], dtype=torch.long)
    for index, image_cost in enumerate(cost.cpu().numpy()):
        queries, regions = linear_sum_assignment(image_cost)
        assigned[index, regions] = torch.as_tensor(queries)
    return assigned.to(boxes.device)


def box_losses(
    pred_boxes: torch.Tensor, boxes: torch.Tensor, box_mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    L1 and GIoU loss of assigned boxes (paper section 1.4), each a mean over the boxes that exist.

    Args:
        pred_boxes (`torch.Tensor` of shape `(batch_size, num_regions, 4)`): Predicted boxes, cxcywh in [0, 1].
        boxes (`torch.Tensor` of shape `(batch_size, num_regions, 4)`): True boxes, xyxy in [0, 1].
        box_mask (`torch.BoolTensor` of shape `(batch_size, num_regions)`): Which true boxes exist.
    """
    # A missing box may hold anything, NaN included; it must not reach the arithmetic.
    boxes = torch.where(box_mask[..., None], boxes, torch.zeros_like(boxes))
    l1 = (pred_boxes - xyxy_to_cxcywh(boxes)).abs().sum(-1)
    giou = 1 - generalized_box_iou(cxcywh_to_xyxy(pred_boxes), boxes)
    return masked_mean(l1, box_mask), masked_mean(giou, box_mask)


def binary_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sigmoid cross-entropy of `logits` against `labels` of the same shape (1, 0 or NaN), mean over what is known."""
    known = ~labels.isnan()
    losses = nn.functional.binary_cross_entropy_with_logits(
        logits, torch.where(known, labels, torch.zeros_like(labels)).to(logits.dtype), reduction="none"
    )
    return masked_mean(losses, known)


def _contrast(logits: torch.Tensor, positive: torch.Tensor, rivals: torch.Tensor) -> torch.Tensor:
    """
    Per row, the mean over its positives of -log(e^p / (e^p + e^rivals)), where `rivals` `(rows, 1)` is the
    log-sum-exp of what a positive competes with; positives of one row do not compete with each other.
    """
    losses = nn.functional.softplus(rivals - logits)
    losses = torch.where(positive, losses, torch.zeros_like(losses))
    return losses.sum(-1) / positive.sum(-1).clamp(min=1)


def region_phrase_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """
    Multi-positive InfoNCE between regions and the unique phrases of a batch, in both directions (paper section 1.6).

    From region to phrase there is one more choice, "none of these", with a logit of 0: a region that no phrase
    describes (the paper's attribute negatives) is pushed towards it, and `sigmoid(logit)` becomes the probability
    of a phrase against none. From phrase to region, the positives compete with the regions of which it is false.

    Args:
        logits (`torch.Tensor` of shape `(batch_size, num_regions, num_phrases)`): Scaled similarities.
        labels (`torch.Tensor` of shape `(batch_size, num_regions, num_phrases)`): 1 true, 0 false, NaN unknown.
    """
    logits, labels = logits.flatten(0, 1).float(), labels.flatten(0, 1)
    positive, negative = labels == 1, labels == 0
    against = logits.masked_fill(~negative, float("-inf"))

    none = logits.new_zeros(len(logits), 1)
    rivals = torch.logsumexp(torch.cat((none, against), dim=1), dim=1, keepdim=True)
    has_positive = positive.any(1)
    row_losses = torch.where(has_positive, _contrast(logits, positive, rivals), rivals[:, 0])
    row_loss = masked_mean(row_losses, has_positive | negative.any(1))

    # The finite floor stands for "no rival at all": -inf would give NaN gradients in columns without negatives.
    floor = logits.new_full((1, logits.shape[1]), -1e4)
    column_rivals = torch.logsumexp(torch.cat((floor, against), dim=0), dim=0)[:, None]
    contested = positive.any(0) & negative.any(0)
    column_loss = masked_mean(_contrast(logits.t(), positive.t(), column_rivals), contested)
    return (row_loss + column_loss) / 2


__all__ = [
    "assign_boxes",
    "binary_loss",
    "box_losses",
    "cxcywh_to_xyxy",
    "gather_across_ranks",
    "generalized_box_iou",
    "masked_mean",
    "region_phrase_loss",
    "xyxy_to_cxcywh",
]
