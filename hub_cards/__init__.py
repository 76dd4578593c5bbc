"""Model cards and their templates, and the reference checkpoint; needs nothing else of the package."""

from pathlib import Path

from .cards import model_card


# Trained on synthetic chests by `training/recipes/phantom-reference.yaml`; what `predict` uses by default.
REFERENCE_MODEL = Path(__file__).parent / "phantom-reference"

__all__ = ["REFERENCE_MODEL", "model_card"]
