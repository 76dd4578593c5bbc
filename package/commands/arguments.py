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


def add_split_arguments(parser: argparse.ArgumentParser, split: str, purpose: str) -> None:
    """`DATA` and `--split`."""
    parser.add_argument(
        "data",
        type=Path,
        metavar="DATA",
        help="a dataset folder: with a metadata.jsonl, saved by save_to_disk, or of `anatomy-vlm synthesize`",
    )
    parser.add_argument("--split", default=split, metavar="NAME", help=f"{purpose} (default: %(default)s)")
