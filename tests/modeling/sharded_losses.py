"""Run by two processes: writes each loss of one's shard of a batch, and its gradients; the first also of the whole.

Usage: torchrun sharded_losses.py FOLDER SIZE_OF_FIRST SIZE_OF_SECOND
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from anatomy_vlm.modeling.losses_anatomy_vlm import binary_loss, box_losses
from anatomy_vlm.modeling.region_losses_anatomy_vlm import region_phrase_loss


def batch(size: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    corners = torch.rand(size, 6, 2) / 2
    labels = torch.tensor([1.0, 0.0, float("nan")])
    return {
        "pred_boxes": torch.rand(size, 6, 4),
        "boxes": torch.cat((corners, corners + 0.3), -1),
        "box_mask": torch.rand(size, 6) > 0.4,
        "logits": torch.randn(size, 7),
        "image_labels": labels[torch.randint(0, 3, (size, 7))],
        "region_embeds": torch.randn(size, 6, 4),
        "region_labels": labels[torch.randint(0, 3, (size, 6, 7))],
    }


def losses(part: dict[str, torch.Tensor], across_ranks: bool) -> dict[str, tuple]:
    """Value, gradient of the part's own tensor, and gradient of the texts, which all processes share."""
    results = {}
    torch.manual_seed(1)
    texts, weights = torch.randn(7, 4, requires_grad=True), torch.rand(7)
    scale, bias, region_weights = torch.tensor([2.0]), torch.tensor([-0.5]), torch.rand(6)
    boxes = part["pred_boxes"].requires_grad_()
    pair = box_losses(boxes, part["boxes"], part["box_mask"], across_ranks)
    for name, loss in zip(("l1", "giou"), pair, strict=True):
        results[name] = loss.detach(), torch.autograd.grad(loss, boxes)[0], None
    logits = part["logits"].requires_grad_()
    loss = binary_loss(logits, part["image_labels"], weights, across_ranks)
    results["global"] = loss.detach(), torch.autograd.grad(loss, logits)[0], None
    regions = part["region_embeds"].requires_grad_()
    for kind in ("contrastive", "sigmoid"):
        loss = region_phrase_loss(
            regions, texts, scale, bias, part["region_labels"], region_weights, weights, kind, across_ranks
        )
        results[kind] = loss.detach(), *torch.autograd.grad(loss, (regions, texts))
    return results


def main() -> None:
    folder, sizes = Path(sys.argv[1]), [int(size) for size in sys.argv[2:]]
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    whole = batch(sum(sizes))
    start = sum(sizes[:rank])
    own = {name: tensor[start : start + sizes[rank]].clone() for name, tensor in whole.items()}
    torch.save(losses(own, across_ranks=True), folder / f"{rank}.pt")
    if rank == 0:
        torch.save(losses(whole, across_ranks=False), folder / "whole.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
