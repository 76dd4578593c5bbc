"""Evaluate a model on a dataset: boxes beside the prior box, zero-shot findings in the image and in each region.

Thresholds are selected on the validation split; intervals are percentile bootstrap intervals over patients.
"""

import argparse
from pathlib import Path
from typing import Any

from anatomy_vlm.commands.arguments import add_device_arguments, add_split_arguments, positive_int, whole_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="folder or Hub id of a model, or phantom-reference")
    add_split_arguments(parser, "test", "split to evaluate")
    parser.add_argument("--validation", default="validation", metavar="NAME", help="split of the thresholds")
    parser.add_argument("--train", default="train", metavar="NAME", help="split of the baselines")
    parser.add_argument("--findings", nargs="+", metavar="NAME", help="default: all that the model has prompts for")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file")
    parser.add_argument(
        "--receipt", type=Path, metavar="FILE", help="write a receipt, which `anatomy-vlm verify` measures again"
    )
    parser.add_argument("--bootstrap", type=positive_int, default=1000, metavar="N", help="resamples (default: 1000)")
    parser.add_argument(
        "--min-events", type=positive_int, default=10, metavar="N", help="patients for an interval (default: 10)"
    )
    parser.add_argument("--seed", type=whole_number, default=0, metavar="N", help="of the bootstrap (default: 0)")
    parser.add_argument("--batch-size", type=positive_int, default=32, metavar="N", help="default: %(default)s")
    add_device_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from anatomy_vlm.commands.dataset_folder import read_splits
    from anatomy_vlm.processing.atomic_files import write_json
    from anatomy_vlm.training.evaluation import evaluate_model
    from anatomy_vlm.training.model_folder import load_checkpoint
    from anatomy_vlm.training.receipts.model import find_model

    args.model = find_model(args.model)
    model, processor = load_checkpoint(args.model)
    splits = read_splits(args.data, args.split)
    settings = {
        "findings": args.findings,
        "batch_size": args.batch_size,
        "bf16": args.bf16,
        "bootstrap": args.bootstrap,
        "min_events": args.min_events,
        "seed": args.seed,
    }
    result = evaluate_model(
        model,
        processor,
        splits[args.split],
        validation=splits.get(args.validation),
        train=splits.get(args.train),
        device=args.device,
        **settings,
    )
    if args.json:
        write_json(args.json, result.to_dict())
    if args.receipt:
        write_receipt(args, splits, settings, result)
    print(result.to_markdown())
    return 0


def write_receipt(args: argparse.Namespace, splits: Any, settings: dict[str, Any], result: Any) -> None:
    """Write the receipt of an evaluation."""
    from anatomy_vlm.training.receipts.data import source_of
    from anatomy_vlm.training.receipts.evaluation import result_numbers
    from anatomy_vlm.training.receipts.tasks import SplitSource, TaskInputs, receipt_of, typed_command

    source = source_of(args.data)
    sources = {"test": SplitSource(source, args.split)}
    if args.validation in splits:
        sources["validation"] = SplitSource(source, args.validation)
    if args.train in splits:
        # Baselines come from boxes and statements alone.
        sources["train"] = SplitSource(source, args.train, with_images=False)
    inputs = TaskInputs(args.model, sources, settings, device=args.device)
    inputs.hold(source, splits)
    receipt_of("evaluation", inputs, result_numbers(result), typed_command()).save(args.receipt)
