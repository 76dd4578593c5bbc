"""The public vision transformer that a recipe starts from, and how its inputs were made."""

from typing import Any

from transformers.image_processing_utils import BaseImageProcessor

from anatomy_vlm.modeling import AnatomyVLMVisionModel
from anatomy_vlm.modeling.vision_conversion_anatomy_vlm import convert_vision_tower
from anatomy_vlm.training.recipe import Recipe, RecipeError


def load_backbone(recipe: Recipe) -> AnatomyVLMVisionModel | None:
    """
    The vision tower of a recipe with the weights of its backbone; None without one.

    Raises:
        RecipeError: if the backbone cannot be found or converted, or does not fit `model.vision`.
    """
    backbone = recipe.model.backbone
    if backbone is None:
        return None
    where = f"recipe {recipe.name}: model.backbone"
    try:
        tower = convert_vision_tower(backbone.name, recipe.model.vision, backbone.revision or "main")
    except Exception as error:  # `strict` wraps what is wrong in errors of its own, which are no ValueErrors
        reason = " ".join(str(error.__cause__ or error).split()) if not isinstance(error, ValueError) else str(error)
        raise RecipeError(f"{where}: {reason}") from error
    if tower.config.num_channels != 3:
        raise RecipeError(f"{where}: {backbone.name} reads {tower.config.num_channels} channels, films are given as 3")
    return tower


def image_options(recipe: Recipe) -> dict[str, Any]:
    """
    Options of the image processor: those of the recipe, over the statistics that the backbone was trained with.

    The mean and deviation are those of levels in [0, 1], whatever the backbone's own `rescale_factor`.

    Raises:
        RecipeError: if neither the backbone nor the recipe tells them.
    """
    backbone, own = recipe.model.backbone, recipe.image_processor
    if backbone is None or {"image_mean", "image_std"} <= set(own):
        return dict(own)
    try:
        given, _ = BaseImageProcessor.get_image_processor_dict(backbone.name, revision=backbone.revision or "main")
        factor = given.get("rescale_factor", 1 / 255) if given.get("do_rescale", True) else 1.0
        if given.get("do_normalize", True):
            mean, deviation = list(given["image_mean"]), list(given["image_std"])
        else:
            mean, deviation = [0.0] * 3, [1.0] * 3
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(
            f"recipe {recipe.name}: model.backbone: {backbone.name} has no preprocessor_config.json with image_mean "
            "and image_std; set both under image_processor"
        ) from error
    scale = 255 * factor
    options = {"image_mean": [m / scale for m in mean], "image_std": [s / scale for s in deviation]}
    if given.get("resample") is not None:
        options["resample"] = given["resample"]
    return {**options, **own}
