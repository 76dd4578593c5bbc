"""The plan for all of Chest ImaGenome on 1, 8 and 64 GPUs, on paper: what each recipe costs, and what limits it.

    python benchmarks/scaling.py [--mfu 0.5] [--gpu-tflops 989] [--cores-per-gpu 16] [--loader 224=900 ...] [--json]

Operations, parameters and bytes are counted from the configurations (`anatomy_vlm.training.cost`); the rate of the
loader is measured here, on one core. Everything about the GPUs is assumed, by the arguments: no GPU has been measured.
Time is the longest of what a step must wait for, with loading and the exchange of gradients going on beside the
arithmetic; the bottleneck is the one that takes longest, and its share of the arithmetic's time is printed.
"""

import argparse
import json
import time
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import datasets
import numpy as np
import torch
from training_step import random_example

from anatomy_vlm.modeling import AnatomyVLMConfig
from anatomy_vlm.processing import AnatomyVLMImageProcessorPil
from anatomy_vlm.processing.contrastive_sampler import ContrastiveLabelSampler
from anatomy_vlm.processing.facts import example_facts
from anatomy_vlm.processing.vocabulary import REGION_NAMES
from anatomy_vlm.training.augmentation import Augmentation
from anatomy_vlm.training.batches import TrainingImages, collate
from anatomy_vlm.training.cost import StepCost, step_cost
from anatomy_vlm.training.phrases import collect_phrases
from anatomy_vlm.training.prepared import DTYPES, PREPARED_FEATURES


IMAGES = 242_072  # frontal films of Chest ImaGenome
GPUS = (1, 8, 64)
GPUS_OF_A_NODE = 8
# Texts that each further image brings to a batch, and those that every batch has (`benchmarks/training_step.py`).
TEXTS_PER_IMAGE, PROMPTS = 26, 1000
TEXT = {"model_type": "bert"}  # BERT-base: hidden size 768
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
RECIPES: dict[str, tuple[dict[str, Any], int]] = {
    "ViT-B/16, 224 px": ({**BASE, "image_size": 224, "patch_size": 16}, 64),
    "ViT-B/16, 512 px": ({**BASE, "image_size": 512, "patch_size": 16}, 32),
    "ViT-L/16, 224 px": ({**LARGE, "image_size": 224, "patch_size": 16}, 64),
    "RAD-DINO ViT-B/14, 518 px": ({**BASE, "image_size": 518, "patch_size": 14, "layerscale_value": 1.0}, 32),
}


@dataclass(frozen=True)
class Plan:
    """A recipe on a number of GPUs; seconds are of one step."""

    recipe: str
    gpus: int
    cost: StepCost
    texts: int
    compute: float
    loading: float
    exchange: float
    checkpoint_share: float

    @property
    def seconds(self) -> float:
        return max(self.compute, self.loading, self.exchange)

    @property
    def images_per_second(self) -> float:
        return self.gpus * self.cost.batch_size / self.seconds

    @property
    def bottleneck(self) -> str:
        parts = {"arithmetic": self.compute, "loading": self.loading, "gradients": self.exchange}
        name = max(parts, key=lambda part: parts[part])
        # What would be next.
        del parts[name]
        second = max(parts, key=lambda part: parts[part])
        return f"{name} (then {second}, {parts[second] / self.seconds:.0%} of it)"


