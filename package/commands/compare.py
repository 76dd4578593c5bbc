"""Compare two frontal films of one patient: what is new, worse, stable, better or resolved, region by region.

The uncertainty of a change comes from the calibration of the model (`anatomy-vlm calibrate`); a change that is no
larger than it is "stable".
"""

import argparse
from pathlib import Path

from anatomy_vlm.commands.arguments import add_device_arguments
from anatomy_vlm.hub_cards import REFERENCE_MODEL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prior", type=Path, metavar="PRIOR", help="the earlier film")
    parser.add_argument("current", type=Path, metavar="CURRENT", help="the later film")
    parser.add_argument("--model", default=REFERENCE_MODEL, metavar="DIR_OR_ID", help="a calibrated model")
    parser.add_argument(
        "--confidence", type=float, default=0.8, metavar="C", help="of a change (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the comparison to this file")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with both films to this file")
    parser.add_argument("--force", action="store_true", help="compare even films whose findings are withheld")
    add_device_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from anatomy_vlm.comparison import compare_with
    from anatomy_vlm.input_files import find_images
    from anatomy_vlm.prediction import Predictor
    from anatomy_vlm.processing.atomic_files import write_json, write_text

    prior, current = (find_images([path]) for path in (args.prior, args.current))
    if len(prior) != 1 or len(current) != 1:
        raise ValueError("compare takes one earlier and one later film, not folders or patterns of several")
    predictor = Predictor.load(args.model, device=args.device, bf16=args.bf16, force=args.force)
    comparison = compare_with(predictor, prior[0], current[0], confidence=args.confidence)
    record = comparison.record
    if args.json:
        write_json(args.json, record)
    if args.html:
        from anatomy_vlm.comparison_page import render_comparison

        write_text(args.html, render_comparison(comparison))
    for finding in record["findings"]:
        doubt = "" if finding["certain"] else " (not certain)"
        print(f"{finding['verdict']:9} {finding['name']}: {finding['prior']:.2f} -> {finding['current']:.2f}{doubt}")
    ratio = record["measurements"]["cardiothoracic_ratio"]
    if ratio["change"] is not None:
        print(f"cardiothoracic ratio {ratio['prior']:.2f} -> {ratio['current']:.2f}")
    for side in ("prior", "current"):
        for flag in record[side]["quality"]["flags"]:
            print(f"! {side}: {flag['reason']}")
    return 0
