"""What a model card is made from, on the command line: measurements and what the training drew."""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any


def add_card_arguments(parser: argparse.ArgumentParser) -> None:
    """`--evaluation`, `--robustness`, `--receipt`, `--recipe`, and hours, power and carbon intensity."""
    group = parser.add_argument_group("card", "hub: a new model card, with what was measured")
    group.add_argument("--evaluation", type=Path, metavar="FILE", help="of `anatomy-vlm evaluate --json`")
    group.add_argument("--robustness", type=Path, metavar="FILE", help="of `anatomy-vlm robustness --json`")
    group.add_argument(
        "--receipt", type=Path, nargs="+", default=[], metavar="FILE", help="receipts, put beside the weights"
    )
    group.add_argument("--recipe", metavar="RECIPE", help="what was trained (default: recipe.yaml beside MODEL)")
    group.add_argument("--hours", type=float, metavar="H", help="how long the training took, for an estimate of CO2")
    group.add_argument("--watts", type=float, metavar="W", help="mean power of the whole machine meanwhile")
    group.add_argument("--grams-per-kwh", type=float, metavar="G", help="CO2 of the electricity (default: 480)")
    group.add_argument("--hardware", default="", metavar="NAME", help="of the machine")


def card_wanted(args: argparse.Namespace) -> bool:
    """Whether any of the arguments was given."""
    given = (args.evaluation, args.robustness, args.recipe, args.hours, args.watts, args.grams_per_kwh)
    return any(value is not None for value in given) or bool(args.receipt or args.hardware)


def card_text(args: argparse.Namespace, model: str, code: bool) -> str:
    """
    The new card of a model.

    Args:
        args: with the arguments above.
        model: folder of the model.
        code: whether the folder brings the code.

    Raises:
        ValueError: a file that is none of the kind, hours without power or the reverse, or no recipe.
    """
    from anatomy_vlm.hub_cards import model_card
    from anatomy_vlm.prediction import library_versions
    from anatomy_vlm.training.recipe import load_recipe

    recipe = args.recipe or Path(model).parent / "recipe.yaml"
    if not args.recipe and not Path(recipe).is_file():
        raise ValueError(f"{recipe}: no such file; say what was trained with --recipe")
    result = None if args.evaluation is None else _read(args.evaluation, ("scores", "num_images", "settings"))
    robustness = None if args.robustness is None else _read(args.robustness, ("sections", "num_images"))
    processor = Path(model) / "processor_config.json"
    return model_card(
        load_recipe(recipe).to_dict(),
        result,
        model_id=str(args.folder),
        versions=library_versions(),
        calibrated=processor.is_file() and bool(_read(processor, ()).get("score_calibration")),
        code=code,
        robustness=robustness,
        energy=_energy(args),
        receipts={path.name: _receipt(path) for path in args.receipt},
    )


def copy_receipts(receipts: list[Path], folder: Path) -> None:
    """Put receipts beside the weights."""
    for path in receipts:
        shutil.copyfile(path, folder / path.name)


def _energy(args: argparse.Namespace) -> Any:
    from anatomy_vlm.hub_cards import Energy

    if args.hours is None and args.watts is None:
        return None
    if args.hours is None or args.watts is None:
        raise ValueError("--hours and --watts go together: their product is the energy")
    intensity = {} if args.grams_per_kwh is None else {"grams_per_kwh": args.grams_per_kwh}
    return Energy(args.hours, args.watts, hardware=args.hardware, **intensity)


def _receipt(path: Path) -> dict[str, Any]:
    from anatomy_vlm.training.receipts.receipt import load_receipt

    return load_receipt(path).to_dict()


def _read(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(data, dict) or not set(keys) <= data.keys():
        raise ValueError(f"{path}: has no {' or '.join(keys)}; give the file that the command's --json wrote")
    return data
