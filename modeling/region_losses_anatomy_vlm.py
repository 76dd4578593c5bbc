# Copyright 2026 The Anatomy-VLM authors. Licensed under the Apache License, Version 2.0.
"""Losses between the regions and the texts of a batch, whose memory does not grow with regions times texts.

The similarities are made for a few regions at a time, used, and made again in the backward pass. Of the texts, equal
ones are one column; of the regions, every process holds its own, and only sums over the texts are exchanged.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import nn
from transformers.utils.generic import maybe_autocast

from .losses_anatomy_vlm import several_processes


# Similarities in memory at a time: large enough for the matrix products, small enough to stay near the processor.
CHUNK_ENTRIES = 2**20


def _chunks(
    regions: torch.Tensor, texts: torch.Tensor, bias: torch.Tensor, labels: torch.Tensor
) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Some rows at a time: which, their logits `(rows, num_texts)`, where the text is true, and where it is false."""
    # A number of equal parts, because a compiled graph serves every number of texts with the same number of parts.
    parts = min(len(regions), -(-len(regions) * len(texts) // CHUNK_ENTRIES)) if len(texts) else 1
    height = -(-len(regions) // max(parts, 1)) or 1
    for start in range(0, len(regions), height):
        rows = slice(start, start + height)
        logits = torch.addmm(bias, regions[rows], texts.t())
        yield rows, logits, labels[rows] == 1, labels[rows] == 0


def _inverse(weight: torch.Tensor) -> torch.Tensor:
    """1 / weight; 0 where nothing weighs anything."""
    return torch.where(weight > 0, 1 / weight, 0)


def _sum(*tensors: torch.Tensor, across_ranks: bool) -> list[torch.Tensor]:
    """The tensors, or their sums over all processes in one exchange."""
    if not several_processes(across_ranks):
        return list(tensors)
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    return [part.view_as(like) for part, like in zip(flat.split([t.numel() for t in tensors]), tensors, strict=True)]


def _logsumexp_across_ranks(values: torch.Tensor, across_ranks: bool) -> torch.Tensor:
    """Log of the sum over all processes of e^values; -inf stands for no summand."""
    if not several_processes(across_ranks):
        return values
    largest = values.clone()
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    largest = largest.clamp(min=torch.finfo(values.dtype).min)
    total = (values - largest).exp()
    dist.all_reduce(total)
    return total.log() + largest


def _gradients(
    ctx: Any, grad_output: torch.Tensor, logit_gradients: Iterator[tuple[slice, torch.Tensor]]
) -> tuple[torch.Tensor | None, ...]:
    """
    Gradients of regions, texts and bias from those of the logits, which come chunk by chunk.

    Every process holds the same loss. The gradients that DDP and FSDP average over the processes are those of its
    own regions, so they are multiplied by the number of processes.
    """
    regions, texts, bias, *_ = ctx.saved_tensors
    factor = grad_output * (dist.get_world_size() if several_processes(ctx.across_ranks) else 1)
    of_regions, of_texts, of_bias = torch.empty_like(regions), torch.zeros_like(texts), torch.zeros_like(bias)
    with maybe_autocast(regions.device.type, enabled=False):
        for rows, gradient in logit_gradients:
            gradient *= factor
            of_regions[rows] = gradient @ texts
            of_texts.addmm_(gradient.t(), regions[rows])
            of_bias += gradient.sum()
    return of_regions, of_texts, of_bias, None, None, None, None, None


class ContrastTotals(NamedTuple):
    """
    What the InfoNCE of one region depends on besides the region: sums over all regions that are contrasted together.

    Args:
        row_weight, column_weight (`torch.Tensor` of shape `()`): Weight of the pairs, from region to text and back.
        column_rivals (`torch.Tensor` of shape `(num_texts,)`): Log-sum-exp of what the regions of a text compete with.
        column_shares (`torch.Tensor` of shape `(num_texts,)`): Weight of one positive pair of a text.
        strengths (`torch.Tensor` of shape `(num_texts,)`): How strongly the positives of a text push its rivals away.
    """

    row_weight: torch.Tensor
    column_rivals: torch.Tensor
    column_weight: torch.Tensor
    column_shares: torch.Tensor
    strengths: torch.Tensor


def _row_rivals(logits: torch.Tensor, negative: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of the negatives, -inf elsewhere, and their log-sum-exp per row."""
    against = logits.masked_fill(~negative, float("-inf"))
    # "None of these", with a logit of 0, is one more rival.
    return against, torch.logaddexp(logits.new_zeros(()), against.logsumexp(1))


def _contrast_totals(
    parts: Sequence[tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
    texts: torch.Tensor,
    bias: torch.Tensor,
    text_weights: torch.Tensor,
    across_ranks: bool,
) -> tuple[ContrastTotals, torch.Tensor, torch.Tensor]:
    """
    The totals of all parts (regions, labels, weights of the regions), the value of the loss, and the rivals of each
    region, part after part.
    """
    column_rivals = texts.new_full((len(texts),), float("-inf"))
    column_counts = torch.zeros_like(column_rivals)
    total, weight, rivals_of_rows = texts.new_zeros(()), texts.new_zeros(()), []
    for regions, labels, row_weights in parts:
        for rows, logits, positive, negative in _chunks(regions, texts, bias, labels):
            against, rivals = _row_rivals(logits, negative)
            rivals_of_rows.append(rivals)
            column_rivals = torch.logaddexp(column_rivals, against.logsumexp(0))
            column_counts += positive.sum(0)
            pairs, alone = _row_pairs(positive, negative, row_weights[rows], text_weights)
            total += (pairs * nn.functional.softplus(rivals[:, None] - logits)).sum() + (alone * rivals).sum()
            weight += pairs.sum() + alone.sum()
    row_total, row_weight, column_counts = _sum(total, weight, column_counts, across_ranks=across_ranks)
    column_rivals = _logsumexp_across_ranks(column_rivals, across_ranks)
    # Weight of a positive pair in a column, by the region's weight: nothing in a column without a rival.
    column_shares = text_weights / column_counts.clamp(min=1) * (column_rivals > float("-inf"))

    total, weight, strengths = torch.zeros_like(total), torch.zeros_like(weight), torch.zeros_like(column_rivals)
    for regions, labels, row_weights in parts:
        for rows, logits, positive, _ in _chunks(regions, texts, bias, labels):
            pairs = positive * row_weights[rows, None] * column_shares
            total += (pairs * nn.functional.softplus(column_rivals - logits)).sum()
            weight += pairs.sum()
            strengths += (pairs * (column_rivals - logits).sigmoid()).sum(0)
    column_total, column_weight, strengths = _sum(total, weight, strengths, across_ranks=across_ranks)
    totals = ContrastTotals(row_weight, column_rivals, column_weight, column_shares, strengths)
    value = (row_total * _inverse(row_weight) + column_total * _inverse(column_weight)) / 2
    return totals, value, torch.cat(rivals_of_rows) if rivals_of_rows else texts.new_zeros(0)


class _Contrast(torch.autograd.Function):
    """
    InfoNCE. Of each positive pair, with logit s, the loss is softplus(rivals - s), where `rivals` is the log-sum-exp
    of what it competes with in its row, and again in its column.
    """

    @staticmethod
    def forward(ctx, regions, texts, bias, labels, row_weights, text_weights, across_ranks, totals):
        if totals is None:
            parts = [(regions, labels, row_weights)]
            totals, value, row_rivals = _contrast_totals(parts, texts, bias, text_weights, across_ranks)
        else:
            value, row_rivals = _Contrast.share(regions, texts, bias, labels, row_weights, text_weights, totals)
            (value,) = _sum(value, across_ranks=across_ranks)
        ctx.across_ranks = across_ranks
        ctx.save_for_backward(regions, texts, bias, labels, row_weights, text_weights, row_rivals, *totals)
        return value

    @staticmethod
    def share(regions, texts, bias, labels, row_weights, text_weights, totals):
        """What these regions add to the loss of all of them, and their rivals."""
        row_rivals = regions.new_empty(len(regions))
        row_total, column_total = regions.new_zeros(()), regions.new_zeros(())
        for rows, logits, positive, negative in _chunks(regions, texts, bias, labels):
            _, rivals = _row_rivals(logits, negative)
            row_rivals[rows] = rivals
            pairs, alone = _row_pairs(positive, negative, row_weights[rows], text_weights)
            row_total += (pairs * nn.functional.softplus(rivals[:, None] - logits)).sum() + (alone * rivals).sum()
            pairs = positive * row_weights[rows, None] * totals.column_shares
            column_total += (pairs * nn.functional.softplus(totals.column_rivals - logits)).sum()
        value = row_total * _inverse(totals.row_weight) + column_total * _inverse(totals.column_weight)
        return value / 2, row_rivals

    @staticmethod
    def logit_gradients(ctx):
        (
            *inputs, row_weights, text_weights,
            row_rivals, row_weight, column_rivals, column_weight, column_shares, strengths,
        ) = ctx.saved_tensors  # fmt: skip
        row_factor, column_factor = _inverse(row_weight) / 2, _inverse(column_weight) / 2
        for rows, logits, positive, negative in _chunks(*inputs):
            rivals = row_rivals[rows, None]
            pairs, alone = _row_pairs(positive, negative, row_weights[rows], text_weights)
            pull = pairs * (rivals - logits).sigmoid()
            push = (pull.sum(1) + alone)[:, None] * (logits - rivals).exp()
            gradient = torch.where(negative, push, -pull) * row_factor
            pull = positive * row_weights[rows, None] * column_shares * (column_rivals - logits).sigmoid()
            push = strengths * (logits - column_rivals).exp()
            gradient += torch.where(negative, push, -pull) * column_factor
            yield rows, gradient

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_output):
        return _gradients(ctx, grad_output, _Contrast.logit_gradients(ctx))


def _row_pairs(
    positive: torch.Tensor, negative: torch.Tensor, row_weights: torch.Tensor, text_weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Weights within the rows: of the positive pairs, `(rows, num_texts)`, shared among those of a row; and of the rows
    that have negatives only, `(rows,)`.
    """
    counts = positive.sum(1)
    shares = row_weights / counts.clamp(min=1)
    alone = row_weights * ((counts == 0) & negative.any(1))
    return positive * shares[:, None] * text_weights, alone


class _Sigmoid(torch.autograd.Function):
    """Sigmoid cross-entropy of every known pair, per region of which anything is known."""

    @staticmethod
    def forward(ctx, regions, texts, bias, labels, row_weights, text_weights, across_ranks, _):
        total, weight = regions.new_zeros(()), regions.new_zeros(())
        for rows, logits, positive, negative in _chunks(regions, texts, bias, labels):
            known = positive | negative
            losses = nn.functional.softplus(torch.where(positive, -logits, logits))
            total += (known * row_weights[rows, None] * text_weights * losses).sum()
            weight += (row_weights[rows] * known.any(1)).sum()
        total, weight = _sum(total, weight, across_ranks=across_ranks)
        ctx.across_ranks = across_ranks
        ctx.save_for_backward(regions, texts, bias, labels, row_weights, text_weights, weight)
        return total * _inverse(weight)

    @staticmethod
    def logit_gradients(ctx):
        *inputs, row_weights, text_weights, weight = ctx.saved_tensors
        factor = _inverse(weight)
        for rows, logits, positive, negative in _chunks(*inputs):
            pair_weights = (positive | negative) * row_weights[rows, None] * text_weights
            yield rows, (logits.sigmoid() - positive.to(logits.dtype)) * pair_weights * factor

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_output):
        return _gradients(ctx, grad_output, _Sigmoid.logit_gradients(ctx))


def region_phrase_loss(
    region_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    labels: torch.Tensor,
    region_weights: torch.Tensor | None = None,
    text_weights: torch.Tensor | None = None,
    kind: str = "contrastive",
    across_ranks: bool = False,
    totals: ContrastTotals | None = None,
) -> torch.Tensor:
    """
    Loss between regions and the unique texts of a batch; the logits are `scale * region_embeds @ text_embeds + bias`.

    `"contrastive"` is multi-positive InfoNCE in both directions (paper section 1.6), the mean of two weighted means
    over positive pairs. A pair has the weight of its region times that of its text, divided by the number of
    positives in its row, or in its column. From region to text there is one more choice, "none of these", with a
    logit of 0: a region that no text describes (the paper's attribute negatives) is pushed towards it, and
    `sigmoid(logit)` becomes the probability of a text against none. From text to region, the positives compete with
    the regions of which the text is false. Positives do not compete with each other.

    `"sigmoid"` is SigLIP's (Zhai et al., 2023): the weighted sum of the cross-entropies of all known pairs, divided by
    the weight of the regions of which something is known.

    Args:
        region_embeds (`torch.Tensor` of shape `(batch_size, num_regions, dim)`): Normalised.
        text_embeds (`torch.Tensor` of shape `(num_texts, dim)`): Normalised, the same in all processes.
        scale, bias (`torch.Tensor` of shape `(1,)`): Of the similarities.
        labels (`torch.Tensor` of shape `(batch_size, num_regions, num_texts)`):
            1 true, 0 false, anything else, such as NaN or -1, unknown; of any type, int8 being the smallest.
        region_weights (`torch.Tensor` of shape `(num_regions,)`, *optional*): Weights of the regions, 1 by default.
        text_weights (`torch.Tensor` of shape `(num_texts,)`, *optional*): Weights of the texts, 1 by default.
        kind (`str`, *optional*, defaults to `"contrastive"`): `"contrastive"` or `"sigmoid"`.
        across_ranks (`bool`, *optional*, defaults to `False`):
            Take the loss over the images of all processes, which may hold differently many, even none.
        totals (`ContrastTotals`, *optional*):
            Of `contrast_totals`, where these images are a part of those that are contrasted together: the value is
            then the part's share of the loss of all, and the gradients of the parts add up to that loss's.
    """
    functions = {"contrastive": _Contrast, "sigmoid": _Sigmoid}
    if kind not in functions:
        raise ValueError(f"kind must be one of {tuple(functions)}, not {kind!r}")
    batch_size, num_regions = region_embeds.shape[:2]
    # Half precision would round the logits to a hundredth.
    dtype = torch.promote_types(region_embeds.dtype, torch.float32)
    if region_weights is None:
        region_weights = region_embeds.new_ones(num_regions)
    if text_weights is None:
        text_weights = text_embeds.new_ones(len(text_embeds))
    with maybe_autocast(region_embeds.device.type, enabled=False):
        return functions[kind].apply(
            region_embeds.flatten(0, 1).to(dtype),
            text_embeds.to(dtype) * scale.to(dtype),
            bias.to(dtype),
            labels.flatten(0, 1),
            region_weights.to(dtype).repeat(batch_size),
            text_weights.to(dtype),
            across_ranks,
            totals,
        )


@torch.no_grad()
def contrast_totals(
    region_embeds: Sequence[torch.Tensor],
    text_embeds: torch.Tensor,
    scale: torch.Tensor,
    bias: torch.Tensor,
    labels: Sequence[torch.Tensor],
    region_weights: torch.Tensor | None = None,
    text_weights: torch.Tensor | None = None,
    across_ranks: bool = False,
) -> ContrastTotals:
    """
    What `region_phrase_loss` of the kind "contrastive" has to know of all images to be computed part by part.

    Args as in `region_phrase_loss`, regions and labels as a list of the parts, with the texts of all parts.
    """
    dtype = torch.promote_types(text_embeds.dtype, torch.float32)
    if text_weights is None:
        text_weights = text_embeds.new_ones(len(text_embeds))
    parts = []
    for embeds, part_labels in zip(region_embeds, labels, strict=True):
        weights = embeds.new_ones(embeds.shape[1]) if region_weights is None else region_weights
        parts.append(
            (embeds.flatten(0, 1).to(dtype), part_labels.flatten(0, 1), weights.to(dtype).repeat(len(embeds)))
        )
    with torch.autocast(text_embeds.device.type, enabled=False):
        texts = text_embeds.to(dtype) * scale.to(dtype)
        return _contrast_totals(parts, texts, bias.to(dtype), text_weights.to(dtype), across_ranks)[0]


__all__ = ["CHUNK_ENTRIES", "ContrastTotals", "contrast_totals", "region_phrase_loss"]
