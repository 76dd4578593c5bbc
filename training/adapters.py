"""Low-rank adapters in the vision tower: put in, trained alone, and merged for the export."""

from typing import Any

from torch import nn

from anatomy_vlm.training.recipe import Lora, RecipeError


# New with this model, whatever the tower was: they learn beside the adapters.
TOKENS = ("vision_model.embeddings.anatomy_queries", "vision_model.embeddings.cls_token")


def add_adapters(tower: nn.Module, lora: Lora, where: str = "model") -> None:
    """
    Put adapters into the linear layers `lora.targets` of a tower; at first they add nothing.

    Raises:
        RecipeError: if peft is not installed, or it refuses the options.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise RecipeError(f'{where}.lora: peft is not installed: pip install "anatomy-vlm[peft]"') from error
    try:
        config = LoraConfig(
            r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=list(lora.targets)
        )
        inject_adapter_in_model(config, tower)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{where}.lora: {' '.join(str(error).split())}") from error


def has_adapters(model: nn.Module) -> bool:
    """Are there adapters in this model?"""
    return any(".lora_" in name for name, _ in model.named_parameters())


def learns(name: str, adapted: bool) -> bool:
    """Does the parameter `name` learn in a model that has adapters, or has none? Outside of the tower all do."""
    return not adapted or not name.startswith("vision_model.") or ".lora_" in name or name in TOKENS


def merge_adapters(model: Any) -> Any:
    """The model with its adapters merged into the weights they adapt, in place: plain layers, plain names."""
    if not has_adapters(model):
        return model
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    for name, module in adapted:
        module.merge(safe_merge=True)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, module.get_base_layer())
    if hasattr(model.vision_model, "peft_config"):
        del model.vision_model.peft_config
    return model
