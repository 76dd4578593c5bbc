"""Peak memory of the loss between regions and phrases, against one logit for every pair of regions.

    python benchmarks/loss_memory.py [--batch-size 1024] [--texts 2048] [--measured-batch-size 128] [--json]

The naive loss gives every region its own column of texts, equal or not: (29 x batch) squared logits, and autograd
keeps several tensors of that size. Ours has one column per distinct text and makes the logits for a few regions at a
time. Duplicate columns are left out of the naive loss by its labels, so that both have the same value and gradients,
which is checked at the smaller size, where the naive loss fits. The memory counted is all that a forward and a
backward pass need on top of the embeddings: labels, work space and gradients. Linux only, on the CPU.

`memory_over_naive` is our peak at `--batch-size` over the size of the naive logits alone, in float32.
"""

import argparse
import json
import math
import multiprocessing
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anatomy_vlm.modeling.region_losses_anatomy_vlm import region_phrase_loss


NUM_REGIONS, DIM = 29, 512
MIB = 2**20


def memory(field: str) -> int:
    """Bytes of a field of this process's status, such as VmRSS or, its peak, VmHWM."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def naive_loss(regions: torch.Tensor, texts: torch.Tensor, labels: torch.Tensor, scale: float) -> torch.Tensor:
    """The definition of the contrastive loss, all logits at once; every row and column has positive and negative."""
    logits = scale * regions @ texts.t()
    positive, known = labels == 1, labels >= 0
    against = logits.masked_fill(labels != 0, float("-inf"))
    rows = torch.logaddexp(logits.new_zeros(()), against.logsumexp(1))[:, None]
    columns = against[:, known.any(0)].logsumexp(0)
    kept, chosen = logits[:, known.any(0)], positive[:, known.any(0)]
    of_rows = (nn.functional.softplus(rows - logits) * positive).sum(1) / positive.sum(1)
    of_columns = (nn.functional.softplus(columns - kept) * chosen).sum(0) / chosen.sum(0)
    return (of_rows.mean() + of_columns.mean()) / 2


def measure(name: str, batch_size: int, num_texts: int) -> dict[str, Any]:
    """Peak memory, time, value and gradients of one form; the same embeddings and meanings for both."""
    torch.manual_seed(0)
    num_rows = batch_size * NUM_REGIONS
    num_texts = min(num_texts, num_rows)
    # Every text describes some region; the rest is drawn as phrases are, a few of them often.
    ranks = torch.rand(num_rows - num_texts).pow(3).mul(num_texts).long()
    text_of = torch.cat((torch.arange(num_texts), ranks))[torch.randperm(num_rows)]
    regions = nn.functional.normalize(torch.randn(num_rows, DIM), dim=-1).requires_grad_()
    unique = nn.functional.normalize(torch.randn(num_texts, DIM), dim=-1).requires_grad_()
    scale = 1 / 0.07

    def step() -> torch.Tensor:
        if name == "ours":
            labels = torch.zeros(batch_size, NUM_REGIONS, num_texts, dtype=torch.int8)
            labels.scatter_(2, text_of.view(batch_size, NUM_REGIONS, 1), 1)
            factor, bias = torch.tensor([scale]), torch.zeros(1)
            loss = region_phrase_loss(regions.view(batch_size, NUM_REGIONS, DIM), unique, factor, bias, labels)
        else:
            first = torch.zeros(num_rows, dtype=torch.bool)
            order = torch.argsort(text_of, stable=True)
            first[order[torch.cat((torch.ones(1), text_of[order].diff())) != 0]] = True
            labels = (text_of[:, None] == text_of).to(torch.int8).masked_fill_(~first, -1)
            loss = naive_loss(regions, unique[text_of], labels, scale)
        loss.backward()
        return loss

    # Settle the allocator and the libraries' work spaces before measuring.
    (torch.randn(256, DIM) @ torch.randn(DIM, 256)).sum()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, start = memory("VmRSS"), time.perf_counter()
    value = step().item()
    seconds, peak = time.perf_counter() - start, memory("VmHWM") - before
    return {
        "peak": peak,
        "seconds": seconds,
        "value": value,
        "gradients": (regions.grad.numpy(), unique.grad.numpy()),
    }


def in_a_process(*arguments: Any) -> dict[str, Any]:
    """`measure` in a process of its own, whose peak is nobody else's."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)


def relative(one: Any, other: Any) -> float:
    """Largest difference, relative to the largest entry."""
    return float(abs(one - other).max() / abs(other).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--texts", type=int, default=2048, help="distinct texts of a batch")
    parser.add_argument("--measured-batch-size", type=int, default=128, help="where the naive loss is measured too")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args()

    small = {name: in_a_process(name, args.measured_batch_size, args.texts) for name in ("naive", "ours")}
    large = in_a_process("ours", args.batch_size, args.texts)
    logits = {size: 4 * (size * NUM_REGIONS) ** 2 for size in (args.measured_batch_size, args.batch_size)}
    value = abs(small["ours"]["value"] - small["naive"]["value"]) / abs(small["naive"]["value"])
    gradient = max(map(relative, small["ours"]["gradients"], small["naive"]["gradients"]))
    growth = small["naive"]["peak"] / logits[args.measured_batch_size]
    ratio = large["peak"] / logits[args.batch_size]

    print(f"{NUM_REGIONS} regions, {args.texts} distinct texts, {DIM} dimensions, {torch.get_num_threads()} threads")
    print(f"{'':8}{'batch':>8}{'naive logits MiB':>18}{'peak MiB':>12}{'peak / logits':>15}{'seconds':>10}")
    rows = [("naive", args.measured_batch_size, small["naive"]), ("ours", args.measured_batch_size, small["ours"])]
    for name, size, result in [*rows, ("ours", args.batch_size, large)]:
        print(
            f"{name:8}{size:8}{logits[size] / MIB:18.0f}{result['peak'] / MIB:12.0f}"
            f"{result['peak'] / logits[size]:15.3f}{result['seconds']:10.2f}"
        )
    naive_large = growth * logits[args.batch_size]
    print(f"naive at batch {args.batch_size}, by its growth: {naive_large / MIB:.0f} MiB")
    print(f"relative difference at batch {args.measured_batch_size}: value {value:.1e}, gradients {gradient:.1e}")
    if args.json:
        result = {
            "memory_over_naive": ratio,
            "memory_over_naive_peak": large["peak"] / naive_large,
            "peak_mib": large["peak"] / MIB,
            "naive_logits_mib": logits[args.batch_size] / MIB,
            "value_difference": value,
            "gradient_difference": gradient,
            "seconds": large["seconds"],
        }
        print(json.dumps(result))
    if not (math.isfinite(gradient) and max(value, gradient) <= 1e-5):
        raise SystemExit("loss_memory.py: error: the two losses differ by more than 1e-5")


if __name__ == "__main__":
    main()
