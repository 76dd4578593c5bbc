"""What a step of the third stage costs over the vision tower alone: with the phrase bank, and without.

    python benchmarks/training_step.py [--batch-size 16] [--texts 512] [--rounds 3] [--threads 2] [--fp32] [--json]

Three training steps of ViT-B/16 at 224 px, interleaved in one process, each with forward, backward and AdamW:

- vision only: the tower, and a mean over its tokens for a loss;
- with the phrase bank: all heads and all losses of the paper's third stage, texts gathered from the bank;
- naive: the same, with every phrase of the batch encoded by the frozen text encoder (BERT-base) in each step.

`step_over_vision_only` is the pairwise median of the second over the first.
"""

import argparse
import json
import statistics
from collections.abc import Callable

import torch
from transformers import BertConfig
from vision_tower import timed

from anatomy_vlm.modeling import AnatomyVLMConfig, AnatomyVLMModel


def random_targets(batch_size: int, num_texts: int, device: str) -> dict[str, torch.Tensor]:
    """Boxes, and labels as a batch has them: most are unknown."""
    corners = torch.rand(batch_size, 29, 2) / 2
    known = torch.tensor([1.0, 0.0, float("nan"), float("nan"), float("nan"), float("nan")])
    targets = {
        "boxes": torch.cat((corners, corners + 0.3), -1),
        "box_mask": torch.rand(batch_size, 29) > 0.1,
        "image_labels": known[torch.randint(0, 6, (batch_size, num_texts))],
        "region_labels": known[torch.randint(0, 6, (batch_size, 29, num_texts))],
    }
    return {name: tensor.to(device) for name, tensor in targets.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--texts", type=int, default=512, help="distinct texts of a batch")
    parser.add_argument("--tokens", type=int, default=12, help="tokens of a text")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--fp32", action="store_true", help="without autocast to bfloat16")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    model = AnatomyVLMModel(AnatomyVLMConfig(text_config=BertConfig().to_dict())).train().to(device)
    # As the recipes choose.
    model.vision_model.set_attn_implementation("sdpa" if device == "cuda" else "eager")
    pixel_values = torch.randn(args.batch_size, 3, 224, 224, device=device)
    bank = torch.randn(4096, model.config.text_config.hidden_size, device=device)
    input_ids = torch.randint(1000, 20000, (args.texts, args.tokens), device=device)
    targets = random_targets(args.batch_size, args.texts, device)
    learnt = {"vision": model.vision_model.parameters(), "all": (p for p in model.parameters() if p.requires_grad)}
    optimizers = {name: torch.optim.AdamW(list(group), lr=1e-6, fused=True) for name, group in learnt.items()}

    def step(loss: Callable[[], torch.Tensor], optimizer: str) -> None:
        with torch.autocast(device, torch.bfloat16, enabled=not args.fp32):
            value = loss()
        value.backward()
        optimizers[optimizer].step()
        model.zero_grad()

    def vision_only() -> None:
        step(lambda: model.vision_model(pixel_values).last_hidden_state.float().mean(), "vision")

    def with_bank() -> None:
        features = bank[torch.randint(0, len(bank), (args.texts,), device=device)]
        step(lambda: model(pixel_values=pixel_values, text_features=features, **targets).loss, "all")

    def naive() -> None:
        step(lambda: model(pixel_values=pixel_values, input_ids=input_ids, **targets).loss, "all")

    steps = {"vision only": vision_only, "with the phrase bank": with_bank, "naive": naive}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for index in range(args.rounds + 1):
        # The order alternates, so that a drift of the machine's speed falls on all.
        for name in sorted(steps, reverse=bool(index % 2)):
            seconds = timed(steps[name])
            if index:
                times[name].append(seconds)
    ratios = {
        name: statistics.median(a / b for a, b in zip(values, times["vision only"], strict=True))
        for name, values in times.items()
    }

    precision = "float32" if args.fp32 else "bfloat16 autocast"
    print(
        f"ViT-B/16, 224 px, batch {args.batch_size}, {args.texts} texts, {precision}, {device}, {args.threads} threads"
    )
    print(f"{'':24}{'median ms':>12}{'over vision only':>18}")
    for name, values in times.items():
        print(f"{name:24}{statistics.median(values) * 1e3:12.0f}{ratios[name]:18.3f}")
    if args.json:
        result = {
            "step_over_vision_only": ratios["with the phrase bank"],
            "naive_over_vision_only": ratios["naive"],
            "milliseconds": {name: statistics.median(values) * 1e3 for name, values in times.items()},
        }
        print(json.dumps(result))


if __name__ == "__main__":
    main()
