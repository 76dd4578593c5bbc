"""What the anatomy queries cost, and how near the tower comes to the rate of its matrix products.

    python benchmarks/vision_tower.py [--batch-size 4] [--rounds 15] [--threads 2] [--precision float32]
                                      [--mode forward] [--clock wall] [--json]

Three are interleaved in one process: the ViT of Transformers, our tower, and, for each, its matrix products alone
(`GEMMs`: the same linear layers and attention products, on the same shapes, with nothing between them; in training
their gradients as well). The 29 queries make the sequence longer, and the ratio of the floating-point operations is
what that must cost: `overhead_over_flop_ratio` is the measured ratio over it. `vision_over_gemm` and
`hf_vit_over_gemm` are the shares of the matrix products' rate that the two reach, 1 being the best; `mfu` is that rate
against the one large product of the same precision. `--mode training` is a step with forward, backward and AdamW, the
latter counted against both towers. `--clock processor` takes processor time: on a machine that others use too, give
it one thread. With `--json`, the last line is one JSON object.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import nn
from transformers import ViTConfig, ViTModel

from anatomy_vlm.modeling import AnatomyVLMVisionConfig, AnatomyVLMVisionModel
from anatomy_vlm.training.cost import transformer_flops


# Processor time counts what all threads of this process did, whatever else the machine does.
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
PRECISIONS = ("float32", "bfloat16", "autocast")


def timed(function: Callable[[], object], clock: str = "wall") -> float:
    """Seconds that one call takes, on a GPU until it has finished."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = CLOCKS[clock]()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return CLOCKS[clock]() - start


