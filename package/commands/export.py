"""Write a self-contained folder of a trained model: weights, processor, code and card, ready for the Hub."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="folder or Hub id of a model")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where to write")
    parser.add_argument("--half", action="store_true", help="store the weights in float16, half the size")
    parser.add_argument("--no-code", action="store_true", help="weights and processor only; loads with this package")


def run(args: argparse.Namespace) -> int:
    from anatomy_vlm.training.export_hub import export
    from anatomy_vlm.training.export_segmentation import export_segmentation, is_segmentation

    write = export_segmentation if is_segmentation(args.model) else export
    print(f"exported to {write(args.model, args.folder, half=args.half, code=not args.no_code)}")
    return 0
