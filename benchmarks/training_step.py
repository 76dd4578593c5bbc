"""What a step of the third stage costs over the vision tower alone: with the phrase bank, and without.

    python benchmarks/training_step.py [--batch-size 16] [--rounds 3] [--threads 2] [--fp32] [--clock wall] [--json]

Three training steps of ViT-B/16 at 224 px, interleaved in one process, each with forward, backward and AdamW:

- vision only: the tower, a mean over its tokens for a loss, and AdamW over the tower's parameters;
- with the phrase bank: the texts of the batch and their labels (`TextTargets`), their rows of the bank, all heads, all
  losses of the paper's third stage, and AdamW over all that the stage trains;
- naive: the same, with every text of the batch encoded by the frozen text encoder (BERT-base) in each step.

The batches are random statements of the vocabulary on random boxes, with phrases and perturbations drawn by the
sampler that training uses. `step_over_vision_only` is the pairwise median of the second over the first, of processor
time with `--clock processor`: on a machine that others use too, give it one thread.
"""

import argparse
import json
import statistics
from collections.abc import Callable

import datasets
import numpy as np
import torch
from transformers import BertConfig
from vision_tower import CLOCKS, timed

from anatomy_vlm.modeling import AnatomyVLMConfig, AnatomyVLMModel
from anatomy_vlm.processing.contrastive_sampler import ContrastiveLabelSampler
from anatomy_vlm.processing.facts import example_facts
from anatomy_vlm.processing.statements import Statement, render_statement
from anatomy_vlm.processing.vocabulary import FINDING_NAMES, FINDINGS, REGION_NAMES
from anatomy_vlm.training.phrases import RunPhrases, collect_phrases
from anatomy_vlm.training.text_targets import TextTargets


LOSSES = ("anatomy", "global", "fine")


def random_example(rng: np.random.Generator) -> dict:
    """About one statement for each region, and labels of the image that agree with them."""
    entries, labels = [], np.full(len(FINDING_NAMES), np.nan, dtype=np.float32)
    for finding in rng.permutation(len(FINDINGS)):
        places = FINDINGS[finding].regions
        if not places or len(entries) >= len(REGION_NAMES):
            continue
        polarity = str(rng.choice(["present", "absent", "absent"]))
        statement = Statement(FINDINGS[finding].name, polarity, str(rng.choice(places)))
        labels[finding] = polarity == "present"
        entries.append(
            {
                "region": statement.region,
                "finding": statement.finding,
                "polarity": polarity,
                "severity": "",
                "phrase": render_statement(statement, int(rng.integers(4))),
            }
        )
    return {"region_findings": entries, "labels": labels, "box_mask": np.ones(len(REGION_NAMES), dtype=bool)}


