"""What a score survives and what it rests on: negation, side, masks, corruptions, domains, wording, groups.

Each module is a pure function over numbers that a model has read; `measure_robustness` reads a dataset and joins them.
"""

from importlib import import_module
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from anatomy_vlm.training.evaluation.robustness.measure import RobustnessSettings, measure_robustness
    from anatomy_vlm.training.evaluation.robustness.report import RobustnessReport

_HOMES = {"RobustnessReport": "report", "RobustnessSettings": "measure", "measure_robustness": "measure"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


__all__ = ["RobustnessReport", "RobustnessSettings", "measure_robustness"]
