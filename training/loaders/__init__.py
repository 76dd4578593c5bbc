"""Loaders: each turns one kind of data into a `datasets.DatasetDict` of splits in the example schema.

A recipe names one under `data.loader` and gives it `data.arguments`.
"""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from anatomy_vlm.training.recipe import RecipeError, suggestion


if TYPE_CHECKING:
    import datasets

# Name of a loader -> module of this folder and function in it.
LOADERS = {
    "folder": ("folder", "load_folder"),
    "phantom": ("phantom", "load_phantom"),
    "saved": ("saved", "load_saved"),
}


def get_loader(name: str) -> Callable[..., "datasets.DatasetDict"]:
    """The loader of a name. Raises `RecipeError` for an unknown one."""
    if name not in LOADERS:
        raise RecipeError(f"unknown loader '{name}'; {suggestion(name, tuple(LOADERS))}")
    module, function = LOADERS[name]
    return getattr(import_module(f"{__name__}.{module}"), function)


def load_data(name: str, arguments: dict[str, Any]) -> "datasets.DatasetDict":
    """
    The splits of a loader.

    Raises:
        RecipeError: for an unknown loader, or arguments that it does not take.
    """
    loader = get_loader(name)
    known = inspect.signature(loader).parameters
    for key in arguments:
        if key not in known:
            raise RecipeError(f"loader '{name}': unknown argument '{key}'; {suggestion(key, tuple(known))}")
    for key, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and key not in arguments:
            raise RecipeError(f"loader '{name}': the argument '{key}' is missing")
    return loader(**arguments)


__all__ = ["LOADERS", "get_loader", "load_data"]
