"""Loaders: each turns one kind of data into a `datasets.DatasetDict` of splits in the example schema.

A recipe names one under `data.loader` and gives it `data.arguments`. Those of `SOURCES` are adapters to datasets as
their makers publish them; they share the arguments of `load_source` (`streaming`, `image_size`, `on_error`), and
`anatomy-vlm prepare` keeps them at training size.
"""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from anatomy_vlm.training.recipe import RecipeError, suggestion


if TYPE_CHECKING:
    import datasets

    from anatomy_vlm.training.loaders.source import Source

# Name of a loader -> module of this folder and function in it.
LOADERS = {
    "phantom": ("phantom", "load_phantom"),
    "prepared": ("prepared", "load_prepared"),
    "saved": ("saved", "load_saved"),
}
# Name of a dataset -> module of this folder and its `Source`.
SOURCES = {
    "chest_imagenome": ("chest_imagenome", "ChestImaGenome"),
    "chexmask": ("chexmask", "CheXmask"),
    "ct_projection": ("ct_projection", "CTProjection"),
    "folder": ("folder", "Folder"),
    "iu_xray": ("iu_xray", "IUXray"),
    "mimic_cxr": ("mimic_cxr", "MimicCXR"),
    "ms_cxr": ("ms_cxr", "MSCXR"),
    "nih_chestxray14": ("nih_chestxray14", "NIHChestXray14"),
    "padchest": ("padchest", "PadChest"),
    "rsna_pneumonia": ("rsna_pneumonia", "RSNAPneumonia"),
    "siim_acr": ("siim_acr", "SIIMACR"),
    "vindr_cxr": ("vindr_cxr", "VinDrCXR"),
}


def get_source(name: str) -> "type[Source]":
    """The adapter of a dataset. Raises `RecipeError` for an unknown one."""
    if name not in SOURCES:
        raise RecipeError(f"unknown dataset '{name}'; {suggestion(name, tuple(SOURCES))}")
    module, member = SOURCES[name]
    return getattr(import_module(f"{__name__}.{module}"), member)


def check_arguments(kind: str, call: Callable, arguments: dict[str, Any]) -> None:
    """Raises `RecipeError` for an argument that `call` does not know, or one that is missing."""
    known = inspect.signature(call).parameters
    for key in arguments:
        if key not in known:
            raise RecipeError(f"{kind}: unknown argument '{key}'; {suggestion(key, tuple(known))}")
    for key, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and key not in arguments:
            raise RecipeError(f"{kind}: the argument '{key}' is missing")


def open_source(name: str, arguments: dict[str, Any]) -> "Source":
    """The index of a dataset. Raises `RecipeError` for an unknown one, or arguments that it does not take."""
    source = get_source(name)
    check_arguments(f"dataset '{name}'", source, arguments)
    return source(**arguments)


def get_loader(name: str) -> Callable[..., "datasets.DatasetDict"]:
    """The loader of a name. Raises `RecipeError` for an unknown one."""
    if name in LOADERS:
        module, function = LOADERS[name]
        return getattr(import_module(f"{__name__}.{module}"), function)
    if name not in SOURCES:
        raise RecipeError(f"unknown loader '{name}'; {suggestion(name, (*LOADERS, *SOURCES))}")
    from anatomy_vlm.training.loaders.examples import load_source

    source = get_source(name)
    options = [p for p in inspect.signature(load_source).parameters.values() if p.kind is p.KEYWORD_ONLY]

    def load(**arguments: Any) -> Any:
        reading = {p.name: arguments.pop(p.name) for p in options if p.name in arguments}
        return load_source(source(**arguments), **reading)

    own = [p.replace(kind=p.KEYWORD_ONLY) for p in inspect.signature(source).parameters.values()]
    load.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
    load.__doc__ = source.__doc__
    return load


def load_data(name: str, arguments: dict[str, Any]) -> "datasets.DatasetDict":
    """
    The splits of a loader.

    Raises:
        RecipeError: for an unknown loader, or arguments that it does not take.
    """
    loader = get_loader(name)
    check_arguments(f"loader '{name}'", loader, arguments)
    return loader(**arguments)


__all__ = ["LOADERS", "SOURCES", "check_arguments", "get_loader", "get_source", "load_data", "open_source"]
