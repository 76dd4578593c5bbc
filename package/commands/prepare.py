"""Prepare a dataset once: say what is there and what is missing, decode and resize the films into compressed shards,
and write the dataset's passport.

The result is read by the loader `prepared`. A run that was interrupted goes on when the same command is given again.

  anatomy-vlm prepare chest_imagenome --root chest-imagenome-dataset-1.0.0 --images mimic-cxr-jpg --out films-512
  anatomy-vlm prepare folder --root my-films --out my-films-512 --workers 8
"""

import argparse
from pathlib import Path

from anatomy_vlm.commands.arguments import positive_int
from anatomy_vlm.commands.dataset_arguments import add_dataset_arguments, dataset_arguments


_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_dataset_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to (resumable)")
    parser.add_argument(
        "--image-size", type=positive_int, default=512, metavar="PIXELS", help="longer side (default: %(default)s)"
    )
    parser.add_argument("--workers", type=positive_int, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument(
        "--distributed",
        metavar="ADDRESS",
        help='work on a Dask cluster: its scheduler\'s address, such as tcp://host:8786, or "local"',
    )


def run(args: argparse.Namespace) -> int:
    from anatomy_vlm.training.loaders import get_source
    from anatomy_vlm.training.preparation import prepare
    from anatomy_vlm.training.preparation.counts import expected_text

    result = prepare(
        args.dataset,
        dataset_arguments(args, get_source(args.dataset)),
        args.out,
        image_size=args.image_size,
        workers=args.workers,
        distributed=args.distributed,
    )
    print(f"{'':<20}{'expected':>14}{'found':>10}{'left out':>10}{'missing':>10}")
    for row in result.manifest["counts"]:
        print(f"{row['name']:<20}{expected_text(row):>14}{row['found']:>10}{row['left_out']:>10}{row['missing']:>10}")
    for note, number in result.manifest["notes"].items():
        print(f"{number} x {note}")
    for kind, number in result.manifest["problems"].items():
        listed = [problem for problem in result.problems if problem["kind"] == kind]
        print(f"{number} {kind}, the first {min(number, _SHOWN)}:")
        for problem in listed[:_SHOWN]:
            print(f"  {problem['image_id']}: {problem['reason']}")
    if any(row["missing"] for row in result.manifest["counts"]) or "missing" in result.manifest["problems"]:
        print(f"what is missing comes from: {result.passport['origin']}")
    twins = result.passport["near_duplicates"]
    if twins["across_splits"]:
        print(f"{twins['across_splits']} pairs of near duplicates lie across splits")
    for name in ("problems.csv", "passport.md"):
        print(f"see {result.folder / name}")
    print(f'read it with the loader "prepared" and path {result.folder}')
    return 1 if result.problems else 0
