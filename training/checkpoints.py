"""Where a run stands: checkpoints that can be trusted, and stages that are done."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR


DONE_FILE = "stage.json"


def is_complete(checkpoint: Path) -> bool:
    """Was this checkpoint written to its end? The trainer's state is written last, and weights must be readable."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        with safe_open(checkpoint / "model.safetensors", framework="pt") as file:
            file.keys()
    except (OSError, ValueError, SafetensorError):
        return False
    return (checkpoint / "optimizer.pt").is_file() and (checkpoint / "scheduler.pt").is_file()


def last_complete_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of a stage's folder, or None."""
    steps = {}
    for path in Path(folder).glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        number = path.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-")
        if number.isdigit():
            steps[int(number)] = path
    for step in sorted(steps, reverse=True):
        if is_complete(steps[step]):
            return steps[step]
    return None


def finished_stage(folder: Path) -> dict[str, Any] | None:
    """What a finished stage wrote about itself, or None."""
    try:
        return json.loads((Path(folder) / DONE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