def measured_loader(side: int, examples: int = 64) -> float:
    """Images per second of one core: reading, drawing phrases, augmenting and normalising, as training does it."""
    rng = np.random.default_rng(0)
    drawn = [random_example(rng) for _ in range(examples)]
    phrases = collect_phrases(datasets.Dataset.from_list(drawn))
    sampler = ContrastiveLabelSampler(phrases.book)
    rows = []
    for example in drawn:
        table = example_facts(example)
        regions, ids = sampler.phrases(example["region_findings"])
        corners = rng.random((len(REGION_NAMES), 2)) / 2
        arrays = {
            "pixels": rng.integers(0, 256, (side, side)),
            "boxes": np.concatenate((corners, corners + 0.3), -1),
            "box_mask": example["box_mask"],
            "labels": example["labels"],
            "facts": table.facts,
            "severity": table.severity,
            "unmentioned": table.unmentioned,
            "phrase_regions": regions,
            "phrase_ids": ids,
        }
        rows.append({name: np.asarray(array, dtype=DTYPES[name]).tobytes() for name, array in arrays.items()})
    augmentation = Augmentation(zoom=0.15, shift=0.08, contrast=0.2, brightness=0.1)
    images = TrainingImages(datasets.Dataset.from_list(rows, features=PREPARED_FEATURES), sampler, augmentation)
    collator = collate(augmentation, AnatomyVLMImageProcessorPil())
    loader = torch.utils.data.DataLoader(images, batch_size=16, collate_fn=collator)
    torch.set_num_threads(1)
    rates = []
    for epoch in range(3):
        images.set_epoch(epoch)
        start = time.process_time()
        for _ in loader:
            pass
        rates.append(examples / (time.process_time() - start))
    return max(rates[1:])  # the first fills the sampler's tables


@cache
def cost_of(recipe: str, texts: int, text_tokens: int | None = None) -> StepCost:
    """Of the third stage. The operations are linear in the number of texts, and counted for two small ones."""
    vision, batch_size = RECIPES[recipe]
    config = AnatomyVLMConfig(vision_config=vision, text_config=TEXT)
    if texts in (PROMPTS, 2 * PROMPTS):
        return step_cost(config, batch_size=batch_size, num_texts=texts, text_tokens=text_tokens)
    one, two = cost_of(recipe, PROMPTS, text_tokens), cost_of(recipe, 2 * PROMPTS, text_tokens)
    factor = texts / PROMPTS - 1
    grown = {
        name: round(getattr(one, name) + factor * (getattr(two, name) - getattr(one, name)))
        for name in ("heads", "text", "backward")
    }
    return replace(one, **grown)