class MatrixProducts:
    """The matrix products of a pre-norm ViT and nothing else: the floor of its time."""

    def __init__(self, config: AnatomyVLMVisionConfig, batch: int, tokens: int, dtype: torch.dtype, device: str):
        self.layers, heads, hidden = config.num_hidden_layers, config.num_attention_heads, config.hidden_size
        patches, patch_inputs = (config.image_size // config.patch_size) ** 2, 3 * config.patch_size**2

        def random(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, device=device, dtype=dtype)

        rows = batch * tokens
        self.linear = [
            (count, random(rows, inputs), random(outputs, inputs), random(outputs))
            for count, inputs, outputs in (
                (4, hidden, hidden),
                (1, hidden, config.intermediate_size),
                (1, config.intermediate_size, hidden),
            )
        ]
        self.patches = random(batch * patches, patch_inputs), random(hidden, patch_inputs), random(hidden)
        head_dim = hidden // heads
        self.queries, self.keys = random(batch * heads, tokens, head_dim), random(batch * heads, tokens, head_dim)
        self.weights = random(batch * heads, tokens, tokens)

    def forward(self) -> None:
        nn.functional.linear(*self.patches)
        for _ in range(self.layers):
            for count, inputs, weight, bias in self.linear:
                for _ in range(count):
                    nn.functional.linear(inputs, weight, bias)
            torch.bmm(self.queries, self.keys.transpose(1, 2))
            torch.bmm(self.weights, self.keys)

    def training(self) -> None:
        """Forward, and the products of the gradients by inputs and by weights; none by the pixels."""
        inputs, weight, _ = self.patches
        nn.functional.linear(*self.patches).t() @ inputs
        for _ in range(self.layers):
            for count, inputs, weight, bias in self.linear:
                for _ in range(count):
                    gradient = nn.functional.linear(inputs, weight, bias)
                    gradient @ weight
                    gradient.t() @ inputs
            scores = torch.bmm(self.queries, self.keys.transpose(1, 2))
            torch.bmm(scores, self.keys)
            torch.bmm(scores.transpose(1, 2), self.queries)
            mixed = torch.bmm(self.weights, self.keys)
            torch.bmm(mixed, self.keys.transpose(1, 2))
            torch.bmm(self.weights.transpose(1, 2), mixed)


def tower_step(model: nn.Module, pixel_values: torch.Tensor, autocast: bool, training: bool) -> Callable[[], None]:
    """A forward pass, or a training step with AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True) if training else None
    device = pixel_values.device.type

    def step() -> None:
        with (
            nullcontext() if training else torch.inference_mode(),
            torch.autocast(device, torch.bfloat16, enabled=autocast),
        ):
            states = model(pixel_values).last_hidden_state
        if optimizer is not None:
            states.float().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="autocast: weights in float32")
    parser.add_argument("--mode", choices=("forward", "training"), default="forward")
    parser.add_argument("--attention", default="sdpa", help="of both towers; on a CPU eager can be faster")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if args.precision == "bfloat16" else torch.float32
    training = args.mode == "training"

    ours = AnatomyVLMVisionModel(AnatomyVLMVisionConfig()).train(training).to(device, dtype)
    reference = ViTModel(ViTConfig(), add_pooling_layer=False).train(training).to(device, dtype)
    for model in (ours, reference):
        model.set_attn_implementation(args.attention)
    pixel_values = torch.randn(args.batch_size, 3, 224, 224, device=device, dtype=dtype)
    config = ours.config
    patches = (config.image_size // config.patch_size) ** 2
    tokens = {"HF ViT": 1 + patches, "ours": 1 + config.num_anatomy_queries + patches}
    sizes = (config.hidden_size, config.intermediate_size, config.num_hidden_layers)
    patch_inputs = config.num_channels * config.patch_size**2
    flops = {}
    for name, number in tokens.items():
        forward = transformer_flops(number, *sizes, patch_inputs, patches)
        # The gradients are two more of each product; of the patch embedding one, for pixels have none.
        flops[name] = 3 * forward - 2 * patches * patch_inputs * config.hidden_size if training else forward
    flop_ratio = flops["ours"] / flops["HF ViT"]

    gemm_dtype = torch.float32 if args.precision == "float32" else torch.bfloat16
    steps: dict[str, Callable[[], None]] = {}
    for name, model in (("HF ViT", reference), ("ours", ours)):
        steps[name] = tower_step(model, pixel_values, args.precision == "autocast", training)
        products = MatrixProducts(config, args.batch_size, tokens[name], gemm_dtype, device)
        steps[f"{name} GEMMs"] = products.training if training else products.forward
    side = 4096 if device == "cuda" else 2048
    square = torch.randn(side, side, device=device, dtype=gemm_dtype)
    steps["one product"] = lambda: square @ square

    times: dict[str, list[float]] = {name: [] for name in steps}
    for index in range(args.rounds + 2):
        # The order alternates, so that a drift of the machine's speed falls on all.
        for name in sorted(steps, reverse=bool(index % 2)):
            seconds = timed(steps[name], args.clock)
            if index >= 2:
                times[name].append(seconds)

    def paired(one: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))

    medians = {name: statistics.median(values) for name, values in times.items()}
    ratio = paired("ours", "HF ViT")
    large = 2 * side**3 / medians["one product"]
    print(
        f"ViT-B/16, 224 px, batch {args.batch_size}, {args.precision}, {args.mode}, {args.attention}, {device}, "
        f"{args.threads} threads, {args.rounds} rounds, {args.clock} time"
    )
    print(f"{'':14}{'tokens':>8}{'GFLOP/image':>13}{'median ms':>12}{'images/s':>10}{'GFLOP/s':>10}{'of GEMMs':>10}")
    for name in tokens:
        for row in (name, f"{name} GEMMs"):
            median, share = medians[row], paired(f"{name} GEMMs", row)
            rate = args.batch_size * flops[name] / median / 1e9
            print(
                f"{row:14}{tokens[name]:8}{flops[name] / 1e9:13.2f}{median * 1e3:12.1f}"
                f"{args.batch_size / median:10.2f}{rate:10.0f}{share:10.3f}"
            )
    print(f"one product of {side} x {side}: {large / 1e9:.0f} GFLOP/s")
    print(f"time ratio {ratio:.3f} (pairwise median), FLOP ratio {flop_ratio:.3f}, overhead {ratio / flop_ratio:.3f}")
    if args.json:
        result = {
            "time_ratio": ratio,
            "flop_ratio": flop_ratio,
            "overhead_over_flop_ratio": ratio / flop_ratio,
            "vision_over_gemm": paired("ours GEMMs", "ours"),
            "hf_vit_over_gemm": paired("HF ViT GEMMs", "HF ViT"),
            "mfu": {name: args.batch_size * flops[name] / medians[name] / large for name in tokens},
            "milliseconds": {name: median * 1e3 for name, median in medians.items()},
        }
        print(json.dumps(result))


if __name__ == "__main__":
    main()