def random_batches(batch_size: int, number: int) -> tuple[RunPhrases, list[dict[str, torch.Tensor]]]:
    """The phrases of some hundred random examples, and batches of them without their pictures."""
    rng = np.random.default_rng(0)
    examples = [random_example(rng) for _ in range(max(400, batch_size * number))]
    phrases = collect_phrases(datasets.Dataset.from_list(examples))
    sampler = ContrastiveLabelSampler(phrases.book)
    batches = []
    for start in range(0, batch_size * number, batch_size):
        chosen = examples[start : start + batch_size]
        facts = [example_facts(example) for example in chosen]
        samples = [
            sampler(example["region_findings"], table, epoch=0, index=i, box_mask=example["box_mask"])
            for i, (example, table) in enumerate(zip(chosen, facts, strict=True))
        ]
        corners = torch.from_numpy(rng.random((batch_size, len(REGION_NAMES), 2), dtype=np.float32)) / 2
        batches.append(
            {
                "boxes": torch.cat((corners, corners + 0.3), -1),
                "box_mask": torch.from_numpy(rng.random((batch_size, len(REGION_NAMES))) > 0.1),
                "labels": torch.from_numpy(np.stack([example["labels"] for example in chosen])),
                "facts": torch.from_numpy(np.stack([table.facts for table in facts])),
                "severity": torch.from_numpy(np.stack([table.severity for table in facts])),
                "positive_ids": torch.from_numpy(np.stack([sample.positive_ids for sample in samples])),
                "negative_ids": torch.from_numpy(np.stack([sample.negative_ids for sample in samples])),
            }
        )
    return phrases, batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=12, help="tokens of a text")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--fp32", action="store_true", help="without autocast to bfloat16")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    model = AnatomyVLMModel(AnatomyVLMConfig(text_config=BertConfig().to_dict())).train().to(device)
    # As the recipes choose.
    model.vision_model.set_attn_implementation("sdpa" if device == "cuda" else "eager")
    pixel_values = torch.randn(args.batch_size, 3, 224, 224, device=device)
    phrases, batches = random_batches(args.batch_size, args.rounds + 1)
    batches = [{name: tensor.to(device) for name, tensor in batch.items()} for batch in batches]
    bank = torch.randn(len(phrases.book.texts), model.config.text_config.hidden_size)
    texts = TextTargets(bank, phrases).to(torch.device(device))
    learnt = {"vision": model.vision_model.parameters(), "all": (p for p in model.parameters() if p.requires_grad)}
    optimizers = {name: torch.optim.AdamW(list(group), lr=1e-6, fused=True) for name, group in learnt.items()}
    numbers = []

    def step(loss: Callable[[], torch.Tensor], optimizer: str) -> None:
        with torch.autocast(device, torch.bfloat16, enabled=not args.fp32):
            value = loss()
        value.backward()
        optimizers[optimizer].step()
        optimizers[optimizer].zero_grad()

    def vision_only(batch: dict[str, torch.Tensor]) -> None:
        step(lambda: model.vision_model(pixel_values).last_hidden_state.float().mean(), "vision")

    def targets(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"boxes": batch["boxes"], "box_mask": batch["box_mask"], **texts.targets(batch, LOSSES)}

    def with_bank(batch: dict[str, torch.Tensor]) -> None:
        step(lambda: model(pixel_values=pixel_values, **targets(batch)).loss, "all")

    def naive(batch: dict[str, torch.Tensor]) -> None:
        def loss() -> torch.Tensor:
            given = targets(batch)
            number = len(given.pop("text_features"))
            numbers.append(number)
            input_ids = torch.randint(1000, 20000, (number, args.tokens), device=device)
            return model(pixel_values=pixel_values, input_ids=input_ids, **given).loss

        step(loss, "all")

    steps = {"vision only": vision_only, "with the phrase bank": with_bank, "naive": naive}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for index, batch in enumerate(batches):
        # The order alternates, so that a drift of the machine's speed falls on all.
        for name in sorted(steps, reverse=bool(index % 2)):
            seconds = timed(lambda name=name, batch=batch: steps[name](batch), args.clock)
            if index:
                times[name].append(seconds)
    ratios = {
        name: statistics.median(a / b for a, b in zip(values, times["vision only"], strict=True))
        for name, values in times.items()
    }

    precision = "float32" if args.fp32 else "bfloat16 autocast"
    print(
        f"ViT-B/16, 224 px, batch {args.batch_size}, {min(numbers)} to {max(numbers)} texts of "
        f"{len(bank)}, {precision}, {device}, {args.threads} threads, {args.clock} time"
    )
    print(f"{'':24}{'median ms':>12}{'over vision only':>18}")
    for name, values in times.items():
        print(f"{name:24}{statistics.median(values) * 1e3:12.0f}{ratios[name]:18.3f}")
    if args.json:
        result = {
            "step_over_vision_only": ratios["with the phrase bank"],
            "naive_over_vision_only": ratios["naive"],
            "texts": [min(numbers), max(numbers)],
            "milliseconds": {name: statistics.median(values) * 1e3 for name, values in times.items()},
        }
        print(json.dumps(result))


if __name__ == "__main__":
    main()
