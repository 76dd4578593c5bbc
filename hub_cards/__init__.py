"""Cards of models and datasets with their templates, and reference checkpoints; needs nothing else of the package."""

from pathlib import Path

from .card_parts import Energy
from .cards import model_card
from .dataset_cards import dataset_card
from .writer_cards import writer_card


# Trained on synthetic chests by `training/recipes/phantom-reference.yaml`; what `predict` uses by default.
REFERENCE_MODEL = Path(__file__).parent / "phantom-reference"
# Writes masks of structures; trained on synthetic chests by `anatomy-vlm train-masks`.
REFERENCE_WRITER = Path(__file__).parent / "phantom-writer"

__all__ = ["REFERENCE_MODEL", "REFERENCE_WRITER", "Energy", "dataset_card", "model_card", "writer_card"]
