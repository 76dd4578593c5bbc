"""What the anatomy queries cost: the vision tower against the ViT of Transformers, interleaved in one process.

    python benchmarks/vision_tower.py [--batch-size 4] [--rounds 15] [--threads 2] [--bf16] [--json]

The 29 queries make the sequence longer, and the ratio of the floating-point operations is what that must cost; the
figure to watch is the measured ratio over it. With `--json`, the last line is one JSON object.
"""

import argparse
import json
import statistics
import time

import torch
from transformers import ViTConfig, ViTModel

from anatomy_vlm.modeling import AnatomyVLMVisionConfig, AnatomyVLMVisionModel


def transformer_flops(num_tokens: int, hidden: int, intermediate: int, layers: int, patch_inputs: int, patches: int):
    """Multiply-adds times two of the matrix products of one forward pass of one image."""
    linear = 4 * hidden * hidden + 2 * hidden * intermediate
    attention = 2 * num_tokens * hidden
    return 2 * (layers * num_tokens * (linear + attention) + patches * patch_inputs * hidden)


def timed(function) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action="store_true", help="weights and inputs in bfloat16")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if args.bf16 else torch.float32

    ours = AnatomyVLMVisionModel(AnatomyVLMVisionConfig()).eval().to(device, dtype)
    reference = ViTModel(ViTConfig(), add_pooling_layer=False).eval().to(device, dtype)
    pixel_values = torch.randn(args.batch_size, 3, 224, 224, device=device, dtype=dtype)
    config = ours.config
    patches = (config.image_size // config.patch_size) ** 2
    sizes = (config.hidden_size, config.intermediate_size, config.num_hidden_layers)
    patch_inputs = config.num_channels * config.patch_size**2
    flops = {
        "HF ViT": transformer_flops(1 + patches, *sizes, patch_inputs, patches),
        "ours": transformer_flops(1 + config.num_anatomy_queries + patches, *sizes, patch_inputs, patches),
    }
    flop_ratio = flops["ours"] / flops["HF ViT"]

    times: dict[str, list[float]] = {"HF ViT": [], "ours": []}
    with torch.inference_mode():
        for index in range(args.rounds + 2):
            pair = {"HF ViT": lambda: reference(pixel_values), "ours": lambda: ours(pixel_values)}
            # The order alternates, so that a drift of the machine's speed falls on both.
            for name in sorted(pair, reverse=bool(index % 2)):
                seconds = timed(pair[name])
                if index >= 2:
                    times[name].append(seconds)
    pairs = [a / b for a, b in zip(times["ours"], times["HF ViT"])]
    ratio = statistics.median(pairs)

    print(
        f"ViT-B/16, 224 px, batch {args.batch_size}, {dtype}, {device}, {args.threads} threads, {args.rounds} rounds"
    )
    print(f"{'':12}{'tokens':>8}{'GFLOP/image':>13}{'median ms':>12}{'images/s':>10}")
    for name, tokens in (("HF ViT", 1 + patches), ("ours", 1 + config.num_anatomy_queries + patches)):
        median = statistics.median(times[name])
        print(f"{name:12}{tokens:8}{flops[name] / 1e9:13.2f}{median * 1e3:12.1f}{args.batch_size / median:10.2f}")
    print(f"time ratio {ratio:.3f} (pairwise median), FLOP ratio {flop_ratio:.3f}, overhead {ratio / flop_ratio:.3f}")
    if args.json:
        result = {
            "time_ratio": ratio,
            "flop_ratio": flop_ratio,
            "overhead_over_flop_ratio": ratio / flop_ratio,
            "milliseconds": {name: statistics.median(values) * 1e3 for name, values in times.items()},
        }
        print(json.dumps(result))


if __name__ == "__main__":
    main()
