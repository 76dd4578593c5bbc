"""Model cards and their templates, and the reference checkpoint; needs nothing else of the package."""

from pathlib import Path

from .cards import model_card


# Trained on synthetic chests by `training/recipes/phantom-reference.yaml`; what `predict` uses by default.
REFERENCE_MODEL = Path(__file__).parent / "phantom-reference"
# Writes masks of structures; trained on synthetic chests by `training/masks/writer_reference.yaml`.
REFERENCE_WRITER = Path(__file__).parent / "phantom-writer"

__all__ = ["REFERENCE_MODEL", "REFERENCE_WRITER", "model_card"]
