"""Batches: prepared examples, their random choices, augmentation and normalisation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import torch

from anatomy_vlm.processing.contrastive_sampler import PERTURBATIONS, ContrastiveLabelSampler
from anatomy_vlm.processing.facts import FactTable
from anatomy_vlm.processing.phrase_book import PhraseBook
from anatomy_vlm.training.augmentation import Augmentation, augment
from anatomy_vlm.training.prepared import unpack


@dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """
    How regions and texts are labelled; the first four are the paper's (section 1.6).

    Args:
        perturbation_probability: How often a positive phrase is perturbed.
        perturbations: In which ways.
        attribute_negatives: Contrast regions without findings with attributes that they do not have.
        unmentioned_is_absent: Take a finding that nothing hints at for absent.
        positives: "sampled": one phrase per region is positive, other true ones are left out; "all_true": every
            text of the batch that is known to be true of a region is.
        num_phrases: Phrases drawn per region.
        num_styles: In how many ways a statement is made.
        prompts_in_fine: Contrast regions with the findings' prompts too.
        findings: Findings to prompt for; those that the training labels tell apart by default.
        ensemble: Prompt for a finding in every way of saying it, averaged; else with one phrase.
        attributes: Prompt with what a finding looks like, too.
        finding_weights: Weights of texts by the finding they are about, in the losses "global" and "fine": by name,
            or "balanced", from the number of training phrases in which a finding is present (`balanced_weights`).
        region_weights: Weights of regions in the loss "fine": by name, or "balanced", from their training phrases.
    """

    perturbation_probability: float = 0.2
    perturbations: Sequence[str] = PERTURBATIONS
    attribute_negatives: bool = True
    unmentioned_is_absent: bool = False
    positives: str = "sampled"
    num_phrases: int = 1
    num_styles: int = 4
    prompts_in_fine: bool = True
    findings: Sequence[str] | None = None
    ensemble: bool = True
    attributes: bool = False
    finding_weights: str | dict[str, float] | None = None
    region_weights: str | dict[str, float] | None = None

    def __post_init__(self) -> None:
        if self.positives not in ("sampled", "all_true"):
            raise ValueError(f"positives must be 'sampled' or 'all_true', not {self.positives!r}")
        if self.num_styles < 1:
            raise ValueError(f"num_styles must be at least 1, not {self.num_styles}")

    def sampler(self, book: PhraseBook, seed: int) -> ContrastiveLabelSampler:
        """The sampler of these options. Raises `ValueError` for an option out of its range."""
        return ContrastiveLabelSampler(
            book,
            perturbation_probability=self.perturbation_probability,
            perturbations=self.perturbations,
            attribute_negatives=self.attribute_negatives,
            unmentioned_is_absent=self.unmentioned_is_absent,
            num_phrases=self.num_phrases,
            seed=seed,
        )


class TrainingImages(torch.utils.data.Dataset):
    """
    Prepared examples with the random choices of an epoch: which phrases, which augmentation.

    The choices depend on seed, epoch and example alone, so that processes, workers and restarts draw the same.

    Args:
        prepared: A dataset of `anatomy_vlm.training.prepared`.
        sampler: Draws the phrases.
        augmentation: Strengths.
        seed: Seed of the augmentation.
    """

    def __init__(
        self,
        prepared: datasets.Dataset,
        sampler: ContrastiveLabelSampler,
        augmentation: Augmentation,
        seed: int = 0,
    ):
        self.prepared = prepared
        self.sampler = sampler
        self.augmentation = augmentation
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    @property
    def order(self) -> Callable[[int], Sequence[int]] | None:
        """The order of an epoch's examples, where they must be read in one of their own."""
        return getattr(self.prepared, "order", None)

    def __len__(self) -> int:
        return len(self.prepared)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = unpack(self.prepared[index])
        regions, phrases = row.pop("phrase_regions").numpy(), row.pop("phrase_ids").numpy()
        facts = FactTable(row["facts"].numpy(), row["severity"].numpy(), row.pop("unmentioned").numpy(), 0)
        sample = self.sampler.sample(
            regions, phrases, facts, epoch=self.epoch, index=index, box_mask=row["box_mask"].numpy()
        )
        seed = np.random.SeedSequence([self.seed, self.epoch, index]).generate_state(1)[0]
        return {
            **row,
            "positive_ids": torch.from_numpy(sample.positive_ids),
            "negative_ids": torch.from_numpy(sample.negative_ids),
            "draws": self.augmentation.sample(torch.Generator().manual_seed(int(seed))),
        }


def collate(
    augmentation: Augmentation, image_processor: Any, images: Any = None
) -> Callable[[list[dict]], dict[str, torch.Tensor]]:
    """
    A collator that augments a batch and normalises it as the image processor does.

    Of several processes one may get no image of an epoch's last batch; the first of `images` then lends its shapes.

    Its batches hold `pixel_values` `(B, 3, S, S)`, `boxes` `(B, 29, 4)` xyxy in [0, 1], `box_mask` `(B, 29)`, `labels`
    `(B, F)`, `facts` and `severity` `(B, 29, F)`, `positive_ids` and `negative_ids` `(B, 29, K)`.
    """
    mean = torch.tensor(image_processor.image_mean)[:, None, None]
    std = torch.tensor(image_processor.image_std)[:, None, None]

    def collate_batch(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        examples = items or [images[0]]
        batch = {name: torch.stack([item[name] for item in examples]) for name in examples[0]}
        pixels = batch.pop("pixels").float() / 255
        pixels, batch["boxes"], batch["box_mask"] = augment(
            pixels, batch["boxes"], batch["box_mask"], batch.pop("draws"), augmentation
        )
        batch["pixel_values"] = (pixels[:, None] - mean) / std
        return batch if items else {name: tensor[:0] for name, tensor in batch.items()}

    return collate_batch
