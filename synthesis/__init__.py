"""Where radiographs come from if you have none: a parametric chest, and projections of CT volumes.

Everything is imported when it is first used, because the compiled parts need the extra `synthesis`.
"""

from importlib import import_module
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from .phantom import generate_dataset, generate_patient

_HOMES = {"generate_dataset": "phantom", "generate_patient": "phantom"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


__all__ = ["generate_dataset", "generate_patient"]
