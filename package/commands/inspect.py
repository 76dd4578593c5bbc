"""Look at a dataset before training on it: a sheet of films with their boxes, phrases and labels, as one HTML file.

Of a dataset on disk only the films that are drawn are read.

  anatomy-vlm inspect iu_xray --root openi --out sheet.html --png sheet.png
  anatomy-vlm inspect prepared --root films-512 --out sheet.html --split test
"""

import argparse
from pathlib import Path

from anatomy_vlm.commands.arguments import positive_int, whole_number
from anatomy_vlm.commands.dataset_arguments import add_dataset_arguments, dataset_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_dataset_arguments(parser)
    parser.add_argument("--out", type=Path, default=Path("sheet.html"), metavar="FILE", help="default: %(default)s")
    parser.add_argument("--png", type=Path, metavar="FILE", help="also write the films as one picture")
    parser.add_argument("--split", default="train", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--num", type=positive_int, default=12, metavar="N", help="films (default: %(default)s)")
    parser.add_argument("--seed", type=whole_number, default=0, metavar="N", help="of the draw (default: 0)")


def run(args: argparse.Namespace) -> int:
    from anatomy_vlm.processing.atomic_files import replacing, write_text
    from anatomy_vlm.training.loaders import SOURCES, get_loader, get_source
    from anatomy_vlm.training.preparation.sample_sheet import draw_examples, render_sheet, sheet_picture

    loader = get_source(args.dataset) if args.dataset in SOURCES else get_loader(args.dataset)
    arguments = dataset_arguments(args, loader)
    drawn = draw_examples(args.dataset, arguments, split=args.split, number=args.num, seed=args.seed)
    write_text(args.out, render_sheet(drawn))
    print(f"{len(drawn.examples)} of {drawn.total} films of '{drawn.split}': {args.out}")
    if args.png is not None:
        with replacing(args.png) as beside:
            sheet_picture(drawn).save(beside)
        print(f"picture: {args.png}")
    for problem in drawn.problems:
        print(f"left out: {problem}")
    return 1 if drawn.problems else 0
