"""Calibrate a model's scores on a validation split, and store what they mean in the model's folder.

Afterwards scores are probabilities for films like those of the split, thresholds lie where sensitivity and specificity
are highest (or where --sensitivity is reached), and predictions say "uncertain" where the coverage leaves both
answers open. Patients of this split are no test patients any more.
"""

import argparse
from pathlib import Path

from anatomy_vlm.commands.arguments import add_device_arguments, add_split_arguments, positive_int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder of a model")
    add_split_arguments(parser, "validation", "split to calibrate on")
    parser.add_argument(
        "--method", default="platt", choices=("platt", "temperature", "isotonic"), help="default: %(default)s"
    )
    parser.add_argument("--coverage", type=float, default=0.9, help="of the decisions (default: %(default)s)")
    parser.add_argument("--sensitivity", type=float, metavar="S", help="that thresholds have to reach")
    parser.add_argument(
        "--min-events", type=positive_int, default=10, metavar="N", help="patients with and without (default: 10)"
    )
    parser.add_argument("--batch-size", type=positive_int, default=32, metavar="N", help="default: %(default)s")
    add_device_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from anatomy_vlm.commands.dataset_folder import read_splits
    from anatomy_vlm.training.evaluation.model_calibration import calibrate_model, store_calibration
    from anatomy_vlm.training.model_folder import load_checkpoint

    if not args.model.is_dir():
        raise ValueError(f"{args.model}: no such folder; a calibration is stored in the folder of a model")
    model, processor = load_checkpoint(args.model)
    calibration = calibrate_model(
        model,
        processor,
        read_splits(args.data, args.split)[args.split],
        method=args.method,
        coverage=args.coverage,
        sensitivity=args.sensitivity,
        min_events=args.min_events,
        batch_size=args.batch_size,
        device=args.device,
        bf16=args.bf16,
    )
    store_calibration(processor, args.model)
    left_out = [name for name in processor.finding_prompts if name not in calibration.image]
    print(f"calibrated in {args.model}: {', '.join(calibration.image) or 'nothing'}")
    if left_out:
        print(f"too few patients with or without: {', '.join(left_out)}")
    return 0
