"""How `prepare` and `inspect` are told which dataset to read."""

import argparse
import inspect
from collections.abc import Callable
from typing import Any


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    """The dataset's name, `--root`, `--images` and `--set`."""
    parser.add_argument("dataset", metavar="DATASET", help="a dataset's loader, such as chest_imagenome or folder")
    parser.add_argument("--root", metavar="DIR", required=True, help="folder of the dataset")
    parser.add_argument("--images", metavar="DIR", help="folder of the films, where it is another one")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="another argument of the loader, such as frontal_only=false (repeatable)",
    )


def dataset_arguments(args: argparse.Namespace, loader: Callable) -> dict[str, Any]:
    """
    The arguments of a loader that the command line gives; its first one is the root.

    Raises:
        ValueError: a setting that is not of the form KEY=VALUE.
    """
    from anatomy_vlm.processing.data_files import parse_yaml

    first = next(iter(inspect.signature(loader).parameters))
    values: dict[str, Any] = {first: args.root}
    if args.images is not None:
        values["images"] = args.images
    for setting in args.settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise ValueError(f"--set {setting}: expected KEY=VALUE, such as frontal_only=false")
        try:
            values[key] = parse_yaml(text)
        except ValueError as error:
            raise ValueError(f"--set {key}: {error}") from None
    return values
