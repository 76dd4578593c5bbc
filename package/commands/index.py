"""Index the regions of a dataset's films, for the nearest neighbours of `anatomy-vlm evidence`.

Prints recall@k by finding: of the films with a finding in a region, the share with a film among the k nearest that has
the same finding in the same region, beside the chance of k films at random. A patient's own films do not count.
"""

import argparse
from pathlib import Path

from anatomy_vlm.commands.arguments import add_device_arguments, add_split_arguments, positive_int
from anatomy_vlm.hub_cards import REFERENCE_MODEL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_split_arguments(parser, "train", "split to index")
    parser.add_argument("--model", default=REFERENCE_MODEL, metavar="DIR_OR_ID", help="folder or Hub id of a model")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="index to write (.safetensors)")
    parser.add_argument("--batch-size", type=positive_int, default=32, metavar="N", help="default: %(default)s")
    add_device_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from anatomy_vlm.commands.dataset_folder import read_splits
    from anatomy_vlm.neighbours import RegionIndex
    from anatomy_vlm.prediction import Predictor

    predictor = Predictor.load(args.model, device=args.device, bf16=args.bf16)
    split = read_splits(args.data, args.split)[args.split]
    index = RegionIndex.build(predictor.reader, split, predictor.name, args.batch_size)
    index.save(args.out)
    print(f"{args.out}: {len(index.images)} films, {len(index.regions)} regions")
    ks = (1, 5, 10)
    for finding, row in index.recall(ks).items():
        pairs = zip(ks, row["recall"], row["chance"], strict=True)
        numbers = ", ".join(f"@{k} {recall:.2f} (chance {chance:.2f})" for k, recall, chance in pairs)
        print(f"{finding}: {numbers}; {row['queries']} queries")
    return 0
