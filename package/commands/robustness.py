"""Measure what a model's scores survive and what they rest on, in one report.

Negation, wording, laterality, masked regions (a shortcut index), corruptions, groups and domains, held-out
combinations, blank films, the prior, and the distance to a reference dataset. docs/evaluation.md explains each number.
"""

import argparse
from pathlib import Path

from anatomy_vlm.commands.arguments import add_device_arguments, add_split_arguments, positive_int, whole_number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="folder or Hub id of a model, or phantom-reference")
    add_split_arguments(parser, "test", "split to measure on")
    parser.add_argument("--train", default="train", metavar="NAME", help="split of the prior (default: %(default)s)")
    parser.add_argument(
        "--reference", type=Path, metavar="DATA", help="another dataset folder, for the distance to it"
    )
    parser.add_argument("--limit", type=positive_int, metavar="N", help="read the first N films only")
    parser.add_argument("--sections", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument(
        "--severities", nargs="+", type=positive_int, default=[1, 3, 5], metavar="N", help="of corruptions, 1 to 5"
    )
    parser.add_argument(
        "--groups", nargs="*", default=["source", "view"], metavar="COLUMN", help="columns (default: source view)"
    )
    parser.add_argument(
        "--held-out", nargs="+", default=[], metavar="FINDING@REGION", help="combinations kept from training"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report to this file")
    parser.add_argument("--bootstrap", type=positive_int, default=1000, metavar="N", help="resamples (default: 1000)")
    parser.add_argument(
        "--min-events", type=positive_int, default=10, metavar="N", help="patients for an interval (default: 10)"
    )
    parser.add_argument("--seed", type=whole_number, default=0, metavar="N", help="default: %(default)s")
    parser.add_argument("--batch-size", type=positive_int, default=32, metavar="N", help="default: %(default)s")
    add_device_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from anatomy_vlm.commands.dataset_folder import read_splits
    from anatomy_vlm.processing.atomic_files import write_json, write_text
    from anatomy_vlm.training.evaluation.robustness import RobustnessSettings, measure_robustness
    from anatomy_vlm.training.evaluation.robustness.measure import SECTIONS
    from anatomy_vlm.training.model_folder import load_checkpoint
    from anatomy_vlm.training.receipts.model import find_model

    settings = RobustnessSettings(
        sections=tuple(args.sections or SECTIONS),
        severities=tuple(args.severities),
        groups=tuple(args.groups),
        held_out=tuple(_combination(text) for text in args.held_out),
        num_resamples=args.bootstrap,
        min_events=args.min_events,
        seed=args.seed,
    )
    splits = read_splits(args.data, args.split)
    model, processor = load_checkpoint(find_model(args.model))
    report = measure_robustness(
        model,
        processor,
        _first(splits[args.split], args.limit),
        train=splits.get(args.train),
        reference=None
        if args.reference is None
        else _first(read_splits(args.reference, args.split)[args.split], args.limit),
        settings=settings,
        batch_size=args.batch_size,
        device=args.device,
        bf16=args.bf16,
    )
    if args.json:
        write_json(args.json, report.to_dict())
    if args.markdown:
        write_text(args.markdown, report.to_markdown())
    print(report.to_markdown())
    return 0


def _first(split, limit):  # type: ignore[no-untyped-def]
    return split if limit is None else split.select(range(min(limit, len(split))))


def _combination(text: str):  # type: ignore[no-untyped-def]
    from anatomy_vlm.training.evaluation.robustness.combinations import Combination

    finding, separator, region = text.partition("@")
    if not separator:
        raise ValueError(f"--held-out {text}: expected FINDING@REGION, such as 'consolidation@left lower lung zone'")
    return Combination(region.strip(), finding.strip())
