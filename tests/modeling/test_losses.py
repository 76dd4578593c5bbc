"""Every loss against a slow reference in float64, values and gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from anatomy_vlm.modeling.losses_anatomy_vlm import (
    assign_boxes,
    binary_loss,
    box_losses,
    cxcywh_to_xyxy,
    generalized_box_iou,
    masked_mean,
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


@pytest.mark.parametrize("layers", [(), (3,)])
def test_gradients_of_the_box_losses_are_those_of_the_definition(layers):
    """Also of several layers against the same boxes."""
    predicted = xyxy_to_cxcywh(random_boxes(*layers, 2, 4, seed=11)).requires_grad_()
    boxes, mask = random_boxes(2, 4, seed=12), torch.tensor([[True, False, True, True], [False] * 4])
    assert torch.autograd.gradcheck(lambda p: box_losses(p, boxes, mask), (predicted,))
    l1, giou = box_losses(predicted, boxes, mask)
    each = [box_losses(p, boxes, mask) for p in predicted] if layers else [(l1, giou)]
    assert l1.item() == pytest.approx(np.mean([a.item() for a, _ in each]))
    assert giou.item() == pytest.approx(np.mean([b.item() for _, b in each]))


@pytest.mark.parametrize("batch_size", [2, 0])
def test_losses_without_anything_known_are_zero_and_differentiable(batch_size):
    predicted = torch.rand(batch_size, 3, 4, requires_grad=True)
    logits = torch.randn(batch_size, 3, requires_grad=True)
    unknown = torch.full((batch_size, 3), float("nan"))
    nothing = torch.zeros(batch_size, 3, dtype=torch.bool)
    l1, giou = box_losses(predicted, torch.zeros(batch_size, 3, 4), nothing)
    total = l1 + giou + binary_loss(logits, unknown, weights=torch.tensor([1.0, 2.0, 3.0]))
    total.backward()
    assert total.item() == 0
    assert all((t.grad == 0).all() for t in (predicted, logits))


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 5))
def test_binary_loss_equals_the_definition(seed, rows, columns):
    generator = torch.Generator().manual_seed(seed)
    logits = (3 * torch.randn(rows, columns, generator=generator, dtype=torch.float64)).requires_grad_()
    labels, weights = random_labels(rows, columns, seed=seed), torch.rand(columns, generator=generator) + 0.1
    for given_weights in (None, weights):
        total, weight = torch.zeros((), dtype=torch.float64), 0.0
        for row, column in np.ndindex(rows, columns):
            if not labels[row, column].isnan():
                w = 1.0 if given_weights is None else given_weights[column].item()
                p = 1 / (1 + (-logits[row, column]).exp())
                total = total - w * (p if labels[row, column] == 1 else 1 - p).log()
                weight += w
        expected = total / weight if weight else 0 * logits.sum()
        ours = binary_loss(logits, labels, given_weights)
        # log(1 - p) of the definition loses digits where p is near 1.
        assert ours.item() == pytest.approx(expected.item(), abs=1e-9)
        (slope,) = torch.autograd.grad(expected, logits)
        assert torch.allclose(torch.autograd.grad(ours, logits)[0], slope, atol=1e-9)


def test_a_weighted_mean_of_one_weight_is_the_mean():
    values, mask = torch.tensor([[1.0, 2.0], [4.0, 100.0]]), torch.tensor([[True, True], [True, False]])
    assert masked_mean(values, mask).item() == pytest.approx(7 / 3)
    assert masked_mean(values, mask, torch.tensor([0.2, 0.2])).item() == pytest.approx(7 / 3)
    assert masked_mean(values, mask, torch.tensor([3.0, 1.0])).item() == pytest.approx((3 + 12 + 2) / 7)


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
