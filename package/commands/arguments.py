"""Arguments that several sub-commands share."""

import argparse
from pathlib import Path


def positive_int(text: str) -> int:
    """A whole number above 0."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


def whole_number(text: str) -> int:
    """A whole number, 0 or above."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or above")
    return value


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """`--device` and `--bf16`."""
    parser.add_argument(
        "--device", metavar="NAME", help="cpu, cuda, cuda:1, mps, ... (default: cuda where there is one)"
    )
    parser.add_argument("--bf16", action="store_true", help="run the vision tower in bfloat16")


def add_writer_arguments(parser: argparse.ArgumentParser) -> None:
    """What trainings of mask writers have in common."""
    parser.add_argument(
        "--model", metavar="DIR_OR_ID", help="whose vision tower is used (default: the checkpoint of the package)"
    )
    parser.add_argument(
        "--codec", type=Path, metavar="FILE", help="weights of the mask codec (default: those of the package)"
    )
    parser.add_argument("--films", type=positive_int, default=6000, metavar="N", help="to train on (default: 6000)")
    parser.add_argument("--image-size", type=positive_int, default=224, metavar="N", help="of films (default: 224)")
    parser.add_argument("--steps", type=positive_int, default=2000, metavar="N", help="of a training (default: 2000)")
    parser.add_argument("--batch-size", type=positive_int, default=16, metavar="N", help="films a step (default: 16)")
    parser.add_argument("--workers", type=whole_number, default=2, metavar="N", help="that draw films (default: 2)")
    parser.add_argument("--seed", type=whole_number, default=0, metavar="N", help="default: 0")
    parser.add_argument("--float32", action="store_true", help="no arithmetic in bfloat16")
    parser.add_argument("--cpu", action="store_true", help="leave a GPU alone")


def add_split_arguments(parser: argparse.ArgumentParser, split: str, purpose: str) -> None:
    """`DATA` and `--split`."""
    parser.add_argument(
        "data",
        type=Path,
        metavar="DATA",
        help="a dataset folder: with a metadata.jsonl, saved by save_to_disk, or of `anatomy-vlm synthesize`",
    )
    parser.add_argument("--split", default=split, metavar="NAME", help=f"{purpose} (default: %(default)s)")
