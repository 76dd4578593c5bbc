"""Make synthetic radiographs with boxes, findings and reports, split by patient."""

import argparse
from pathlib import Path

from anatomy_vlm.commands.arguments import positive_int, whole_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True, title="kinds")
    phantom = kinds.add_parser("phantom", help="a parametric chest: all 29 regions, findings, reports")
    phantom.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the dataset (resumable)")
    phantom.add_argument("--patients", type=positive_int, default=100, metavar="N", help="default: %(default)s")
    phantom.add_argument("--studies", type=positive_int, default=1, metavar="N", help="per patient (default: 1)")
    phantom.add_argument("--image-size", type=positive_int, default=224, metavar="PIXELS", help="default: %(default)s")
    phantom.add_argument("--seed", type=whole_number, default=0, metavar="N", help="default: %(default)s")
    phantom.add_argument("--workers", type=positive_int, default=2, metavar="N", help="processes (default: 2)")
    phantom.add_argument(
        "--splits",
        type=_splits,
        default={"train": 0.7, "validation": 0.1, "test": 0.2},
        metavar="NAME=SHARE,...",
        help="shares of the patients (default: train=0.7,validation=0.1,test=0.2)",
    )


def run(args: argparse.Namespace) -> int:
    from anatomy_vlm.training.loaders import load_data

    dataset = load_data(
        "phantom",
        {
            "num_patients": args.patients,
            "studies_per_patient": args.studies,
            "seed": args.seed,
            "image_size": args.image_size,
            "splits": args.splits,
            "out": str(args.out),
            "num_workers": args.workers,
        },
    )
    for name, split in dataset.items():
        print(f"{name}: {len(split)} images")
    print(f"saved in {args.out}")
    return 0


def _splits(text: str) -> dict[str, float]:
    try:
        shares = {name.strip(): float(share) for name, share in (part.split("=") for part in text.split(","))}
    except ValueError:
        shares = {}
    if not shares or min(shares.values()) <= 0 or "" in shares or abs(sum(shares.values()) - 1) > 1e-6:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form train=0.7,validation=0.1,test=0.2 with sum 1")
    return shares
