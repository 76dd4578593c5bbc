"""Arguments that several sub-commands share."""

import argparse


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
