"""
Gradient accumulation that is exact: the parts of a batch, one after another, give the gradient of the whole.

A mean over what is known is the sum of its parts, each weighed by how much of what is known it holds; that is counted
from the labels before the first part is run. In the contrastive loss of regions every region competes with all the
others: where there is one, the embeddings of all parts are made first, without their graphs, and the totals of the
loss with them (the two passes of GradCache, Gao et al., 2021). That costs one forward pass more.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from anatomy_vlm.modeling.region_losses_anatomy_vlm import ContrastTotals, contrast_totals


Targets = dict[str, torch.Tensor]


def known_weights(targets: Targets, fine_loss_type: str) -> dict[str, torch.Tensor]:
    """What each loss of the targets divides by on these images, but for the contrastive one."""
    weights: dict[str, torch.Tensor] = {}
    if "boxes" in targets:
        mask = targets["box_mask"].bool()
        weights = dict.fromkeys(("l1", "giou", "l1_auxiliary", "giou_auxiliary"), mask.sum())
        weights["presence"] = torch.full_like(weights["l1"], mask.numel())
    if "image_labels" in targets:
        known = ~targets["image_labels"].isnan()
        weights["global"] = (known * targets.get("text_weights", torch.ones_like(known[:1]))).sum()
    if "region_labels" in targets and fine_loss_type == "sigmoid":
        known = ~targets["region_labels"].isnan().all(-1)
        weights["fine"] = (known * targets.get("region_weights", torch.ones_like(known[:1]))).sum()
    return {name: weight.double() for name, weight in weights.items()}


def whole(parameter: torch.Tensor) -> torch.Tensor:
    """A parameter as a tensor, also where FSDP keeps it in shards."""
    value = parameter.detach()
    return value.full_tensor() if hasattr(value, "full_tensor") else value


class RandomState:
    """The state of the random numbers of a device, so that a second pass drops out what the first did."""

    def __init__(self, device: torch.device):
        self.device = device
        self.cpu = torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, self.device)


class AccumulatedBatch:
    """
    The parts of a batch that make one update together.

    Args:
        parts: The inputs of each part.
        targets: Gives the targets of a part, for the texts of all parts.
        across_ranks: Over the images of all processes.
    """

    def __init__(self, parts: Sequence[dict[str, Any]], targets: Callable[[dict], Targets], across_ranks: bool):
        self.parts = parts
        self.targets = targets
        self.across_ranks = across_ranks
        self.position = 0
        self.factors: list[dict[str, torch.Tensor]] = []
        self.totals: ContrastTotals | None = None
        self.random_states: list[RandomState] = []

    def __len__(self) -> int:
        return len(self.parts)

    def prepare(self, model: nn.Module, module: Any) -> None:
        """
        Count what is known, and look at all parts where a loss needs it.

        Args:
            model: The model as it is called, within its distributed wrapper.
            module: The model itself.
        """
        targets = [self.targets(part) for part in self.parts]
        self._count(targets, module.config.fine_loss_type)
        if "region_labels" in targets[0] and module.config.fine_loss_type == "contrastive":
            self._look_at_all(model, module, targets)

    def _count(self, targets: Sequence[Targets], fine_loss_type: str) -> None:
        weights = [known_weights(of_part, fine_loss_type) for of_part in targets]
        names = list(weights[0])
        if not names:
            self.factors = [{} for _ in targets]
            return
        table = torch.stack([torch.stack([of_part[name] for name in names]) for of_part in weights])
        if self.across_ranks:
            dist.all_reduce(table)
        total = table.sum(0)
        shares = (table / torch.where(total > 0, total, 1)).float()
        self.factors = [dict(zip(names, of_part, strict=True)) for of_part in shares]

    @torch.no_grad()
    def _look_at_all(self, model: nn.Module, module: Any, targets: Sequence[Targets]) -> None:
        regions, labels = [], []
        for number, (part, of_part) in enumerate(zip(self.parts, targets, strict=True)):
            self.random_states.append(RandomState(part["pixel_values"].device))
            last = number == len(self.parts) - 1
            # The texts are the same for all parts; with them come logits, which nobody needs.
            texts = {"text_features": of_part["text_features"]} if last else {}
            outputs = model(pixel_values=part["pixel_values"], **texts)
            regions.append(outputs.region_embeds.float())
            labels.append(of_part["region_labels"].nan_to_num(-1).to(torch.int8))
        self.totals = contrast_totals(
            regions,
            outputs.text_embeds.float(),
            whole(module.region_logit_scale).exp(),
            whole(module.region_logit_bias),
            labels,
            targets[0].get("region_weights"),
            targets[0].get("text_weights"),
            self.across_ranks,
        )
        if torch.is_autocast_enabled(regions[0].device.type):
            # Weights that were cast without a graph must not be taken for those with one.
            torch.clear_autocast_cache()

    def loss(self, model: nn.Module, module: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor], Any]:
        """The share of the next part: of the whole loss, of each of the losses, and the outputs of the model."""
        if self.position == 0:
            self.prepare(model, module)
        part, factors = self.parts[self.position], self.factors[self.position]
        targets = self.targets(part)
        if self.random_states:
            self.random_states[self.position].restore()
        if self.totals is not None:
            targets["contrast_totals"] = self.totals  # type: ignore[assignment]
        outputs = model(pixel_values=part["pixel_values"], **targets)
        # The contrastive loss comes as a share.
        missing = set(outputs.loss_dict) - set(factors) - ({"fine"} if self.totals is not None else set())
        if missing:
            raise ValueError(f"it is not known how the losses {sorted(missing)} add up over the parts of a batch")
        losses = {name: factors.get(name, 1) * loss for name, loss in outputs.loss_dict.items()}
        self.position += 1
        return module.weigh_losses(losses), losses, outputs
