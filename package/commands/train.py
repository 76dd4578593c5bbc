"""Train a model from a recipe, stage after stage; an interrupted run goes on where it stopped.

For several processes use `accelerate launch -m anatomy_vlm.training.run` with the same arguments.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe file, or the name of one that the package ships")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of the run (default: outputs/NAME)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="change a key of the recipe"
    )


def run(args: argparse.Namespace) -> int:
    from anatomy_vlm.training.recipe import load_recipe
    from anatomy_vlm.training.run import train, with_overrides

    recipe = with_overrides(load_recipe(args.recipe), args.overrides)
    result = train(recipe, args.output or Path("outputs") / recipe.name)
    print(f"The model is in {result.model}")
    return 0
