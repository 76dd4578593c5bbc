"""The error of data that cannot be used."""

from anatomy_vlm.training.recipe import RecipeError


class DatasetError(RecipeError):
    """Data that cannot be used: one line with the file, what is wrong there and the cure."""
