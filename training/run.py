"""Train Anatomy-VLM by a recipe, one stage after another.

    accelerate launch training/run.py --recipe training/recipes/phantom-tiny.yaml
    accelerate launch -m anatomy_vlm.training.run --recipe phantom-tiny --output outputs/tiny --set seed=1

A run that was interrupted goes on where it stopped when the same command is given again.
Exit status: 0 done; 2 recipe, data or files cannot be used; 3 the training diverged; 75 disk or memory full, or a
process lost; 130, 138 and 143 stopped by SIGINT, SIGUSR1 and SIGTERM, with a checkpoint.
"""

import argparse
import shutil
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any


# Python looks for modules beside a script first: ours would hide those of the standard library. They come last here.
sys.path.sort(key=lambda place: Path(place or ".").resolve() == Path(__file__).resolve().parent)

import yaml
from accelerate import PartialState

from anatomy_vlm.hub_cards import model_card
from anatomy_vlm.processing.atomic_files import write_text
from anatomy_vlm.processing.data_files import DataFileError, parse_yaml
from anatomy_vlm.training.adapters import merge_adapters
from anatomy_vlm.training.checkpoints import sync
from anatomy_vlm.training.export_hub import export
from anatomy_vlm.training.launching import check_processes, started_processes
from anatomy_vlm.training.loaders import load_data
from anatomy_vlm.training.recipe import Recipe, RecipeError, load_recipe, parse_recipe
from anatomy_vlm.training.recovery import TrainingStopped, explained
from anatomy_vlm.training.recovery_signals import Interrupted, StopWatch
from anatomy_vlm.training.setup import Setup, build_setup
from anatomy_vlm.training.stages import run_stage, use_cpu
from anatomy_vlm.training.step_profile import ProfileOptions, add_profile_arguments, profile_options
from anatomy_vlm.training.streaming import training_splits


DDP_TIMEOUT_S = 1800  # as `TrainingArguments` has it


@dataclass(frozen=True)
class RunResult:
    """
    Args:
        output: The folder of the run.
        model: The self-contained model folder, below it.
        splits: The data, with the names of its splits in `recipe.data`.
        recipe: What was run.
    """

    output: Path
    model: Path
    splits: Any
    recipe: Recipe


def with_overrides(recipe: Recipe, overrides: list[str]) -> Recipe:
    """The recipe with `key.key=value` settings applied; values are YAML, list items are chosen by number."""
    values = recipe.to_dict()
    for override in overrides:
        path, separator, text = override.partition("=")
        if not separator:
            raise RecipeError(
                f"--set {override}: expected KEY=VALUE, such as seed=1 or data.arguments.num_patients=100"
            )
        *parents, last = path.split(".")
        target: Any = values
        try:
            for key in parents:
                target = target[int(key)] if isinstance(target, list) else target[key]
            target[int(last) if isinstance(target, list) else last] = parse_yaml(text)
        except DataFileError as error:
            raise RecipeError(f"--set {path}: {error}") from None
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise RecipeError(f"--set {override}: there is no '{path}' in the recipe") from error
    return parse_recipe(values, f"recipe {recipe.name}")


def claim_output(recipe: Recipe, output: Path) -> None:
    """Keep the recipe in the folder of its run. Raises `RecipeError` if another run lives there."""
    path = output / "recipe.yaml"
    text = yaml.safe_dump(recipe.to_dict(), sort_keys=False)
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise RecipeError(f"{output}: holds a run of another recipe; choose another --output or delete that folder")
    if not path.is_file():
        write_text(path, text)
        sync(path)
        sync(output)


def train(recipe: Recipe, output: Path | str, profile: ProfileOptions | None = None) -> RunResult:
    """
    Run the stages of a recipe; finished ones are not run again, an interrupted one goes on.

    Args:
        recipe: What to run.
        output: Folder of the run: one folder per stage, and `model` with the self-contained result.
        profile: Measure where the time goes; see `anatomy_vlm.training.step_profile`.

    Raises:
        RecipeError: if the recipe, its data or its text encoder cannot be used.
        Interrupted: if it was asked to stop by a signal; where it can go on is kept.
        TrainingStopped: if it cannot go on for now; see `anatomy_vlm.training.recovery`.
    """
    watch = StopWatch()
    with watch.installed():
        return _train(recipe, Path(output), watch, profile)


def _train(recipe: Recipe, output: Path, watch: StopWatch, profile: ProfileOptions | None) -> RunResult:
    # A process that waits longer for the others than this takes them for lost.
    timeout = timedelta(seconds=float(recipe.training.get("ddp_timeout", DDP_TIMEOUT_S)))
    state = PartialState(cpu=use_cpu(recipe), timeout=timeout)
    check_processes(state.num_processes)
    with explained("setup", output, processes=state.num_processes), state.main_process_first():
        if state.is_main_process:
            claim_output(recipe, output)
        splits = load_data(recipe.data.loader, recipe.data.arguments)
        for name in (recipe.data.train, recipe.data.validation, recipe.data.test):
            if name not in splits:
                raise RecipeError(f"recipe {recipe.name}: the data has no split '{name}', only {', '.join(splits)}")
        splits = training_splits(recipe, splits)
        setup: Setup = build_setup(recipe, splits[recipe.data.train], output, progress=state.is_main_process)
    for number, stage in enumerate(recipe.stages, start=1):
        run_stage(setup, stage, output / f"{number}-{stage.name}", watch, profile)
    with explained("export", output, processes=state.num_processes):
        if state.is_main_process:
            for leftover in output.glob(".model.*"):  # of an export that was killed
                shutil.rmtree(leftover)
            export(merge_adapters(setup.model), output / "model", setup.processor, card=model_card(recipe.to_dict()))
        state.wait_for_everyone()
    return RunResult(output, output / "model", splits, recipe)


def parser() -> argparse.ArgumentParser:
    """The arguments of a training run."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--recipe", required=True, help="a recipe file, or the name of one that the package ships")
    result.add_argument("--output", type=Path, help="folder of the run; outputs/NAME of the recipe by default")
    result.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="change a key of the recipe"
    )
    result.add_argument("--processes", type=int, help="refuse to run with another number of processes than this")
    add_profile_arguments(result)
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    args = parser().parse_args(arguments)
    try:
        recipe = with_overrides(load_recipe(args.recipe), args.overrides)
        if args.processes is not None:
            check_processes(started_processes(), args.processes)
        output = args.output or Path("outputs") / recipe.name
        result = train(recipe, output, profile_options(args, output))
    except (TrainingStopped, Interrupted) as stop:
        # What all processes agree on is said once.
        if not stop.agreed or PartialState().is_main_process:
            print(f"run.py: {' '.join(str(stop).split())}", file=sys.stderr)
        return stop.exit_status
    except (ValueError, OSError) as error:
        # What is raised for recipes, data and checkpoints that cannot be used; anything else is a bug.
        print(f"run.py: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    if PartialState().is_main_process:
        print(f"The model is in {result.model}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
