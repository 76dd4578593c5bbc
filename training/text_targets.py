"""The texts of one step and their labels: what the model compares its images and regions with."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from anatomy_vlm.processing.contrastive_labels import similarity_labels, unique_text_ids
from anatomy_vlm.training.phrases import RunPhrases


def gather_ids(ids: torch.Tensor) -> torch.Tensor:
    """The ids `(N,)` of every process, one after another; each may bring another number of them."""
    count = torch.tensor([len(ids)], device=ids.device)
    counts = [torch.empty_like(count) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, count)
    longest = max(int(c) for c in counts)
    parts = [ids.new_empty(longest) for _ in counts]
    dist.all_gather(parts, torch.nn.functional.pad(ids, (0, longest - len(ids))))
    return torch.cat([part[:n] for part, n in zip(parts, counts, strict=True)])


class TextTargets:
    """
    Args:
        features: `(num_texts, text_hidden_size)` of the phrase bank.
        phrases: The texts.
        positives: "sampled" or "all_true", see `similarity_labels`.
        prompts_in_fine: Contrast the regions with the findings' prompts too, so that prompts without a region can be
            asked of a region.
        finding_weights: `(findings,)`, the weight of a text by the finding it is about.
        region_weights: `(regions,)`, the weight of a region.
    """

    def __init__(
        self,
        features: torch.Tensor,
        phrases: RunPhrases,
        positives: str = "sampled",
        prompts_in_fine: bool = True,
        finding_weights: torch.Tensor | None = None,
        region_weights: torch.Tensor | None = None,
    ):
        self.features = features
        self.meanings = torch.from_numpy(phrases.book.meanings).long()
        self.prompt_ids = torch.from_numpy(phrases.prompt_ids)
        self.positives = positives
        self.prompts_in_fine = prompts_in_fine
        self.finding_weights = finding_weights
        self.region_weights = region_weights

    def to(self, device: torch.device) -> "TextTargets":
        """Move the bank; it is small beside a model, and a step then gathers without a copy."""
        self.features, self.meanings = self.features.to(device), self.meanings.to(device)
        self.prompt_ids = self.prompt_ids.to(device)
        if self.finding_weights is not None:
            self.finding_weights = self.finding_weights.to(device)
        if self.region_weights is not None:
            self.region_weights = self.region_weights.to(device)
        return self

    def text_ids(self, batches: Sequence[dict[str, Any]], losses: Sequence[str], gather: bool = False) -> torch.Tensor:
        """
        The texts that images are compared with, as ascending ids `(num_texts,)`: the prompts, and for the loss "fine"
        the phrases of all `batches`.

        Args:
            batches: Batches of `anatomy_vlm.training.batches`; those whose gradients are accumulated go together.
            losses: The losses of the stage.
            gather: Take the texts of every process, so that all of them contrast with the same ones.
        """
        if "fine" not in losses:
            return self.prompt_ids
        drawn = [batch[name].to(self.prompt_ids) for batch in batches for name in ("positive_ids", "negative_ids")]
        sampled = unique_text_ids(*drawn)
        return unique_text_ids(self.prompt_ids, gather_ids(sampled) if gather else sampled)

    def targets(
        self, inputs: dict[str, Any], losses: Sequence[str], gather: bool = False, ids: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """
        Arguments of the model for the texts of one batch.

        Args:
            inputs: The batch of `anatomy_vlm.training.batches`.
            losses: The losses of the stage.
            gather: Take the texts of every process, so that all of them contrast with the same ones.
            ids: Of `text_ids`, where the batch is a part of a larger one; else found here.
        """
        if ids is None:
            ids = self.text_ids([inputs], losses, gather)
        targets = {"text_features": self.features[ids]}
        if self.finding_weights is not None:
            targets["text_weights"] = self.finding_weights[self.meanings[ids, 0]]
        is_prompt = torch.isin(ids, self.prompt_ids)
        if "global" in losses:
            targets["image_labels"] = self._image_labels(inputs["labels"], ids, is_prompt)
        if "fine" in losses:
            targets["region_labels"] = self._region_labels(inputs, ids, is_prompt)
            if self.region_weights is not None:
                targets["region_weights"] = self.region_weights
        return targets

    def _image_labels(self, labels: torch.Tensor, ids: torch.Tensor, is_prompt: torch.Tensor) -> torch.Tensor:
        """`(batch_size, num_texts)`: a prompt is as true as its finding, a negated one as false; NaN for phrases."""
        finding, polarity = self.meanings[ids, 0], self.meanings[ids, 1]
        truth = labels[:, finding]
        truth = torch.where(polarity == 1, truth, 1 - truth)
        return torch.where(is_prompt, truth, torch.full_like(truth, float("nan")))

    def _region_labels(self, inputs: dict[str, Any], ids: torch.Tensor, is_prompt: torch.Tensor) -> torch.Tensor:
        """`(batch_size, num_regions, num_texts)`: the phrases' labels, and for prompts whether they hold there."""
        facts, severity = inputs["facts"], inputs["severity"]
        labels = similarity_labels(
            ids,
            inputs["positive_ids"],
            inputs["negative_ids"],
            self.meanings,
            facts,
            severity,
            positives=self.positives,
        )
        labels[..., is_prompt] = float("nan")
        if self.prompts_in_fine:
            # Asked of a region, a prompt that names none is about that region.
            finding, polarity = self.meanings[ids[is_prompt], 0], self.meanings[ids[is_prompt], 1]
            known = facts[:, :, finding]
            truth = torch.where(known < 0, float("nan"), (known == polarity).float())
            labels[..., is_prompt] = truth
        # A region that is not in the picture has nothing to be aligned with.
        return labels.masked_fill(~inputs["box_mask"].bool()[..., None], float("nan"))
