"""Model cards and their templates; needs nothing else of the package."""

from .cards import model_card


__all__ = ["model_card"]
