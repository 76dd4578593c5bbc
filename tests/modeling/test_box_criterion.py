"""All that boxes are trained by, assigned and from each layer, against loops over float64 scalars."""

from itertools import permutations

import pytest
import torch

from anatomy_vlm.modeling import AnatomyVLMConfig, AnatomyVLMModel
from anatomy_vlm.modeling.output_anatomy_vlm import AnatomyVLMOutput


SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
WEIGHTS = {"l1_loss_weight": 4.0, "giou_loss_weight": 3.0, "presence_loss_weight": 2.0, "anatomy_loss_weight": 0.5}


def model(assignment: str) -> AnatomyVLMModel:
    text = {"model_type": "bert", **SIZES, "vocab_size": 20}
    vision = {**SIZES, "image_size": 16, "patch_size": 8}
    return AnatomyVLMModel(
        AnatomyVLMConfig(vision_config=vision, text_config=text, box_assignment=assignment, **WEIGHTS)
    )


def slow_pair(predicted: torch.Tensor, true: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """L1 of (centre, size) and 1 - GIoU of one predicted cxcywh and one true xyxy box."""
    center_x, center_y, width, height = predicted
    x0, y0, x1, y1 = true
    l1 = (center_x - (x0 + x1) / 2).abs() + (center_y - (y0 + y1) / 2).abs()
    l1 = l1 + (width - (x1 - x0)).abs() + (height - (y1 - y0)).abs()
    left, right, top, bottom = center_x - width / 2, center_x + width / 2, center_y - height / 2, center_y + height / 2

    def overlap(low, high, other_low, other_high):
        return (torch.clamp(high, max=other_high) - torch.clamp(low, min=other_low)).clamp(min=0)

    def hull(low, high, other_low, other_high):
        return torch.clamp(high, min=other_high) - torch.clamp(low, max=other_low)

    shared = overlap(left, right, x0, x1) * overlap(top, bottom, y0, y1)
    union = width * height + (x1 - x0) * (y1 - y0) - shared
    whole = hull(left, right, x0, x1) * hull(top, bottom, y0, y1)
    return l1, 1 - (shared / union - (whole - union) / whole)


def slow_assignment(predicted: torch.Tensor, boxes: list, there: list[bool]) -> tuple[int, ...]:
    """The cheapest of all orders of the queries; one region at most has no box, and gets the query that is left."""

    def cost(order: tuple[int, ...]) -> float:
        pairs = [slow_pair(predicted[q], boxes[r]) for r, q in enumerate(order) if there[r]]
        return sum(float(4.0 * l1 + 3.0 * giou) for l1, giou in pairs)

    return min(permutations(range(len(boxes))), key=cost)


@pytest.mark.parametrize("assignment", ["fixed", "hungarian"])
def test_losses_of_boxes_and_presence_equal_the_definition(assignment):
    generator = torch.Generator().manual_seed(3)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    predicted = (0.2 + 0.5 * uniform(2, 4, 4)).requires_grad_()
    layers = (0.2 + 0.5 * uniform(2, 2, 4, 4)).requires_grad_()
    logits = (2 * uniform(2, 4) - 1).requires_grad_()
    corners = uniform(2, 4, 2) / 2
    boxes = torch.cat((corners, corners + 0.1 + uniform(2, 4, 2) / 3), -1)
    mask = torch.tensor([[True, True, False, True], [True] * 4])

    l1, giou, presence, l1_layers, giou_layers = [], [], [], [], []
    for image, there in enumerate(mask.tolist()):
        true = boxes[image].tolist()
        order = tuple(range(4))
        if assignment == "hungarian":
            order = slow_assignment(predicted[image].detach(), true, there)
        for region, query in enumerate(order):
            probability = 1 / (1 + (-logits[image, query]).exp())
            presence.append(-(probability if there[region] else 1 - probability).log())
            if there[region]:
                of_layers = [(l1_layers, giou_layers, layer[image, query]) for layer in layers]
                for a, b, box in [(l1, giou, predicted[image, query]), *of_layers]:
                    pair = slow_pair(box, true[region])
                    a.append(pair[0])
                    b.append(pair[1])
    if assignment == "hungarian":
        assert order != tuple(range(4))
    terms = {"l1": l1, "giou": giou, "presence": presence, "l1_auxiliary": l1_layers, "giou_auxiliary": giou_layers}
    parts = {name: torch.stack(values).mean() for name, values in terms.items()}
    factors = {"l1": 2.0, "giou": 1.5, "presence": 1.0, "l1_auxiliary": 2.0, "giou_auxiliary": 1.5}
    expected = sum(factors[name] * value for name, value in parts.items())
    slopes = torch.autograd.grad(expected, (predicted, layers, logits))

    ours = model(assignment)
    outputs = AnatomyVLMOutput(pred_boxes=predicted, presence_logits=logits, auxiliary_pred_boxes=layers)
    losses = ours.compute_losses(outputs, boxes, mask)
    assert losses.keys() == parts.keys()
    for name, value in parts.items():
        assert losses[name].item() == pytest.approx(value.item(), abs=1e-6), name
    total = ours.weigh_losses(losses)
    assert total.item() == pytest.approx(expected.item(), abs=1e-5)
    for a, b in zip(torch.autograd.grad(total, (predicted, layers, logits)), slopes, strict=True):
        assert torch.allclose(a, b, atol=1e-6)
