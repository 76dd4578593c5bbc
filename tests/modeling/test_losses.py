"""Every loss against a slow reference in float64, values and gradients."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from anatomy_vlm.modeling.losses_anatomy_vlm import (
    assign_boxes,
    binary_loss,
    box_losses,
    cxcywh_to_xyxy,
    generalized_box_iou,
    region_phrase_loss,
    xyxy_to_cxcywh,
)


unit = st.floats(0, 1, width=32)


def random_boxes(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(*shape, 2, 2, generator=generator, dtype=torch.float64).sort(dim=-2).values
    return points.flatten(-2)


def slow_giou(a, b) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    intersection = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - intersection
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return intersection / union - (hull - union) / hull


def slow_region_phrase(logits, labels) -> float:
    """The definition, row by row and column by column, with plain exponentials."""
    rows = []
    for scores, truth in zip(logits.flatten(0, 1).tolist(), labels.flatten(0, 1).tolist()):
        positives = [s for s, t in zip(scores, truth) if t == 1]
        negatives = [s for s, t in zip(scores, truth) if t == 0]
        rivals = 1 + sum(math.exp(s) for s in negatives)
        if positives:
            rows.append(np.mean([-math.log(math.exp(p) / (math.exp(p) + rivals)) for p in positives]))
        elif negatives:
            rows.append(-math.log(1 / rivals))
    columns = []
    for scores, truth in zip(logits.flatten(0, 1).t().tolist(), labels.flatten(0, 1).t().tolist()):
        positives = [s for s, t in zip(scores, truth) if t == 1]
        negatives = [s for s, t in zip(scores, truth) if t == 0]
        if positives and negatives:
            rivals = sum(math.exp(s) for s in negatives)
            columns.append(np.mean([-math.log(math.exp(p) / (math.exp(p) + rivals)) for p in positives]))
    return (sum(rows) / max(len(rows), 1) + sum(columns) / max(len(columns), 1)) / 2


def random_labels(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.tensor([1.0, 0.0, float("nan")], dtype=torch.float64)
    return values[torch.randint(0, 3, shape, generator=generator)]


@given(st.lists(unit, min_size=4, max_size=4))
def test_box_conversions_are_inverse(values):
    boxes = torch.tensor(values, dtype=torch.float64)
    assert torch.allclose(xyxy_to_cxcywh(cxcywh_to_xyxy(boxes)), boxes, atol=1e-12)


def test_giou_equals_the_definition():
    a, b = random_boxes(50, seed=1), random_boxes(50, seed=2)
    expected = [slow_giou(x, y) for x, y in zip(a.tolist(), b.tolist())]
    assert torch.allclose(generalized_box_iou(a, b), torch.tensor(expected, dtype=torch.float64))


def test_giou_of_degenerate_boxes_is_finite():
    point = torch.tensor([0.5, 0.5, 0.5, 0.5], requires_grad=True)
    giou = generalized_box_iou(point, torch.tensor([0.5, 0.5, 0.5, 0.5]))
    giou.backward()
    assert torch.isfinite(giou) and torch.isfinite(point.grad).all()


def test_box_losses_ignore_missing_boxes_and_what_they_hold():
    predicted = xyxy_to_cxcywh(random_boxes(3, 5, seed=3)).requires_grad_()
    boxes = random_boxes(3, 5, seed=4)
    mask = torch.rand(3, 5, generator=torch.Generator().manual_seed(5)) > 0.4
    boxes[~mask] = float("nan")
    l1, giou = box_losses(predicted, boxes, mask)
    (l1 + giou).backward()
    pairs = list(zip(predicted.detach()[mask].tolist(), boxes[mask].tolist()))
    slow_l1 = np.mean([np.abs(np.subtract(p, xyxy_to_cxcywh(torch.tensor(b)).tolist())).sum() for p, b in pairs])
    slow = np.mean([1 - slow_giou(cxcywh_to_xyxy(torch.tensor(p)).tolist(), b) for p, b in pairs])
    assert l1.item() == pytest.approx(slow_l1, abs=1e-6)
    assert giou.item() == pytest.approx(slow, abs=1e-6)
    assert torch.isfinite(predicted.grad).all()
    assert (predicted.grad[~mask] == 0).all()
    assert (predicted.grad[mask] != 0).any()


def test_losses_without_anything_known_are_zero_and_differentiable():
    predicted = torch.rand(2, 3, 4, requires_grad=True)
    logits = torch.randn(2, 3, requires_grad=True)
    unknown = torch.full((2, 3), float("nan"))
    l1, giou = box_losses(predicted, torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool))
    fine_logits = torch.randn(2, 3, 4, requires_grad=True)
    fine = region_phrase_loss(fine_logits, torch.full((2, 3, 4), float("nan")))
    total = l1 + giou + binary_loss(logits, unknown) + fine
    total.backward()
    assert total.item() == 0
    assert all((t.grad == 0).all() for t in (predicted, logits, fine_logits))


def test_binary_loss_equals_the_definition():
    logits, labels = torch.randn(4, 7, dtype=torch.float64), random_labels(4, 7, seed=6)
    probabilities = logits.sigmoid()
    terms = torch.where(labels == 1, -probabilities.log(), -(1 - probabilities).log())[~labels.isnan()]
    assert binary_loss(logits, labels).item() == pytest.approx(terms.mean().item())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 6))
def test_region_phrase_loss_equals_the_definition(seed, batch_size, num_texts):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch_size, 3, num_texts, generator=generator) * 3
    labels = random_labels(batch_size, 3, num_texts, seed=seed).float()
    assert region_phrase_loss(logits, labels).item() == pytest.approx(slow_region_phrase(logits, labels), abs=2e-5)


def test_region_phrase_gradients_equal_finite_differences():
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(7), dtype=torch.float32).requires_grad_()
    labels = random_labels(2, 3, 4, seed=8).float()
    region_phrase_loss(logits, labels).backward()
    step = 1e-4
    for index in np.ndindex(2, 3, 4):
        up, down = logits.detach().double(), logits.detach().double()
        up[index] += step
        down[index] -= step
        slope = (slow_region_phrase(up, labels) - slow_region_phrase(down, labels)) / (2 * step)
        assert logits.grad[index].item() == pytest.approx(slope, abs=1e-4)


def test_unknown_phrases_have_no_gradient():
    logits = torch.randn(2, 3, 4, requires_grad=True)
    labels = torch.tensor([1.0, 0.0, float("nan"), 0.0]).expand(2, 3, 4)
    region_phrase_loss(logits, labels).backward()
    assert (logits.grad[..., 2] == 0).all()
    assert (logits.grad[..., :2] != 0).all()


def test_region_without_findings_is_pushed_to_none_of_the_phrases():
    logits = torch.zeros(1, 1, 2, requires_grad=True)
    region_phrase_loss(logits, torch.zeros(1, 1, 2)).backward()
    assert (logits.grad > 0).all()


def test_hungarian_assignment_is_the_best_one():
    predicted, boxes = xyxy_to_cxcywh(random_boxes(2, 6, seed=9)), random_boxes(2, 4, seed=10)
    mask = torch.tensor([[True, True, False, True], [True] * 4])
    assigned = assign_boxes(predicted, boxes, mask, 5.0, 2.0)
    for image in range(2):
        present = mask[image].nonzero()[:, 0].tolist()
        cost = np.array(
            [
                [
                    5 * (p - xyxy_to_cxcywh(boxes[image, r])).abs().sum().item()
                    - 2 * slow_giou(cxcywh_to_xyxy(p).tolist(), boxes[image, r].tolist())
                    for r in present
                ]
                for p in predicted[image]
            ]
        )
        best = cost[linear_sum_assignment(cost)].sum()
        ours = sum(cost[assigned[image, r], column] for column, r in enumerate(present))
        assert ours == pytest.approx(best, abs=1e-6)
        assert len(set(assigned[image].tolist())) == 4


def test_hungarian_assignment_needs_enough_queries():
    with pytest.raises(ValueError, match="2 queries, 4 regions"):
        assign_boxes(torch.rand(1, 2, 4), random_boxes(1, 4), torch.ones(1, 4, dtype=torch.bool), 5.0, 2.0)
