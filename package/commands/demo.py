"""The main job, end to end: synthesise chests, train three stages, evaluate on unseen patients, read test films.

Writes to DIR: model/ (load it with AutoModel), results.json, results.md, report.html and overlays/. A demo that was
interrupted goes on where it stopped when the same command is given again.
"""

import argparse
from pathlib import Path

from anatomy_vlm.commands.arguments import positive_int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("outputs/demo"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--recipe", default="phantom-tiny", metavar="RECIPE", help="default: %(default)s")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="change a key of the recipe"
    )
    parser.add_argument(
        "--films", nargs="+", default=[], metavar="IMAGES", help="real films to read as well: files, folders, patterns"
    )
    parser.add_argument("--bootstrap", type=positive_int, default=1000, metavar="N", help="resamples (default: 1000)")


def run(args: argparse.Namespace) -> int:
    from anatomy_vlm.demo import demo

    demo(args.out, recipe=args.recipe, overrides=args.overrides, films=args.films, bootstrap=args.bootstrap)
    return 0
