"""How fast masks are written: all structures of a film at once beside one after another, with and without a cache.

    python benchmarks/mask_writer.py [--model hub_cards/phantom-writer] [--films 4] [--rounds 3] [--json]

Times are those of the processor, sides in turn within each round, the smallest of the rounds; on noise, which is
written as long as anything else. Ratios are what counts: machines differ.
"""

import argparse
import json
import time
from collections.abc import Callable

import torch

from anatomy_vlm.training.model_folder import load_mask_writer


def measure(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds):
        for name, run in sides.items():
            started = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - started)
    return best


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="hub_cards/phantom-writer")
    parser.add_argument("--films", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model, _ = load_mask_writer(args.model)
    # Nothing may end early, or speeds would be those of an empty page.
    model.presence_head.bias.fill_(50.0)
    side, names = model.config.image_size, list(model.config.structures)
    films = torch.randn(args.films, 3, side, side)
    few = names[:10]

    def one_by_one(use_cache: bool, chosen: list[str]) -> None:
        for name in chosen:
            model.generate(films, decoder_input_ids=model.prompt([name], args.films), use_cache=use_cache)

    best = measure(
        {
            "films read": lambda: model.encoder(films),
            "1 structure": lambda: model.write_masks(films, names[:1]),
            "10 structures": lambda: model.write_masks(films, few),
            f"{len(names)} structures": lambda: model.write_masks(films, names),
            "10 structures by generate": lambda: one_by_one(True, few),
            "1 structure by generate": lambda: one_by_one(True, few[:1]),
            "1 structure by generate, no cache": lambda: one_by_one(False, few[:1]),
        },
        args.rounds,
    )
    print(f"{args.films} films of {side} pixels, {args.threads} thread(s)\n\n| what | ms a film |\n|---|---|")
    for name, seconds in best.items():
        print(f"| {name} | {1000 * seconds / args.films:.1f} |")
    results = {
        "masks_per_second": args.films * len(names) / best[f"{len(names)} structures"],
        "at_once_over_one_by_one": best["10 structures"] / best["10 structures by generate"],
        "cache_over_none": best["1 structure by generate"] / best["1 structure by generate, no cache"],
        "ms_a_film": {name: 1000 * seconds / args.films for name, seconds in best.items()},
    }
    print(
        f"\n{results['masks_per_second']:.0f} masks a second; 10 structures at once take "
        f"{results['at_once_over_one_by_one']:.2f} of the time of one after another; a cache takes "
        f"{results['cache_over_none']:.2f} of the time without."
    )
    if args.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