def plan(recipe: str, gpus: int, loader: float, args: argparse.Namespace) -> Plan:
    batch_size = RECIPES[recipe][1]
    texts = min(args.bank, PROMPTS + TEXTS_PER_IMAGE * batch_size * gpus)
    cost = cost_of(recipe, texts)
    link = args.node_link if gpus <= GPUS_OF_A_NODE else args.network
    compute = cost.total / (args.gpu_tflops * 1e12 * args.mfu)
    steps = IMAGES / (batch_size * gpus)
    return Plan(
        recipe=recipe,
        gpus=gpus,
        cost=cost,
        texts=texts,
        compute=compute,
        loading=batch_size / (loader * args.cores_per_gpu),
        # A ring sends and receives this.
        exchange=2 * (gpus - 1) / gpus * cost.gradient_bytes / (link * 1e9),
        checkpoint_share=cost.checkpoint_bytes / (args.disk * 1e9) / (steps * compute),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=40, help="of all stages together")
    parser.add_argument("--gpu-tflops", type=float, default=989, help="peak of a GPU in bfloat16 (H100 SXM, dense)")
    parser.add_argument("--mfu", type=float, default=0.5, help="share of it that a step reaches")
    parser.add_argument("--cores-per-gpu", type=int, default=16)
    parser.add_argument("--node-link", type=float, default=450, help="GB/s of a GPU to the others of its node")
    parser.add_argument("--network", type=float, default=50, help="GB/s of a GPU to other nodes")
    parser.add_argument("--disk", type=float, default=1, help="GB/s of writing a checkpoint")
    parser.add_argument("--price", type=float, default=2.5, help="of an hour of a GPU, in dollars")
    parser.add_argument("--bank", type=int, default=100_000, help="texts of the phrase bank")
    parser.add_argument("--loader", nargs="*", default=[], metavar="SIDE=RATE", help="images/s of a core, as measured")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args()
    given = dict(text.split("=") for text in args.loader)
    loaders = {int(side): float(rate) for side, rate in given.items()}
    for vision, _ in RECIPES.values():
        side = vision["image_size"]
        if side not in loaders:
            loaders[side] = measured_loader(side)
    plans = [
        plan(recipe, gpus, loaders[RECIPES[recipe][0]["image_size"]], args) for recipe in RECIPES for gpus in GPUS
    ]

    print(
        "| recipe | parameters, M | batch of a GPU | GFLOP/image, step | of it heads, % | all texts encoded, times |"
    )
    print("|---|---|---|---|---|---|")
    for one in plans[:: len(GPUS)]:
        naive = cost_of(one.recipe, one.texts, 12)
        tower = one.cost.tower / (one.cost.tower + one.cost.heads)
        print(
            f"| {one.recipe} | {(one.cost.trained + one.cost.frozen) / 1e6:.0f} | {one.cost.batch_size} "
            f"| {one.cost.per_image / 1e9:.0f} | {1 - tower:.1%} | {naive.total / one.cost.total:.2f} |"
        )
    print("\n| side | loader, images/s and core | raw bytes of all films, GB |")
    print("|---|---|---|")
    for side, rate in sorted(loaders.items()):
        print(f"| {side} px | {rate:.0f} | {IMAGES * side**2 / 1e9:.0f} |")
    print(
        "\n| recipe | GPUs | texts of a batch | ms arithmetic | ms loading | ms gradients | images/s "
        "| cores a GPU needs | hours | dollars | bottleneck |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for one in plans:
        hours = args.epochs * IMAGES / one.images_per_second / 3600
        rate = loaders[RECIPES[one.recipe][0]["image_size"]]
        cores = one.cost.batch_size / one.compute / rate
        print(
            f"| {one.recipe} | {one.gpus} | {one.texts} | {1e3 * one.compute:.1f} | {1e3 * one.loading:.1f} "
            f"| {1e3 * one.exchange:.1f} | {one.images_per_second:.0f} | {cores:.1f} | {hours:.2f} "
            f"| {hours * one.gpus * args.price:.0f} | {one.bottleneck} |"
        )
    print("\n| recipe | gradients, MB | checkpoint, GB | its writing, s | of an epoch on 64 GPUs |")
    print("|---|---|---|---|---|")
    for one in plans[len(GPUS) - 1 :: len(GPUS)]:
        size = one.cost.checkpoint_bytes / 1e9
        print(
            f"| {one.recipe} | {one.cost.gradient_bytes / 1e6:.0f} | {size:.2f} | {size / args.disk:.1f} "
            f"| {one.checkpoint_share:.1%} |"
        )
    largest = plans[len(GPUS) - 1]
    # int64 ids of a positive and a negative text per region, and per text what the loss sums over the processes.
    labels = 4 * largest.cost.batch_size * len(REGION_NAMES) * largest.texts
    gathered = 2 * 8 * len(REGION_NAMES) * largest.cost.batch_size * largest.gpus
    print(
        f"\nPhrase bank of {args.bank} texts: {args.bank * 768 * 4 / 1e6:.0f} MB. In a step of {largest.gpus} GPUs: "
        f"{gathered / 1e6:.1f} MB of text ids, {4 * 4 * largest.texts / 1e6:.1f} MB of sums, and "
        f"{labels / 1e6:.0f} MB of labels in each GPU's memory."
    )
    if args.json:
        rows = [
            {
                "recipe": one.recipe,
                "gpus": one.gpus,
                "flops_per_image": one.cost.per_image,
                "images_per_second": one.images_per_second,
                "bottleneck": one.bottleneck,
            }
            for one in plans
        ]
        print(json.dumps({"loader_images_per_second_and_core": loaders, "plans": rows}))


if __name__ == "__main__":
    main()
