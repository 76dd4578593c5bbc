"""Settings that the tables share, and the sentences that say what they mean."""

from collections.abc import Mapping
from typing import Any

from anatomy_vlm.training.receipts.tasks import TaskInputs


SETTINGS: dict[str, Any] = {"bootstrap": 1000, "min_events": 10, "seed": 0, "batch_size": 32}
SYNTHETIC = "Synthetic films; nothing here is clinical."


def test_sets(inputs: TaskInputs) -> tuple[str, ...]:
    """Names of the splits that are tested on."""
    return tuple(name for name in inputs.sources if name not in ("validation", "train"))


def notes(inputs: TaskInputs, *more: str) -> list[str]:
    """What data, what intervals; then `more`."""
    counts = [f"{name} {len(inputs.split(name))}" for name in test_sets(inputs)]
    drawn = [inputs.sources[name].source.loader == "phantom" for name in test_sets(inputs)]
    resamples = inputs.settings["bootstrap"]
    about = f"Films: {', '.join(counts)}. Intervals: 95 %, bootstrap over patients, {resamples} resamples."
    return [about, *([SYNTHETIC] if all(drawn) else []), *more]


def set_title(inputs: TaskInputs, name: str) -> str:
    """How a test set is called in a table."""
    synthetic = inputs.sources[name].source.loader == "phantom"
    if not synthetic:
        return name
    return "synthetic films, all looks" if name == "test" else f"synthetic films, {name.replace('_', ' ')}"


def evaluation_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `evaluate_model` in the settings of a table."""
    return {name: settings[name] for name in SETTINGS if name in settings}
