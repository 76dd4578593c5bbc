# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""Losses of Anatomy-VLM as functions of tensors: boxes, and image against prompts.

Labels are floats with three values: 1 true, 0 false, NaN unknown. What is unknown never enters a loss: a region that
was not described is not a healthy region. All means are over known entries, of one process or of all of them: with
`across_ranks`, processes that hold parts of a batch, however uneven, get the value of the one large batch, and
gradients whose average over the processes is that of the one large batch.
"""

import torch
import torch.distributed as dist
from torch import nn
from transformers.utils import is_scipy_available

from .configuration_anatomy_vlm import AnatomyVLMConfig


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


def several_processes(across_ranks: bool = True) -> bool:
    """Is there anybody to share a loss with, and is it to be shared?"""
    return across_ranks and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class _SumAcrossRanks(torch.autograd.Function):
    """
    Every process goes on to the same loss, so the gradient of the sum is the same in each. It is multiplied by the
    number of processes because DDP and FSDP will average over them.
    """

    @staticmethod
    def forward(ctx, tensor):
        tensor = tensor.clone()
        dist.all_reduce(tensor)
        return tensor

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output * dist.get_world_size()


def masked_mean(
    values: torch.Tensor,
    mask: torch.Tensor,
    weights: torch.Tensor | None = None,
    across_ranks: bool = False,
) -> torch.Tensor:
    """
    Mean of `values` where `mask`, by `weights` if given, both of shapes that broadcast to that of the values; 0, with
    a gradient of 0, where nothing is.
    """
    mask = mask.to(values.dtype).expand_as(values)
    if weights is not None:
        mask = mask * weights.to(values.dtype)
    sums = torch.stack(((values * mask).sum(), mask.sum()))
    if several_processes(across_ranks):
        sums = _SumAcrossRanks.apply(sums)
    return sums[0] / torch.where(sums[1] > 0, sums[1], 1)


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
    pred_boxes: torch.Tensor, boxes: torch.Tensor, box_mask: torch.Tensor, across_ranks: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    L1 and GIoU loss of assigned boxes (paper section 1.4), each a mean over the boxes that exist.

    Args:
        pred_boxes (`torch.Tensor` of shape `(..., batch_size, num_regions, 4)`): Predicted boxes, cxcywh in [0, 1].
        boxes (`torch.Tensor` of shape `(batch_size, num_regions, 4)`): True boxes, xyxy in [0, 1].
        box_mask (`torch.BoolTensor` of shape `(batch_size, num_regions)`): Which true boxes exist.
        across_ranks (`bool`, *optional*, defaults to `False`): Over the boxes of all processes.
    """
    # A missing box may hold anything, NaN included; it must not reach the arithmetic.
    boxes = torch.where(box_mask[..., None], boxes, torch.zeros_like(boxes))
    l1 = (pred_boxes - xyxy_to_cxcywh(boxes)).abs().sum(-1)
    giou = 1 - generalized_box_iou(cxcywh_to_xyxy(pred_boxes), boxes)
    return masked_mean(l1, box_mask, across_ranks=across_ranks), masked_mean(giou, box_mask, across_ranks=across_ranks)


def binary_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor | None = None,
    across_ranks: bool = False,
) -> torch.Tensor:
    """
    Sigmoid cross-entropy, mean over what is known.

    Args:
        logits (`torch.Tensor` of shape `(batch_size, num_columns)`): Logits.
        labels (`torch.Tensor` of shape `(batch_size, num_columns)`): 1, 0, or NaN for unknown.
        weights (`torch.Tensor` of shape `(num_columns,)`, *optional*): Weights of the columns, 1 by default.
        across_ranks (`bool`, *optional*, defaults to `False`): Over the labels of all processes.
    """
    known = ~labels.isnan()
    losses = nn.functional.binary_cross_entropy_with_logits(
        logits, torch.where(known, labels, torch.zeros_like(labels)).to(logits.dtype), reduction="none"
    )
    return masked_mean(losses, known, weights, across_ranks)


def box_criterion(
    config: AnatomyVLMConfig,
    pred_boxes: torch.Tensor,
    presence_logits: torch.Tensor,
    boxes: torch.Tensor,
    box_mask: torch.Tensor | None = None,
    auxiliary_boxes: torch.Tensor | None = None,
    across_ranks: bool = False,
) -> dict[str, torch.Tensor]:
    """
    The unweighted losses of boxes and presence, by name.

    Args:
        config: Says how queries and regions are assigned.
        pred_boxes: `(batch_size, num_regions, 4)` cxcywh in [0, 1].
        presence_logits: `(batch_size, num_regions)`.
        boxes: `(batch_size, num_regions, 4)` true boxes, xyxy in [0, 1].
        box_mask: `(batch_size, num_regions)`, which of them there are; all by default.
        auxiliary_boxes: `(num_layers, batch_size, num_regions, 4)` boxes of earlier layers.
        across_ranks: Whether the means are those over all processes.
    """
    if box_mask is None:
        box_mask = torch.ones(boxes.shape[:2], dtype=torch.bool, device=boxes.device)
    box_mask = box_mask.bool()
    if config.box_assignment == "hungarian":
        assigned = assign_boxes(pred_boxes, boxes, box_mask, config.l1_loss_weight, config.giou_loss_weight)
        coordinates = assigned[..., None].expand(-1, -1, 4)
        pred_boxes, presence_logits = pred_boxes.gather(1, coordinates), presence_logits.gather(1, assigned)
        if auxiliary_boxes is not None:
            auxiliary_boxes = auxiliary_boxes.gather(2, coordinates.expand(len(auxiliary_boxes), -1, -1, -1))
    losses = dict(zip(("l1", "giou"), box_losses(pred_boxes, boxes, box_mask, across_ranks)))
    losses["presence"] = binary_loss(presence_logits, box_mask.float(), across_ranks=across_ranks)
    if auxiliary_boxes is not None:
        of_layers = box_losses(auxiliary_boxes.float(), boxes, box_mask, across_ranks)
        losses["l1_auxiliary"], losses["giou_auxiliary"] = of_layers
    return losses


def loss_weights(config: AnatomyVLMConfig) -> dict[str, float]:
    """The weight of each loss by its name: λ of the paper times the weights inside the box loss."""
    anatomy = config.anatomy_loss_weight
    return {
        "l1": anatomy * config.l1_loss_weight,
        "giou": anatomy * config.giou_loss_weight,
        "presence": anatomy * config.presence_loss_weight,
        "l1_auxiliary": anatomy * config.l1_loss_weight,
        "giou_auxiliary": anatomy * config.giou_loss_weight,
        "global": config.global_loss_weight,
        "fine": config.fine_loss_weight,
    }


__all__ = [
    "assign_boxes",
    "binary_loss",
    "box_criterion",
    "box_losses",
    "cxcywh_to_xyxy",
    "generalized_box_iou",
    "loss_weights",
    "masked_mean",
    "several_processes",
    "xyxy_to_cxcywh",
]
