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
    parser.add_argument("--profile", action="store_true", help="say where each stage's time goes; writes profile.json")
    parser.add_argument("--profile-trace", action="store_true", help="as --profile, with traces for ui.perfetto.dev")


def run(args: argparse.Namespace) -> int:
    from anatomy_vlm.training.recipe import load_recipe
    from anatomy_vlm.training.run import train, with_overrides
    from anatomy_vlm.training.step_profile import profile_options

    recipe = with_overrides(load_recipe(args.recipe), args.overrides)
    output = args.output or Path("outputs") / recipe.name
    result = train(recipe, output, profile_options(args, output))
    print(f"The model is in {result.model}")
    return 0
