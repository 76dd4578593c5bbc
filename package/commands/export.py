"""Write a self-contained folder of a trained model: weights, processor, code and card, ready for the Hub.

With --format onnx or openvino: its graphs for these runtimes, which `anatomy-vlm predict --backend` reads.
"""

import argparse
from pathlib import Path
from typing import Any

from anatomy_vlm.commands.card_arguments import add_card_arguments, card_text, card_wanted, copy_receipts


FORMATS = ("hub", "onnx", "openvino")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="folder or Hub id of a model")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where to write")
    parser.add_argument("--format", choices=FORMATS, default="hub", help="default: %(default)s")
    parser.add_argument("--half", action="store_true", help="hub: store the weights in float16, half the size")
    parser.add_argument("--no-code", action="store_true", help="hub: weights and processor only; needs this package")
    parser.add_argument(
        "--int8", action="store_true", help="onnx, openvino: the vision graph in 8-bit integers, faster and less exact"
    )
    parser.add_argument(
        "--calibration",
        nargs="+",
        metavar="IMAGES",
        help="films to calibrate --int8 on: files, folders or patterns (default: 64 synthetic films)",
    )
    add_card_arguments(parser)


def run(args: argparse.Namespace) -> int:
    _check(args)
    if args.format != "hub":
        from anatomy_vlm.backends.graph_export import export_for_backend

        films = _calibration_films(args.calibration) if args.int8 else None
        print(f"exported to {export_for_backend(args.model, args.folder, format=args.format, calibration=films)}")
        return 0
    from anatomy_vlm.training.export_hub import export
    from anatomy_vlm.training.export_masks import export_mask_model, is_mask_model

    if card_wanted(args):
        if is_mask_model(args.model):
            raise ValueError("a card with measurements is made for models of regions and findings only")
        card = card_text(args, args.model, code=not args.no_code)
        folder = export(args.model, args.folder, card=card, half=args.half, code=not args.no_code)
        copy_receipts(args.receipt, folder)
        print(f"exported to {folder}")
        return 0
    write = export_mask_model if is_mask_model(args.model) else export
    print(f"exported to {write(args.model, args.folder, half=args.half, code=not args.no_code)}")
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.format == "hub" and (args.int8 or args.calibration):
        raise ValueError("--int8 and --calibration go with --format onnx or openvino")
    if args.format != "hub" and (args.half or args.no_code):
        raise ValueError("--half and --no-code go with --format hub")
    if args.format != "hub" and card_wanted(args):
        raise ValueError("a card goes with --format hub")
    if args.calibration and not args.int8:
        raise ValueError("--calibration goes with --int8")


def _calibration_films(images: list[str] | None) -> list[Any]:
    from anatomy_vlm.backends.quantization import draw_calibration_films
    from anatomy_vlm.input_files import find_images
    from anatomy_vlm.processing.image_io import read_image

    if images is None:
        return draw_calibration_films()
    return [read_image(file).to_pil() for file in find_images(images)]
